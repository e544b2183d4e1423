"""Questions to the database that many requests ask at the same time, put in one exchange.

Owns the grouping: what is asked while an exchange is under way goes with the next one. Every question is answered by
an exchange that began after it was asked, so that nobody is ever told what was true before: a key that was revoked
opens nothing from the next request on. With one request at a time each is an exchange of its own.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

AskedT = TypeVar("AskedT")
AnswerT = TypeVar("AnswerT")

# An exchange takes a millisecond or two. One that takes longer may take until the database is given up, and whoever
# came meanwhile must not wait for that and then once more for the same.
_LONGEST_HOLD_SECONDS = 0.05


class Batcher(Generic[AskedT, AnswerT]):
    """Calls *exchange* with all that was asked, in order; its answers have the same order."""

    def __init__(self, exchange: Callable[[Sequence[AskedT]], Awaitable[Sequence[AnswerT]]]) -> None:
        self._exchange = exchange
        self._asked: list[tuple[AskedT, asyncio.Future[AnswerT]]] = []
        self._latest: asyncio.Task[None] | None = None
        self._upcoming: asyncio.Task[None] | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    async def ask(self, asked: AskedT) -> AnswerT:
        """The answer to *asked*. Raises what the exchange raised that it went with."""
        answer: asyncio.Future[AnswerT] = asyncio.get_running_loop().create_future()
        self._asked.append((asked, answer))
        if self._upcoming is None:
            # In a context of its own: what it logs belongs to no request.
            task = asyncio.create_task(self._ask_all(self._latest), context=Context())
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
            self._upcoming = task
        return await answer

    async def _ask_all(self, before: asyncio.Task[None] | None) -> None:
        if before is not None and not before.done():
            await asyncio.wait([before], timeout=_LONGEST_HOLD_SECONDS)
        self._latest, self._upcoming = self._upcoming, None
        group, self._asked = self._asked, []
        try:
            answers = await self._exchange([asked for asked, _ in group])
        except Exception as error:  # noqa: BLE001 - each of those who asked raises it
            for _, answer in group:
                if not answer.done():
                    answer.set_exception(_one_more(error))
        except BaseException:
            for _, answer in group:
                answer.cancel()
            raise
        else:
            for (_, answer), found in zip(group, answers, strict=True):
                if not answer.done():  # whoever asked may have gone
                    answer.set_result(found)


def _one_more(error: Exception) -> Exception:
    """The same error for another to raise: one object would collect the tracebacks of all."""
    twin = copy.copy(error)
    twin.__cause__ = error
    return twin
