"""How far Prefect's state history has been compared with the events, so that what hooks lost is found and told once.

Remembers two things: up to which end of a run everything was read, and for each run the state up to which all of its
states were told. Reads nothing from Prefect: the reconciler does. Every call takes the caller's connection.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from blocks.catalog import Connection
from blocks.postgres import execute
from blocks.webhooks.outbox import history_queries as queries


@dataclass(frozen=True, kw_only=True)
class HistoryRead:
    """Nothing before `began_at` is told; every run that ended before `read_until` was read."""

    began_at: datetime
    read_until: datetime


async def history_read(connection: Connection) -> HistoryRead:
    """How far the history has been read."""
    row = await (await execute(connection, queries.HISTORY_READ, {})).fetchone()
    if row is None:
        raise AssertionError("unreachable: the migration writes the row, and nothing removes it")
    return HistoryRead(**row)


async def advance(connection: Connection, read_until: datetime) -> None:
    """Note that every run that ended until then was read. Never goes back."""
    await execute(connection, queries.ADVANCE, {"read_until": read_until})


async def states_read(connection: Connection, run_ids: Collection[UUID]) -> dict[UUID, UUID]:
    """For those of *run_ids* that were read, the state they were in then."""
    cursor = await execute(connection, queries.RUNS_READ, {"run_ids": list(run_ids)})
    return {row["run_id"]: row["state_id"] for row in await cursor.fetchall()}


async def note_read(connection: Connection, run_id: UUID, state_id: UUID) -> None:
    """Note that every state of the run up to this one has been told."""
    await execute(connection, queries.NOTE_RUN_READ, {"run_id": run_id, "state_id": state_id})


async def crashed_runs(connection: Connection, since: timedelta) -> list[UUID]:
    """Runs that were told as crashed in the time *since*: one that was alive after all still comes to another end."""
    cursor = await execute(connection, queries.CRASHED_RUNS, {"seconds": since.total_seconds()})
    return [row["task_id"] for row in await cursor.fetchall()]


async def forget_runs(connection: Connection, older_than: timedelta) -> None:
    """Forget runs whose state has not changed for so long that nobody looks at them any more."""
    await execute(connection, queries.FORGET_RUNS_READ, {"seconds": older_than.total_seconds()})
