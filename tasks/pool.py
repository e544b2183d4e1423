"""Worker processes that can be killed: a hostile document fails alone, and no death of a process ends a run.

A process has one job at a time. A job that exceeds its time is killed with its process. A job whose process died is
repeated once, alone, in a fresh one: what kills a process need not be its document (the kernel's out-of-memory killer
picks any), and what dies alone twice is suspect. Jobs that wait are not touched by any of it.

A process serves many documents, and one may leave its memory used up, or a library half imported. So a process in which
a job ran out of memory, or failed unexpectedly, is not used again. Unless it was fresh, the job is repeated in a fresh
one.

Jobs that wait are handed over in batches (`tasks.batch`), because a message costs as much as a small job. A batch holds
up no other job: a worker that has nothing to do takes over what another one has not begun.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Self

from blocks.errors import StageCrashed, StageOutOfMemory
from blocks.runtime.threads import to_its_end
from blocks.settings import Settings
from tasks.contract import Services
from tasks.job import Job, JobResult
from tasks.job_queue import JobQueue, QueuedJob, settle
from tasks.pool_processes import Processes, Turns
from tasks.registry import stage_named
from tasks.running_batch import BatchEnd, RunningBatch
from tasks.time_limit import time_limit
from tasks.worker_process import WorkerDied


class WorkerPool:
    """A `StageRunner` of limited processes. Open it with ``async with WorkerPool.open(...) as pool``."""

    def __init__(self, settings: Settings, services: Services) -> None:
        self._settings = settings
        self._services = services
        self._processes = Processes(services, settings.stage_memory_mib * 1024 * 1024)
        self._turns = Turns()
        # One thread for each process: it hands jobs over and waits for the answers.
        self._threads = ThreadPoolExecutor(settings.workers, thread_name_prefix="waybill-worker")
        self._queue = JobQueue(settings.workers, lambda: self._threads.submit(self._work))
        self._lock = threading.Lock()
        self._running: set[RunningBatch] = set()

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, services: Services) -> AsyncGenerator[Self]:
        """Keep worker processes for the duration of the block. They start with the first jobs."""
        pool = cls(settings, services)
        try:
            yield pool
        finally:
            await asyncio.to_thread(pool.close)

    async def run(self, job: Job) -> JobResult:
        """Run *job* in a worker. Raises the stage's own error, or `StageTimedOut`, `StageOutOfMemory`, `StageCrashed`.

        The time limit (`tasks.time_limit`) counts from when a worker takes the job up, not from when it is queued. When
        the caller is cancelled, a job that stores its output is ended first, with its process if it is under way.
        """
        stage, settings = stage_named(job.stage_name), self._settings
        queued = QueuedJob(
            job=job,
            limit=lambda: time_limit(stage, job, settings, self._services),
            future=asyncio.get_running_loop().create_future(),
            runs_together=stage.run_together is not None,
        )
        self._queue.put(queued)
        try:
            return await queued.future
        except asyncio.CancelledError:
            if job.keep is not None:
                await to_its_end(asyncio.to_thread(self._abandon, queued))
            raise

    def _abandon(self, queued: QueuedJob) -> None:
        """End the job of a cancelled caller, which undoes what was stored: no worker may store more afterwards."""
        with self._lock:
            running = list(self._running)
        for batch in running:
            self._queue.put_back(batch.abandon(queued))

    def close(self) -> None:
        """End all worker processes, whatever they do. Blocks."""
        self._queue.close()
        self._processes.kill()
        self._threads.shutdown(cancel_futures=True)
        self._processes.close()

    def _work(self) -> None:
        """Run batches as long as there are jobs: one thread of the pool."""
        while True:
            with self._turns.shared():
                jobs = self._queue.take() or self._take_over()
                end = self._run(jobs) if jobs else None
            if end is not None and end.suspect is not None and end.death is not None:
                self._run_alone(end.suspect, end.death)
            elif not jobs and self._queue.leave():
                return

    def _take_over(self) -> list[QueuedJob]:
        """Return jobs that another worker has been handed and has not begun."""
        with self._lock:
            running = sorted(self._running, key=lambda batch: batch.size, reverse=True)
        for batch in running:
            if jobs := batch.give():
                return jobs
        return []

    def _take_back_all(self) -> None:
        """Let what no worker has begun wait again."""
        with self._lock:
            running = list(self._running)
        for batch in running:
            self._queue.put_back(batch.give(all_left=True))

    def _run(self, jobs: Sequence[QueuedJob], *, fresh: bool = False) -> BatchEnd | None:
        """Run a batch to its end. What is left waits again, unless it is the suspect of a death that is returned."""
        if all(queued.future.done() for queued in jobs):  # their callers were cancelled
            return None
        try:
            worker = self._processes.one(jobs[0].job, fresh=fresh)
        except StageCrashed as error:
            settle([(jobs[0], error)])
            self._queue.put_back(jobs[1:])
            return None
        batch = RunningBatch(worker, jobs, ends_early=lambda: self._turns.is_wanted_alone)
        with self._lock:
            self._running.add(batch)
        end = batch.run()
        with self._lock:
            self._running.discard(batch)
        (self._processes.put_back if end.keeps_process else self._processes.discard)(worker)
        settle(end.last)
        self._queue.put_back(end.left)
        return self._run([end.repeat], fresh=True) if end.repeat is not None else end

    def _run_alone(self, queued: QueuedJob, death: WorkerDied) -> None:
        """Repeat a job whose process died, while nothing else runs: it may kill its neighbours' processes too."""
        warning = f"repeated: the first worker process died ({death})"
        queued.job = replace(queued.job, warnings=(*queued.job.warnings, warning))
        with self._turns.alone(self._take_back_all):
            end = self._run([queued], fresh=True)
        if end is not None and end.suspect is not None and end.death is not None:
            error = self._suspect(queued.job, end.death)
            error.__cause__ = end.death
            settle([(queued, error)])

    def _suspect(self, job: Job, death: WorkerDied) -> StageCrashed | StageOutOfMemory:
        name, limit_mib = job.document.name, self._settings.stage_memory_mib
        # Native code that is refused memory aborts; the kernel's own out-of-memory killer sends SIGKILL.
        if death.exit_code in {-signal.SIGABRT, -signal.SIGKILL}:
            return StageOutOfMemory(
                f"{job.stage_name} was stopped twice on {name}, the second time with no other document under way, "
                f"most likely at its memory limit of {limit_mib} MiB; raise WAYBILL_STAGE_MEMORY_MIB if the document "
                "is sound"
            )
        return StageCrashed(
            f"the worker process died twice in {job.stage_name} on {name} ({death}), the second time with no other "
            "document under way: the document is suspect"
        )
