"""What a run has delivered, as counts."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from blocks.catalog import queries
from blocks.catalog.catalog import Connection
from blocks.postgres import execute


@dataclass(frozen=True, kw_only=True)
class RunCounts:
    """*documents* that came into custody, and the *files* that stages made of them or found made already (*reused*)."""

    documents: int
    files: int
    reused: int


async def run_counts(connection: Connection, run_id: UUID) -> RunCounts:
    """The counts of a run, also of files that have gone since."""
    row = await (await execute(connection, queries.RUN_COUNTS, {"run_id": run_id})).fetchone()
    if row is None:
        raise AssertionError("unreachable: counting always gives a row")
    return RunCounts(**row)
