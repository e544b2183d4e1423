"""One worker process, as the process that started it sees it: start, hand over a job, end.

Each has a pipe of its own, so that one that is killed at any moment leaves no lock held and no message half read for
the others. Started by a forkserver (never a fork of the flow's own threads), which is started again when it is gone.
"""

from __future__ import annotations

import multiprocessing
import threading
from multiprocessing.connection import Pipe, wait
from typing import Self

import psutil

from blocks.errors import StageFailed, WaybillError
from tasks.contract import Services
from tasks.job import Job, JobResult
from tasks.time_limit import LOOK_SECONDS, LimitWatch, TimeLimit
from tasks.worker import serve

# A process that was killed is gone within milliseconds, unless the kernel waits for a disk.
_END_SECONDS = 5.0
# Imports take a second, and a minute on a machine that is very busy. One that takes longer hangs.
_START_SECONDS = 300.0
# The forkserver says how a process ended, in milliseconds unless it gets no processor time. Without it the wrong cause
# would be reported. One that is gone is noticed at once.
_REPORT_SECONDS = 60.0
# `multiprocessing` looks at all of its processes when it starts one, and two threads must not read one exit code.
_multiprocessing_lock = threading.Lock()


# What `multiprocessing` reports when the forkserver could not say how a process ended.
_UNKNOWN_EXIT_CODE = 255


class WorkerDied(Exception):
    """The process has ended by itself, or something has killed it. Without an exit code, its forkserver ended too."""

    def __init__(self, exit_code: int | None) -> None:
        super().__init__("no exit code" if exit_code is None else f"exit code {exit_code}")
        self.exit_code = exit_code


class WorkerProcess:
    """Used by one thread at a time; only `kill` may be called by another one."""

    def __init__(self, services: Services, memory_bytes: int) -> None:
        """Start the process. Raises `OSError` or `EOFError` when there is no forkserver that starts it."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tasks.forkserver_preload"])
        self.was_used = False
        self._is_closed = False
        self._connection, its_end = Pipe()
        with its_end:
            self._process = context.Process(
                target=serve, args=(its_end, services, memory_bytes), name="waybill-worker", daemon=False
            )
            try:
                with _multiprocessing_lock:
                    self._process.start()
            except BaseException:
                self._connection.close()
                raise

    def wait_until_ready(self) -> Self:
        """Wait until the process takes jobs. Raises `WorkerDied` and `TimeoutError`."""
        self._receive(_START_SECONDS)
        return self

    @property
    def is_alive(self) -> bool:
        return not wait([self._process.sentinel], 0)

    def run(self, job: Job, limit: TimeLimit) -> JobResult:
        """Run *job*. Raises the stage's own error, `LimitExceeded` or `WorkerDied`."""
        self.was_used = True
        try:
            watch = LimitWatch(psutil.Process(self._process.pid), limit)
            self._connection.send(job)
        except (OSError, psutil.NoSuchProcess):
            raise WorkerDied(self._exit_code()) from None
        while (outcome := self._watched(watch)) is None:
            watch.note_progress()
        if isinstance(outcome, WaybillError):
            raise outcome
        if not isinstance(outcome, JobResult):
            raise StageFailed(f"{job.stage_name} on {job.document.name} reported what cannot be read")
        return outcome

    def kill(self) -> None:
        """End the process, whatever it does. Idempotent."""
        with _multiprocessing_lock:
            if self._is_closed:
                return
            if self._process.exitcode is None:
                self._process.kill()
            self._process.join(_END_SECONDS)

    def _watched(self, watch: LimitWatch) -> object:
        """Return the next message of the process, which works within its limit."""
        while not wait([self._connection, self._process.sentinel], LOOK_SECONDS):
            watch.check()
        return self._receive(0)

    def _receive(self, seconds: float) -> object:
        if not wait([self._connection, self._process.sentinel], seconds):
            raise TimeoutError
        try:
            # What was sent before the end counts.
            if self._connection.poll():
                return self._connection.recv()
        except (EOFError, OSError):
            pass
        raise WorkerDied(self._exit_code())

    def _exit_code(self) -> int | None:
        """Return how a process that is ending has ended."""
        wait([self._process.sentinel], _REPORT_SECONDS)  # without the lock, which holds up all other processes
        with _multiprocessing_lock:
            found = self._process.exitcode
        return None if found == _UNKNOWN_EXIT_CODE else found

    def close(self) -> None:
        """End the process and release what belongs to it."""
        self.kill()
        with _multiprocessing_lock:
            self._is_closed = True
        self._connection.close()
