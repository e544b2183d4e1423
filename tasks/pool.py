"""Worker processes that can be killed: a hostile document fails alone, and no death of a process ends a run.

Each job has a process for itself. A job that exceeds its time is killed with its process. A job whose process died is
repeated once, alone, in a fresh one: what kills a process need not be its document (the kernel's out-of-memory killer
picks any), and what dies alone twice is suspect. Jobs that wait are not touched by any of it.

A process serves many documents, and one may leave its memory used up, or a library half imported. So a process in which
a job ran out of memory, or failed unexpectedly, is not used again. Unless it was fresh, the job is repeated in a fresh
one.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import AsyncGenerator, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Self

from blocks.errors import StageCrashed, StageFailed, StageOutOfMemory, StageTimedOut
from blocks.settings import Settings
from tasks.contract import Services
from tasks.job import Job, JobResult
from tasks.registry import stage_named
from tasks.time_limit import LimitExceeded, time_limit
from tasks.worker_process import WorkerDied, WorkerProcess

# A process that dies before it takes a job has no document to blame. Several in sequence: nothing starts here. The
# pauses outlast a moment without memory or process ids.
_START_PAUSES_SECONDS = (0.0, 0.0, 0.5, 1.0, 2.0)
# What the documents before may have caused.
_OF_PROCESS = (StageOutOfMemory, StageFailed)


class WorkerPool:
    """A `StageRunner` of limited processes. Open it with ``async with WorkerPool.open(...) as pool``."""

    def __init__(self, settings: Settings, services: Services) -> None:
        self._settings = settings
        self._services = services
        self._processes = _Processes(services, settings.stage_memory_mib * 1024 * 1024)
        self._turns = _Turns()
        # One thread for each process: it waits for the answer, and its queue holds the jobs that wait.
        self._threads = ThreadPoolExecutor(settings.workers, thread_name_prefix="waybill-worker")

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, services: Services) -> AsyncGenerator[Self]:
        """Keep worker processes for the duration of the block. They start with the first jobs."""
        pool = cls(settings, services)
        try:
            yield pool
        finally:
            await asyncio.to_thread(pool._close)

    async def run(self, job: Job) -> JobResult:
        """Run *job* in a worker. Raises the stage's own error, or `StageTimedOut`, `StageOutOfMemory`, `StageCrashed`.

        The time limit (`tasks.time_limit`) counts from when a worker takes the job up, not from when it is queued.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, job)

    def _close(self) -> None:
        self._processes.kill()
        self._threads.shutdown(cancel_futures=True)
        self._processes.close()

    def _run(self, job: Job) -> JobResult:
        try:
            with self._turns.shared():
                return self._attempt(job)
        except WorkerDied as death:
            first = death
        try:
            # Alone, so that a document that kills its neighbours' processes kills no neighbour twice.
            with self._turns.alone():
                result = self._attempt(job)
        except WorkerDied as death:
            raise self._suspect(job, death) from death
        return replace(result, warnings=(*result.warnings, f"repeated: the first worker process died ({first})"))

    def _attempt(self, job: Job) -> JobResult:
        """Run *job* once. Raises `WorkerDied` besides what `run` raises."""
        was_used = False
        try:
            with self._processes.one(job) as worker:
                was_used = worker.was_used
                return self._run_in(worker, job)
        except _OF_PROCESS:
            if not was_used:
                raise
        with self._processes.one(job, fresh=True) as worker:
            return self._run_in(worker, job)

    def _run_in(self, worker: WorkerProcess, job: Job) -> JobResult:
        limit = time_limit(stage_named(job.stage_name), job, self._settings, self._services)
        try:
            return worker.run(job, limit)
        except LimitExceeded as exc:
            # Not repeated: it would take as long again, and only the document can be the cause.
            raise StageTimedOut(f"{job.stage_name} was stopped on {job.document.name}: it {exc}") from exc

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


class _Processes:
    """The living processes of a pool: as many as there were jobs at the same time."""

    def __init__(self, services: Services, memory_bytes: int) -> None:
        self._services = services
        self._memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self._idle: list[WorkerProcess] = []
        self._all: set[WorkerProcess] = set()
        self._is_closed = False

    @contextmanager
    def one(self, job: Job, *, fresh: bool = False) -> Generator[WorkerProcess]:
        """Yield a process that is ready, or a *fresh* one. It is kept only if it can take another job afterwards."""
        worker = (None if fresh else self._take_idle()) or self._start(job)
        try:
            yield worker
        except (WorkerDied, StageTimedOut, *_OF_PROCESS):
            self._discard(worker)
            raise
        except BaseException:
            self._put_back(worker)
            raise
        self._put_back(worker)

    def kill(self) -> None:
        """End all processes, whatever they do; no further one is started."""
        with self._lock:
            self._is_closed = True
            found = list(self._all)
        for worker in found:
            worker.kill()

    def close(self) -> None:
        """Release what belongs to the processes, which have ended."""
        for worker in self._all:
            worker.close()

    def _take_idle(self) -> WorkerProcess | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                worker = self._idle.pop()
            if worker.is_alive:
                return worker
            self._discard(worker)

    def _put_back(self, worker: WorkerProcess) -> None:
        with self._lock:
            self._idle.append(worker)

    def _discard(self, worker: WorkerProcess) -> None:
        with self._lock:
            self._all.discard(worker)
        worker.close()

    def _start(self, job: Job) -> WorkerProcess:
        """Return a fresh process. Raises `StageCrashed` when none starts, however often it is tried."""
        reason: Exception | None = None
        for pause_seconds in _START_PAUSES_SECONDS:
            time.sleep(pause_seconds)
            try:
                worker = WorkerProcess(self._services, self._memory_bytes)
            except (OSError, EOFError) as exc:
                reason = exc
                continue
            with self._lock:
                self._all.add(worker)
                is_closed = self._is_closed
            try:
                if not is_closed:
                    return worker.wait_until_ready()
            except (WorkerDied, TimeoutError) as exc:
                reason = exc
            self._discard(worker)
            if is_closed:
                raise StageCrashed(f"{job.stage_name} was not started on {job.document.name}: the run is ending")
        # Not caused by the document: a machine without memory or process ids does this.
        raise StageCrashed(
            f"no worker process can be started for {job.stage_name} ({type(reason).__name__}: {reason})"
        ) from reason


class _Turns:
    """Lets jobs run at the same time, except those that run alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._alone = 0

    @contextmanager
    def shared(self) -> Generator[None]:
        """Run at the same time as others; a job that wants to be alone goes first."""
        with self._changed:
            self._changed.wait_for(lambda: not self._alone)
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Generator[None]:
        """Run while nothing else does."""
        with self._changed:
            self._alone += 1
            self._changed.wait_for(lambda: not self._running)
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._alone -= 1
                self._changed.notify_all()
