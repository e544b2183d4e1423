"""Many small operations, a few of them at a time: most of each is waiting for the storage and the catalogue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from typing import TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


async def bounded_map(
    limit: int, items: AsyncIterable[ItemT], act: Callable[[ItemT], Awaitable[ResultT]]
) -> AsyncGenerator[ResultT]:
    """The results of *act* for each of *items*, in the order in which they are ready; at most *limit* at work.

    The first error ends all of it. When this has ended, for whatever reason, nothing is at work any more; so close it
    (`contextlib.aclosing`) where it may be left early.
    """
    at_work: set[asyncio.Future[ResultT]] = set()
    try:
        async for item in items:
            at_work.add(asyncio.ensure_future(act(item)))
            if len(at_work) == limit:
                done, _ = await asyncio.wait(at_work, return_when=asyncio.FIRST_COMPLETED)
                for one in done:
                    at_work.remove(one)
                    yield one.result()
        while at_work:
            done, _ = await asyncio.wait(at_work, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                at_work.remove(one)
                yield one.result()
    finally:
        for one in at_work:
            one.cancel()
        # Those too that have failed beside the first: nobody else looks at their errors.
        await asyncio.gather(*at_work, return_exceptions=True)
