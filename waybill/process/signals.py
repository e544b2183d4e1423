"""Signal handlers that unwind a command, so that the servers are stopped in order.

Owns turning SIGTERM and SIGHUP into `SystemExit` while a stack is in use, and holding signals back while it is stopped.
Replaces no handler of other code, and does nothing outside the main thread, where Python allows none.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

# SIGINT raises KeyboardInterrupt by itself.
_ENDING = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def unwinding_on_signals() -> Generator[None]:
    """Let SIGTERM and SIGHUP raise `SystemExit` with the shell's code for the signal (143, 129) inside the block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()

    def unwind(number: int, _frame: FrameType | None) -> None:
        if os.getpid() != owner:
            # A forked worker has inherited this handler. It must die of the signal, not unwind the command's stack.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        raise SystemExit(128 + number)

    # Default ones only: `nohup` ignores SIGHUP on purpose, and the handler of an outer block already does this.
    ours = [number for number in _ENDING if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, unwind)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def noting_signals() -> Generator[threading.Event]:
    """Let SIGINT, SIGTERM and SIGHUP only set the event that is yielded, inside the block. Main thread only."""
    asked = threading.Event()
    with _handling(lambda _number, _frame: asked.set()):
        yield asked


@contextmanager
def holding_signals() -> Generator[None]:
    """Hold back SIGINT, SIGTERM and SIGHUP inside the block; they are raised at its end. For short, bounded work."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    try:
        with _handling(lambda number, _frame: arrived.append(number)):
            yield
    finally:
        for number in arrived[:1]:
            signal.raise_signal(number)


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], None]) -> Generator[None]:
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, *_ENDING)}
    try:
        yield
    finally:
        for number, earlier in before.items():
            # None stands for a handler that was not set from Python and cannot be put back.
            signal.signal(number, signal.SIG_DFL if earlier is None else earlier)
