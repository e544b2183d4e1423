"""Counts of what an ingestion changed, in the metadata of its file: stored without zeros, and read with them; pure.

Of the counts for five tables most are zero. With their names they took half of the row of such a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

# The stage whose files have them.
INGESTOR = "ingestor"
_TABLES = "rows"
# In the order in which Postgres has the keys of a jsonb object.
_COUNTS = ("removed", "updated", "inserted", "unchanged")
_ZEROS = dict.fromkeys(_COUNTS, 0)


def without_zeros(stage_name: str | None, metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the metadata of a file as the catalogue stores it. Only where all counts of a table are there."""
    tables = metadata.get(_TABLES) if stage_name == INGESTOR else None
    if not isinstance(tables, dict):
        return metadata
    kept = {name: _non_zero(counts) for name, counts in cast("dict[str, Any]", tables).items()}
    return {**metadata, _TABLES: kept}


def with_zeros(stage_name: str | None, metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the metadata of a file as it was before `without_zeros`, also where a row has the zeros."""
    tables = metadata.get(_TABLES) if stage_name == INGESTOR else None
    if not isinstance(tables, dict):
        return metadata
    return {**metadata, _TABLES: {name: _whole(counts) for name, counts in cast("dict[str, Any]", tables).items()}}


def _whole(counts: Any) -> Any:
    return {**_ZEROS, **cast("dict[str, Any]", counts)} if isinstance(counts, dict) else counts


def _non_zero(counts: Any) -> Any:
    if not isinstance(counts, dict):
        return counts
    found = cast("dict[str, Any]", counts)
    if found.keys() != _ZEROS.keys():
        return found
    return {name: count for name, count in found.items() if type(count) is not int or count}
