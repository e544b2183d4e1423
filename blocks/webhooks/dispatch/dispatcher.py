"""The dispatcher: gets every due delivery sent, by feeding the workers of the endpoints that it has leased.

Any number of dispatchers work on one database. A lease gives each endpoint to one of them at a time; when a dispatcher
is killed, its leases lapse and another one goes on. A database outage loses nothing: outcomes are kept, nothing is sent
without a lease, and work resumes afterwards. Never imports Prefect.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random as chance
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

from blocks.catalog import Catalog, Connection
from blocks.errors import Transient, WaybillError
from blocks.runtime.background_tasks import end_tasks, first_of, running
from blocks.runtime.outage_log import OutageLog
from blocks.settings import Settings
from blocks.webhooks.dispatch.endpoint_worker import Client, ClientFor, EndpointWorkerParts, lease_clock
from blocks.webhooks.dispatch.leases import Leases, SigningKeys
from blocks.webhooks.dispatch.limits import Limits
from blocks.webhooks.dispatch.listener import Listener
from blocks.webhooks.dispatch.outcome_writer import OutcomeWriter
from blocks.webhooks.outbox import deliveries
from blocks.webhooks.outbox.deliveries import Outcome
from blocks.webhooks.secrets import SecretBox
from blocks.webhooks.send.address import AddressGuard, guard_of
from blocks.webhooks.send.client import EndpointClient

ResultT = TypeVar("ResultT")

_LOG = logging.getLogger("waybill.delivery")

_CHECK_SECONDS = 0.05
# A command that is about to end does not wait for an endpoint that has been silent for longer than this part of its
# time: a second of the usual ten.
_WORTH_WAITING_PART = 0.1


class Dispatcher:
    """Sends until stopped. *schedule* holds the pause before each attempt; *client_for* makes the client of a URL.

    *loopback_guard* is for endpoints that the operator has allowed to be on this machine, *guard* for all others.
    """

    def __init__(
        self,
        catalog: Catalog,
        box: SecretBox,
        *,
        guard: AddressGuard,
        loopback_guard: AddressGuard | None = None,
        schedule: Sequence[timedelta],
        database_url: str,
        client_for: ClientFor | None = None,
        limits: Limits | None = None,
        clock: Callable[[], float] = lease_clock,
        random: Callable[[], float] = chance.random,
    ) -> None:
        self._catalog = catalog
        self._limits = limits or Limits()
        self._first_pause = schedule[0]
        self._clock = clock
        # Endpoints with something due that have no lease yet.
        self._unleased: set[UUID] = set()
        self._woken = asyncio.Event()
        self._poll_at = self._acquire_at = 0.0
        self._outcome_writer = OutcomeWriter(catalog, self._limits, self._on_written)
        self._listener = Listener(database_url, self._limits, self._on_due)
        parts = EndpointWorkerParts(
            client_for=client_for or _clients(guard, loopback_guard or guard),
            outcome_writer=self._outcome_writer,
            schedule=schedule,
            limits=self._limits,
            clock=clock,
            random=random,
            wake=self._on_due,
        )
        self._leases = Leases(catalog, SigningKeys(box), parts)
        self._workers = self._leases.workers
        self._asked_to_stop = asyncio.Event()
        self._stop_within = timedelta(0)
        self._ended = asyncio.Event()
        self._ended.set()

    @classmethod
    def of(cls, settings: Settings, catalog: Catalog) -> Dispatcher:
        """Make the dispatcher that *settings* describe."""
        return cls(
            catalog,
            SecretBox.of(settings),
            guard=guard_of(settings),
            loopback_guard=guard_of(settings, loopback_allowed=True),
            schedule=settings.webhook_schedule,
            database_url=settings.required_database_url,
        )

    # Lifetime ---------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Send what is due until stopped or cancelled; survives database outages.

        Raises `InvalidSettings` when the database cannot be used any more.
        """
        self._ended.clear()
        try:
            async with running(self._outcome_writer.run(), self._leases.renew_forever()) as lasting:
                async with running(self._feed(), self._listener.run()) as feeding:
                    await first_of(self._asked_to_stop, [*lasting, *feeding])
                await self._wait_for_attempts()
        finally:
            await self._release_all()
            self._ended.set()

    async def run_until(self, end: Coroutine[Any, Any, ResultT], *, last_attempts: timedelta) -> ResultT:
        """Send what is due until *end* returns, then stop, with *last_attempts* for attempts in flight.

        Returns the result of *end*. Raises its error, or that of `run`, which then cancels *end*.
        """
        loop = asyncio.get_running_loop()
        sending, ending = loop.create_task(self.run()), loop.create_task(end)
        try:
            await asyncio.wait([sending, ending], return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                await self.stop(within=last_attempts)
            await sending
            return await ending
        finally:
            # Cancelled once: the release of the leases, with which `run` ends, must not be interrupted.
            sending.cancel()
            await end_tasks([ending])
            await asyncio.gather(sending, return_exceptions=True)

    async def stop(self, *, within: timedelta) -> None:
        """Start no more attempts, give those in flight the time *within*, write their outcomes, and release the leases.

        Attempts that take longer are cancelled and not counted. Returns when `run` is about to.
        """
        self._stop_within = within
        self._asked_to_stop.set()
        await self._ended.wait()

    async def wait_until_drained(self, *, within: timedelta) -> bool:
        """Wait until nothing is due at endpoints that are enabled and not held, at most *within*; whether that is so.

        Deliveries that become due in that time count too.
        """

        async def is_drained(connection: Connection, left: timedelta) -> bool:
            return not await deliveries.has_due(connection, within=left, first_pause=self._first_pause)

        return await self._until(is_drained, within)

    async def wait_until_idle(self, *, within: timedelta, task_id: UUID | None = None) -> bool:
        """Wait until every healthy endpoint has received everything that is due now, at most *within*; whether so.

        Endpoints that fail or hang, or have another dispatcher, do not count; with *task_id* only that run's events do.
        """
        worth_waiting_seconds = _WORTH_WAITING_PART * within.total_seconds()

        async def is_idle(connection: Connection, _: timedelta) -> bool:
            hanging = [one for one, worker in self._workers.items() if worker.silent_seconds > worth_waiting_seconds]
            return not await deliveries.has_deliverable(
                connection, self._leases.owner, without=hanging, task_id=task_id, first_pause=self._first_pause
            )

        return await self._until(is_idle, within)

    async def _until(self, is_done: Callable[[Connection, timedelta], Awaitable[bool]], within: timedelta) -> bool:
        ends = self._clock() + within.total_seconds()
        while True:
            left = max(0.0, ends - self._clock())
            with contextlib.suppress(Transient):
                async with self._catalog.connection() as connection:
                    done = await is_done(connection, timedelta(seconds=left))
                if done:
                    return True
            if self._clock() >= ends:
                return False
            await asyncio.sleep(min(_CHECK_SECONDS, left))

    async def _wait_for_attempts(self) -> None:
        for worker in self._workers.values():
            worker.shut()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._stop_within.total_seconds()):
                for worker in self._workers.values():
                    await worker.wait_for_attempts()

    async def _release_all(self) -> None:
        """Cancel attempts that are still in flight, write the outcomes of the others, and release the leases."""
        await asyncio.gather(*(worker.aclose() for worker in self._workers.values()))
        try:
            async with asyncio.timeout(self._limits.end_seconds):
                await self._outcome_writer.flush()
                await self._leases.release_all()
        except (WaybillError, TimeoutError) as exc:
            _LOG.warning("ended without the database, leases lapse by themselves: %s", str(exc) or "no answer")

    # Feeding ----------------------------------------------------------------------------------------------------------

    def _on_due(self, endpoint_id: UUID | None) -> None:
        worker = self._workers.get(endpoint_id) if endpoint_id is not None else None
        if worker is not None:
            worker.may_have_more = True
        elif endpoint_id is not None:
            self._unleased.add(endpoint_id)
        else:
            self._poll_at = 0.0
        self._woken.set()

    def _on_written(self, outcomes: Sequence[tuple[UUID, Outcome]]) -> None:
        for endpoint_id, outcome in outcomes:
            worker = self._workers.get(endpoint_id)
            if worker is not None:
                worker.outcome_written(outcome.delivery_id, outcome.pause if outcome.state == "pending" else None)
                if worker.is_finished:
                    self._woken.set()

    async def _feed(self) -> None:
        outage = OutageLog(_LOG, "sending")
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, self._next_query_at() - self._clock())):
                    await self._woken.wait()
            self._woken.clear()
            try:
                await self._feed_once()
            except Transient as exc:
                outage.failed(exc)
                # The next poll covers what the failed queries were about.
                self._on_due(None)
                await asyncio.sleep(self._limits.retry_seconds)
            else:
                outage.succeeded()
                await asyncio.sleep(self._limits.feed_pause_seconds)

    def _next_query_at(self) -> float:
        return min(self._poll_at, self._acquire_at) if self._unleased else self._poll_at

    async def _feed_once(self) -> None:
        now = self._clock()
        is_poll = now >= self._poll_at
        if is_poll:
            self._poll_at = now + self._limits.poll_seconds
            self._leases.shut_idle()
        await self._leases.release_finished()
        if is_poll or (self._unleased and now >= self._acquire_at):
            self._acquire_at = now + self._limits.acquire_pause_seconds
            unleased, self._unleased = self._unleased, set()
            await self._leases.acquire(None if is_poll else unleased)
        await self._read_due(is_poll=is_poll)

    async def _read_due(self, *, is_poll: bool) -> None:
        hungry = {
            one: worker for one, worker in self._workers.items() if (worker.may_have_more or is_poll) and worker.room
        }
        if not hungry:
            return
        room = {one: worker.room for one, worker in hungry.items()}
        for worker in hungry.values():
            worker.may_have_more = False
        busy = [delivery_id for worker in hungry.values() for delivery_id in worker.busy]
        try:
            async with self._catalog.connection() as connection:
                due = await deliveries.due(
                    connection, self._leases.owner, room, busy=busy, first_pause=self._first_pause
                )
        except BaseException:
            for worker in hungry.values():
                worker.may_have_more = True
            raise
        by_endpoint: dict[UUID, list[deliveries.DueDelivery]] = {}
        for one in due:
            by_endpoint.setdefault(one.endpoint_id, []).append(one)
        for endpoint_id, its_due in by_endpoint.items():
            hungry[endpoint_id].may_have_more |= len(its_due) == room[endpoint_id]
            hungry[endpoint_id].take(its_due)


def _clients(guard: AddressGuard, loopback_guard: AddressGuard) -> ClientFor:
    def client_for(url: str, loopback_allowed: bool) -> Client:
        return EndpointClient(url, guard=loopback_guard if loopback_allowed else guard)

    return client_for
