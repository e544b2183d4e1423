"""The short form of `webhook_chaos`: everything that takes part is killed once, and a run is cancelled."""

from __future__ import annotations

import random

from tests.fault.webhook_chaos import VICTIMS, disturb

DOCUMENTS = 20


def test_every_state_has_one_event_and_every_event_arrives_whoever_is_killed() -> None:
    seed = random.randrange(2**32)
    counts = disturb([[["flow", "dispatch"], ["cancel"]], [["serve", "prefect"]]], documents=DOCUMENTS, seed=seed)
    assert counts.rounds == 2
    assert set(counts.kills) <= set(VICTIMS)
    assert counts.states >= 4
    assert counts.requests >= counts.events > 0
