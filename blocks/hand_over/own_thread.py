"""A transfer's work in a thread of its own, for callers on an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from blocks.hand_over.connection import Session
from blocks.runtime.threads import to_its_end

T = TypeVar("T")
RenewToken = Callable[[], Awaitable[str]]
"""Returns a new token of the same transfer."""


def from_thread(loop: asyncio.AbstractEventLoop, renew: RenewToken | None) -> Callable[[], str] | None:
    """Return *renew* as a function for other threads than the loop's."""
    if renew is None:
        return None

    async def call() -> str:
        return await renew()

    return lambda: asyncio.run_coroutine_threadsafe(call(), loop).result()


async def in_thread_of_its_own(work: Callable[[], T], session: Session) -> T:
    """Return what *work* does in a thread; when the caller is cancelled, its connections break and it ends."""
    # Not the loop's own threads: they are few, and a transfer may take hours.
    with ThreadPoolExecutor(1, thread_name_prefix="hand-over") as executor:
        running = asyncio.get_running_loop().run_in_executor(executor, work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            session.cancel()
            with suppress(Exception):  # the caller has gone; how the work ended interests no one
                await to_its_end(running)
            raise
