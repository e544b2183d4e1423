"""A bounded number of places for long requests, shared fairly among those who want them.

A holder is an API key or a signed link. One holder may have every place while no other wants one. As soon as another
waits, the next place goes to the waiting holder with the fewest; a holder with more than its fair share loses its
slowest place when that one drips, or when nothing has become free for a while; and a few places are left to the others
for some seconds, so that their next requests need not wait at all.

Knows nothing of HTTP, and runs on one event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

# An upload or download below this rate drips: an old DSL line is faster. Asked only of a holder with more than its
# share, and only while others wait.
DRIP_BYTES_PER_SECOND = 64 * 1024
# Rates are measured over one to two of these. Until the first has passed, a place is too young to be called slow.
_WINDOW_SECONDS = 1.0
# How long the others wait before the slowest place is lost although it does not drip.
_LONGEST_WAIT_SECONDS = 2.0
# For this long after another holder had or wanted a place, `1 / _LEFT_SHARE` of all places are left to the others.
_LEFT_SECONDS = 10.0
_LEFT_SHARE = 8
# How often those that wait look whether a place has become slow.
_LOOK_SECONDS = 0.1
# Holders that are remembered; beyond it the oldest are forgotten, which only costs them a wait.
_REMEMBERED_HOLDERS = 1000


class NoPlace(Exception):
    """No place became free in time."""


class PlaceLost(Exception):
    """The place was given to another holder."""


@dataclass(eq=False)
class Place:
    """A place that *holder* has until the end of its block."""

    holder: str
    clock: Callable[[], float]
    buffered_bytes: int = 0
    """Bytes of content that are held in memory for it; the owner keeps this up to date."""
    is_lost: bool = False
    _began: float = field(init=False)
    _window_began: float = field(init=False)
    _before: int = 0
    _now: int = 0
    _limit: asyncio.Timeout | None = None

    def __post_init__(self) -> None:
        self._began = self._window_began = self.clock()

    def moved(self, count: int) -> None:
        """Note that *count* bytes were received or sent."""
        self._turn()
        self._now += count

    def rate(self) -> float | None:
        """Return the bytes per second of the last moments; None for a place that is too young to have a rate."""
        self._turn()
        now = self.clock()
        if now - self._began < _WINDOW_SECONDS:
            return None
        passed = min(now - self._began, _WINDOW_SECONDS + now - self._window_began)
        return (self._before + self._now) / passed

    def _turn(self) -> None:
        passed = self.clock() - self._window_began
        if passed >= _WINDOW_SECONDS:
            self._before = self._now if passed < 2 * _WINDOW_SECONDS else 0
            self._now, self._window_began = 0, self.clock() - passed % _WINDOW_SECONDS

    @contextmanager
    def keep_for_now(self) -> Generator[None]:
        """Do not lose the place within this block of a `revocable` one."""
        limit, self._limit = self._limit, None
        try:
            yield
        finally:
            self._limit = limit

    @asynccontextmanager
    async def revocable(self) -> AsyncGenerator[None]:
        """Allow the place to be taken away within this block, which then raises `PlaceLost`."""
        try:
            async with asyncio.timeout(None) as self._limit:
                yield
        except TimeoutError:
            if self.is_lost:
                raise PlaceLost from None
            raise
        finally:
            self._limit = None

    @property
    def is_revocable(self) -> bool:
        """Whether it can be taken away now."""
        return self._limit is not None and not self.is_lost

    def revoke(self) -> None:
        """Take the place away: its block ends as soon as the event loop gets to it."""
        self.is_lost = True
        if self._limit is not None:
            self._limit.reschedule(0.0)


@dataclass(eq=False)
class _Waiting:
    since: float
    granted: asyncio.Future[Place]


class FairPlaces:
    """*count* places. Not thread-safe."""

    def __init__(self, count: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.count = count
        self._clock = clock
        self._held: dict[str, set[Place]] = {}
        self._waiting: dict[str, deque[_Waiting]] = {}
        self._leaving = 0
        self._seen: dict[str, float] = {}
        self._next_look: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def place(self, holder: str, *, wait_seconds: float) -> AsyncGenerator[Place]:
        """Hold a place for the block. Raises `NoPlace` when there is none within *wait_seconds*."""
        place = await self._take(holder, wait_seconds)
        try:
            yield place
        finally:
            self._release(place)

    @property
    def free(self) -> int:
        """How many places are not held."""
        return self.count - sum(map(len, self._held.values()))

    @property
    def waiting(self) -> int:
        """How many requests wait for a place."""
        return sum(map(len, self._waiting.values()))

    @property
    def buffered_bytes(self) -> int:
        """How many bytes of content all places hold in memory."""
        return sum(place.buffered_bytes for places in self._held.values() for place in places)

    def held(self) -> dict[str, int]:
        """Return how many places each holder has, the largest first."""
        return dict(sorted(((name, len(places)) for name, places in self._held.items()), key=lambda one: -one[1]))

    async def _take(self, holder: str, wait_seconds: float) -> Place:
        self._note(holder)
        waiting = _Waiting(self._clock(), asyncio.get_running_loop().create_future())
        self._waiting.setdefault(holder, deque()).append(waiting)
        self._look()
        try:
            return await asyncio.wait_for(asyncio.shield(waiting.granted), wait_seconds)
        except BaseException as error:
            if waiting.granted.done():  # while this request ended
                self._release(waiting.granted.result())
            else:
                self._waiting[holder].remove(waiting)
                self._forget_if_none_wait(holder)
            if isinstance(error, TimeoutError):
                raise NoPlace from None
            raise

    def _release(self, place: Place) -> None:
        if place.is_lost:
            self._leaving -= 1
        else:
            self._give_up(place)
        self._note(place.holder)
        self._look()

    def _give_up(self, place: Place) -> None:
        held = self._held[place.holder]
        held.discard(place)
        if not held:
            del self._held[place.holder]

    def _note(self, holder: str) -> None:
        self._seen.pop(holder, None)
        self._seen[holder] = self._clock()  # the newest is last
        if len(self._seen) > _REMEMBERED_HOLDERS:
            del self._seen[next(iter(self._seen))]

    def _number(self, holder: str) -> int:
        return len(self._held.get(holder, ()))

    def _forget_if_none_wait(self, holder: str) -> None:
        if not self._waiting[holder]:
            del self._waiting[holder]

    def _look(self) -> None:
        """Give and take places, and again in a moment while some wait: a place may have become slow."""
        self._grant()
        while self._displace():
            self._grant()
        if self._waiting and self._next_look is None:
            self._next_look = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look_again)

    def _look_again(self) -> None:
        self._next_look = None
        self._look()

    def _grant(self) -> None:
        """Give free places to those that wait, first to the holder with the fewest, then in the order of arrival."""
        now = self._clock()
        recent = {one for one, at in self._seen.items() if now - at < _LEFT_SECONDS} if self._waiting else set[str]()
        while self._waiting and (free := self.free) > 0:
            entitled = [holder for holder in self._waiting if free > self._left_to_others(holder, recent)]
            if not entitled:
                return
            holder = min(entitled, key=lambda one: (self._number(one), self._waiting[one][0].since))
            waiting = self._waiting[holder].popleft()
            self._forget_if_none_wait(holder)
            place = Place(holder, self._clock)
            self._held.setdefault(holder, set()).add(place)
            waiting.granted.set_result(place)

    def _left_to_others(self, holder: str, recent: set[str]) -> int:
        holders = len(recent | {holder})
        is_within_share = self._number(holder) < max(1, self.count // holders)
        return 0 if is_within_share or holders == 1 else self.count // _LEFT_SHARE

    def _displace(self) -> bool:
        """Take a place from a holder with more than its share, if another waits and has less. Return whether it did.

        The place is free immediately. What its request leaves behind is still being cleared away, so only some may be
        taken at a time.
        """
        share = max(1, self.count // max(1, len({*self._held, *self._waiting})))
        poor = [holder for holder in self._waiting if self._number(holder) < share]
        if not poor or self.free > 0 or self._leaving >= max(1, self.count // _LEFT_SHARE):
            return False
        largest = max(self._held, key=self._number)
        if self._number(largest) <= share:
            return False
        rates = [
            (rate, place) for place in self._held[largest] if place.is_revocable and (rate := place.rate()) is not None
        ]
        slowest = min(rates, key=lambda one: one[0], default=None)
        longest = self._clock() - min(self._waiting[holder][0].since for holder in poor)
        if slowest is None or (slowest[0] >= DRIP_BYTES_PER_SECOND and longest < _LONGEST_WAIT_SECONDS):
            return False
        slowest[1].revoke()
        self._leaving += 1
        self._give_up(slowest[1])
        return True
