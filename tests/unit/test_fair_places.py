"""Places are shared fairly, by a clock that the test moves."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from tests.stack_driver import PATIENCE_SECONDS
from waybill.gateway import fair_places
from waybill.gateway.fair_places import DRIP_BYTES_PER_SECOND, FairPlaces, NoPlace, Place, PlaceLost


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Crowd:
    """Requests that hold places until they are told to leave, or lose them."""

    def __init__(self, count: int) -> None:
        self.clock = Clock()
        self.places = FairPlaces(count, clock=self.clock)
        self.order: list[str] = []
        self.lost: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    def come(self, holder: str, *, rate: int = 0, name: str = "") -> asyncio.Event:
        leave = asyncio.Event()

        async def stay() -> None:
            async with self.places.place(holder, wait_seconds=1e9) as place:
                self.order.append(name or holder)
                place.rate = lambda: float(rate) if self.clock() > place._began + 1 else None  # type: ignore[method-assign]
                try:
                    async with place.revocable():
                        await leave.wait()
                except PlaceLost:
                    self.lost.append(name or holder)

        self.tasks.append(asyncio.create_task(stay()))
        return leave

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def looked(self) -> None:
        await asyncio.sleep(2 * fair_places._LOOK_SECONDS)
        await self.settle()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fair_places, "_LOOK_SECONDS", 0.01)


async def crowd_of(count: int, *holders: str, rate: int = 0) -> tuple[Crowd, list[asyncio.Event]]:
    crowd = Crowd(count)
    leaves = [crowd.come(holder, rate=rate) for holder in holders]
    await crowd.settle()
    return crowd, leaves


async def end(crowd: Crowd) -> None:
    for task in crowd.tasks:
        task.cancel()
    await asyncio.gather(*crowd.tasks, return_exceptions=True)
    assert (crowd.places.free, crowd.places.waiting) == (crowd.places.count, 0)


async def test_one_may_have_all_and_the_next_goes_to_whom_has_fewest() -> None:
    fast = 10 * DRIP_BYTES_PER_SECOND
    crowd, leaves = await crowd_of(8, *["a"] * 8, rate=fast)
    assert crowd.places.held() == {"a": 8}
    for holder in ("a", "a", "b", "c"):
        crowd.come(holder, rate=fast)
    await crowd.settle()
    assert (crowd.places.waiting, crowd.order) == (4, ["a"] * 8)
    for leave in leaves[:2]:
        leave.set()
        await crowd.settle()
    assert crowd.order[8:] == ["b", "c"]
    await end(crowd)


async def test_what_drips_makes_room_immediately_and_only_what_is_needed() -> None:
    crowd, _ = await crowd_of(8, *["a"] * 7)
    crowd.come("a", rate=10 * DRIP_BYTES_PER_SECOND, name="fast a")
    await crowd.settle()
    crowd.clock.now += 1.5
    crowd.come("b")
    crowd.come("b")
    await crowd.looked()
    assert (crowd.lost, crowd.places.held()) == (["a", "a"], {"a": 6, "b": 2})
    await end(crowd)


async def test_nobody_loses_a_place_within_its_share_or_to_itself() -> None:
    crowd, _ = await crowd_of(8, *["a"] * 4, *["b"] * 4)
    crowd.clock.now += 60
    crowd.come("a")
    crowd.come("b")
    await crowd.looked()
    assert (crowd.lost, crowd.places.waiting) == ([], 2)
    crowd.come("c")
    await crowd.looked()
    assert len(crowd.lost) == 1 and crowd.places.held()["c"] == 1
    await end(crowd)


async def test_what_does_not_drip_makes_room_after_a_while() -> None:
    crowd, _ = await crowd_of(8, *["a"] * 8, rate=10 * DRIP_BYTES_PER_SECOND)
    crowd.clock.now += 1.5
    crowd.come("b")
    await crowd.looked()
    assert crowd.lost == []
    crowd.clock.now += 2
    await crowd.looked()
    assert (crowd.lost, crowd.places.held()) == (["a"], {"a": 7, "b": 1})
    await end(crowd)


async def test_some_places_are_left_to_the_others_for_some_seconds() -> None:
    crowd, _ = await crowd_of(8, *["a"] * 8)
    crowd.clock.now += 1.5
    leave = crowd.come("b")
    await crowd.looked()
    crowd.come("a", name="another a")
    leave.set()
    await crowd.looked()
    assert (crowd.places.free, crowd.places.waiting) == (1, 1)
    leave = crowd.come("b")
    await crowd.settle()
    assert crowd.places.held() == {"a": 7, "b": 1}, "without a wait, and nobody lost a place for it"
    assert crowd.lost == ["a"]
    leave.set()
    await crowd.settle()
    crowd.clock.now += 11
    await crowd.looked()
    assert crowd.order[-1] == "another a"
    await end(crowd)


async def test_whoever_waits_too_long_gets_none_and_leaves_no_trace() -> None:
    crowd, _ = await crowd_of(1, "a")

    async def wait() -> None:
        async with crowd.places.place("a", wait_seconds=0.05):
            pass

    waiting = asyncio.create_task(wait())
    with pytest.raises(NoPlace):
        async with asyncio.timeout(PATIENCE_SECONDS):
            await waiting
    given_up = asyncio.create_task(wait())
    await crowd.settle()
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    await end(crowd)


async def test_a_place_that_is_kept_for_now_is_not_lost() -> None:
    clock = Clock()
    places = FairPlaces(2, clock=clock)
    async with AsyncExitStack() as until_done:
        held = [await until_done.enter_async_context(places.place("a", wait_seconds=1)) for _ in range(2)]
        clock.now += 5
        async with held[0].revocable():
            assert held[0].is_revocable
            with held[0].keep_for_now():
                assert not held[0].is_revocable
            assert held[0].is_revocable
        assert not held[0].is_revocable
        with pytest.raises(TimeoutError):
            async with held[1].revocable(), asyncio.timeout(0):
                await asyncio.sleep(PATIENCE_SECONDS)


def test_a_rate_is_that_of_the_last_moments() -> None:
    clock = Clock()
    place = Place("a", clock)
    place.moved(10_000)
    assert place.rate() is None
    clock.now += 1.0
    assert place.rate() == pytest.approx(10_000)
    place.moved(5_000)
    clock.now += 0.5
    assert place.rate() == pytest.approx(10_000)
    clock.now += 0.5
    assert place.rate() == pytest.approx(5_000)
    clock.now += 5
    assert place.rate() == 0.0
