"""One call answers everybody who asks within a moment; one that hangs is waited for only so long."""

from __future__ import annotations

import asyncio

import pytest

from blocks.runtime.freshness import FreshAnswer
from tests.stack_driver import PATIENCE_SECONDS


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Source:
    """Counts its calls; each waits for `open`, and fails with `failure` if there is one."""

    def __init__(self) -> None:
        self.calls = 0
        self.open = asyncio.Event()
        self.open.set()
        self.failure: Exception | None = None

    async def look_up(self) -> int:
        self.calls += 1
        await self.open.wait()
        if self.failure is not None:
            raise self.failure
        return self.calls


async def test_callers_at_the_same_time_and_soon_after_share_one_call() -> None:
    source, clock = Source(), Clock()
    fresh = FreshAnswer(source.look_up, clock=clock)
    assert (
        await asyncio.gather(*(fresh.get(max_age_seconds=2, timeout_seconds=PATIENCE_SECONDS) for _ in range(10)))
        == [1] * 10
    )
    clock.now += 1.9
    assert await fresh.get(max_age_seconds=2, timeout_seconds=PATIENCE_SECONDS) == 1
    clock.now += 0.2
    assert await fresh.get(max_age_seconds=2, timeout_seconds=PATIENCE_SECONDS) == 2


async def test_an_error_reaches_every_waiting_caller_and_is_not_kept() -> None:
    source = Source()
    source.failure = ValueError("away")
    fresh = FreshAnswer(source.look_up)
    found = await asyncio.gather(
        *(fresh.get(max_age_seconds=60, timeout_seconds=PATIENCE_SECONDS) for _ in range(3)), return_exceptions=True
    )
    assert found == [source.failure] * 3 and source.calls == 1
    source.failure = None
    assert await fresh.get(max_age_seconds=60, timeout_seconds=PATIENCE_SECONDS) == 2


async def test_a_call_that_hangs_is_given_up_waiting_for_and_goes_on() -> None:
    source, clock = Source(), Clock()
    source.open.clear()
    fresh = FreshAnswer(source.look_up, clock=clock)
    with pytest.raises(TimeoutError):
        await fresh.get(max_age_seconds=1, timeout_seconds=0.01)
    clock.now += 1  # the time of the call counts, not that of the caller
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(fresh.get(max_age_seconds=1, timeout_seconds=0.5), 0.4)
    assert source.calls == 1
    source.open.set()
    assert await fresh.get(max_age_seconds=1, timeout_seconds=PATIENCE_SECONDS) == 1
