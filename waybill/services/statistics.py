"""Statistics of a home: what is in custody and in the search index, and what the retention will do with it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from blocks.catalog import Catalog, custody_statistics
from blocks.search_index import statistics

_NEXT_TO_GO = """
    select file_id, filename, expires_at from artifacts
     where state = 'available' and pinned_at is null and held_at is null and expires_at > clock_timestamp()
     order by expires_at limit 1
"""


async def read_statistics(catalog: Catalog) -> dict[str, Any]:
    """Return what is in custody and in the search index, and what the retention will do with it, as JSON."""
    async with catalog.transaction() as connection:
        counted = await catalog.statistics(connection)
        kinds = await custody_statistics(connection)
        cursor = await connection.execute(_NEXT_TO_GO.encode())
        row = await cursor.fetchone()
        index = asdict(await statistics(connection))
    next_to_go = None
    if row is not None:
        next_to_go = {
            "file_id": str(row["file_id"]),
            "filename": row["filename"],
            "expires_at": row["expires_at"].isoformat(),
        }
    retention: dict[str, Any] = {
        "expired": sum(one.expired for one in kinds),
        "expiring_within_a_day": sum(one.expiring for one in kinds),
        "pinned": sum(one.pinned for one in kinds),
        "held": sum(one.held for one in kinds),
        "next": next_to_go,
    }
    return {**counted, "search_index": index, "retention": retention}
