"""Blocking work of an event loop that does not outlive its caller.

When `asyncio.to_thread` is cancelled its thread goes on: a write would continue after its caller has cleaned up. Here
cancelled work is asked to stop, and waited for. Nothing is killed; the work checks between its steps.
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
"""Raises `WorkStopped` when the caller was cancelled; the work calls it between its steps."""


class WorkStopped(Exception):
    """Ends work whose caller was cancelled. Only the work sees it; the caller gets its `CancelledError`."""


async def in_thread(work: Callable[[StopCheck], T], executor: Executor | None = None) -> T:
    """Return the result of *work* in a thread of *executor* (default: the loop's). No work outlives this call."""
    stopping = threading.Event()

    def check() -> None:
        if stopping.is_set():
            raise WorkStopped

    running = asyncio.get_running_loop().run_in_executor(executor, work, check)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stopping.set()
        with suppress(Exception):  # the caller has gone; how the work ended interests no one
            await to_its_end(running)
        raise


async def to_its_end(work: Awaitable[T]) -> T:
    """Await *work* until it has ended, even when the caller is cancelled; the cancellation is raised afterwards."""
    running = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as exc:
            cancelled = exc
    if cancelled is not None:
        running.exception()  # mark as retrieved
        raise cancelled
    return running.result()
