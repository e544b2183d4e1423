"""A run's planned work, stored in its labels, and its progress, in a Prefect artifact that the flow updates."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import UUID

from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.client.schemas.objects import FlowRun

from blocks.catalog import Catalog
from blocks.runs.ownership import CATALOGUE_LABEL, catalogue_id
from blocks.runs.prefect_lists import prefect_pages, slices
from blocks.runs.run_artifacts import EARLIER_PROGRESS_KEY, progress_key

_DOCUMENTS, _TASKS = "waybill.documents", "waybill.tasks"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The number of *documents* in a run, and of the *tasks* (custody and stages) of one attempt."""

    documents: int
    tasks: int


@dataclass(frozen=True, kw_only=True)
class Reported:
    """The *progress* (0 to 1) that an attempt of a run had reported by *at*, by the clock of Prefect's server.

    *note* says it in words, with the rate and the time left where they are known.
    """

    at: datetime
    progress: float
    note: str | None = None


async def record_plan(run_id: UUID, plan: Plan, catalog: Catalog | None = None) -> None:
    """Store *plan* in the run's labels, and the id of *catalog*. Ignores errors: no run may fail for what is shown."""
    with suppress(Exception):
        labels: dict[str, int | str] = {_DOCUMENTS: plan.documents, _TASKS: plan.tasks}
        if catalog is not None:
            async with catalog.connection() as connection:
                labels[CATALOGUE_LABEL] = await catalogue_id(connection)
        async with get_client() as client:
            await client.update_flow_run_labels(run_id, {**labels})


def plan_of(run: FlowRun) -> Plan | None:
    """Return the stored plan; None for a run that has not begun, or of another flow. Any client may write labels."""
    documents, tasks = run.labels.get(_DOCUMENTS), run.labels.get(_TASKS)
    if type(documents) is not int or type(tasks) is not int or documents < 1 or tasks < 1:
        return None
    return Plan(documents=documents, tasks=tasks)


async def read_progress(client: PrefectClient, run_id: UUID) -> float:
    """Return the furthest progress (0 to 1) that any attempt of the run has reported; 0 without a report."""
    return furthest((await read_reports(client, [run_id])).get(run_id, []))


def furthest(reports: Sequence[Reported]) -> float:
    """Return the furthest progress (0 to 1) of *reports*; 0 without one."""
    return max((report.progress for report in reports), default=0.0)


def last_note(reports: Sequence[Reported]) -> str | None:
    """Return what the newest of *reports* says in words."""
    return max(reports, key=lambda report: report.at).note if reports else None


async def read_reports(client: PrefectClient, run_ids: Sequence[UUID]) -> dict[UUID, list[Reported]]:
    """Return the last report of each attempt, by run; runs without a report are left out."""
    found: dict[UUID, list[Reported]] = {}
    for some_ids in slices(run_ids):
        keys = [EARLIER_PROGRESS_KEY, *map(progress_key, some_ids)]
        of_runs = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=some_ids), key=ArtifactFilterKey(any_=keys))
        reading = partial(client.read_artifacts, artifact_filter=of_runs)
        async for page in prefect_pages(reading, what="progress artifacts"):
            for artifact in page:
                progress = _fraction(artifact.data)
                if artifact.flow_run_id is not None and progress is not None and artifact.updated is not None:
                    report = Reported(at=artifact.updated, progress=progress, note=artifact.description)
                    found.setdefault(artifact.flow_run_id, []).append(report)
    return found


def _fraction(data: object) -> float | None:
    """Return the content of a progress artifact (0 to 100) as 0 to 1, else None: any client may write artifacts."""
    try:
        percent = float(str(data))
    except ValueError:
        return None
    # Rounded, since people read it: 16.7 / 100 is 0.16699999999999998.
    return round(percent / 100.0, 6) if 0.0 <= percent <= 100.0 else None
