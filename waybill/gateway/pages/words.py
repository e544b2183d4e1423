"""Sizes, times and counts as people read them; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from markupsafe import Markup, escape

from blocks.filetype import by_extension
from blocks.filetype.types import TYPES
from blocks.runtime.clock import utc_now
from blocks.runtime.in_words import counted, language, size


def moment(when: datetime | str | None) -> str:
    """Return a time in UTC, with seconds and its zone."""
    found = _time(when)
    return f"{found.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if found else "not known"


def iso(when: datetime | str | None) -> str:
    """Return a time for the attribute `datetime`."""
    found = _time(when)
    return found.astimezone(UTC).isoformat(timespec="seconds") if found else ""


def from_now(when: datetime | str | None) -> str:
    """Return how far a time is from now: ``3 minutes ago``, ``in 2 days``."""
    found = _time(when)
    if found is None:
        return "not known"
    passed = utc_now() - found
    text = span(abs(passed))
    return f"{text} ago" if passed >= timedelta(0) else f"in {text}"


def span(length: timedelta | float) -> str:
    """Return a length of time in its largest unit."""
    seconds = length.total_seconds() if isinstance(length, timedelta) else length
    for unit_seconds, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= unit_seconds:
            return counted(int(seconds // unit_seconds), unit)
    return counted(int(seconds), "second")


def seconds_between(start: datetime | str | None, end: datetime | str | None) -> str:
    """Return how long something took, up to now while it has no *end*."""
    began, ended = _time(start), _time(end)
    if began is None:
        return "not begun"
    passed = ((ended or utc_now()) - began).total_seconds()
    return f"{passed:.1f} s" if passed < 60 else span(passed)


def media_type(name: str) -> str:
    """Return what people call a media type, or an extension."""
    plain = name.partition(";")[0].strip().lower()
    found = by_extension(plain) or next((known for known in TYPES.values() if known.media_type == plain), None)
    return found.label if found is not None else name


def with_code(text: str) -> Markup:
    """Return a text of the API's description with what is between backticks as code."""
    pieces = [escape(piece) for piece in text.split("`")]
    if len(pieces) % 2 == 0:
        return escape(text)
    return Markup().join(Markup("<code>{}</code>").format(one) if at % 2 else one for at, one in enumerate(pieces))


def _time(when: datetime | str | None) -> datetime | None:
    return datetime.fromisoformat(when) if isinstance(when, str) else when


FILTERS: Mapping[str, Callable[..., Any]] = {
    "size": size,
    "counted": counted,
    "moment": moment,
    "iso": iso,
    "from_now": from_now,
    "took": seconds_between,
    "language": language,
    "media_type": media_type,
    "with_code": with_code,
}
