"""Watch the servers of a home while they are used: start again what has died, and keep their logs from growing.

Owns when a server is looked at and how often a repair is tried; `Stack.repair` owns how. Any number of processes of a
home watch: the first one that holds the change lock repairs, and the others take over what it has started.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Protocol

from blocks.errors import WaybillError
from waybill.process.signals import holding_signals

# How soon a dead server or process is noticed; one look takes a few milliseconds.
LOOK_SECONDS = 1.0
# A log grows by some kilobytes in this time.
_LOGS_SECONDS = 60.0
# A server that does not start again is retried for as long as it is needed, but not in a tight loop.
_REPAIR_PAUSE_SECONDS = 10.0


class Repairable(Protocol):
    """What is watched: `Stack`."""

    def is_intact(self) -> bool: ...

    def repair(self) -> None: ...

    def bound_logs(self) -> None: ...


class StackWatch:
    """Looks at the servers of one stack, and repairs it. For one thread."""

    def __init__(self, stack: Repairable, say: Callable[[str], None]) -> None:
        self._stack = stack
        self._say = say
        self._repair_at = 0.0
        self._logs_at = 0.0

    def look(self) -> bool:
        """Return whether the servers run; start again what has died. A failure is reported and tried again later.

        Where descriptors or memory are too short to look, nothing is done: it is looked again.
        """
        try:
            if time.monotonic() >= self._logs_at:
                self._logs_at = time.monotonic() + _LOGS_SECONDS
                self._stack.bound_logs()
            if self._stack.is_intact():
                return True
        except OSError:
            return False
        if time.monotonic() >= self._repair_at:
            self._say("a server has ended; starting it again")
            try:
                self._stack.repair()
                self._say("the servers are back")
            except (WaybillError, OSError) as error:
                self._say(error.message if isinstance(error, WaybillError) else str(error))
                self._repair_at = time.monotonic() + _REPAIR_PAUSE_SECONDS
        return False


@contextmanager
def watched(stack: Repairable, say: Callable[[str], None]) -> Generator[None]:
    """Watch the servers of *stack* in a thread, which calls *say*, during the block. No repair outlives it."""
    owner, is_over = os.getpid(), threading.Event()
    watch = StackWatch(stack, say)

    def look() -> None:
        while not is_over.wait(LOOK_SECONDS):
            watch.look()

    thread = threading.Thread(target=look, name="stack-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        # A forked worker that unwinds this far has no such thread. The caller uses the lock of the stack next, which is
        # not for several threads: an interruption waits for a repair that is under way.
        if os.getpid() == owner:
            with holding_signals():
                thread.join()
