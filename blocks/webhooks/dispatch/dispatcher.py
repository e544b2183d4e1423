"""The dispatcher: has every delivery that is due sent, by feeding the lanes of the endpoints that it has leases on.

Any number of dispatchers work on one database. Each endpoint belongs to one of them at a time, by a lease in the
database's time; what a killed one has left is sent by another when the lease lapses. Nothing is lost while the database
is away: what came of attempts is kept, nothing is begun without a lease, and everything goes on when it is back.
Decides nothing about single deliveries: that is `blocks.webhooks.dispatch.retry_policy`. Never imports Prefect.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random as chance
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from uuid import UUID

from blocks.catalog import Catalog, Connection
from blocks.errors import Transient, WaybillError
from blocks.runtime.background_tasks import first_of, running
from blocks.runtime.outage_log import OutageLog
from blocks.webhooks.dispatch.endpoint_worker import Client, EndpointWorkerParts, lease_clock
from blocks.webhooks.dispatch.leases import Leases
from blocks.webhooks.dispatch.limits import Limits
from blocks.webhooks.dispatch.listener import Listener
from blocks.webhooks.dispatch.outcome_writer import OutcomeWriter
from blocks.webhooks.dispatch.signing_keys import SigningKeys
from blocks.webhooks.outbox import deliveries
from blocks.webhooks.outbox.deliveries import Outcome
from blocks.webhooks.secrets import SecretBox
from blocks.webhooks.send.address import AddressGuard
from blocks.webhooks.send.client import EndpointClient

_LOG = logging.getLogger("waybill.delivery")

_LOOK_WHILE_DRAINING_SECONDS = 0.05
# An endpoint that says nothing for longer is not waited for by somebody who wants to go home.
_WORTH_WAITING_SECONDS = 1.0


class Dispatcher:
    """Sends until it is stopped. *schedule* holds the pause before each attempt; *client_for* makes senders by URL."""

    def __init__(
        self,
        catalog: Catalog,
        box: SecretBox,
        *,
        guard: AddressGuard,
        schedule: Sequence[timedelta],
        database_url: str,
        client_for: Callable[[str], Client] | None = None,
        limits: Limits | None = None,
        clock: Callable[[], float] = lease_clock,
        random: Callable[[], float] = chance.random,
    ) -> None:
        self._catalog = catalog
        self._limits = limits or Limits()
        self._first_pause = schedule[0]
        self._clock = clock
        # Woken endpoints without a lane.
        self._strangers: set[UUID] = set()
        self._woken = asyncio.Event()
        self._poll_at = self._acquire_at = 0.0
        self._settler = OutcomeWriter(catalog, self._limits, self._on_settled)
        self._listener = Listener(database_url, self._limits, self._on_due)
        parts = EndpointWorkerParts(
            client_for=client_for or partial(EndpointClient, guard=guard),
            outcome_writer=self._settler,
            schedule=schedule,
            limits=self._limits,
            clock=clock,
            random=random,
            wake=self._on_due,
        )
        self._leases = Leases(catalog, SigningKeys(box), parts)
        self._lanes = self._leases.lanes
        self._asked_to_stop = asyncio.Event()
        self._stop_within = timedelta(0)
        self._ended = asyncio.Event()
        self._ended.set()

    # Life -------------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Send what is due until stopped or cancelled; survives a database that goes away.

        Raises `InvalidSettings` when the database cannot be used any more.
        """
        self._ended.clear()
        try:
            async with running(self._settler.run(), self._leases.keep()) as lasting:
                async with running(self._feed(), self._listener.run()) as feeding:
                    await first_of(self._asked_to_stop, [*lasting, *feeding])
                await self._let_attempts_end()
        finally:
            await self._give_back()
            self._ended.set()

    async def stop(self, *, within: timedelta) -> None:
        """Begin nothing more, give attempts under way the time *within*, write what came of them, and let others go on.

        Those that take longer are broken off and not counted. Returns when `run` is about to.
        """
        self._stop_within = within
        self._asked_to_stop.set()
        await self._ended.wait()

    async def drained(self, *, within: timedelta) -> bool:
        """Wait until nothing is due any more at endpoints that are not held, at most *within*; whether that is so.

        What becomes due in that time is waited for too.
        """

        async def is_done(connection: Connection, left: timedelta) -> bool:
            return not await deliveries.has_due(connection, within=left, first_pause=self._first_pause)

        return await self._until(is_done, within)

    async def wait_until_idle(self, *, within: timedelta, task_id: UUID | None = None) -> bool:
        """Wait until every endpoint that takes what it is sent has all that is due now, at most *within*.

        One that fails or hangs, or that another dispatcher serves, is not waited for. With *task_id* only the events of
        that run count. Whether it came to that.
        """

        async def is_done(connection: Connection, _: timedelta) -> bool:
            hanging = [one for one, lane in self._lanes.items() if lane.silent_seconds > _WORTH_WAITING_SECONDS]
            return not await deliveries.has_deliverable(
                connection, self._leases.owner, without=hanging, task_id=task_id, first_pause=self._first_pause
            )

        return await self._until(is_done, within)

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
            await asyncio.sleep(min(_LOOK_WHILE_DRAINING_SECONDS, left))

    async def _let_attempts_end(self) -> None:
        for lane in self._lanes.values():
            lane.shut()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._stop_within.total_seconds()):
                for lane in self._lanes.values():
                    await lane.wait_for_attempts()

    async def _give_back(self) -> None:
        """Break off what is still under way, write the rest, and let others send."""
        await asyncio.gather(*(lane.aclose() for lane in self._lanes.values()))
        try:
            async with asyncio.timeout(self._limits.end_seconds):
                await self._settler.flush()
                await self._leases.give_back_all()
        except (WaybillError, TimeoutError) as exc:
            _LOG.warning("ended without the database, leases lapse by themselves: %s", str(exc) or "no answer")

    # Feeding ----------------------------------------------------------------------------------------------------------

    def _on_due(self, endpoint_id: UUID | None) -> None:
        lane = self._lanes.get(endpoint_id) if endpoint_id is not None else None
        if lane is not None:
            lane.may_have_more = True
        elif endpoint_id is not None:
            self._strangers.add(endpoint_id)
        else:
            self._poll_at = 0.0
        self._woken.set()

    def _on_settled(self, outcomes: Sequence[tuple[UUID, Outcome]]) -> None:
        for endpoint_id, outcome in outcomes:
            lane = self._lanes.get(endpoint_id)
            if lane is not None:
                lane.settled(outcome.delivery_id, outcome.pause if outcome.state == "pending" else None)
                if lane.is_through:
                    self._woken.set()

    async def _feed(self) -> None:
        outage = OutageLog(_LOG, "sending")
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, self._next_look() - self._clock())):
                    await self._woken.wait()
            self._woken.clear()
            try:
                await self._feed_once()
            except Transient as exc:
                outage.failed(exc)
                # What a failed question was about is asked again with everything else.
                self._on_due(None)
                await asyncio.sleep(self._limits.retry_seconds)
            else:
                outage.succeeded()
                await asyncio.sleep(self._limits.feed_pause_seconds)

    def _next_look(self) -> float:
        return min(self._poll_at, self._acquire_at) if self._strangers else self._poll_at

    async def _feed_once(self) -> None:
        now = self._clock()
        is_poll = now >= self._poll_at
        if is_poll:
            self._poll_at = now + self._limits.poll_seconds
            self._leases.close_idle()
        await self._leases.give_back()
        if is_poll or (self._strangers and now >= self._acquire_at):
            self._acquire_at = now + self._limits.acquire_pause_seconds
            strangers, self._strangers = self._strangers, set()
            await self._leases.acquire(None if is_poll else strangers)
        await self._read_due(is_poll=is_poll)

    async def _read_due(self, *, is_poll: bool) -> None:
        hungry = {one: lane for one, lane in self._lanes.items() if (lane.may_have_more or is_poll) and lane.room}
        if not hungry:
            return
        room = {one: lane.room for one, lane in hungry.items()}
        for lane in hungry.values():
            lane.may_have_more = False
        busy = [delivery_id for lane in hungry.values() for delivery_id in lane.busy]
        try:
            async with self._catalog.connection() as connection:
                due = await deliveries.due(
                    connection, self._leases.owner, room, busy=busy, first_pause=self._first_pause
                )
        except BaseException:
            for lane in hungry.values():
                lane.may_have_more = True
            raise
        found: dict[UUID, list[deliveries.DueDelivery]] = {}
        for one in due:
            found.setdefault(one.endpoint_id, []).append(one)
        for endpoint_id, mine in found.items():
            hungry[endpoint_id].may_have_more |= len(mine) == room[endpoint_id]
            hungry[endpoint_id].take(mine)
