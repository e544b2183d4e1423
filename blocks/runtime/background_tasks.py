"""Work that goes on beside other work, and its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

# Python 3.11's wait_for, which database drivers are built on, forgets a cancellation that comes with its result.
_ASK_AGAIN_SECONDS = 0.1


async def end_tasks(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel *tasks*, until they have ended. What they raise is left to whoever else looks at them."""
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_ASK_AGAIN_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def running(*works: Coroutine[Any, Any, None]) -> AsyncGenerator[list[asyncio.Task[None]]]:
    """Run *works* beside the block, and end them with it."""
    tasks = [asyncio.get_running_loop().create_task(one) for one in works]
    try:
        yield tasks
    finally:
        await end_tasks(tasks)


async def first_of(event: asyncio.Event, tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait for *event*; when one of *tasks*, which run for ever, fails before, raise what it raised."""
    waiting = asyncio.get_running_loop().create_task(event.wait())
    try:
        done, _ = await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    for task in done & set(tasks):
        task.result()
