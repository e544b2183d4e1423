"""Lookups that many requests make at the same time, sent to the database together.

Owns the grouping: requests that come while an exchange is under way go into the next one. Each is answered by an
exchange that began after it was asked, never with older state: a revoked API key is refused from the next request on.
One request at a time makes one exchange each.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

AskedT = TypeVar("AskedT")
AnswerT = TypeVar("AnswerT")

# An exchange takes a millisecond or two. During an outage it takes until the database is given up, and the next group
# must not wait for that and then once more for its own.
_LONGEST_HOLD_SECONDS = 0.05


class Batcher(Generic[AskedT, AnswerT]):
    """Calls *exchange* with all that was asked since it was last called; answers come back in the same order."""

    def __init__(self, exchange: Callable[[Sequence[AskedT]], Awaitable[Sequence[AnswerT]]]) -> None:
        self._exchange = exchange
        self._asked: list[tuple[AskedT, asyncio.Future[AnswerT]]] = []
        self._latest: asyncio.Task[None] | None = None
        self._upcoming: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def ask(self, asked: AskedT) -> AnswerT:
        """Return the answer to *asked*. Raises what its exchange raised."""
        answer: asyncio.Future[AnswerT] = asyncio.get_running_loop().create_future()
        self._asked.append((asked, answer))
        if self._upcoming is None:
            # In an empty context: what the exchange logs belongs to no single request.
            task = asyncio.create_task(self._exchange_all(self._latest), context=Context())
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            self._upcoming = task
        return await answer

    async def _exchange_all(self, before: asyncio.Task[None] | None) -> None:
        if before is not None and not before.done():
            await asyncio.wait([before], timeout=_LONGEST_HOLD_SECONDS)
        self._latest, self._upcoming = self._upcoming, None
        group, self._asked = self._asked, []
        try:
            answers = await self._exchange([asked for asked, _ in group])
        except Exception as error:  # noqa: BLE001 - every caller of the group raises it
            for _, answer in group:
                if not answer.done():
                    answer.set_exception(_copy_of(error))
        except BaseException:
            for _, answer in group:
                answer.cancel()
            raise
        else:
            for (_, answer), found in zip(group, answers, strict=True):
                if not answer.done():  # its caller may have been cancelled
                    answer.set_result(found)


def _copy_of(error: Exception) -> Exception:
    """Return a copy for one caller to raise: a shared one would collect the tracebacks of all."""
    copied = copy.copy(error)
    copied.__cause__ = error
    return copied
