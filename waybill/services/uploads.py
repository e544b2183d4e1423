"""Uploads that share a run, as their clients see them: each with a status, a history and an end of its own.

The id of such an upload stands wherever that of a run does. What its own row does not say is read from Prefect, of the
run that it shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import TERMINAL_STATES, StateType
from prefect.states import Cancelling

from blocks.access import Actor, record
from blocks.catalog import Catalog, Connection
from blocks.errors import RunEnded, RunNotFound
from blocks.redaction import redacted_source
from blocks.runs.catalogue_id import catalogue_id
from blocks.runs.slices import count_slices
from blocks.runs.upload_task_events import task_event
from blocks.runs.upload_tasks import UploadTask, cancel_task, find_task, tasks_of_key, tasks_of_runs
from blocks.webhooks.outbox import add_events
from waybill.services.run_history import Entry, utc_text
from waybill.services.run_status import (
    MAX_ENTRIES,
    history_page,
    read_entries,
    read_history,
    read_history_start,
    read_status,
)

_WAITING = "scheduled"
_SHARED = "it shares its run with other uploads"


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the catalogue knows of an id: the upload that it is of, if it is not that of a run; and its own id.

    *slices* are those of a run that is spread over machines, counted.
    """

    task: UploadTask | None
    catalogue: str
    slices: dict[str, int] | None = None


async def read_known(connection: Connection, task_id: UUID) -> Known:
    """Return what the catalogue knows, so that no connection is held while Prefect is asked."""
    return Known(
        task=await find_task(connection, task_id),
        catalogue=await catalogue_id(connection),
        slices=await count_slices(connection, task_id),
    )


async def status_of(client: PrefectClient, task_id: UUID, known: Known) -> dict[str, Any]:
    """Return the status of a run, as `read_status` does, or of an upload that shares one. Raises the same."""
    task, catalogue = known.task, known.catalogue
    if task is None:
        return {**await read_status(client, task_id, catalogue=catalogue), "slices": known.slices}
    run: dict[str, Any] = {}
    if task.run_id is not None and task.ended_at is None:
        with suppress(RunNotFound):  # Prefect's history was trimmed
            run = await read_status(client, task.run_id, catalogue=catalogue)
    status = _state_of(task, run)
    return {
        "task_id": str(task.task_id),
        "run_id": str(task.run_id) if task.run_id else None,
        "status": status,
        "progress": _progress(task, run),
        "note": run.get("note"),
        "message": task.message or _SHARED,
        # Of the stages of the run, the one that began last may be another upload's.
        "stage": None,
        "name": task.filename,
        "source_file": redacted_source(task.source_file),
        "documents": 1,
        "slices": None,
        "state_name": status.capitalize(),
        "created_at": utc_text(task.created_at),
        "started_at": _time(task.started_at),
        "ended_at": _time(task.ended_at) or (run.get("ended_at") if run else None),
    }


async def history_of(
    client: PrefectClient, task_id: UUID, known: Known, *, limit: int = MAX_ENTRIES, after: str | None = None
) -> dict[str, Any]:
    """Return the history of a run, as `read_history` does, or of an upload that shares one. Raises the same."""
    task, catalogue = known.task, known.catalogue
    if task is None:
        return await read_history(client, task_id, catalogue=catalogue, limit=limit, after=after)
    before = read_history_start(limit, after)
    entries, left_out = [_own(task, "received", task.created_at, _WAITING, _SHARED, 0.0)], 0
    if task.run_id is not None:
        with suppress(RunNotFound):
            of_run, left_out = await read_entries(client, task.run_id, catalogue=catalogue)
            entries += [entry for entry in of_run if _is_of(task, entry)]
    if task.ended_at is not None:
        progress = 1.0 if task.state == "completed" else max(entry.progress for entry in entries)
        entries.append(_own(task, "ended", task.ended_at, task.state, task.message, progress))
    entries.sort(key=lambda entry: (entry.at, entry.entry_id), reverse=True)
    return history_page(task_id, entries, limit=limit, before=before, truncated=left_out > 0)


