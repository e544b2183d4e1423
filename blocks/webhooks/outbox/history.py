"""How far Prefect's state history has been read, so that events that hooks missed are found and recorded once.

Stores the end time up to which all ended runs were read, and for each run the state up to which its events are
recorded. All times but those of runs are the database's.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from blocks.catalog import Connection
from blocks.postgres import execute, fetch_all, fetch_row

_WATERMARK = "select began_at, read_until from webhook_history_read"

_ADVANCE = """
    update webhook_history_read set read_until = %(read_until)s where read_until < %(read_until)s
"""

_STATES_READ = "select run_id, state_id from webhook_runs_read where run_id = any(%(run_ids)s)"

_NOTE_READ = """
    insert into webhook_runs_read (run_id, state_id) values (%(run_id)s, %(state_id)s)
    on conflict (run_id) do update set state_id = excluded.state_id, read_at = clock_timestamp()
"""

# The event type is a literal, as in the condition of the partial index.
_CRASHED_RUNS = """
    select distinct task_id from webhook_events
     where event_type = 'task_crashed' and recorded_at > clock_timestamp() - make_interval(secs => %(seconds)s)
       and task_id is not null
"""

_FORGET_RUNS = """
    delete from webhook_runs_read where read_at < clock_timestamp() - make_interval(secs => %(seconds)s)
"""


@dataclass(frozen=True, kw_only=True)
class Watermark:
    """States before `began_at` get no events; every run that ended before `read_until` was read."""

    began_at: datetime
    read_until: datetime


async def read_watermark(connection: Connection) -> Watermark:
    """Return how far the history has been read."""
    # The migration writes the row, and nothing removes it.
    return Watermark(**await fetch_row(connection, _WATERMARK, {}))


async def advance(connection: Connection, read_until: datetime) -> None:
    """Record that every run that ended before *read_until* was read. Never goes back."""
    await execute(connection, _ADVANCE, {"read_until": read_until})


async def states_read(connection: Connection, run_ids: Collection[UUID]) -> dict[UUID, UUID]:
    """Return, for those of *run_ids* that were read, the state they were in then."""
    rows = await fetch_all(connection, _STATES_READ, {"run_ids": list(run_ids)})
    return {row["run_id"]: row["state_id"] for row in rows}


async def note_read(connection: Connection, run_id: UUID, state_id: UUID) -> None:
    """Record that the run's states up to *state_id* have their events."""
    await execute(connection, _NOTE_READ, {"run_id": run_id, "state_id": state_id})


async def crashed_runs(connection: Connection, since: timedelta) -> list[UUID]:
    """Return runs reported as crashed within *since*. Such a run may still finish, so it is checked again."""
    return [row["task_id"] for row in await fetch_all(connection, _CRASHED_RUNS, {"seconds": since.total_seconds()})]


async def forget_runs(connection: Connection, older_than: timedelta) -> None:
    """Delete the notes on runs that were last read longer ago than *older_than*."""
    await execute(connection, _FORGET_RUNS, {"seconds": older_than.total_seconds()})
