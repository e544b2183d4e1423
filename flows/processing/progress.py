"""Report a run's progress to a listener in this process and to a progress artifact in Prefect's UI.

One task polls the counts and reports: concurrent updates of a progress artifact race, and a run could end at 80 %.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from uuid import UUID

from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact

from blocks.runs.run_artifacts import progress_key
from blocks.runtime.background_tasks import running
from blocks.runtime.in_words import counted, how_long, how_often
from tasks.step_counts import StepCounts

# Often enough for a progress bar to move smoothly, seldom enough to cost nothing.
LISTENER_INTERVAL_SECONDS = 0.1
# Each update is a request and a row in Prefect's database. A run of minutes is looked at less often.
ARTIFACT_INTERVAL_SECONDS, LATER_ARTIFACT_INTERVAL_SECONDS = 2.0, 5.0
_LATER_SECONDS = 60.0
# Prefect answers in milliseconds. Its client repeats a request for a minute.
ARTIFACT_SECONDS = 5.0
# A rate is that of the last minute: stages differ, and what is reused goes by at once. One of less than this is chance.
_RATE_SECONDS, _SHORTEST_RATE_SECONDS = 60.0, 5.0


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A run's progress. A step is one document stored in custody, or processed by one stage.

    `stage` is the first stage that some document has still to go through (0: custody), and `past_stage` how many
    documents have, or have failed. `rate` is in documents per second, None before it is known.
    """

    documents: int
    finished: int
    failed: int
    steps: int
    steps_done: int
    stages: int
    stage: int
    past_stage: int
    rate: float | None = None
    # Of a run whose documents other runs process: its slices, and how many of them have ended.
    slices: tuple[int, int] | None = None

    @property
    def percent(self) -> float:
        """0 to 100; a failed document counts as all its steps."""
        return 100.0 * self.steps_done / self.steps if self.steps else 100.0

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at this rate; None where that is not known."""
        if not self.rate:
            return None
        return (self.steps - self.steps_done) / (self.stages + 1) / self.rate

    @property
    def note(self) -> str:
        """How far the run is: ``stage 3 of 5, 17 of 40 documents, 1 failed, 2.5 documents/s, 10 s left``."""
        failed = f", {self.failed:,} failed" if self.failed else ""
        if self.finished == self.documents:
            return f"{self.finished:,} of {counted(self.documents, 'document')}{failed}"
        note = f"{self._where} of {counted(self.documents, 'document')}{failed}"
        if self.rate and self.seconds_left is not None:
            note += f", {how_often(self.rate, 'document')}, {how_long(self.seconds_left)} left"
        return note

    @property
    def _where(self) -> str:
        if self.slices is not None:
            slices, ended = self.slices
            # What the slices under way have done, in whole documents.
            return f"{ended:,} of {counted(slices, 'slice')}, {self.steps_done // (self.stages + 1):,}"
        stage = f"stage {self.stage} of {self.stages}" if self.stage else "custody"
        return f"{stage}, {self.past_stage:,}"


# Set by a program that runs the flow in its own process and shows a progress bar.
progress_listener: ContextVar[Callable[[Progress], None] | None] = ContextVar("progress_listener", default=None)


class Pace:
    """How fast the counts of a run move. A look costs the same for any number of documents."""

    def __init__(self, counts: StepCounts, started: float) -> None:
        self._counts = counts
        # Seconds and the steps that were done by then, one a second.
        self._seen: deque[tuple[float, int]] = deque([(started, counts.steps_done)])

    def progress(self, now: float) -> Progress:
        """Return the progress at *now*, in seconds of the clock by which the run *started*."""
        counts = self._counts
        return Progress(
            documents=counts.documents,
            finished=counts.finished,
            failed=counts.failed,
            steps=counts.steps_each * counts.documents,
            steps_done=counts.steps_done,
            stages=counts.stages,
            stage=counts.stage,
            past_stage=counts.past_stage,
            rate=self._rate(now),
            slices=counts.slices,
        )

    def _rate(self, now: float) -> float | None:
        if now - self._seen[-1][0] >= 1.0:
            self._seen.append((now, self._counts.steps_done))
        while len(self._seen) > 2 and now - self._seen[1][0] >= _RATE_SECONDS:
            self._seen.popleft()
        began, steps = self._seen[0]
        if now - began < _SHORTEST_RATE_SECONDS or self._counts.steps_done == steps:
            return None
        return (self._counts.steps_done - steps) / self._counts.steps_each / (now - began)


@asynccontextmanager
async def reported(counts: StepCounts, run_id: UUID) -> AsyncGenerator[None]:
    """Report progress for the length of the block; the last report is sent after everything else has been written."""
    started = time.monotonic()
    pace = Pace(counts, started)
    listener = progress_listener.get()
    artifact_id: UUID | None = None

    async def update_artifact() -> None:
        nonlocal artifact_id
        progress = pace.progress(time.monotonic())
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
            is_new = time.monotonic() - started < _LATER_SECONDS
            await asyncio.sleep(ARTIFACT_INTERVAL_SECONDS if is_new else LATER_ARTIFACT_INTERVAL_SECONDS)
            await update_artifact()

    async def notify_listener_forever() -> None:
        while listener is not None:
            await asyncio.sleep(LISTENER_INTERVAL_SECONDS)
            listener(pace.progress(time.monotonic()))

    await update_artifact()
    try:
        async with running(notify_listener_forever(), update_artifact_forever()):
            yield
    finally:
        if listener is not None:
            listener(pace.progress(time.monotonic()))
        await update_artifact()
