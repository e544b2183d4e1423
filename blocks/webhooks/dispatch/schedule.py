"""When a delivery is tried again; pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

# Later only, so that a promised pause is kept; enough to pull apart what has failed at the same moment.
JITTER = 0.1


def next_pause(schedule: Sequence[timedelta], attempts_made: int, random: Callable[[], float]) -> timedelta | None:
    """How long to wait after the failure of attempt number *attempts_made* (1, 2, ...); None: that was the last one.

    The pause is the one of *schedule* and up to a tenth more; *random* gives numbers from 0 to 1.
    """
    if attempts_made >= len(schedule):
        return None
    return schedule[attempts_made] * (1 + JITTER * random())
