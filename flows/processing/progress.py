"""Report a run's progress to a listener in this process and to a progress artifact in Prefect's UI.

One task polls the documents and reports: concurrent updates of a progress artifact race, and a run could end at 80 %.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from uuid import UUID

from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact

from blocks.runs.run_artifacts import progress_key
from blocks.runtime.background_tasks import running
from tasks.document import Document

# Often enough for a progress bar to move smoothly, seldom enough to cost nothing.
LISTENER_INTERVAL_SECONDS = 0.1
# Each update is a request and a row in Prefect's database.
ARTIFACT_INTERVAL_SECONDS = 2.0
# Prefect answers in milliseconds. Its client repeats a request for a minute.
ARTIFACT_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A run's progress. A step is one document stored in custody, or processed by one stage.

    `stage` is the first stage that some document has still to go through (0: custody), and `past_stage` how many
    documents have, or have failed.
    """

    documents: int
    finished: int
    failed: int
    steps: int
    steps_done: int
    stages: int
    stage: int
    past_stage: int

    @property
    def percent(self) -> float:
        """0 to 100; a failed document counts as all its steps."""
        return 100.0 * self.steps_done / self.steps if self.steps else 100.0

    @property
    def note(self) -> str:
        """How far the run is, for people: ``stage 3 of 5, 17 of 40 documents, 1 failed``."""
        failed = f", {self.failed} failed" if self.failed else ""
        noun = "document" if self.documents == 1 else "documents"
        if self.finished == self.documents:
            return f"{self.finished:,} of {self.documents:,} {noun}{failed}"
        stage = f"stage {self.stage} of {self.stages}" if self.stage else "custody"
        return f"{stage}, {self.past_stage:,} of {self.documents:,} {noun}{failed}"


# Set by a program that runs the flow in its own process and shows a progress bar.
progress_listener: ContextVar[Callable[[Progress], None] | None] = ContextVar("progress_listener", default=None)


def measure(documents: Sequence[Document], stage_count: int) -> Progress:
    """Return the progress of *documents* through custody and *stage_count* stages."""
    steps_each = stage_count + 1
    done = [_steps_done(document, steps_each) for document in documents]
    stage = min(min(done, default=0), stage_count)
    return Progress(
        documents=len(documents),
        finished=sum(1 for steps in done if steps == steps_each),
        failed=sum(1 for document in documents if document.failed),
        steps=steps_each * len(documents),
        steps_done=sum(done),
        stages=stage_count,
        stage=stage,
        past_stage=sum(1 for steps in done if steps > stage),
    )


def _steps_done(document: Document, steps_each: int) -> int:
    if document.failed:
        return steps_each
    return (1 if document.upload else 0) + len(document.outputs)


@asynccontextmanager
async def reported(documents: Sequence[Document], stage_count: int, run_id: UUID) -> AsyncGenerator[None]:
    """Report progress for the length of the block; the last report is sent after everything else has been written."""
    artifact_id: UUID | None = None

    async def update_artifact() -> None:
        nonlocal artifact_id
        progress = measure(documents, stage_count)
        percent = round(progress.percent, 1)
        description = progress.note
        # Progress is only shown: a server that does not answer must neither fail the run nor hold it up.
        with suppress(Exception):
            async with asyncio.timeout(ARTIFACT_SECONDS):
                if artifact_id is None:
                    artifact_id = await acreate_progress_artifact(
                        percent, key=progress_key(run_id), description=description
                    )
                else:
                    await aupdate_progress_artifact(artifact_id, percent, description=description)

    async def update_artifact_forever() -> None:
        while True:
            await asyncio.sleep(ARTIFACT_INTERVAL_SECONDS)
            await update_artifact()

    async def notify_listener_forever() -> None:
        while True:
            await asyncio.sleep(LISTENER_INTERVAL_SECONDS)
            _notify_listener(documents, stage_count)

    await update_artifact()
    try:
        async with running(notify_listener_forever(), update_artifact_forever()):
            yield
    finally:
        _notify_listener(documents, stage_count)
        await update_artifact()


def _notify_listener(documents: Sequence[Document], stage_count: int) -> None:
    listener = progress_listener.get()
    if listener is not None:
        listener(measure(documents, stage_count))
