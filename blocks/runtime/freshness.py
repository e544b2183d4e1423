"""An answer that is looked up once for all who ask within a moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class FreshAnswer(Generic[T]):
    """The answer of *look_up*, which runs once at a time. Errors are raised to every waiting caller, not kept."""

    def __init__(self, look_up: Callable[[], Awaitable[T]], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._look_up = look_up
        self._clock = clock
        self._running: asyncio.Task[T] | None = None
        self._began_at = 0.0
        self._answered: tuple[T, float] | None = None

    async def get(self, *, max_age_seconds: float, timeout_seconds: float) -> T:
        """Return an answer at most *max_age_seconds* old.

        Raises `TimeoutError` once the call has run for *timeout_seconds*, and what the call raises. A call that hangs
        is not cancelled, because cancelling may hang too; the next caller waits for the same one.
        """
        if self._answered is not None and self._clock() - self._answered[1] < max_age_seconds:
            return self._answered[0]
        if self._running is None or self._running.done():
            self._began_at = self._clock()
            self._running = asyncio.create_task(self._run())
            self._running.add_done_callback(_mark_as_seen)
        running = self._running
        await asyncio.wait([running], timeout=max(0.0, self._began_at + timeout_seconds - self._clock()))
        if not running.done():
            raise TimeoutError
        return running.result()

    async def _run(self) -> T:
        answer = await self._look_up()
        self._answered = answer, self._clock()
        return answer


def _mark_as_seen(task: asyncio.Task[T]) -> None:
    """Keep asyncio from reporting an error that no caller waited for."""
    if not task.cancelled():
        task.exception()
