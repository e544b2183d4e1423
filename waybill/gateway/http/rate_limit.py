"""Rate limiting: a token bucket for each name holds the tokens of one minute and refills evenly; pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

# After a minute without use a bucket is full again and can be dropped.
_SWEEP_SECONDS = 60.0


@dataclass
class _Bucket:
    tokens: float
    updated_at: float


class RateLimit:
    """Buckets by name. Not thread-safe."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self._swept_at = clock()

    def take(self, name: str, per_minute: int) -> float:
        """Take a token and return 0.0; without one, take nothing and return the seconds until there is one."""
        now = self._clock()
        if now - self._swept_at > _SWEEP_SECONDS:
            self._swept_at = now
            self._buckets = {
                other: bucket for other, bucket in self._buckets.items() if now - bucket.updated_at < _SWEEP_SECONDS
            }
        bucket = self._buckets.setdefault(name, _Bucket(float(per_minute), now))
        bucket.tokens = min(float(per_minute), bucket.tokens + (now - bucket.updated_at) * per_minute / 60)
        bucket.updated_at = now
        if bucket.tokens < 1:
            return (1 - bucket.tokens) * 60 / per_minute
        bucket.tokens -= 1
        return 0.0
