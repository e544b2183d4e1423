"""Bounded concurrency: many small operations that mostly wait, a few of them at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from typing import TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


async def bounded_map(
    limit: int, items: AsyncIterable[ItemT] | Iterable[ItemT], act: Callable[[ItemT], Awaitable[ResultT]]
) -> AsyncGenerator[ResultT]:
    """Yield the result of *act* for each of *items* as soon as it is ready; at most *limit* run at the same time.

    The first error cancels the rest and is raised. Close it (`contextlib.aclosing`) where it may be left early.
    """
    running: set[asyncio.Future[ResultT]] = set()
    try:
        async for item in _each(items):
            running.add(asyncio.ensure_future(act(item)))
            if len(running) == limit:
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for one in done:
                    running.remove(one)
                    yield one.result()
        while running:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                running.remove(one)
                yield one.result()
    finally:
        for one in running:
            one.cancel()
        # Retrieves the exceptions of those that failed as well: asyncio would log them as never retrieved.
        await asyncio.gather(*running, return_exceptions=True)


async def bounded_each(limit: int, items: Iterable[ItemT], act: Callable[[ItemT], Awaitable[object]]) -> None:
    """Run *act* for each of *items*, at most *limit* at the same time. The first error cancels the rest."""
    async for _ in bounded_map(limit, items, act):
        pass


async def _each(items: AsyncIterable[ItemT] | Iterable[ItemT]) -> AsyncGenerator[ItemT]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
