"""The living worker processes of a pool, and who may use them at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from blocks.errors import StageCrashed
from tasks.contract import Services
from tasks.job import Job
from tasks.worker_process import WorkerDied, WorkerProcess

# A process that dies before it takes a job has no document to blame. Several in sequence: nothing starts here. The
# pauses outlast a moment without memory or process ids.
_START_PAUSES_SECONDS = (0.0, 0.0, 0.5, 1.0, 2.0)


class Processes:
    """The living processes of a pool: as many as there were jobs at the same time."""

    def __init__(self, services: Services, memory_bytes: int) -> None:
        self._services = services
        self._memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self._idle: list[WorkerProcess] = []
        self._all: set[WorkerProcess] = set()
        self._is_closed = False

    def one(self, job: Job, *, fresh: bool = False) -> WorkerProcess:
        """Return a process that is ready for *job*, or a *fresh* one; put it back or discard it.

        Raises `StageCrashed` when none starts, however often it is tried.
        """
        return (None if fresh else self._take_idle()) or self._start(job)

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
            self.discard(worker)

    def put_back(self, worker: WorkerProcess) -> None:
        """Let a process take further jobs."""
        with self._lock:
            self._idle.append(worker)

    def discard(self, worker: WorkerProcess) -> None:
        """End a process, which may have ended already."""
        with self._lock:
            self._all.discard(worker)
        worker.close()

    def _start(self, job: Job) -> WorkerProcess:
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
            self.discard(worker)
            if is_closed:
                raise StageCrashed(f"{job.stage_name} was not started on {job.document.name}: the run is ending")
        # Not caused by the document: a machine without memory or process ids does this.
        raise StageCrashed(
            f"no worker process can be started for {job.stage_name} ({type(reason).__name__}: {reason})"
        ) from reason


class Turns:
    """Lets jobs run at the same time, except those that run alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._alone = 0

    @property
    def is_wanted_alone(self) -> bool:
        """Whether a job waits for those that run to end, or runs alone."""
        return self._alone > 0

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
    def alone(self, hurry: Callable[[], None]) -> Generator[None]:
        """Run while nothing else does. *hurry* is called when this is known, before what runs is waited for."""
        with self._changed:
            self._alone += 1
        hurry()
        with self._changed:
            self._changed.wait_for(lambda: not self._running)
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._alone -= 1
                self._changed.notify_all()
