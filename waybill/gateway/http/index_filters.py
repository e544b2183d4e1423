"""Query parameters that choose documents of the search index."""

from __future__ import annotations

from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from blocks.search_index import SearchFilters, read_filters
from waybill.gateway.http.params import Text

# As long as a source of a file may be.
_MAX_SOURCE_CHARS = 8192
_TIME = "a day (UTC), a time with its zone, or how long ago: 7d"


class IndexFilters(BaseModel):
    """Which documents are meant: all given parameters apply. A misspelt one would widen a search, so it is refused."""

    model_config = ConfigDict(extra="forbid")

    source: Text | None = Field(
        default=None,
        min_length=1,
        max_length=_MAX_SOURCE_CHARS,
        description="Only documents of this source: its path or URL, or its last part.",
        examples=["visitor-guide.html"],
    )
    type: Text | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="Only documents of this type: an extension or a media type.",
        examples=["pdf"],
    )
    language: Text | None = Field(
        default=None,
        pattern="^[A-Za-z]{1,8}([-_][A-Za-z0-9]{1,8}){0,8}$",
        description="Only documents in this language; `de` includes `de-CH`.",
        examples=["de"],
    )
    run_id: UUID | None = Field(default=None, description="Only documents that this run processed.")
    since: Text | None = Field(
        default=None, max_length=40, description=f"Only documents ingested since: {_TIME}.", examples=["2026-11-01"]
    )
    until: Text | None = Field(
        default=None, max_length=40, description=f"Only documents ingested until: {_TIME}.", examples=["2026-11-30"]
    )

    def filters(self) -> SearchFilters:
        """Return the filters. Raises `InvalidOptions` for a time that is none."""
        return read_filters(
            source=self.source,
            media_type=self.type,
            language=self.language,
            run_id=self.run_id,
            since=self.since,
            until=self.until,
        )
