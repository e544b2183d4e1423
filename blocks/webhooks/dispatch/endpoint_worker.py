"""The worker of one leased endpoint: its queue and its connections.

Owns the limit of concurrent attempts, the order (oldest first), and the check of the lease before each send, again once
there is a connection: a process that was suspended and resumes must not send what another dispatcher owns by then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

from blocks.json_cleaning import storable_text
from blocks.runtime.background_tasks import end_tasks
from blocks.webhooks.dispatch.health import Health
from blocks.webhooks.dispatch.limits import Limits
from blocks.webhooks.dispatch.outcome_writer import OutcomeWriter
from blocks.webhooks.dispatch.retry_policy import Decision, decide
from blocks.webhooks.outbox.deliveries import AcquiredEndpoint, DueDelivery, Outcome, RenewedEndpoint
from blocks.webhooks.send.client import Attempt
from blocks.webhooks.send.connection import Withdrawn

_LOG = logging.getLogger("waybill.delivery")

# The database counts a pause from when it is written, which is a moment later.
_WRITING_SECONDS = 0.03


class Client(Protocol):
    """Sends one attempt; never raises for what a receiver or the network does, and `Withdrawn` if it may not begin."""

    async def send(
        self, *, event_id: str, body: bytes, keys: Sequence[bytes], may_begin: Callable[[], bool]
    ) -> Attempt: ...

    async def aclose(self) -> None: ...


ClientFor = Callable[[str, bool], Client]
"""Makes the client of a URL; True where the operator has allowed this endpoint to be on this machine."""


def lease_clock() -> float:
    """Return seconds that go on while the process is stopped and, where the system has such a clock, during sleep."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


@dataclass(frozen=True, kw_only=True)
class EndpointWorkerParts:
    """What all workers of a dispatcher share. *wake* asks the dispatcher to read an endpoint's due deliveries."""

    client_for: ClientFor
    outcome_writer: OutcomeWriter
    schedule: Sequence[timedelta]
    limits: Limits
    clock: Callable[[], float]
    random: Callable[[], float]
    wake: Callable[[UUID], None]


