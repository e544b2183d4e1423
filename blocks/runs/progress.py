"""The progress of runs, read from the artifacts in Prefect that their flows keep up to date."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey

# By this key the status commands find a run's progress.
PROGRESS_KEY = "process-progress"
# What Prefect's API gives at most in one answer.
_ARTIFACTS_PAGE = 200


@dataclass(frozen=True, kw_only=True)
class Reported:
    """*progress* (0 to 1) that an attempt of a run had reported by *at*, by the clock of Prefect's server."""

    at: datetime
    progress: float


async def read_progress(client: PrefectClient, run_id: UUID) -> float:
    """0 to 1: the furthest that any attempt of the run has reported."""
    return furthest((await read_reports(client, [run_id])).get(run_id, ()))


async def read_reports(client: PrefectClient, run_ids: Sequence[UUID]) -> dict[UUID, list[Reported]]:
    """The last report of each attempt, for many runs; those that have reported nothing are left out."""
    found: dict[UUID, list[Reported]] = {}
    for start in range(0, len(run_ids), _ARTIFACTS_PAGE):
        these = ArtifactFilter(
            flow_run_id=ArtifactFilterFlowRunId(any_=list(run_ids[start : start + _ARTIFACTS_PAGE])),
            key=ArtifactFilterKey(any_=[PROGRESS_KEY]),
        )
        offset = 0
        while page := await client.read_artifacts(artifact_filter=these, limit=_ARTIFACTS_PAGE, offset=offset):
            for artifact in page:
                progress = _fraction(artifact.data)
                if artifact.flow_run_id is not None and progress is not None and artifact.updated is not None:
                    report = Reported(at=artifact.updated, progress=progress)
                    found.setdefault(artifact.flow_run_id, []).append(report)
            if len(page) < _ARTIFACTS_PAGE:
                break
            offset += len(page)
    return found


def _fraction(data: object) -> float | None:
    """0 to 1 for what a progress artifact holds (0 to 100); None for anything else: anybody may write artifacts."""
    try:
        percent = float(str(data))
    except ValueError:
        return None
    return percent / 100.0 if 0.0 <= percent <= 100.0 else None


def furthest(reports: Iterable[Reported]) -> float:
    """0 to 1: what the best of *reports* says; 0 when there is none."""
    return max((report.progress for report in reports), default=0.0)
