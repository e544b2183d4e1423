"""The jobs of a pool that wait for a worker process: by stage, oldest first, handed out in fair batches."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from tasks.batch import MAX_JOBS
from tasks.job import Job, JobResult
from tasks.time_limit import TimeLimit


@dataclass(eq=False)
class QueuedJob:
    """A job, what it may use, and the future that its caller awaits."""

    job: Job
    limit: Callable[[], TimeLimit]
    future: asyncio.Future[JobResult]
    # Whether its stage takes several documents in one call.
    runs_together: bool = False
    # One that failed together with others runs by itself from then on.
    is_single: bool = False
    order: int = 0

    def joins(self, first: QueuedJob) -> bool:
        """Return whether this job may be in one batch with *first*: equal options are sent once."""
        if self.is_single or first.is_single:
            return self is first
        return self.job.options is first.job.options or self.job.options == first.job.options


# A job with its result, its error, or None: it is cancelled.
Ended = tuple[QueuedJob, JobResult | BaseException | None]


def settle(ended: Sequence[Ended]) -> None:
    """Give each job's caller its result or its error, with one call into the event loop."""
    if ended:
        with suppress(RuntimeError):  # the loop is closed: no caller waits any more
            ended[0][0].future.get_loop().call_soon_threadsafe(_settle, ended)


def _settle(ended: Sequence[Ended]) -> None:
    for queued, outcome in ended:
        if queued.future.done():  # its caller was cancelled
            continue
        if outcome is None:
            queued.future.cancel()
        elif isinstance(outcome, BaseException):
            queued.future.set_exception(outcome)
        else:
            queued.future.set_result(outcome)


class JobQueue:
    """Jobs that wait, and how many threads serve them: as many as there is work for, at most one for each worker."""

    def __init__(self, workers: int, start_thread: Callable[[], object]) -> None:
        self._workers = workers
        self._start_thread = start_thread
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[QueuedJob]] = {}
        self._threads = 0
        self._last_order = 0
        self._is_closed = False

    def put(self, queued: QueuedJob) -> None:
        """Add a job, and start a thread if there may be one more. Jobs of a closed queue are cancelled."""
        with self._lock:
            self._last_order += 1
            queued.order = self._last_order
            if not self._is_closed:
                self._waiting.setdefault(queued.job.stage_name, deque()).append(queued)
                self._start_threads(1)
                return
        settle([(queued, None)])

    def put_back(self, jobs: Sequence[QueuedJob]) -> None:
        """Let jobs that were taken, and not begun, wait in their former place."""
        with self._lock:
            if not self._is_closed:
                for queued in sorted(jobs, key=lambda one: one.order, reverse=True):
                    self._waiting.setdefault(queued.job.stage_name, deque()).appendleft(queued)
                self._start_threads(len(jobs))
                return
        settle([(queued, None) for queued in jobs])

    def take(self) -> list[QueuedJob]:
        """Return the jobs that have waited longest, of one stage: the share of one worker. None when none waits."""
        with self._lock:
            stages = [jobs for jobs in self._waiting.values() if jobs]
            if not stages:
                return []
            jobs = min(stages, key=lambda one: one[0].order)
            share = min(MAX_JOBS, -(-len(jobs) // self._workers))
            taken: list[QueuedJob] = []
            while jobs and len(taken) < share and jobs[0].joins(taken[0] if taken else jobs[0]):
                queued = jobs.popleft()
                if not queued.future.done():  # its caller has not been cancelled
                    taken.append(queued)
            return taken

    def leave(self) -> bool:
        """End a thread unless there is work. Return whether it ends."""
        with self._lock:
            if any(self._waiting.values()):
                return False
            self._threads -= 1
            return True

    def close(self) -> None:
        """Cancel all jobs that wait, and those that are still to come. Idempotent."""
        with self._lock:
            self._is_closed = True
            left = [queued for jobs in self._waiting.values() for queued in jobs]
            self._waiting.clear()
        settle([(queued, None) for queued in left])

    def _start_threads(self, wanted: int) -> None:
        for _ in range(min(wanted, self._workers - self._threads)):
            self._start_thread()
            self._threads += 1
