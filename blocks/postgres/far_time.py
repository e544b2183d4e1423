"""Times of Postgres that `datetime` does not reach; pure."""

from __future__ import annotations

from datetime import UTC, datetime

# A day away from what `datetime` ends at, so that the time can be shown in every time zone.
_FIRST, _LAST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)


class FarTime(datetime):
    """A time that `datetime` does not reach, as the nearest that it does. `postgres_text` is the time itself."""

    postgres_text: str

    @classmethod
    def of(cls, text: str) -> FarTime:
        """Return the time that Postgres writes as *text*."""
        near = _FIRST if text.startswith("-") or text.endswith("BC") else _LAST
        found = cls.combine(near.date(), near.timetz())
        found.postgres_text = text
        return found
