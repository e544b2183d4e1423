"""Start background asyncio tasks and cancel them reliably."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

# Python 3.11's wait_for, which database drivers use, loses a cancellation that arrives together with its result.
_CANCEL_AGAIN_SECONDS = 0.1


async def end_tasks(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel *tasks* until all have ended. Their exceptions are left to other readers of the tasks."""
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_CANCEL_AGAIN_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def running(*works: Coroutine[Any, Any, None]) -> AsyncGenerator[list[asyncio.Task[None]]]:
    """Run *works* in the background of the block, and cancel them at its end."""
    tasks = [asyncio.get_running_loop().create_task(one) for one in works]
    try:
        yield tasks
    finally:
        await end_tasks(tasks)


async def first_done(*works: Coroutine[Any, Any, object]) -> None:
    """Run *works* until the first of them has ended, and cancel the others. Raises nothing that they raise."""
    tasks = [asyncio.get_running_loop().create_task(one) for one in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end_tasks(tasks)


async def first_of(event: asyncio.Event, tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait for *event*. Raises what one of *tasks*, which run for ever, raises before."""
    waiting = asyncio.get_running_loop().create_task(event.wait())
    try:
        done, _ = await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    for task in done & set(tasks):
        task.result()


@asynccontextmanager
async def ended_by(watch: Callable[[], Coroutine[Any, Any, Exception]]) -> AsyncGenerator[None]:
    """Call *watch* in the background of the block; when it returns an error, cancel the block and raise that error.

    A block that is cancelled from outside too, as by Ctrl-C, ends as cancelled.
    """
    working = asyncio.current_task()
    found: Exception | None = None

    async def look() -> None:
        nonlocal found
        found = await watch()
        if working is not None:
            working.cancel()

    try:
        async with running(look()):
            yield
    except asyncio.CancelledError:
        if found is None or working is None or working.uncancel() > 0:
            raise
    if found is not None:
        raise found
