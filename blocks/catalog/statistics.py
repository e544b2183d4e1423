"""Counts of files: in custody, unfinished, and of one run."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from blocks.catalog import statistics_queries
from blocks.postgres import Connection, fetch_all, fetch_row


@dataclass(frozen=True, kw_only=True)
class KindStatistics:
    """Files of one kind, and the bytes they use in the storage. *expiring* files expire within a day; *expired* ones
    are not deleted yet."""

    kind: str
    files: int
    stored_bytes: int
    pinned: int
    held: int
    damaged: int
    expiring: int
    expired: int


@dataclass(frozen=True, kw_only=True)
class RunCounts:
    """*documents* stored by a run, and *files* that its stages delivered, of which *reused* existed before."""

    documents: int
    files: int
    reused: int


async def custody_statistics(connection: Connection) -> list[KindStatistics]:
    """Return statistics of available files by kind, without kinds that have none. Takes 0.1 s per 100,000 files."""
    return [KindStatistics(**row) for row in await fetch_all(connection, statistics_queries.BY_KIND, {})]


async def unfinished_files(connection: Connection) -> dict[str, int]:
    """Return the number of files being written (`pending`) and deleted (`deleting`), also by processes that died."""
    rows = await fetch_all(connection, statistics_queries.UNFINISHED, {})
    return {"pending": 0, "deleting": 0} | {str(row["state"]): int(row["files"]) for row in rows}


async def run_counts(connection: Connection, run_id: UUID) -> RunCounts:
    """Return the counts of a run, including files that were deleted since."""
    return RunCounts(**await fetch_row(connection, statistics_queries.RUN_COUNTS, {"run_id": run_id}))
