"""Recent events of all runs in one list: state changes from Prefect's history, events of documents from the outbox.

Run states are read from Prefect, including those that have no webhook (scheduled, pending); events of documents are
only in the outbox. Returns no links: those in webhooks give access to files without an API key.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, cast
from uuid import UUID

import orjson
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort

from blocks.catalog import Catalog
from blocks.catalog.skipped_records import report_skipped
from blocks.errors import InvalidOptions
from blocks.redaction import redacted_source
from blocks.runs.ownership import catalogue_id, is_of_another_catalogue
from blocks.runs.prefect_lists import UnreadableRuns, prefect_pages, read_states
from blocks.runs.progress import read_reports
from blocks.runs.run_events import EVENT_TYPES, MAINTENANCE_FLOWS, OUR_FLOWS, sources_of
from blocks.runs.upload_tasks import UploadTask, tasks_of_runs
from blocks.runtime.concurrency import bounded_map
from blocks.webhooks.event_types import DOCUMENT_EVENTS, EXPORT_EVENTS, TRANSFER_EVENTS
from blocks.webhooks.outbox import RecordedEvent, recent_events
from waybill.services.run_history import Entry as Change
from waybill.services.run_history import Records, history_of, utc_text

# A list that a person looks through, and some seconds for Prefect's server: each run takes a request of its own.
MAX_RUNS = 1000
MAX_EVENTS = 2000
# By default history is kept for a week at most; a month is for installations that keep it longer.
MAX_HOURS = 24 * 31
_CONCURRENT_RUNS = 8

_RECORDED = ("task_progress", *DOCUMENT_EVENTS, *EXPORT_EVENTS, *TRANSFER_EVENTS)

Entry = dict[str, Any]


async def read_recent_events(
    catalog: Catalog,
    client: PrefectClient,
    hours: float,
    *,
    limit: int = MAX_EVENTS,
    unreadable: UnreadableRuns | None = None,
) -> dict[str, Any]:
    """Return ``{"events": [...newest first...], "count", "hours", "truncated"}``.

    Runs and events that cannot be read are left out and reported. A caller that reads again passes *unreadable*, since
    it takes some twenty requests to find such a run. *truncated*: there are more than *limit*, which is at most
    `MAX_EVENTS`, or more than `MAX_RUNS` runs. Raises `CatalogUnavailable`, `InvalidOptions` and *client*'s own.
    """
    if not (0 < hours <= MAX_HOURS and 1 <= limit <= MAX_EVENTS):
        raise InvalidOptions(f"at most {MAX_HOURS} hours and {MAX_EVENTS} events can be read, not {hours} and {limit}")
    async with catalog.connection() as connection:
        now = await catalog.now()
        catalogue = await catalogue_id(connection)
        recorded = await recent_events(connection, timedelta(hours=hours), event_types=_RECORDED, limit=limit + 1)
    unreadable = UnreadableRuns() if unreadable is None else unreadable
    await unreadable.try_again(client)
    changes, more_runs = await _state_changes(
        catalog, client, unreadable, now - timedelta(hours=hours), limit, catalogue
    )
    documents, broken = of_documents(recorded)
    entries = [*changes, *documents]
    if unreadable.reasons or broken:
        async with catalog.connection() as connection:
            await report_skipped(connection, "run", {str(run): why for run, why in unreadable.reasons.items()})
            await report_skipped(connection, "event", broken)
    # Entries of the same time have an order too, which does not depend on the limit.
    entries.sort(
        key=lambda entry: (entry["timestamp"], entry["event_type"] or "", entry["task_id"] or ""), reverse=True
    )
    shown = entries[:limit]
    return {
        "events": shown,
        "count": len(shown),
        "hours": hours,
        "truncated": more_runs or len(shown) < len(entries),
    }


async def _state_changes(
    catalog: Catalog, client: PrefectClient, unreadable: UnreadableRuns, since: datetime, limit: int, catalogue: str
) -> tuple[list[Entry], bool]:
    """Return the newest changes, at least *limit* of them if there are, and whether any are left out."""
    runs: dict[UUID, FlowRun] = {}
    more = False
    async for run in _runs(client, unreadable, since):
        if is_of_another_catalogue(run, catalogue):
            continue
        more = len(runs) == MAX_RUNS and run.id not in runs
        if more:
            break
        runs[run.id] = run
    # A run's last change is read with the run; all its states take another request. Each of the *limit* runs that
    # changed last has a change that is newer than all changes of the other runs, so those cannot enter the list.
    last = sorted((run for run in runs.values() if _last_change(run) >= since), key=_last_change, reverse=True)
    async with catalog.connection() as connection:
        uploads = await tasks_of_runs(connection, [run.id for run in last[: limit + 1]])
    return await _changes_of(client, last[: limit + 1], uploads, since), more


def _last_change(run: FlowRun) -> datetime:
    return run.state.timestamp if run.state else datetime.min.replace(tzinfo=UTC)


async def _runs(client: PrefectClient, unreadable: UnreadableRuns, since: datetime) -> AsyncIterator[FlowRun]:
    """Yield runs whose state may have changed since then, some of them twice: begun, ended, or in progress."""
    ours = FlowFilter(name=FlowFilterName(any_=[name for name in OUR_FLOWS if name not in MAINTENANCE_FLOWS]))
    for these, sort in (
        ({"end_time": {"after_": since}}, FlowRunSort.END_TIME_DESC),
        ({"start_time": {"after_": since}}, FlowRunSort.START_TIME_DESC),
        ({"start_time": {"is_null_": False}, "end_time": {"is_null_": True}}, FlowRunSort.START_TIME_DESC),
    ):
        filters = {"flow_filter": ours, "flow_run_filter": FlowRunFilter.model_validate(these), "sort": sort}
        async for page in prefect_pages(partial(unreadable.read, client, **filters)):
            for run in page:
                yield run


async def _changes_of(
    client: PrefectClient, runs: Sequence[FlowRun], uploads: Mapping[UUID, Sequence[UploadTask]], since: datetime
) -> list[Entry]:
    reports = await read_reports(client, [run.id for run in runs])

    async def changes_of(run: FlowRun) -> list[Entry]:
        states = await read_states(client, run)
        records = Records(states=states, tasks=(), reported=reports.get(run.id, ()), planned=None)
        changes = [entry for entry in history_of(records) if entry.at >= since]
        if run.id in uploads:
            return [one for task in uploads[run.id] for one in _of_upload(task, changes, since)]
        return [_of_run(run, entry) for entry in changes]

    return [entry async for entries in bounded_map(_CONCURRENT_RUNS, runs, changes_of) for entry in entries]


def _of_run(run: FlowRun, change: Change) -> Entry:
    sources = sources_of(run)
    return {
        "timestamp": utc_text(change.at),
        "event_type": EVENT_TYPES.get(change.state) if change.state else None,
        "task_id": str(run.id),
        "source_file": redacted_source(sources[0]) if len(sources) == 1 else None,
        "status": change.status,
        "progress": round(change.progress, 3),
        "message": change.message,
        "metadata": {"run_name": run.name, **change.metadata},
    }


def _of_upload(task: UploadTask, changes: Sequence[Change], since: datetime) -> list[Entry]:
    """Return what has changed for an upload that shares its run: until its own end, what has for the run."""
    found = [(one.at, one.status, one.state) for one in changes if task.ended_at is None or one.at < task.ended_at]
    if task.ended_at is not None and task.ended_at >= since:
        found.append((task.ended_at, task.state, StateType(task.state.upper())))
    return [
        {
            "timestamp": utc_text(at),
            "event_type": EVENT_TYPES.get(state) if state else None,
            "task_id": str(task.task_id),
            "source_file": redacted_source(task.source_file),
            "status": status,
            "progress": 1.0 if status == "completed" else 0.0,
            "message": task.message if at == task.ended_at else None,
            "metadata": {"run_name": task.filename, "run_id": str(task.run_id), "state_name": status.capitalize()},
        }
        for at, status, state in found
    ]


def of_documents(events: Sequence[RecordedEvent]) -> tuple[list[Entry], dict[str, str]]:
    """Return the entries of *events*, and by id why the others cannot be read."""
    entries: list[Entry] = []
    broken: dict[str, str] = {}
    for event in events:
        try:
            entries.append(_of_document(event))
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            broken[event.event_id] = f"its body is not that of an event ({type(error).__name__})"
    return entries, broken


def _of_document(event: RecordedEvent) -> Entry:
    body = cast("Entry", orjson.loads(event.body))
    data = cast("Entry", body["data"])
    stage = cast("Entry", data.get("stage") or {})
    if event.event_type == "stage_chain_completed":
        status = "completed" if data.get("overall_success") else "failed"
        message = f"all stages in {data.get('total_execution_time', 0.0):.2f} s"
    else:
        status = data.get("status") or stage.get("status") or "completed"
        message = data.get("message") or stage.get("error_message") or stage.get("name")
    return {
        "timestamp": utc_text(event.occurred_at),
        "event_type": event.event_type,
        "task_id": str(event.task_id) if event.task_id else None,
        "source_file": event.source_file,
        "status": status,
        "progress": data.get("progress"),
        "message": message,
        "metadata": {"event_id": event.event_id, "stage": stage.get("name")},
    }
