"""How far a run is and what happened to it, read from Prefect; nothing is kept twice.

Progress is the run's progress artifact, history is Prefect's `flow_run_state`, the stage is the task that is running.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import TaskRunSort
from prefect.exceptions import ObjectNotFound

from blocks.errors import RunNotFound
from flows.progress import read_progress

# States before the flow's first line: nothing can have been done yet.
_NOT_BEGUN = {StateType.SCHEDULED, StateType.PENDING}


async def read_status(run_id: UUID) -> dict[str, Any]:
    """``{"task_id", "status", "progress", "message", "stage", ...}``. Raises `RunNotFound`."""
    async with get_client() as client:
        run = await _read_run(client, run_id)
        progress = await read_progress(client, run_id)
        stage = await _running_task(client, run_id)
    state = run.state
    return {
        "task_id": str(run_id),
        "status": state.type.value.lower() if state else "unknown",
        "progress": progress_of(state, progress) if state else 0.0,
        "message": state.message if state else None,
        "stage": stage,
        "name": run.name,
        "state_name": state.name if state else None,
        "created_at": run.created.isoformat() if run.created else None,
        "started_at": run.start_time.isoformat() if run.start_time else None,
        "ended_at": run.end_time.isoformat() if run.end_time else None,
    }


async def read_history(run_id: UUID) -> dict[str, Any]:
    """``{"task_id", "history": [...newest first...], "event_count"}``. Raises `RunNotFound`."""
    async with get_client() as client:
        await _read_run(client, run_id)
        states = await client.read_flow_run_states(run_id)
        progress = await read_progress(client, run_id)
    newest_first = sorted(states, key=lambda state: state.timestamp, reverse=True)
    history = [
        {
            "timestamp": state.timestamp.isoformat(),
            "status": state.type.value.lower(),
            "progress": progress_of(state, progress),
            "message": state.message,
            "metadata": {"state_id": str(state.id), "state_name": state.name},
        }
        for state in newest_first
    ]
    return {"task_id": str(run_id), "history": history, "event_count": len(history)}


async def _read_run(client: PrefectClient, run_id: UUID) -> FlowRun:
    try:
        return await client.read_flow_run(run_id)
    except ObjectNotFound as exc:
        raise RunNotFound(f"Prefect knows no run {run_id}; 'waybill up' shows all runs in its UI") from exc


def progress_of(state: State[Any], progress: float) -> float:
    """0 to 1: nothing before the run began, everything once it has completed, else what it last reported."""
    if state.type in _NOT_BEGUN:
        return 0.0
    return 1.0 if state.type == StateType.COMPLETED else progress


async def _running_task(client: PrefectClient, run_id: UUID) -> str | None:
    runs = await client.read_task_runs(
        flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id])),
        task_run_filter=TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=[StateType.RUNNING]))),
        sort=TaskRunSort.EXPECTED_START_TIME_DESC,
        limit=1,
    )
    return runs[0].name if runs else None
