"""Runs of a schedule that has fallen behind: one of them does the work of all.

A run is needless once another one *has done* the same work since this one was due. It is never needless because another
one *will*: until that one begins, the limit of the deployment may cancel it, or its process may end, and then neither
would have done it.
"""

from __future__ import annotations

from typing import Any

from prefect import State, get_client, get_run_logger
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import StateType
from prefect.context import FlowRunContext
from prefect.states import Completed

# The name of the state of a needless run, which has done nothing.
_SKIPPED = "Skipped"


def skipped() -> State[dict[str, Any]]:
    """Return the state of a run that was needless."""
    return Completed(name=_SKIPPED, message="another run has done this since it was due", data={"skipped": True})


async def is_done_already() -> bool:
    """Return whether another run of this run's deployment has done the same work since this one was due.

    After an outage Prefect hands out all runs that were missed, and while a long run works others wait. False where
    Prefect does not answer, and for a run that no schedule has made.
    """
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    if run is None or run.deployment_id is None or run.expected_start_time is None or not run.auto_scheduled:
        return False
    done_since = FlowRunFilter.model_validate(
        {
            "id": {"not_any_": [run.id]},
            "deployment_id": {"any_": [run.deployment_id]},
            "state": {"type": {"any_": [StateType.COMPLETED]}, "name": {"not_any_": [_SKIPPED]}},
            "start_time": {"after_": run.expected_start_time},
        }
    )
    try:
        async with get_client() as client:
            done = await client.read_flow_runs(flow_run_filter=done_since)
    except Exception as error:  # noqa: BLE001 - doing the work is right, too
        get_run_logger().warning("whether another run has done this already is unknown: %s", error)
        return False
    # A dry run, or one of other kinds of files, has done something else.
    return any(other.parameters == run.parameters for other in done)
