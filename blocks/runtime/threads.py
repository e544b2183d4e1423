"""Blocking work of an event loop that is not left behind when its caller is cancelled.

`asyncio.to_thread` gives up waiting at a cancellation, and its thread goes on: a write would go on after it has been
cleared up. Here cancelled work is told to stop, and waited for. Refuses to kill anything; the work looks up by itself.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")

StopCheck = Callable[[], None]
"""Raises `WorkStopped` when nobody waits for the work any more; to be called between its steps."""


class WorkStopped(Exception):
    """The end of work whose caller was cancelled; seen by that work only, the caller gets its `CancelledError`."""


async def in_thread(work: Callable[[StopCheck], T], executor: Executor | None = None) -> T:
    """Run *work* in a thread and return its result; once this has ended, also by cancellation, the work has too.

    *executor* gives the thread; without it one of the event loop's, of which there are few.
    """
    stopping = threading.Event()

    def check() -> None:
        if stopping.is_set():
            raise WorkStopped

    running = asyncio.get_running_loop().run_in_executor(executor, work, check)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stopping.set()
        with suppress(Exception):  # what it died of is nobody's business any more
            await to_its_end(running)
        raise


async def to_its_end(work: Awaitable[T]) -> T:
    """Await *work* to its end, whatever happens to the caller; a cancellation meanwhile is raised after it."""
    running = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as exc:
            cancelled = exc
    if cancelled is not None:
        running.exception()  # mark as seen
        raise cancelled
    return running.result()
