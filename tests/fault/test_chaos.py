"""The short form of the chaos run: each of a few disturbances once, under load, and the audit of the long form."""

from __future__ import annotations

import os
import random
from functools import wraps

from tests.chaos import disturbances as what
from tests.chaos.disturbances import Act, Place
from tests.chaos.run import disturb, local_world
from tests.stack_driver import eventually

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


def _that_happens(act: Act) -> Act:
    """Wait for what *act* is done to: the first run may just be starting, or a server coming back."""

    @wraps(act)
    def done(place: Place) -> str:
        found: list[str] = []
        eventually(lambda: found.append(act(place)) or found[-1], f"{act.__name__} happens")
        return found[-1]

    return done


def test_what_was_accepted_is_owed_nothing_after_chaos() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    # Only root may mount the disk that is filled.
    acts = (*_ACTS, what.full_disk) if os.geteuid() == 0 else _ACTS
    with local_world(seed, None) as world:
        outcome = disturb(world, map(_that_happens, acts), calm_seconds=0, chance=random.Random(seed), uploaders=1)
    assert outcome.result.findings == []
    assert outcome.happened.total() == len(acts)
    assert outcome.result.counts["events delivered"] > 0
