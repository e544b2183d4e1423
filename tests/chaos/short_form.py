"""The short form of the chaos run: each of a few disturbances once, under load, and the audit of the long form."""

from __future__ import annotations

import os
import random

from tests.chaos import disturbances as what
from tests.chaos.disturbances import Act
from tests.chaos.run import disturb, local_world

# Those that need no restart of `up`, in an order in which one meets what the one before has left behind.
_ACTS: tuple[Act, ...] = (
    what.kill_of_run,
    what.end_sessions,
    what.kill_server,
    what.cancel_run,
    what.read_only_postgres,
    what.restart_prefect,
    what.few_descriptors,
    what.kill_of_run,
)


def test_what_was_accepted_is_owed_nothing_after_chaos() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    # Only root may mount the disk that is filled.
    acts = (*_ACTS, what.full_disk) if os.geteuid() == 0 else _ACTS
    with local_world(seed, None) as world:
        outcome = disturb(world, acts, calm_seconds=0, chance=random.Random(seed))
    assert outcome.result.findings == []
    assert outcome.happened.total() >= len(acts) // 2
    assert outcome.result.counts["events delivered"] > 0
