"""A global concurrency limit of Prefect, respected by the tasks of one event loop together.

Prefect counts slots for all machines. To ask it for each small file or request would cost more than the work, so a
process takes several slots with one lease and shares them among its tasks (`GlobalLimit.slots`). A lease that is idle
is given back, as is one that has been kept for long while others may wait. One whose process has died runs out.

Where Prefect has no such limit, it is asked once a minute at most. A limit whose slots decay is a rate: what was taken
is used once, and not given back.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections import deque
from collections.abc import AsyncGenerator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Self
from uuid import UUID

import httpx
from prefect import get_client
from prefect.client.schemas.objects import ConcurrencyLeaseHolder
from prefect.client.schemas.responses import GlobalConcurrencyLimitResponse
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError, concurrency, rate_limit
from prefect.exceptions import ObjectNotFound, PrefectException

from blocks.errors import PrefectUnavailable, WaybillError
from blocks.runs.prefect_api import prefect_problem, while_server_restarts

# How old what is known of the limit may be: one that is made during a run is noticed this soon.
FRESH_SECONDS = 60.0
# The shortest that Prefect's server grants; the slots of a process that was killed are free after it.
LEASE_SECONDS = 60.0
# Others wait this long at most for a lease that is in use all the time, and as long as one piece of work takes.
KEPT_SECONDS = 30.0
# Between two pieces of work that follow each other.
IDLE_SECONDS = 2.0
# While all slots are taken. Prefect's own pause grows to half a minute, in which slots would stay free.
ASK_AGAIN_SECONDS = 1.0
# As long as other calls wait for a Prefect server that does not answer.
PATIENCE_SECONDS = 60.0


@dataclass(eq=False)
class _Lease:
    slots: int
    free: int
    over: asyncio.Event = field(default_factory=asyncio.Event)
    is_closing: bool = False
    uses: int = 0
    used: int = 0

    def use(self) -> None:
        self.free -= 1
        self.used += 1
        self.uses += 1


class GlobalLimit:
    """The limit called *name*, as one run respects it. Open it with `open`, in the flow of the run."""

    def __init__(self, name: str, run_id: UUID, *, group: int, leases: int, whole: bool) -> None:
        self.name = name
        self._holder = ConcurrencyLeaseHolder(type="flow_run", id=run_id)
        self._most_slots, self._most_leases, self._whole = group, leases, whole
        self._limit: GlobalConcurrencyLimitResponse | None = None
        self._looked_at: float | None = None
        self._look = asyncio.Lock()
        self._one_asks = asyncio.Lock()
        self._leases: list[_Lease] = []
        self._waiting: deque[asyncio.Future[_Lease | None]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        # Tasks that hold a lease or ask for one, and those that ask.
        self._holders = self._asking = 0
        self._is_closed = False
        self._ask_at = 0.0
        # That of the flow: leases outlive the task in which they are first needed, and its context gives leases back.
        self._context = contextvars.copy_context()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, name: str, run_id: UUID, *, group: int, leases: int, whole: bool = False
    ) -> AsyncGenerator[Self]:
        """Respect the limit for the length of the block, after which all slots are given back.

        A lease has *group* slots, less where the limit is small; up to *leases* are held. With *whole*, a use has all
        slots of a lease, otherwise one.
        """
        limit = cls(name, run_id, group=group, leases=leases, whole=whole)
        try:
            yield limit
        finally:
            limit._is_closed = True
            for task in limit._tasks:
                task.cancel()
            await asyncio.gather(*limit._tasks, return_exceptions=True)

    @asynccontextmanager
    async def slots(self) -> AsyncGenerator[int | None]:
        """Wait for slots, and hold them for the block: how many, or None where no limit counts what is used at a time.

        Raises `PrefectUnavailable` when Prefect cannot be asked for a minute.
        """
        lease = await self._take() if await self._known() is not None else None
        if lease is None:
            yield None
            return
        try:
            yield None if self._is_rate else lease.slots if self._whole else 1
        finally:
            self._give_back(lease)

    @property
    def _is_rate(self) -> bool:
        return self._limit is not None and self._limit.slot_decay_per_second > 0

    @property
    def _group(self) -> int:
        """How many slots a lease has: as many as wanted, or so many that the limit is a multiple of them, about."""
        limit = max(1, self._limit.limit) if self._limit is not None else 1
        return limit // -(-limit // self._most_slots)

    async def _known(self) -> GlobalConcurrencyLimitResponse | None:
        """Return the limit if Prefect has one that is active, as of a minute ago at most."""
        now = asyncio.get_running_loop().time
        async with self._look:
            if self._looked_at is None:
                await self._read()
            elif now() - self._looked_at >= FRESH_SECONDS:
                # No use waits for it. Without an answer, what was known holds.
                self._looked_at = now()
                self._start(self._look_again())
        return self._limit

    async def _look_again(self) -> None:
        with suppress(PrefectUnavailable):
            await self._read()

    async def _read(self) -> None:
        try:
            async with get_client() as client:
                found = await while_server_restarts(lambda: client.read_global_concurrency_limit_by_name(self.name))
        except ObjectNotFound:
            found = None
        except (httpx.HTTPError, PrefectException) as exc:
            raise PrefectUnavailable(prefect_problem(exc)) from exc
        self._limit = found if found is not None and found.active else None
        self._looked_at = asyncio.get_running_loop().time()

    async def _take(self) -> _Lease | None:
        """Return a lease with room for one more use, or None when the limit has been removed meanwhile."""
        for lease in self._leases:
            if lease.free and not lease.is_closing and not self._waiting:
                lease.use()
                return lease
        future: asyncio.Future[_Lease | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._ask()
        try:
            return await future
        except asyncio.CancelledError:
            with suppress(ValueError):
                self._waiting.remove(future)
            if not future.cancelled() and (lease := future.result()) is not None:
                self._give_back(lease)
            raise

    def _give_back(self, lease: _Lease) -> None:
        lease.used -= 1
        if not self._is_rate:
            lease.free += 1
        self._hand_out(lease)
        if lease.used:
            return
        if lease.is_closing:
            lease.over.set()
        else:
            asyncio.get_running_loop().call_later(IDLE_SECONDS, self._end_if_idle, lease, lease.uses)

    def _end_if_idle(self, lease: _Lease, uses: int) -> None:
        if lease.uses == uses:
            lease.is_closing = True
            lease.over.set()

    def _hand_out(self, lease: _Lease) -> None:
        while self._waiting and lease.free and not lease.is_closing:
            future = self._waiting.popleft()
            if not future.done():
                lease.use()
                future.set_result(lease)

    def _ask(self) -> None:
        """Let as many tasks ask for leases as are needed for all who wait."""
        a_lease = 1 if self._whole else self._group
        wanted = -(-len(self._waiting) // a_lease)
        limit = self._limit.limit if self._limit is not None else 1
        most = min(self._most_leases, max(1, limit // self._group))
        while self._asking < wanted and self._holders < most:
            self._asking += 1
            self._holders += 1
            self._start(self._hold())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, context=self._context.copy())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _hold(self) -> None:
        """Hold one lease from when it is granted until it is of no use."""
        lease: _Lease | None = None
        try:
            async with AsyncExitStack() as stack:
                try:
                    async with self._one_asks:
                        lease = await self._granted(stack)
                finally:
                    self._asking -= 1
                if lease is None:
                    self._release(None)
                    return
                self._leases.append(lease)
                self._hand_out(lease)
                if not lease.used:  # who waited was cancelled
                    return
                if not self._is_rate:
                    await self._until_over(lease)
        except WaybillError as error:
            self._release(error)
        finally:
            if lease is not None:
                # Also one that Prefect has not renewed: what uses it goes on, and nothing further does.
                lease.is_closing = True
                with suppress(ValueError):
                    self._leases.remove(lease)
            self._holders -= 1
            if self._waiting and not self._is_closed:
                self._ask()

    async def _granted(self, stack: AsyncExitStack) -> _Lease | None:
        """Return a lease that ends with *stack*; None when it is not wanted any more, or there is no limit."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._ask_at - loop.time()))
        give_up_at = loop.time() + PATIENCE_SECONDS
        while self._limit is not None and any(not one.done() for one in self._waiting):
            slots = self._group
            try:
                if self._is_rate:
                    slots = min(slots, len(self._waiting))
                    await rate_limit(self.name, occupy=slots, strict=True)
                else:
                    await stack.enter_async_context(
                        concurrency(
                            self.name,
                            occupy=slots,
                            max_retries=0,
                            lease_duration=LEASE_SECONDS,
                            strict=True,
                            holder=self._holder,
                            raise_on_lease_renewal_failure=True,
                        )
                    )
                return _Lease(slots=slots, free=1 if self._whole and not self._is_rate else slots)
            except ConcurrencySlotAcquisitionError as exc:
                if _is_full(exc):
                    give_up_at = loop.time() + PATIENCE_SECONDS
                elif _is_changed(exc):
                    await self._read()
                elif loop.time() >= give_up_at:
                    cause = exc.__cause__
                    raise PrefectUnavailable(prefect_problem(cause if isinstance(cause, Exception) else exc)) from exc
            await asyncio.sleep(ASK_AGAIN_SECONDS * random.uniform(0.75, 1.25))  # noqa: S311 (spreads requests)
        return None

    def _release(self, error: WaybillError | None) -> None:
        """Let all who wait go on without a slot, since there is no limit, or fail."""
        if error is None and self._limit is not None:  # it was not wanted any more
            return
        while self._waiting:
            future = self._waiting.popleft()
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

    async def _until_over(self, lease: _Lease) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(KEPT_SECONDS):
                    await lease.over.wait()
                    return
            if await self._others_may_wait():
                break
        self._ask_at = asyncio.get_running_loop().time() + 1.5 * ASK_AGAIN_SECONDS
        lease.is_closing = True
        if lease.used:
            await lease.over.wait()

    async def _others_may_wait(self) -> bool:
        """Return whether all slots are taken, or the limit is another one now."""
        before = self._limit
        try:
            await self._read()
        except PrefectUnavailable:
            return False
        found = self._limit
        if found is None or before is None or found.limit != before.limit:
            return True
        return found.active_slots + self._group > found.limit


def _status(error: Exception) -> int | None:
    cause = error.__cause__
    return cause.response.status_code if isinstance(cause, httpx.HTTPStatusError) else None


def _is_full(error: Exception) -> bool:
    return _status(error) == HTTPStatus.LOCKED


def _is_changed(error: Exception) -> bool:
    """Return whether the limit is smaller now than what was asked for, of another kind, or gone."""
    return _status(error) == HTTPStatus.UNPROCESSABLE_ENTITY or error.__cause__ is None
