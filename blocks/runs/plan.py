"""What a run is going to do, noted on the run in Prefect as it begins, so that whoever reads its history later knows
which part of the whole each of its tasks was."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from prefect import get_client
from prefect.client.schemas.objects import FlowRun

_DOCUMENTS, _TASKS = "waybill.documents", "waybill.tasks"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """*documents* in the run, and the *tasks* that bring them through custody and stages in one attempt."""

    documents: int
    tasks: int


async def note_plan(run_id: UUID, plan: Plan) -> None:
    """Put *plan* on the run as labels. A courtesy: a server that does not answer fails no run."""
    with suppress(Exception):
        async with get_client() as client:
            await client.update_flow_run_labels(run_id, {_DOCUMENTS: plan.documents, _TASKS: plan.tasks})


def plan_of(run: FlowRun) -> Plan | None:
    """What was noted; None for a run that has not begun, or that is of another flow. Anybody may label anything."""
    documents, tasks = run.labels.get(_DOCUMENTS), run.labels.get(_TASKS)
    if type(documents) is not int or type(tasks) is not int or documents < 1 or tasks < 1:
        return None
    return Plan(documents=documents, tasks=tasks)
