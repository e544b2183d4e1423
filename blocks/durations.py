"""Durations as people type them, one number and one unit: ``90s``, ``15m``, ``1h``, ``7d``; pure."""

from __future__ import annotations

import re
from datetime import timedelta

from blocks.errors import InvalidOptions

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# Seven digits of days exceed every calendar and fit into a timedelta.
# A thousand years; Python's calendar ends with the year 9999.
LONGEST_PERIOD = timedelta(days=365_000)
_FORM = re.compile(r"([0-9]{1,7})([smhd])")


def parse_duration(text: str) -> timedelta:
    """Return the duration that *text* such as ``15m`` means; at least a second. Raises `InvalidOptions`."""
    found = _FORM.fullmatch(text.strip())
    if found is None or int(found[1]) == 0:
        raise InvalidOptions(
            f"{text!r} is not a length of time; write a whole number above 0 and s, m, h or d: 90s, 15m, 1h, 7d"
        )
    return timedelta(seconds=int(found[1]) * _SECONDS[found[2]])


def parse_period(text: str) -> timedelta:
    """Return for how long something is kept, as `parse_duration` does, `LONGEST_PERIOD` at most."""
    found = parse_duration(text)
    if found > LONGEST_PERIOD:
        raise InvalidOptions(f"files are kept for {LONGEST_PERIOD.days:,} days at most, not {text.strip()}")
    return found


def format_duration(duration: timedelta) -> str:
    """Return the shortest text that `parse_duration` reads back, without fractions of a second: 3600 s is ``1h``."""
    seconds = int(duration.total_seconds())
    unit = next(unit for unit in reversed(_SECONDS) if seconds % _SECONDS[unit] == 0)
    return f"{seconds // _SECONDS[unit]}{unit}"
