"""Uploads that share a run: each has a task with an id, a state and a webhook of its own. Imports no Prefect.

Owns the rows of `upload_tasks`. A task waits for a run, is given to one by that run's idempotency key, runs, and ends
as its own document does, whatever becomes of the others in the run. Every call takes the caller's connection.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from blocks.json_cleaning import storable_text
from blocks.postgres import Connection, Row, execute, fetch_all, fetch_optional
from blocks.redaction import custody_source
from blocks.runs import upload_task_queries as queries

# The beginning of the idempotency key of a run that uploads share, by which the run and its readers know it.
KEY_PREFIX = "waybill-uploads-"
# As many as the documents of a shard: one task run for each stage.
MOST_UPLOADS = 40
# Rows that one look takes: some seconds of the fastest sender.
_MOST_WAITING = 400


@dataclass(frozen=True, kw_only=True)
class UploadTask:
    """One upload of a shared run. *run_id* is Prefect's, null until the run is known; *state* is its own."""

    task_id: UUID
    file_id: UUID
    source_file: str
    filename: str
    parameters: Mapping[str, Any]
    run_key: str | None
    run_id: UUID | None
    state: str
    message: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def source(self) -> str:
        """The source by which the run finds the file."""
        return custody_source(self.file_id, self.source_file)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a task ended: *state* is completed, failed or cancelled."""

    task_id: UUID
    state: str
    message: str


def is_shared(run_key: str | None) -> bool:
    """Return whether the run with this idempotency key is shared by uploads."""
    return run_key is not None and run_key.startswith(KEY_PREFIX)


async def add_task(
    connection: Connection,
    *,
    task_id: UUID,
    file_id: UUID,
    source_file: str,
    filename: str,
    parameters: Mapping[str, Any],
) -> None:
    """Record an upload that waits for a run. Once this is committed, a gateway starts one."""
    values = {
        "task_id": task_id,
        "file_id": file_id,
        "source_file": source_file,
        "filename": filename,
        "parameters": json.dumps(dict(parameters)),
    }
    await execute(connection, queries.ADD, values)


async def find_task(connection: Connection, task_id: UUID) -> UploadTask | None:
    """Return the task of an upload; None for the id of a run, or of nothing."""
    row = await fetch_optional(connection, queries.GET, {"task_id": task_id})
    return _task(row) if row is not None else None


async def tasks_of_runs(connection: Connection, run_ids: Sequence[UUID]) -> dict[UUID, list[UploadTask]]:
    """Return the tasks that share each of the runs; runs without any are left out."""
    found: dict[UUID, list[UploadTask]] = {}
    for row in await fetch_all(connection, queries.OF_RUNS, {"run_ids": list(run_ids)}):
        task = _task(row)
        if task.run_id is not None:
            found.setdefault(task.run_id, []).append(task)
    return found


async def give_to_runs(connection: Connection) -> list[str]:
    """Give the waiting tasks to runs, and return the idempotency keys of these; call it in a transaction.

    Tasks with the same parameters share a run, `MOST_UPLOADS` at most, each file once.
    """
    rows = await fetch_all(connection, queries.WAITING, {"limit": _MOST_WAITING})
    keys: list[str] = []
    for tasks in _grouped([_task(row) for row in rows]):
        keys.append(f"{KEY_PREFIX}{uuid4()}")
        values = {"run_key": keys[-1], "task_ids": [task.task_id for task in tasks]}
        await execute(connection, queries.GIVE_TO_RUN, values)
    return keys


def _grouped(tasks: Sequence[UploadTask]) -> list[list[UploadTask]]:
    groups: list[list[UploadTask]] = []
    open_groups: dict[str, list[UploadTask]] = {}
    for task in tasks:
        alike = json.dumps(task.parameters, sort_keys=True)
        group = open_groups.get(alike)
        # A run reads each of its sources once.
        if group is None or len(group) >= MOST_UPLOADS or any(one.file_id == task.file_id for one in group):
            group = open_groups[alike] = []
            groups.append(group)
        group.append(task)
    return groups


async def keys_without_run(connection: Connection, *, seconds: float) -> list[str]:
    """Return the keys of runs that tasks were given to longer than *seconds* ago, and that no gateway has started."""
    return [str(row["run_key"]) for row in await fetch_all(connection, queries.WITHOUT_RUN, {"seconds": seconds})]


async def uploads_without_run(connection: Connection, *, since: timedelta, limit: int = 100) -> list[UploadTask]:
    """Return tasks that have waited for longer than *since* without a run, the oldest first, *limit* at most."""
    values = {"seconds": since.total_seconds(), "limit": limit}
    return [_task(row) for row in await fetch_all(connection, queries.STUCK, values)]


async def tasks_of_key(connection: Connection, run_key: str) -> list[UploadTask]:
    """Return the tasks that were given to the run with this idempotency key."""
    return [_task(row) for row in await fetch_all(connection, queries.OF_KEY, {"run_key": run_key})]


async def note_run(connection: Connection, run_key: str, run_id: UUID) -> None:
    """Record that the run with this idempotency key exists."""
    await execute(connection, queries.NOTE_RUN, {"run_key": run_key, "run_id": run_id})


async def begin_tasks(connection: Connection, run_key: str, run_id: UUID) -> list[UploadTask]:
    """Record that the run has begun, and return its tasks, also those that have ended. Idempotent."""
    await execute(connection, queries.BEGIN, {"run_key": run_key, "run_id": run_id})
    return await tasks_of_key(connection, run_key)


async def end_tasks(connection: Connection, ended: Sequence[Ended]) -> list[UploadTask]:
    """End tasks, with what the run has delivered of each; call it in a transaction. Return those that changed.

    Idempotent. A task that was cancelled stays cancelled.
    """
    values = {
        "task_ids": [one.task_id for one in ended],
        "states": [one.state for one in ended],
        "messages": [storable_text(one.message) for one in ended],
    }
    changed = [_task(row) for row in await fetch_all(connection, queries.END, values)]
    if changed:
        await execute(connection, queries.DELIVER, {"task_ids": [task.task_id for task in changed]})
    return changed


async def cancel_task(connection: Connection, task_id: UUID, message: str) -> UploadTask | None:
    """Cancel a task, and return it; None for one that has ended."""
    row = await fetch_optional(connection, queries.CANCEL, {"task_id": task_id, "message": message})
    return _task(row) if row is not None else None


async def fail_tasks_of_key(connection: Connection, run_key: str, message: str) -> list[UploadTask]:
    """Fail the tasks of a run that cannot be started, and return them."""
    rows = await fetch_all(connection, queries.FAIL_OF_KEY, {"run_key": run_key, "message": storable_text(message)})
    return [_task(row) for row in rows]


def _task(row: Row) -> UploadTask:
    return UploadTask(**row)
