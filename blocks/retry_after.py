"""The header ``Retry-After`` of RFC 9110, section 10.2.3: seconds or a date; pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

# A server may ask for a pause, but not for one of a year.
MAX_PAUSE = timedelta(hours=24)

_SECONDS = re.compile(r"[0-9]+")
# Twice the longest date; no sensible number has more digits.
_MAX_HEADER_CHARS = 64

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAY, _MONTH, _YEAR = "(?P<day>[0-9]{2})", "(?P<month>[A-Z][a-z]{2})", "(?P<year>[0-9]{4})"
_TIME = "(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
# Section 5.6.7: the current form, and the two obsolete ones that must be accepted. Own expressions, because strptime
# depends on the locale, and the standard library's parser for mail accepts almost anything.
_DATES = (
    re.compile(rf"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), {_DAY} {_MONTH} {_YEAR} {_TIME} GMT"),
    re.compile(rf"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, {_DAY}-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT"),
    re.compile(rf"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) {_MONTH} (?P<day>[0-9 ][0-9]) {_TIME} {_YEAR}"),
)
_LEAP_SECOND = 60


def parse_retry_after(value: str | None, *, now: datetime) -> timedelta | None:
    """Return the pause that the server asks for, from *now* on and `MAX_PAUSE` at most; None when it asks for none.

    Also None for a malformed value, and for a date in the past (most often the server's clock is wrong): then the
    schedule decides, whose pauses are longer than none.
    """
    text = (value or "").strip(" \t")
    if len(text) > _MAX_HEADER_CHARS:
        return None
    if _SECONDS.fullmatch(text):
        return timedelta(seconds=min(int(text), MAX_PAUSE.total_seconds()))
    date = _http_date(text, now)
    return min(date - now, MAX_PAUSE) if date is not None and date > now else None


def _http_date(text: str, now: datetime) -> datetime | None:
    for form in _DATES:
        if (found := form.fullmatch(text)) is None:
            continue
        year = int(found["year"])
        if len(found["year"]) == 2:
            # Two digits that would be more than 50 years in the future mean the past century (section 5.6.7).
            year += now.year // 100 * 100
            year -= 100 if year > now.year + 50 else 0
        try:
            month = _MONTHS.index(found["month"]) + 1
            day, hour, minute, second = (int(found[name]) for name in ("day", "hour", "minute", "second"))
            # Python's datetime has no leap seconds.
            return datetime(year, month, day, hour, minute, 59 if second == _LEAP_SECOND else second, tzinfo=UTC)
        except ValueError:
            return None
    return None
