"""What several routes take: pages, lengths of time, and text that the catalogue can hold."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import Query
from pydantic import AfterValidator, Field

from blocks.durations import format_duration, parse_duration
from blocks.errors import InvalidOptions
from blocks.json_cleaning import storable_text


def _storable(text: str) -> str:
    if storable_text(text) != text:
        raise ValueError("U+0000 and lone surrogates cannot be stored, so nothing can hold them")
    return text


Text = Annotated[str, AfterValidator(_storable)]
"""Text that Postgres takes; anything else is the client's mistake, not an error of the database."""

Limit = Annotated[int, Query(ge=1, le=1000, description="How many on one page.")]
After = Annotated[str | None, Query(max_length=200, description="Continue a list: the `next` of the page before.")]

# What has to be the same in 30 days is a matter for an account, not for a link or a second secret.
MAX_DURATION = timedelta(days=30)
_MAX_SECONDS = int(MAX_DURATION.total_seconds())
_Typed = Annotated[
    str, Field(pattern=r"^[0-9]{1,7}[smhd]$", description="A whole number and s, m, h or d; 30d at most")
]
Duration = Annotated[int, Field(strict=True, ge=1, le=_MAX_SECONDS, description="Seconds")] | _Typed
DurationOrNone = Annotated[int, Field(strict=True, ge=0, le=_MAX_SECONDS, description="Seconds; 0 for none")] | _Typed


def duration(given: int | str) -> timedelta:
    """The length of time that a `Duration` says. Raises `InvalidOptions`."""
    length = timedelta(seconds=given) if isinstance(given, int) else parse_duration(given)
    if length > MAX_DURATION:
        raise InvalidOptions(f"{format_duration(MAX_DURATION)} at most; ask for less")
    return length
