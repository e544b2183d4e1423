"""Which documents a search or a list is about: conditions on the rows of documents; pure.

A document is one content, which may have been ingested under several names and by several runs: a source or a run
selects the documents it has held, as the catalogue of files knows them, and not only the name in the index.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from blocks.durations import parse_duration, parse_moment
from blocks.errors import InvalidOptions
from blocks.filetype.types import ALIASES, TYPES, by_extension
from blocks.search_index.document import storable

_OF_SOURCE = """
    source = %(source)s
    or regexp_replace(source, '^.*/', '') = %(source)s
    or sha256 = any(array(
        select encode(document_sha256, 'hex') from artifacts
         where state = 'available' and left(source_file, 512) = left(%(source)s, 512) and source_file = %(source)s
        union
        select encode(document_sha256, 'hex') from artifacts where state = 'available' and source_name = %(source)s))
"""
# Also of files that have gone since: their documents may be in the index still. Arrays, so that the run's outputs are
# looked up first.
_OF_RUN = """
    sha256 = any(array(select encode(document_sha256, 'hex') from artifacts
                        where file_id = any(array(select file_id from run_outputs where run_id = %(run_id)s))))
"""
_CONDITIONS = {
    "source": _OF_SOURCE,
    "media_types": "lower(media_type) = any(%(media_types)s::text[])",
    "language": "lower(language) = %(language)s or starts_with(lower(language), %(language)s || '-')",
    "run_id": _OF_RUN,
    "since": "ingested_at >= %(since)s",
    "until": "ingested_at < %(until)s",
}


@dataclass(frozen=True, kw_only=True)
class SearchFilters:
    """All given ones apply. *source* is a path or URL, or its last part; *media_type* a media type or an extension.

    A *language* such as ``de`` includes ``de-CH``. *since* and *until* (exclusive) are times with a zone at which the
    document was put into the index, or last changed there.
    """

    source: str | None = None
    media_type: str | None = None
    language: str | None = None
    run_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None

    def values(self) -> dict[str, Any]:
        """Return the parameters of `conditions`, without those that are not given."""
        given = {
            "source": self.source,
            "media_types": None if self.media_type is None else spellings(self.media_type),
            "language": None if self.language is None else self.language.lower(),
            "run_id": self.run_id,
            "since": self.since,
            "until": self.until,
        }
        return {name: value for name, value in given.items() if value is not None}

    def conditions(self) -> list[str]:
        """Return the conditions on a row of ``indexed_documents``, all of which must hold."""
        return [f"({_CONDITIONS[name]})" for name in self.values()]


def read_filters(
    *,
    source: str | None = None,
    media_type: str | None = None,
    language: str | None = None,
    run_id: UUID | None = None,
    since: str | None = None,
    until: str | None = None,
) -> SearchFilters:
    """Return the filters that texts mean. A time is a day in UTC, a time with its zone, or how long ago: ``7d``.

    The day of *until* is included. Raises `InvalidOptions`.
    """
    for name, value in {"source": source, "type": media_type, "language": language}.items():
        if value is not None and (not value.strip() or storable(value) != value):
            raise InvalidOptions(f"{name}: {value[:40]!r} is no text to look for; leave it out to search everything")
    return SearchFilters(
        source=source,
        media_type=media_type,
        language=language,
        run_id=run_id,
        since=None if since is None else _moment("since", since),
        until=None if until is None else _moment("until", until, to_its_end=True),
    )


def _moment(name: str, text: str, *, to_its_end: bool = False) -> datetime:
    given = text.strip()
    try:
        if re.fullmatch(r"[0-9]+[smhd]", given):
            return datetime.now(UTC) - parse_duration(given)
        is_day = to_its_end and re.fullmatch(r"[0-9-]{8,10}", given) is not None
        return parse_moment(given) + timedelta(days=int(is_day))
    except OverflowError:
        raise InvalidOptions(f"{name}: {text[:40]!r} is beyond the calendar; write a day such as 2027-01-31") from None
    except InvalidOptions as error:
        raise InvalidOptions(f"{name}: {error.message}, or 7d for seven days ago") from None


def spellings(media_type: str) -> list[str]:
    """Return what the index may hold for a media type or an extension: rows have either, as their file gave it."""
    wanted = media_type.strip().lower().removeprefix(".")
    known = by_extension(wanted)
    if known is not None:
        aliases = (alias for alias, extension in ALIASES.items() if extension == known.extension)
        # The media type of source code is plain text, which is more than one language.
        media_types = () if known.family == "code" else (known.media_type,)
        return [wanted, known.extension, *aliases, *media_types]
    return [wanted, *(name for name, found in TYPES.items() if found.media_type == wanted)]


def media_type_of(stored: str) -> str:
    """Return the media type of a row, which has it or an extension."""
    known = None if "/" in stored else by_extension(stored.lower())
    return stored if known is None else known.media_type
