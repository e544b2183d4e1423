"""One worker process, as the process that started it sees it: start, hand over jobs, take some back, end.

Each has pipes of its own, so that one that is killed at any moment leaves no lock held and no message half read for
the others. Started by a forkserver (never a fork of the flow's own threads), which is started again when it is gone.
"""

from __future__ import annotations

import multiprocessing
import os
import select
import threading
from collections.abc import Mapping
from functools import cached_property
from multiprocessing.connection import Pipe, wait
from typing import Self

import psutil

from tasks.batch import NUMBERS, Batch, claim
from tasks.contract import Services
from tasks.job import Job
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
    """Used by one thread at a time; only `kill` and `take_back` may be called by others."""

    def __init__(self, services: Services, memory_bytes: int) -> None:
        """Start the process. Raises `OSError` or `EOFError` when there is no forkserver that starts it."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tasks.forkserver_preload"])
        self.was_used = False
        self._next_number = 0
        self._is_closed = False
        self._connection, its_end = Pipe()
        # Read on both sides, and by neither with waiting.
        self._claims, self._new_claims = Pipe(duplex=False)
        self._claims_lock = threading.Lock()
        # `Connection.poll` and `multiprocessing.connection.wait` make such an object for each call.
        self._received = select.poll()
        self._received.register(self._connection.fileno(), select.POLLIN)
        self._received_or_ended = select.poll()
        self._received_or_ended.register(self._connection.fileno(), select.POLLIN)
        os.set_blocking(self._claims.fileno(), False)
        with its_end:
            self._process = context.Process(
                target=serve, args=(its_end, self._claims, services, memory_bytes), name="waybill-worker", daemon=False
            )
            try:
                with _multiprocessing_lock:
                    self._process.start()
            except BaseException:
                self._close_pipes()
                raise
        self._received_or_ended.register(self._process.sentinel, select.POLLIN)

    def wait_until_ready(self) -> Self:
        """Wait until the process takes jobs. Raises `WorkerDied` and `TimeoutError`."""
        if not self.messages(_START_SECONDS):
            raise TimeoutError
        return self

    @property
    def is_alive(self) -> bool:
        return not wait([self._process.sentinel], 0)

    @cached_property
    def measured(self) -> psutil.Process:
        """The process, to ask what it has used. Raises `psutil.NoSuchProcess`."""
        return psutil.Process(self._process.pid)

    def next_numbers(self, count: int) -> list[int]:
        """Return the numbers for the jobs of the next batch."""
        first, self._next_number = self._next_number, (self._next_number + count) % NUMBERS
        return [(first + place) % NUMBERS for place in range(count)]

    def begin(self, jobs: Mapping[int, Job]) -> None:
        """Hand over a batch, after all jobs of the one before are answered or taken back. Raises `WorkerDied`."""
        try:
            # First the claims: a process that has read the message and finds none waits for the next message.
            os.write(self._new_claims.fileno(), bytes(jobs))
            self._connection.send(Batch(jobs))
        except OSError:
            raise WorkerDied(self._exit_code()) from None

    def take_back(self, count: int) -> list[int]:
        """Return the numbers of up to *count* jobs that the process has not begun, and now never begins."""
        with self._claims_lock:
            return [] if self._claims.closed else claim(self._claims, count)

    def messages(self, seconds: float) -> list[object]:
        """Return what the process has sent, which is waited for. What was sent before its end counts.

        Raises `WorkerDied` when it has ended and nothing is left to read.
        """
        if not self._received_or_ended.poll(seconds * 1000):
            return []
        found: list[object] = []
        try:
            while self._received.poll(0):
                found.append(self._connection.recv())
        except (EOFError, OSError):
            pass
        if not found:
            raise WorkerDied(self._exit_code())
        return found

    def kill(self) -> None:
        """End the process, whatever it does. Idempotent."""
        with _multiprocessing_lock:
            if self._is_closed:
                return
            if self._process.exitcode is None:
                self._process.kill()
            self._process.join(_END_SECONDS)

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
        self._close_pipes()

    def _close_pipes(self) -> None:
        self._connection.close()
        self._new_claims.close()
        with self._claims_lock:
            self._claims.close()