class EndpointWorker:
    """Sends the deliveries that `take` accepts, a few concurrently, while the lease is valid and no hold is set."""

    def __init__(
        self, acquired: AcquiredEndpoint, parts: EndpointWorkerParts, *, keys: Sequence[bytes], lease_ends: float
    ) -> None:
        self.endpoint_id = acquired.endpoint_id
        self._destination = _destination(acquired)
        # Deliveries that are queued, in flight or not written yet: not to be read from the database again.
        self.busy: set[UUID] = set()
        # Whether the database may hold more than was read.
        self.may_have_more = True
        self.is_shut = False
        self.lease_is_lost = False
        self._parts = parts
        self._keys = tuple(keys)
        self._lease_ends = lease_ends
        self._client = parts.client_for(*self._destination)
        self._health = Health(acquired, parts.outcome_writer, parts.clock)
        self._queue: deque[DueDelivery] = deque()
        self._in_flight: set[asyncio.Task[None]] = set()
        self._silent_since = 0.0
        self._closing: set[asyncio.Task[None]] = set()
        self._idle_since = parts.clock()

    # For the dispatcher -----------------------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """The number of deliveries to read now; 0 while it may not send, or has enough."""
        if not self._may_send():
            return 0
        if self._health.wants_probe:
            return 0 if self.busy else 1
        room = self._parts.limits.read_ahead - len(self._queue)
        return room if room * 2 >= self._parts.limits.read_ahead else 0

    @property
    def idle_seconds(self) -> float:
        """The time without work; 0 while there is work."""
        return 0.0 if self.busy else self._parts.clock() - self._idle_since

    @property
    def silent_seconds(self) -> float:
        """The time that attempts have been in flight without one of them ending."""
        return self._parts.clock() - self._silent_since if self._in_flight else 0.0

    def take(self, due: Sequence[DueDelivery]) -> None:
        """Queue *due*, except for deliveries that are in work already. Does nothing while it may not send."""
        if not self._may_send():
            return
        for one in due:
            if one.delivery_id not in self.busy:
                self.busy.add(one.delivery_id)
                self._queue.append(one)
        self._send_next()

    def outcome_written(self, delivery_id: UUID, pause: timedelta | None) -> None:
        """Note that an outcome is in the database; with *pause* the delivery is due again after it."""
        self.busy.discard(delivery_id)
        self._idle_since = self._parts.clock()
        if self._health.wants_probe:
            self._wake_for_more()
        if pause is not None:
            self._wake_after(pause.total_seconds())

    def renew(self, endpoint: RenewedEndpoint, *, keys: Sequence[bytes], lease_ends: float) -> None:
        """Keep sending until *lease_ends*, to the URL that *endpoint* has now, signed with *keys*."""
        self._keys = tuple(keys)
        self._lease_ends = lease_ends
        if (destination := _destination(endpoint)) != self._destination:
            self._close_later(self._client, tuple(self._in_flight))
            self._destination, self._client = destination, self._parts.client_for(*destination)
        self._wake_for_more()

    def shut(self) -> None:
        """Start no more attempts. Those in flight go on; `is_finished` says when they have ended."""
        self.is_shut = True
        self._forget_queue()

    def lose_lease(self) -> None:
        """Shut, since another dispatcher may own the endpoint by now."""
        self.lease_is_lost = True
        self.shut()

    @property
    def is_finished(self) -> bool:
        """Whether it is shut, and no attempt is in flight or unwritten."""
        return self.is_shut and not self.busy and not self._in_flight

    async def wait_for_attempts(self) -> None:
        """Wait until no attempt is in flight."""
        while self._in_flight:
            await asyncio.wait(set(self._in_flight))

    async def aclose(self) -> None:
        """Cancel attempts in flight, without counting them, and close the connections."""
        self.shut()
        await end_tasks(tuple(self._in_flight))
        await asyncio.gather(self._client.aclose(), *self._closing)

    # Sending ----------------------------------------------------------------------------------------------------------

    def _has_lease(self) -> bool:
        return not self.lease_is_lost and self._parts.clock() < self._lease_ends

    def _may_send(self) -> bool:
        return not self.is_shut and self._has_lease() and not self._health.is_held

    def _send_next(self) -> None:
        limit = 1 if self._health.wants_probe else self._parts.limits.in_flight
        while self._queue and len(self._in_flight) < limit:
            if not self._may_send():
                self._forget_queue()
                return
            task = asyncio.get_running_loop().create_task(self._attempt(self._queue.popleft(), self._health.holds))
            if not self._in_flight:
                self._silent_since = self._parts.clock()
            self._in_flight.add(task)
            task.add_done_callback(self._attempt_ended)
        self._wake_for_more()

    def _attempt_ended(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        self._silent_since = self._parts.clock()
        self._send_next()

    async def _attempt(self, delivery: DueDelivery, holds_before: int) -> None:
        try:
            attempt = await self._client.send(
                event_id=delivery.event_id, body=delivery.body, keys=self._keys, may_begin=self._has_lease
            )
        except asyncio.CancelledError:
            self.busy.discard(delivery.delivery_id)
            raise
        except Withdrawn:
            # It is due in the database as before: the next owner of the lease sends it.
            self.busy.discard(delivery.delivery_id)
            self.may_have_more = True
            return
        except Exception as exc:  # noqa: BLE001 - a defect here must not send the same delivery for ever
            _LOG.exception("delivery=%s event=%s was not sent", delivery.delivery_id, delivery.event_id)
            attempt = _defect(exc)
        decision = decide(
            attempt, attempts_before=delivery.attempts, schedule=self._parts.schedule, random=self._parts.random
        )
        self._parts.outcome_writer.add(self.endpoint_id, _outcome(delivery, attempt, decision))
        if decision.state == "dead":
            _LOG.warning(
                "delivery=%s event=%s endpoint=%s dead after attempts=%d because=%s",
                delivery.delivery_id, delivery.event_id, self.endpoint_id, delivery.attempts + 1, attempt.error,
            )  # fmt: skip
        if decision.gone:
            self.shut()
        # Once the lease is lost, another dispatcher knows more about the endpoint's health.
        if not self.lease_is_lost:
            held_seconds = self._health.learn(attempt, decision, delivery.delivery_id, holds_before=holds_before)
            if held_seconds is not None:
                self._forget_queue()
                self._wake_after(held_seconds)

    # Asking for more --------------------------------------------------------------------------------------------------

    def _wake_for_more(self) -> None:
        if self.may_have_more and self.room:
            self._parts.wake(self.endpoint_id)

    def _wake_after(self, seconds: float) -> None:
        # Polling finds the end of longer pauses within a second, which is precise enough for them.
        if seconds < self._parts.limits.idle_seconds:
            asyncio.get_running_loop().call_later(seconds + _WRITING_SECONDS, self._parts.wake, self.endpoint_id)

    def _forget_queue(self) -> None:
        """Drop the queue: the deliveries are unchanged in the database, and are read again when they are due."""
        self.busy.difference_update(one.delivery_id for one in self._queue)
        self._queue.clear()
        self.may_have_more = True

    def _close_later(self, client: Client, attempts: Sequence[asyncio.Task[None]]) -> None:
        async def close() -> None:
            if attempts:
                await asyncio.wait(attempts)
            await client.aclose()

        task = asyncio.get_running_loop().create_task(close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _outcome(delivery: DueDelivery, attempt: Attempt, decision: Decision) -> Outcome:
    return Outcome(
        delivery_id=delivery.delivery_id,
        state=decision.state,
        pause=decision.pause,
        started_at=attempt.started_at,
        milliseconds=attempt.milliseconds,
        status=attempt.status,
        peer=attempt.peer,
        # Receivers choose these texts: one that Postgres refuses must not block all outcomes.
        error=storable_text(attempt.error),
        answer=storable_text(attempt.answer),
    )


def _defect(exc: Exception) -> Attempt:
    return Attempt(
        started_at=datetime.now(UTC),
        milliseconds=0.0,
        status=None,
        peer=None,
        error=f"it could not be sent, by a defect of the sender: {type(exc).__name__}",
        answer=None,
        retry_after=None,
        hopeless=False,
    )


def _destination(endpoint: AcquiredEndpoint | RenewedEndpoint) -> tuple[str, bool]:
    return endpoint.url, endpoint.loopback_allowed
