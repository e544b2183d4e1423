"""Questions that are asked together: in groups, never answered with what was true before they were asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from blocks.errors import CatalogUnavailable
from tests.stack_driver import PATIENCE_SECONDS
from waybill.gateway.batching import Batcher


class Server:
    """Answers each question with the number of the exchange that it came with."""

    def __init__(self) -> None:
        self.exchanges: list[list[str]] = []
        self.answering = asyncio.Event()
        self.answering.set()
        self.failure: Exception | None = None

    async def exchange(self, asked: Sequence[str]) -> list[tuple[str, int]]:
        self.exchanges.append(list(asked))
        number = len(self.exchanges)
        await self.answering.wait()
        if self.failure is not None:
            raise self.failure
        return [(one, number) for one in asked]


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_is_asked_at_once_is_one_exchange_and_everybody_gets_their_own_answer() -> None:
    server = Server()
    together = Batcher(server.exchange)
    found = await asyncio.gather(*(together.ask(name) for name in "abcab"))
    assert found == [("a", 1), ("b", 1), ("c", 1), ("a", 1), ("b", 1)]
    assert await together.ask("d") == ("d", 2)
    assert server.exchanges == [list("abcab"), ["d"]]


async def test_what_is_asked_during_an_exchange_is_answered_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "waybill.gateway.batching._LONGEST_HOLD_SECONDS", PATIENCE_SECONDS
    )  # a busy machine may take longer than
    server = Server()
    together = Batcher(server.exchange)
    server.answering.clear()
    first = asyncio.create_task(together.ask("a"))
    await turns()
    later = [asyncio.create_task(together.ask(name)) for name in "ab"]
    await turns()
    assert server.exchanges == [["a"]]
    server.answering.set()
    assert await asyncio.gather(first, *later) == [("a", 1), ("a", 2), ("b", 2)]


async def test_an_exchange_that_takes_long_does_not_hold_the_next_ones_up() -> None:
    server = Server()
    together = Batcher(server.exchange)
    server.answering.clear()
    asked = [asyncio.create_task(together.ask("a"))]
    for number in range(2, 4):
        await turns()
        asked.append(asyncio.create_task(together.ask("b")))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(server.exchanges) < number:  # noqa: ASYNC110 - it is a list
                await asyncio.sleep(0.005)
    server.answering.set()
    assert await asyncio.gather(*asked) == [("a", 1), ("b", 2), ("b", 3)]


async def test_a_failure_is_told_to_each_who_asked_and_to_nobody_later() -> None:
    server = Server()
    together = Batcher(server.exchange)
    server.failure = CatalogUnavailable("it is away", sqlstate="57P01")
    found = await asyncio.gather(together.ask("a"), together.ask("b"), return_exceptions=True)
    assert [type(error) for error in found] == [CatalogUnavailable] * 2
    assert found[0] is not found[1]
    assert {str(error) for error in found} == {"it is away"}
    assert isinstance(found[0], CatalogUnavailable)
    assert found[0].message == "it is away" and found[0].sqlstate == "57P01"
    assert found[0].__cause__ is server.failure
    server.failure = None
    assert await together.ask("c") == ("c", 2)


async def test_who_goes_away_takes_nobody_along() -> None:
    server = Server()
    together = Batcher(server.exchange)
    server.answering.clear()
    leaving, staying = (asyncio.create_task(together.ask(name)) for name in "ab")
    await turns()
    leaving.cancel()
    await turns()
    server.answering.set()
    assert await staying == ("b", 1)
    with pytest.raises(asyncio.CancelledError):
        await leaving
