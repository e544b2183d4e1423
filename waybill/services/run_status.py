"""The status and the history of a run, read from Prefect; nothing is stored twice.

For every run of this project's flows, wherever it was started, unless it is known to belong to another catalogue: other
homes may use the same Prefect server. Progress is the run's progress artifact, the stage is
the task that is running, and the history is Prefect's `flow_run_state` with the starts and ends of stage tasks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, TaskRunFilter
from prefect.client.schemas.objects import FlowRun, State, StateType, TaskRun
from prefect.client.schemas.sorting import TaskRunSort

from blocks.errors import InvalidOptions, RunNotFound, RunUnreadable
from blocks.postgres.page_cursor import read_cursor, write_cursor
from blocks.redaction import redacted_source
from blocks.runs.ownership import is_of_another_catalogue
from blocks.runs.prefect_lists import UnreadableRuns, prefect_pages, read_states
from blocks.runs.progress import furthest, last_note, plan_of, read_reports
from blocks.runs.run_events import OUR_FLOWS, sources_of, state_message
from waybill.services.run_history import DONE, NOT_BEGUN, Entry, Records, history_of, utc_text

MAX_ENTRIES = 1000
# A run of some ten thousand documents, and a second or two for Prefect's server. Of longer runs the newest tasks count.
MAX_TASKS = 2000
_TASK_RUNS = "task runs"


async def read_status(client: PrefectClient, run_id: UUID, *, catalogue: str) -> dict[str, Any]:
    """Return ``{"task_id", "status", "progress", "stage", ...}`` of a run of *catalogue*, the id of one.

    Raises `RunNotFound` and *client*'s errors.
    """
    run, reports, stage = await asyncio.gather(
        read_run(client, run_id, catalogue), read_reports(client, [run_id]), _running_task(client, run_id)
    )
    reported = reports.get(run_id, [])
    state, plan, sources = run.state, plan_of(run), sources_of(run)
    return {
        "task_id": str(run_id),
        "run_id": str(run_id),
        "status": state.type.value.lower() if state else "unknown",
        "progress": progress_of(state, furthest(reported)) if state else 0.0,
        "note": last_note(reported) if state and state.is_running() else None,
        "message": state_message(state) if state else None,
        "stage": stage,
        "name": run.name,
        "source_file": redacted_source(sources[0]) if len(sources) == 1 else None,
        "documents": plan.documents if plan else None,
        # Filled in by `status_of`, for a run that is spread over machines.
        "slices": None,
        "state_name": state.name if state else None,
        "created_at": utc_text(run.created) if run.created else None,
        "started_at": utc_text(run.start_time) if run.start_time else None,
        "ended_at": utc_text(run.end_time) if run.end_time else None,
    }


async def read_history(
    client: PrefectClient, run_id: UUID, *, catalogue: str, limit: int = MAX_ENTRIES, after: str | None = None
) -> dict[str, Any]:
    """Return ``{"task_id", "history": [...newest first...], "event_count", "next", "truncated"}``.

    Of a run of *catalogue*, the id of one. One page of *limit* entries; *after* is the ``next`` of the page before.
    ``event_count`` counts all pages. ``truncated``: the run has more than `MAX_TASKS` tasks, and the oldest are left
    out. Raises `RunNotFound`, `InvalidOptions` and *client*'s errors.
    """
    before = read_history_start(limit, after)
    entries, left_out = await read_entries(client, run_id, catalogue=catalogue)
    return history_page(run_id, entries, limit=limit, before=before, truncated=left_out > 0)


def read_history_start(limit: int, after: str | None) -> tuple[datetime, UUID] | None:
    """Return the place before which a page of the history begins. Raises `InvalidOptions`, before anything is read."""
    if not 1 <= limit <= MAX_ENTRIES:
        raise InvalidOptions(f"a page holds 1 to {MAX_ENTRIES} entries, not {limit}")
    return read_cursor(after, UUID) if after is not None else None


async def read_entries(client: PrefectClient, run_id: UUID, *, catalogue: str) -> tuple[list[Entry], int]:
    """Return the whole history of a run, newest first, and how many tasks are left out of it. Raises the same."""
    (run, states), reports, (tasks, left_out) = await asyncio.gather(
        _read_run_and_states(client, run_id, catalogue),
        read_reports(client, [run_id]),
        _newest_tasks(client, run_id),
    )
    plan = plan_of(run)
    entries = history_of(
        Records(
            states=states,
            tasks=tasks,
            reported=reports.get(run_id, []),
            planned=plan.tasks if plan else None,
            left_out=left_out,
        )
    )
    return entries, left_out


def history_page(
    task_id: UUID, entries: Sequence[Entry], *, limit: int, before: tuple[datetime, UUID] | None, truncated: bool
) -> dict[str, Any]:
    """Return one page of *entries*, which are newest first, in the form of `read_history`."""
    # Pages by key set: new entries shift no page.
    rest = [entry for entry in entries if before is None or (entry.at, entry.entry_id) < before]
    page = rest[:limit]
    return {
        "task_id": str(task_id),
        "history": [entry.as_json() for entry in page],
        "event_count": len(entries),
        "next": write_cursor(page[-1].at, page[-1].entry_id) if len(rest) > limit else None,
        "truncated": truncated,
    }


def progress_of(state: State[Any], progress: float) -> float:
    """Return 0 before the run began, 1 once it has completed, otherwise the *progress* that it last reported."""
    if state.type in NOT_BEGUN:
        return 0.0
    return 1.0 if state.type == StateType.COMPLETED else progress


async def _read_run_and_states(client: PrefectClient, run_id: UUID, catalogue: str) -> tuple[FlowRun, list[State[Any]]]:
    run = await read_run(client, run_id, catalogue)
    return run, await read_states(client, run)


async def read_run(client: PrefectClient, run_id: UUID, catalogue: str) -> FlowRun:
    ours, unreadable = FlowFilter(name=FlowFilterName(any_=list(OUR_FLOWS))), UnreadableRuns()
    found = await unreadable.read(client, flow_filter=ours, flow_run_filter=_this(run_id), limit=1)
    if run_id in unreadable.reasons:
        raise RunUnreadable(f"run {run_id} cannot be read: {unreadable.reasons[run_id]}; delete it in Prefect")
    # The same answer for both: it shows nothing of other homes.
    if not found or is_of_another_catalogue(found[0], catalogue):
        raise RunNotFound(f"Prefect knows no run {run_id} of this home; 'waybill up' shows all runs in its UI")
    return found[0]


async def _newest_tasks(client: PrefectClient, run_id: UUID) -> tuple[list[TaskRun], int]:
    """Return the `MAX_TASKS` tasks that began last, and how many ended tasks are not among them."""
    found: dict[UUID, TaskRun] = {}
    newest_first = partial(
        client.read_task_runs, flow_run_filter=_this(run_id), sort=TaskRunSort.EXPECTED_START_TIME_DESC
    )
    async with aclosing(prefect_pages(newest_first, what=_TASK_RUNS)) as pages:
        async for page in pages:
            # Tasks that begin meanwhile shift the pages: some are read twice, none is skipped.
            found.update((task.id, task) for task in page)
            if len(found) >= MAX_TASKS:
                break
        else:
            return list(found.values()), 0
    tasks = list(found.values())
    ended = await client.request(
        "POST",
        "/task_runs/count",
        json={
            "flow_runs": _this(run_id).model_dump(mode="json", exclude_unset=True),
            "task_runs": _in_state(*DONE).model_dump(mode="json", exclude_unset=True),
        },
    )
    ended.raise_for_status()
    return tasks, max(0, int(ended.json()) - sum(1 for task in tasks if task.state_type in DONE))


async def _running_task(client: PrefectClient, run_id: UUID) -> str | None:
    """Return the name of the running stage task that began last."""
    running = partial(
        client.read_task_runs,
        flow_run_filter=_this(run_id),
        task_run_filter=_in_state(StateType.RUNNING),
        sort=TaskRunSort.EXPECTED_START_TIME_DESC,
    )
    async with aclosing(prefect_pages(running, what=_TASK_RUNS)) as pages:
        async for page in pages:
            return page[0].name
    return None


def _this(run_id: UUID) -> FlowRunFilter:
    return FlowRunFilter.model_validate({"id": {"any_": [run_id]}})


def _in_state(*types: StateType) -> TaskRunFilter:
    return TaskRunFilter.model_validate({"state": {"type": {"any_": list(types)}}})
