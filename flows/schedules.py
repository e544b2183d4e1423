"""Runs of a schedule that has fallen behind: only the newest one that is due does the work."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect import get_client, get_run_logger
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.context import FlowRunContext


async def later_run_is_due() -> bool:
    """Return whether a later run of this run's deployment is due already and waits, so that this one is needless.

    After an outage Prefect hands out all runs that were missed. False where Prefect does not answer, and for a run that
    no schedule has made. A run that has left the queue does not count: the limit of the deployment may cancel it.
    """
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    if run is None or run.deployment_id is None or run.expected_start_time is None or not run.auto_scheduled:
        return False
    later = FlowRunFilter(
        id=FlowRunFilterId(not_any_=[run.id]),
        deployment_id=FlowRunFilterDeploymentId(any_=[run.deployment_id]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
        expected_start_time=FlowRunFilterExpectedStartTime.model_validate(
            {"after_": run.expected_start_time, "before_": datetime.now(UTC)}
        ),
    )
    try:
        async with get_client() as client:
            return await client.count_flow_runs(flow_run_filter=later) > 0
    except Exception as error:  # noqa: BLE001 - doing the work is right, too
        get_run_logger().warning("whether a later run is due is unknown: %s", error)
        return False