async def cancel_upload(catalog: Catalog, client: PrefectClient, task_id: UUID, *, by: Actor) -> dict[str, Any] | None:
    """Cancel an upload that shares a run and return what `cancel_run` does; None for the id of a run.

    The other uploads of the run go on; it is cancelled with the last of them. Raises `RunEnded`.
    """
    message, is_last = f"Cancelled by {by.actor}.", False
    async with catalog.transaction() as connection:
        task = await find_task(connection, task_id)
        if task is None:
            return None
        cancelled = await cancel_task(connection, task_id, message)
        if cancelled is not None:
            at = cancelled.ended_at or cancelled.created_at
            event = task_event(cancelled, "cancelled", at, identity=(), message=message, progress=0.0)
            # Far too short to be replaced by a link.
            await add_events(connection, [event], lambda _: None)
            await record(connection, by.entry("run_cancelled", run_id=task_id))
            others = await tasks_of_key(connection, cancelled.run_key) if cancelled.run_key else []
            is_last = all(other.ended_at is not None for other in others)
    if cancelled is not None and is_last:
        await _end_run(client, cancelled)
    if cancelled is None and task.state != "cancelled":
        raise RunEnded(f"upload {task_id} is over: it is {task.state}, and cannot be cancelled any more")
    return {
        "task_id": str(task_id),
        "status": "cancelled",
        "state_name": "Cancelled",
        "message": (cancelled or task).message or message,
    }


async def with_uploads(connection: Connection, page: dict[str, Any]) -> dict[str, Any]:
    """Return a page of `list_runs` with the uploads of each run that some share."""
    found = await tasks_of_runs(connection, [UUID(run["task_id"]) for run in page["runs"]])
    for run in page["runs"]:
        run["uploads"] = uploads_in(found.get(UUID(run["task_id"]), ()), run)
    return page


async def uploads_of_run(connection: Connection, status: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the uploads that share the run with this *status*, as a list of runs shows them."""
    run_id = UUID(status["task_id"])
    return uploads_in((await tasks_of_runs(connection, [run_id])).get(run_id, ()), status)


def uploads_in(tasks: Sequence[UploadTask], run: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "task_id": str(task.task_id),
            "name": task.filename,
            "status": _state_of(task, run),
            "file_id": str(task.file_id),
            "message": task.message,
        }
        for task in tasks
    ]


async def _end_run(client: PrefectClient, task: UploadTask) -> None:
    """Cancel the run of a cancelled upload, which was the last one in it."""
    if task.run_id is None:
        return
    run = await client.read_flow_run(task.run_id)
    if run.state is not None and run.state.type not in {*TERMINAL_STATES, StateType.CANCELLING}:
        await client.set_flow_run_state(task.run_id, Cancelling(message=task.message))


def _state_of(task: UploadTask, run: dict[str, Any]) -> str:
    """Return the state of *task* in the words of Prefect's; *run* is the status of its run, if that is known."""
    if task.ended_at is not None:
        return task.state
    return str(run.get("status") or (_WAITING if task.state == "waiting" else task.state))


def _progress(task: UploadTask, run: dict[str, Any]) -> float:
    if task.state == "completed":
        return 1.0
    return float(run.get("progress") or 0.0)


def _is_of(task: UploadTask, entry: Entry) -> bool:
    """Return whether an entry of the run is one of the upload's history: not its end, and no other one's stages."""
    if task.ended_at is not None and entry.at > task.ended_at:
        return False
    if entry.state is not None:
        return task.ended_at is None or entry.state not in TERMINAL_STATES
    name = str(entry.metadata.get("stage", "")).partition(" ")[2]
    return name == task.filename or name.startswith("(shard ")


def _own(task: UploadTask, what: str, at: datetime, status: str, message: str | None, progress: float) -> Entry:
    return Entry(
        at=at,
        entry_id=uuid5(task.task_id, what),
        status=status,
        message=message,
        metadata={"run_id": str(task.run_id) if task.run_id else None, "state_name": status.capitalize()},
        progress=progress,
    )


def _time(moment: datetime | None) -> str | None:
    return utc_text(moment) if moment else None
