"""A batch of jobs in one worker process, until all are answered or the process is of no further use.

It says what becomes of each job. The one under way when the process died is suspect, those after it were not begun,
those before it are done. A job that exceeds its time is stopped with its process, and costs no other job anything.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import psutil

from blocks.errors import StageFailed, StageTimedOut, WaybillError
from tasks.batch import SPOILS_PROCESS, Answer
from tasks.job import JobResult
from tasks.job_queue import Ended, QueuedJob, settle
from tasks.time_limit import LOOK_SECONDS, LimitExceeded, LimitWatch, TimeLimit
from tasks.worker_process import WorkerDied, WorkerProcess

# While more answers are due soon, those of some milliseconds are read together: waking up costs more than reading. What
# follows from them waits no longer than for a commit (`blocks.custody.committer`).
_GATHER_SECONDS = 0.025


@dataclass(frozen=True, kw_only=True)
class BatchEnd:
    """What is still to do: *left* wait again, *repeat* needs a fresh process, *suspect* was under way at *death*.

    The last answers are settled after the process is put back, so that a job that follows from them finds it.
    """

    keeps_process: bool
    last: Sequence[Ended] = ()
    left: Sequence[QueuedJob] = ()
    repeat: QueuedJob | None = None
    suspect: QueuedJob | None = None
    death: WorkerDied | None = None


class RunningBatch:
    """Run it once; meanwhile other threads may take jobs over with `give`."""

    def __init__(self, worker: WorkerProcess, jobs: Sequence[QueuedJob], *, ends_early: Callable[[], bool]) -> None:
        """*ends_early* is asked between two jobs: whether those that are not begun are to be left."""
        self._worker = worker
        self._ends_early = ends_early
        self._lock = threading.Lock()
        # In the order in which they are claimed: the first is under way, or about to be.
        self._open = dict(zip(worker.next_numbers(len(jobs)), jobs, strict=True))
        self._is_begun = False
        self._is_over = False
        self._left: list[QueuedJob] = []
        self._is_spoiled = False
        self._answered = 0
        self._repeat: QueuedJob | None = None
        self._watch: tuple[QueuedJob, LimitWatch] | None = None
        self._last_seconds = 0.0
        self._last: list[Ended] = []

    @property
    def size(self) -> int:
        """How many jobs are not answered."""
        return len(self._open)

    def give(self, *, all_left: bool = False) -> list[QueuedJob]:
        """Return half of the jobs, or *all_left*, that the process has not begun, and does not begin any more."""
        with self._lock:
            is_running = self._is_begun and not self._is_over
            return self._take_back(len(self._open) // (1 if all_left else 2)) if is_running else []

    def abandon(self, queued: QueuedJob) -> list[QueuedJob]:
        """Do not begin a job whose future is done, or end the process that has begun it. Return what waits again."""
        with self._lock:
            if not self._is_begun or self._is_over or queued not in self._open.values():
                return []
            not_begun = self._take_back(len(self._open))
        if queued not in not_begun:
            self._worker.kill()
        return not_begun

    def run(self) -> BatchEnd:
        """Return when nothing more is expected of the process; every answered job has been settled."""
        try:
            return self._run()
        except Exception as error:  # noqa: BLE001 (none is expected; all the same no caller may wait for ever)
            left = self._end()
            settle([(queued, error) for queued in self._open.values()])
            return BatchEnd(keeps_process=False, last=self._last, left=left)

    def _run(self) -> BatchEnd:
        try:
            with self._lock:
                self._is_begun = True
                # Those whose callers were cancelled since they were taken from the queue are left out.
                self._open = {number: queued for number, queued in self._open.items() if not queued.future.done()}
                jobs = {number: queued.job for number, queued in self._open.items()}
            if jobs:
                self._worker.begin(jobs)
            while self._open and not self._is_spoiled:
                self._accept(self._next())
        except WorkerDied as death:
            return self._after_death(death)
        except LimitExceeded as exceeded:
            return self._after_limit(exceeded)
        left = self._end()
        # Those that the process claimed together with the one that has spoiled it.
        left += _each_single(self._open.values())
        return BatchEnd(keeps_process=not self._is_spoiled, last=self._last, left=left, repeat=self._repeat)

    def _next(self) -> list[object]:
        """Return the next messages of the process, which works within its limit."""
        if len(self._open) > 1:
            time.sleep(min(_GATHER_SECONDS, self._last_seconds * (len(self._open) - 1)))
        while self._open:  # what is left of it may have been taken back
            if messages := self._worker.messages(LOOK_SECONDS):
                return messages
            self._look()
        return []

    def _look(self) -> None:
        """Compare what the process has used with the limit of the job under way. Raises `LimitExceeded`."""
        with self._lock:
            jobs = list(self._open.values())
        if not jobs:
            return
        try:
            if self._watch is None or self._watch[0] is not jobs[0]:
                # Counted from now: nothing is measured for a job that ends before the first look.
                limit = _sum_of_limits(jobs if jobs[0].runs_together else jobs[:1])
                self._watch = (jobs[0], LimitWatch(self._worker.measured, limit))
            self._watch[1].check()
        except psutil.NoSuchProcess:
            pass  # it has ended, which the next look at its messages finds

    def _accept(self, messages: Sequence[object]) -> None:
        """Settle the jobs that are answered; a process that gets on is watched anew."""
        ended: list[Ended] = []
        for message in messages:
            if isinstance(message, Answer):
                with self._lock:
                    queued = self._open.pop(message.number, None)
                if queued is not None:
                    self._watch = None
                    ended += self._outcome(queued, message.outcome)
            elif self._watch is not None:
                self._watch[1].note_progress()
        if not self._open or self._is_spoiled:
            self._last = ended
            return
        settle(ended)
        if self._ends_early():
            with self._lock:
                self._left += self._take_back(len(self._open))

    def _outcome(self, queued: QueuedJob, outcome: object) -> list[Ended]:
        """Return what the caller of the job is given, if it is not to be repeated."""
        self._answered += 1
        was_used, self._worker.was_used = self._worker.was_used, True
        if isinstance(outcome, SPOILS_PROCESS):
            self._is_spoiled = True
            # The jobs before may be the cause.
            if was_used and self._repeat is None:
                self._repeat = queued
                return []
        if isinstance(outcome, JobResult):
            self._last_seconds = outcome.seconds
            return [(queued, outcome)]
        if isinstance(outcome, WaybillError):
            return [(queued, outcome)]
        job = queued.job
        return [(queued, StageFailed(f"{job.stage_name} on {job.document.name} reported what cannot be read"))]

    def _after_death(self, death: WorkerDied) -> BatchEnd:
        left, under_way = self._end(), list(self._open.values())
        if len(under_way) > 1:  # together: each by itself shows which one it was
            return BatchEnd(keeps_process=False, left=left + _each_single(under_way))
        if not under_way and left and self._answered == 0:
            # It died before it began. Blamed all the same, so that it is not tried for ever.
            under_way = [left.pop(0)]
        if not under_way:
            return BatchEnd(keeps_process=False, left=left)
        return BatchEnd(keeps_process=False, left=left, suspect=under_way[0], death=death)

    def _after_limit(self, exceeded: LimitExceeded) -> BatchEnd:
        left, under_way = self._end(), list(self._open.values())
        if len(under_way) > 1:
            return BatchEnd(keeps_process=False, left=left + _each_single(under_way))
        for queued in under_way:
            # Not repeated: it would take as long again, and only the document can be the cause.
            job = queued.job
            error = StageTimedOut(f"{job.stage_name} was stopped on {job.document.name}: it {exceeded}")
            error.__cause__ = exceeded
            settle([(queued, error)])
        return BatchEnd(keeps_process=False, left=left)

    def _end(self) -> list[QueuedJob]:
        """Take back everything that was not begun."""
        with self._lock:
            self._is_over = True
            return self._left + self._take_back(len(self._open))

    def _take_back(self, count: int) -> list[QueuedJob]:
        return [self._open.pop(number) for number in self._worker.take_back(count)]


def _sum_of_limits(jobs: Sequence[QueuedJob]) -> TimeLimit:
    limits = [queued.limit() for queued in jobs]
    return TimeLimit(
        cpu_seconds=sum(limit.cpu_seconds for limit in limits),
        silence_seconds=max(limit.silence_seconds for limit in limits),
    )


def _each_single(jobs: Iterable[QueuedJob]) -> list[QueuedJob]:
    """Return the jobs, which run by themselves from now on."""
    found = list(jobs)
    for queued in found:
        queued.is_single = True
    return found
