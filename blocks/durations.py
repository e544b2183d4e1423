"""Durations and times as people type them: ``90s``, ``15m``, ``1h``, ``7d``; a day, or a time with its zone; pure.

Whatever `format_duration` writes, `parse_duration` reads back to the same value.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import overload

from blocks.errors import InvalidOptions

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# A thousand years; Python's calendar ends with the year 9999.
LONGEST_PERIOD = timedelta(days=365_000)
# Seven digits of days exceed every calendar and fit into a timedelta; their seconds have twelve. Only seconds may have
# a fraction, down to the microsecond: a setting that is a number may be any length, and is written in seconds then.
DURATION_PATTERN = r"^([0-9]{1,7}[mhd]|[0-9]{1,12}(\.[0-9]{1,6})?s)$"
_FORM = re.compile(r"([0-9]{1,7})([mhd])|([0-9]{1,12}(?:\.[0-9]{1,6})?)(s)")
_LONGEST = timedelta(days=9_999_999)


def parse_duration(text: str) -> timedelta:
    """Return the duration that *text* such as ``15m`` means, above 0. Raises `InvalidOptions`."""
    found = _FORM.fullmatch(text.strip())
    seconds = Decimal(found[1] or found[3]) * _SECONDS[found[2] or found[4]] if found is not None else Decimal(0)
    if not 0 < seconds <= int(_LONGEST.total_seconds()):
        raise InvalidOptions(
            f"{text!r} is not a length of time; write a whole number above 0 and s, m, h or d: 90s, 15m, 1h, 7d"
        )
    return timedelta(seconds=int(seconds), microseconds=int(seconds % 1 * 1_000_000))


@overload
def read_duration(name: str, text: str) -> timedelta: ...
@overload
def read_duration(name: str, text: str | None) -> timedelta | None: ...
def read_duration(name: str, text: str | None) -> timedelta | None:
    """Return the duration of the option or parameter *name*, None without it. The error names it."""
    try:
        return None if text is None else parse_duration(text)
    except InvalidOptions as error:
        raise InvalidOptions(f"{name}: {error.message}") from None


def read_time_limit(name: str, text: str | None) -> timedelta | None:
    """Return the time limit *name*, as `read_duration` does, `LONGEST_PERIOD` at most."""
    found = read_duration(name, text)
    if found is not None and found > LONGEST_PERIOD:
        raise InvalidOptions(f"{name}: a time limit is {LONGEST_PERIOD.days}d at most, not {str(text).strip()}")
    return found


def parse_period(text: str) -> timedelta:
    """Return for how long something is kept, as `parse_duration` does, `LONGEST_PERIOD` at most."""
    found = parse_duration(text)
    if found > LONGEST_PERIOD:
        raise InvalidOptions(f"files are kept for {LONGEST_PERIOD.days:,} days at most, not {text.strip()}")
    return found


def parse_moment(text: str) -> datetime:
    """Return the time that *text* means, in UTC: ``2027-01-31`` is its beginning in UTC, a time of day needs its zone.

    Raises `InvalidOptions`.
    """
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None and len(text.strip()) > len("2027-01-31"):
            raise InvalidOptions(f"{text[:40]!r} does not say its time zone; write 2027-01-31T08:00Z or +01:00")
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidOptions(f"{text[:40]!r} is no time; write 2027-01-31 or 2027-01-31T08:00Z") from None


def format_duration(duration: timedelta) -> str:
    """Return the shortest text for *duration*, which is not negative: 3600 s is ``1h``, half a second ``0.5s``."""
    seconds = duration.days * _SECONDS["d"] + duration.seconds
    if duration.microseconds:
        return f"{seconds}.{duration.microseconds:06}".rstrip("0") + "s"
    unit = next(unit for unit in reversed(_SECONDS) if seconds % _SECONDS[unit] == 0)
    return f"{seconds // _SECONDS[unit]}{unit}"
