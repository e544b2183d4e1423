"""The end of the local Prefect server: what it has accepted is written first, as far as that is possible."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import repeat

import pytest
import uvicorn

from waybill.stack import prefect_process
from waybill.stack.prefect_process import DrainingServer


async def looks_before_the_end(monkeypatch: pytest.MonkeyPatch, depths: Iterable[int]) -> int:
    """How often a server that is asked to end looks at its queues, which have these depths one after another."""
    looks = 0

    def counted() -> Iterator[int]:
        nonlocal looks
        for depth in depths:
            looks += 1
            yield depth

    monkeypatch.setattr(prefect_process, "_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(prefect_process, "_waiting_messages", counted().__next__)
    server = DrainingServer(uvicorn.Config("no application"))
    server.should_exit = True
    await server.main_loop()
    return looks


async def test_queues_that_are_empty_are_looked_at_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await looks_before_the_end(monkeypatch, [0, 0, 1, 0, 0, 0]) == 6


async def test_a_database_that_stalls_for_seconds_loses_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    stalled = [7] * 95
    assert await looks_before_the_end(monkeypatch, [*stalled, 3, *[2] * 50, 0, 0, 0]) == 95 + 1 + 50 + 3


@pytest.mark.parametrize("depths", [repeat(7), iter(range(10_000, 0, -1))], ids=["stuck", "too many"])
async def test_what_cannot_be_written_is_not_waited_for_without_end(
    monkeypatch: pytest.MonkeyPatch, depths: Iterable[int]
) -> None:
    assert 100 < await looks_before_the_end(monkeypatch, depths) <= 200
