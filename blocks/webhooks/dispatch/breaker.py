"""When an endpoint that fails everything is left alone for a while; pure.

Counts deliveries that have failed since the last success, each of them once: one delivery that fails again and again
only follows its own schedule, and an event that a receiver cannot take does not hold up the others. With `THRESHOLD`
of them the endpoint is down, whatever the answers were (a proxy in front of it says 404 as well as 503). It is then
tried with a single delivery after each pause, so that an outage costs a few attempts and not those of everything that
waits.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

# More than the events of one document, so that a receiver that refuses the first attempts of each is not taken for one
# that is down; and few against what queues up while one is.
THRESHOLD = 20
_FIRST_PAUSE = timedelta(seconds=1)
# How late at most a receiver that is back is found.
LONGEST_PAUSE = timedelta(seconds=60)
# 1 s doubled so many times is past the longest pause.
_DOUBLINGS = 6


class Breaker:
    """The state of one endpoint; *failures* is what an earlier owner had counted."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self._failed: set[UUID] = set()

    @property
    def is_open(self) -> bool:
        """Whether the next delivery is a probe, to be sent alone."""
        return self.failures >= THRESHOLD

    def succeeded(self) -> bool:
        """Note a success; whether there was anything to forget."""
        was_failing = self.failures > 0
        self.failures = 0
        self._failed.clear()
        return was_failing

    def failed(self, delivery_id: UUID) -> timedelta | None:
        """Note a failure; how long to send nothing now, or None."""
        if not self.is_open:
            if delivery_id in self._failed:
                return None
            self._failed.add(delivery_id)
        self.failures += 1
        if not self.is_open:
            return None
        self._failed.clear()
        return min(_FIRST_PAUSE * 2 ** min(self.failures - THRESHOLD, _DOUBLINGS), LONGEST_PAUSE)
