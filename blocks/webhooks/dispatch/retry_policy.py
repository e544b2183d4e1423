"""Retry policy: what an attempt means for its delivery, and when a failing endpoint is left alone.

`decide` gives a delivery's next state and pause. `Breaker` pauses an endpoint when too many of its deliveries fail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from blocks.webhooks.outbox.deliveries import DeliveryState
from blocks.webhooks.send.client import Attempt

_GONE = 410
_NO_PAUSE = timedelta(0)

# Added, never subtracted, so that a promised pause is kept; enough to spread retries of what failed at the same moment.
JITTER = 0.1

# More than the events of one document, so that a receiver that refuses the first attempt of each event does not count
# as down; and few compared with what queues up while a receiver is down.
BREAKER_THRESHOLD = 20
_FIRST_PAUSE = timedelta(seconds=1)
# A receiver that is back is noticed this late at most.
LONGEST_PAUSE = timedelta(seconds=60)
# Far more than open the breaker.
_MOST_FAILURES = 1_000_000
# 1 s doubled six times exceeds the longest pause; a bound keeps the power small.
_DOUBLINGS = 6


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The consequences of one attempt.

    *state* and *pause* are the delivery's. *retry_after* is the pause that the receiver asked for, for all deliveries
    to it. *gone*: the receiver wants no more deliveries. *counts*: the breaker counts this failure.
    """

    state: DeliveryState
    pause: timedelta = _NO_PAUSE
    retry_after: timedelta | None = None
    gone: bool = False
    counts: bool = False


def decide(
    attempt: Attempt, *, attempts_before: int, schedule: Sequence[timedelta], random: Callable[[], float]
) -> Decision:
    """Return the consequences of *attempt*, the one after *attempts_before* others of the same delivery."""
    if attempt.succeeded:
        return Decision(state="delivered")
    if attempt.hopeless:
        # The URL is at fault and nothing was sent, so this says nothing about the receiver.
        return Decision(state="dead")
    if attempt.status == _GONE:
        # Due again without a pause once a person enables the endpoint, like everything else that is due there.
        return Decision(state="pending", gone=True)
    pause = next_pause(schedule, attempts_before + 1, random)
    if pause is None:
        return Decision(state="dead", retry_after=attempt.retry_after, counts=True)
    if attempt.retry_after is not None:
        pause = max(pause, attempt.retry_after)
    return Decision(state="pending", pause=pause, retry_after=attempt.retry_after, counts=True)


def next_pause(schedule: Sequence[timedelta], attempts_made: int, random: Callable[[], float]) -> timedelta | None:
    """Return the pause after failed attempt number *attempts_made* (1, 2, ...), or None after the last one.

    The pause is that of *schedule* plus up to `JITTER` of it; *random* returns numbers from 0 to 1.
    """
    if attempts_made >= len(schedule):
        return None
    return schedule[max(attempts_made, 0)] * (1 + JITTER * random())


class Breaker:
    """Circuit breaker of one endpoint; *failures* is the count that an earlier lease owner left.

    Counts each failed delivery once since the last success: one delivery that keeps failing follows its own schedule,
    so an event that a receiver cannot process does not block the others. With `BREAKER_THRESHOLD` failures the endpoint
    counts as down, whatever the statuses were (a proxy in front of it answers 404 as well as 503). Then a single
    delivery probes it after each pause, so that an outage does not use up the attempts of everything that is due.
    """

    def __init__(self, failures: int = 0) -> None:
        # Any number may have been written; it counts on from here, in a column of 32 bits.
        self.failures = min(max(failures, 0), _MOST_FAILURES)
        self._failed: set[UUID] = set()

    @property
    def is_open(self) -> bool:
        """Whether the next delivery is a probe, to be sent alone."""
        return self.failures >= BREAKER_THRESHOLD

    def succeeded(self) -> bool:
        """Record a success. Return whether there were failures to reset."""
        was_failing = self.failures > 0
        self.failures = 0
        self._failed.clear()
        return was_failing

    def failed(self, delivery_id: UUID) -> timedelta | None:
        """Record a failure. Return how long to send nothing to the endpoint, or None."""
        if not self.is_open:
            if delivery_id in self._failed:
                return None
            self._failed.add(delivery_id)
        self.failures += 1
        if not self.is_open:
            return None
        self._failed.clear()
        return min(_FIRST_PAUSE * 2 ** min(self.failures - BREAKER_THRESHOLD, _DOUBLINGS), LONGEST_PAUSE)
