"""How far a run is: told to whoever watches this process and to one progress artifact in Prefect's UI.

A single reporter polls the documents and writes in turn; concurrent updates of a progress artifact race, and a run
could end at 80 %.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey

from tasks.run_context import Document

# By this key the status commands find a run's progress.
PROGRESS_KEY = "process-progress"
# Often enough for a progress bar to move, seldom enough to cost nothing.
LISTENER_INTERVAL_SECONDS = 0.1
# Each update is a request and a row in Prefect's database.
ARTIFACT_INTERVAL_SECONDS = 2.0
# What Prefect's API gives at most in one answer.
_ARTIFACTS_PAGE = 200


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A run's progress. A step is one document taken into custody or brought through one stage."""

    documents: int
    finished: int
    failed: int
    steps: int
    steps_done: int

    @property
    def percent(self) -> float:
        """0 to 100; a failed document counts as all its steps."""
        return 100.0 * self.steps_done / self.steps if self.steps else 100.0


@dataclass(frozen=True, kw_only=True)
class Reported:
    """*progress* (0 to 1) that an attempt of a run had reported by *at*, by the clock of Prefect's server."""

    at: datetime
    progress: float


# Set by a program that runs the flow in its own process and wants to show a progress bar.
progress_listener: ContextVar[Callable[[Progress], None] | None] = ContextVar("progress_listener", default=None)


def measure(documents: Sequence[Document], stage_count: int) -> Progress:
    """The progress of *documents* through custody and *stage_count* stages."""
    steps_each = stage_count + 1
    done = [_steps_done(document, steps_each) for document in documents]
    return Progress(
        documents=len(documents),
        finished=sum(1 for steps in done if steps == steps_each),
        failed=sum(1 for document in documents if document.failed),
        steps=steps_each * len(documents),
        steps_done=sum(done),
    )


def _steps_done(document: Document, steps_each: int) -> int:
    if document.failed:
        return steps_each
    return (1 if document.upload else 0) + len(document.outputs)


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


@asynccontextmanager
async def reported(documents: Sequence[Document], stage_count: int) -> AsyncGenerator[None]:
    """Report progress for the length of the block; the last word is told after everything else has been written."""
    artifact_id = await acreate_progress_artifact(progress=0.0, key=PROGRESS_KEY, description="Documents")

    async def tell_artifact() -> None:
        progress = measure(documents, stage_count)
        description = f"{progress.finished} of {progress.documents} documents, {progress.failed} failed"
        await aupdate_progress_artifact(artifact_id, round(progress.percent, 1), description=description)

    async def watch() -> None:
        waited = 0.0
        while True:
            await asyncio.sleep(LISTENER_INTERVAL_SECONDS)
            _tell_listener(documents, stage_count)
            waited += LISTENER_INTERVAL_SECONDS
            if waited >= ARTIFACT_INTERVAL_SECONDS:
                waited = 0.0
                # Progress is a courtesy: a server that does not answer must not fail the run.
                with suppress(Exception):
                    await tell_artifact()

    watcher = asyncio.create_task(watch())
    try:
        yield
    finally:
        watcher.cancel()
        with suppress(asyncio.CancelledError):
            await watcher
        _tell_listener(documents, stage_count)
        with suppress(Exception):
            await tell_artifact()


def _tell_listener(documents: Sequence[Document], stage_count: int) -> None:
    listener = progress_listener.get()
    if listener is not None:
        listener(measure(documents, stage_count))
