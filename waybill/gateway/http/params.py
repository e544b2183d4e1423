"""Query parameters and body fields that several routes share: pages, durations, and text that Postgres can store."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import Path, Query
from pydantic import AfterValidator, Field

from blocks.durations import format_duration, parse_duration
from blocks.errors import InvalidOptions
from blocks.json_cleaning import storable_text


def _storable(text: str) -> str:
    if storable_text(text) != text:
        raise ValueError("this text contains U+0000 or a lone surrogate, which cannot be stored; remove it")
    return text


Text = Annotated[str, AfterValidator(_storable)]
"""Text that Postgres can store. Anything else is answered 422, and not 500 by the database."""

EXAMPLE_SHA256 = "16fa6c" + "0" * 58
_Hexadecimal = Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$"), AfterValidator(str.lower)]
Sha256 = Annotated[_Hexadecimal, Path(description="SHA-256 of the document's content.", examples=[EXAMPLE_SHA256])]
"""The document of a path, in small letters."""

Limit = Annotated[int, Query(ge=1, le=1000, description="Entries on one page.")]
After = Annotated[str | None, Query(max_length=200, description="Continue a list: `next` of the previous page.")]

# Longer access needs an API key, not a link or a second webhook secret.
MAX_DURATION = timedelta(days=30)
_MAX_SECONDS = int(MAX_DURATION.total_seconds())
_Units = Annotated[
    str, Field(pattern=r"^[0-9]{1,7}[smhd]$", description="A whole number and s, m, h or d; at most 30d")
]
Duration = Annotated[int, Field(strict=True, ge=1, le=_MAX_SECONDS, description="Seconds")] | _Units
DurationOrNone = Annotated[int, Field(strict=True, ge=0, le=_MAX_SECONDS, description="Seconds; 0 for none")] | _Units


def duration(given: int | str) -> timedelta:
    """Return the length of a `Duration`. Raises `InvalidOptions` above `MAX_DURATION`."""
    length = timedelta(seconds=given) if isinstance(given, int) else parse_duration(given)
    if length > MAX_DURATION:
        raise InvalidOptions(f"a duration may be {format_duration(MAX_DURATION)} at most")
    return length
