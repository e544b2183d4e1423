"""How often somebody may come: a token bucket for each; pure but for the clock that is given.

A bucket holds a minute's worth, so that a burst after a pause is let through, and fills up evenly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

# A bucket is full again after a minute at the latest, and then says nothing.
_SWEEP_SECONDS = 60.0


@dataclass
class _Bucket:
    left: float
    at: float


class RateLimit:
    """Buckets by name. Not for several threads."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self._swept_at = clock()

    def take(self, name: str, per_minute: int) -> float:
        """Come once: 0.0 when that is within the limit, else how many seconds to wait, and it does not count."""
        wait = self.wait(name, per_minute)
        if wait == 0.0:
            self._buckets[name].left -= 1
        return wait

    def wait(self, name: str, per_minute: int) -> float:
        """How many seconds until *name* may come again; 0.0 for now."""
        now = self._clock()
        if now - self._swept_at > _SWEEP_SECONDS:
            self._swept_at = now
            self._buckets = {other: one for other, one in self._buckets.items() if now - one.at < _SWEEP_SECONDS}
        bucket = self._buckets.setdefault(name, _Bucket(float(per_minute), now))
        bucket.left = min(float(per_minute), bucket.left + (now - bucket.at) * per_minute / 60)
        bucket.at = now
        return 0.0 if bucket.left >= 1 else (1 - bucket.left) * 60 / per_minute
