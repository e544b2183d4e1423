"""Deliveries: one event for one endpoint, from due to delivered or dead, and the log of every attempt.

Owns the lease: whoever has acquired an endpoint is the only one that sends to it, for `lease` unless it renews. Decides
nothing about when to try again or whom to leave alone; the dispatcher does. Every call takes the caller's connection.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from blocks.catalog import Connection
from blocks.catalog.catalog import MAX_PAGE
from blocks.errors import DeliveryNotFound, InvalidOptions
from blocks.postgres import execute
from blocks.postgres.page_cursor import read_cursor, write_cursor
from blocks.webhooks.endpoints import EndpointState
from blocks.webhooks.outbox import log_queries, queries

DeliveryState = Literal["pending", "delivered", "dead"]


@dataclass(frozen=True, kw_only=True)
class AcquiredEndpoint:
    """An endpoint that this dispatcher may send to for the length of its lease."""

    endpoint_id: UUID
    url: str
    secret_id: UUID
    failures: int


@dataclass(frozen=True, kw_only=True)
class RenewedEndpoint:
    """An endpoint whose lease goes on, as it is now: somebody may have changed, disabled or removed it."""

    endpoint_id: UUID
    url: str
    secret_id: UUID | None
    state: EndpointState


@dataclass(frozen=True, kw_only=True)
class DueDelivery:
    """What is to be sent: `attempts` have been made in this round; `body` is the very bytes."""

    delivery_id: UUID
    endpoint_id: UUID
    event_id: str
    event_type: str
    attempts: int
    due_at: datetime
    body: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one attempt, and what follows: delivered, dead, or pending again after `pause`."""

    delivery_id: UUID
    state: DeliveryState
    pause: timedelta
    started_at: datetime
    milliseconds: float
    status: int | None
    peer: str | None
    error: str | None
    answer: str | None


@dataclass(frozen=True, kw_only=True)
class DeliveryRecord:
    """One line of the delivery log."""

    delivery_id: UUID
    event_id: str
    event_type: str
    task_id: UUID | None
    source_file: str | None
    endpoint_id: UUID
    url: str
    state: DeliveryState
    attempts: int
    created_at: datetime
    due_at: datetime | None
    settled_at: datetime | None
    last_attempt_at: datetime | None
    last_status: int | None
    last_milliseconds: float | None
    last_peer: str | None
    last_error: str | None

    def as_json(self) -> dict[str, Any]:
        """The delivery as commands and the API show it."""
        return {name: _shown(value) for name, value in vars(self).items()}


@dataclass(frozen=True, kw_only=True)
class DeliveryPage:
    """One page of the log, newest first. `next` continues it, None at the end."""

    deliveries: list[DeliveryRecord]
    next: str | None


async def acquire(
    connection: Connection,
    owner: UUID,
    *,
    lease: timedelta,
    limit: int,
    endpoint_ids: Collection[UUID] | None = None,
    without: Collection[UUID] = (),
) -> list[AcquiredEndpoint]:
    """Take endpoints that have something due and that nobody else holds.

    Of *endpoint_ids* only, where given, and none of *without*: those that *owner* knows it has.
    """
    values = {
        "owner": owner,
        "lease_seconds": lease.total_seconds(),
        "limit": limit,
        "endpoint_ids": list(endpoint_ids) if endpoint_ids is not None else None,
        "without": list(without),
    }
    return [AcquiredEndpoint(**row) for row in await (await execute(connection, queries.ACQUIRE, values)).fetchall()]


async def renew(
    connection: Connection, owner: UUID, endpoint_ids: Collection[UUID], *, lease: timedelta
) -> list[RenewedEndpoint]:
    """Hold *endpoint_ids* for another *lease*; those that are missing in the answer belong to somebody else now."""
    values = {"owner": owner, "lease_seconds": lease.total_seconds(), "endpoint_ids": list(endpoint_ids)}
    return [RenewedEndpoint(**row) for row in await (await execute(connection, queries.RENEW, values)).fetchall()]


async def release(connection: Connection, owner: UUID, endpoint_ids: Collection[UUID] | None = None) -> None:
    """Let others send to *endpoint_ids*, or to all that *owner* has, and tell them."""
    values = {"owner": owner, "endpoint_ids": list(endpoint_ids) if endpoint_ids is not None else None}
    await execute(connection, queries.RELEASE, values)


async def due(
    connection: Connection,
    owner: UUID,
    room: Mapping[UUID, int],
    *,
    busy: Collection[UUID],
    first_pause: timedelta = timedelta(0),
) -> list[DueDelivery]:
    """The oldest due deliveries of the endpoints in *room* that *owner* holds, at most as many as each has room for.

    *busy* are those that are being worked on already; what was never tried is *first_pause* old at least. Endpoints
    that are held or disabled give none.
    """
    values = {
        "owner": owner,
        "endpoint_ids": list(room),
        "room": list(room.values()),
        "busy": list(busy),
        "first_pause_seconds": first_pause.total_seconds(),
    }
    cursor = await execute(connection, queries.DUE, values)
    return [DueDelivery(**row) for row in await cursor.fetchall()]


async def settle(connection: Connection, outcomes: Sequence[Outcome]) -> None:
    """Write attempts into the log and what follows from them, all in one statement. One that is settled stays.

    Idempotent: an attempt is known by its delivery and the moment it began.
    """
    await execute(
        connection,
        queries.SETTLE,
        {
            "delivery_ids": [one.delivery_id for one in outcomes],
            "states": [one.state for one in outcomes],
            "pause_seconds": [one.pause.total_seconds() for one in outcomes],
            "started_at": [one.started_at for one in outcomes],
            "milliseconds": [one.milliseconds for one in outcomes],
            "statuses": [one.status for one in outcomes],
            "peers": [one.peer for one in outcomes],
            "errors": [one.error for one in outcomes],
            "answers": [one.answer for one in outcomes],
        },
    )


async def mark_healthy(connection: Connection, endpoint_ids: Collection[UUID]) -> None:
    """Note that *endpoint_ids* have taken something: earlier failures and holds count no more."""
    await execute(connection, queries.MARK_SOUND, {"endpoint_ids": list(endpoint_ids)})


async def mark_failing(
    connection: Connection, endpoint_id: UUID, *, failures: int, pause: timedelta | None, because: str
) -> None:
    """Note how many attempts have failed since the last success; with *pause* send nothing there for so long."""
    values = {
        "endpoint_id": endpoint_id,
        "failures": failures,
        "pause_seconds": pause.total_seconds() if pause is not None else None,
        "because": because,
    }
    await execute(connection, queries.MARK_FAILING, values)


async def has_due(connection: Connection, *, within: timedelta, first_pause: timedelta = timedelta(0)) -> bool:
    """Whether something is due now or *within* that time at an endpoint that is open, *first_pause* as in `due`."""
    values = {"within_seconds": within.total_seconds(), "first_pause_seconds": first_pause.total_seconds()}
    row = await (await execute(connection, queries.UNDER_WAY, values)).fetchone()
    return bool(row and row["under_way"])


async def has_deliverable(
    connection: Connection,
    owner: UUID,
    *,
    without: Collection[UUID],
    task_id: UUID | None = None,
    first_pause: timedelta = timedelta(0),
) -> bool:
    """Whether *owner* should go on: something is due now at an endpoint that takes what it is sent.

    Endpoints *without*, those that fail and those that another dispatcher serves do not count; with *task_id* only the
    events of that run do; *first_pause* as in `due`.
    """
    values = {
        "owner": owner,
        "without": list(without),
        "task_id": task_id,
        "first_pause_seconds": first_pause.total_seconds(),
    }
    row = await (await execute(connection, queries.AWAITED, values)).fetchone()
    return bool(row and row["awaited"])


# The log --------------------------------------------------------------------------------------------------------------


async def list_deliveries(
    connection: Connection,
    *,
    endpoint_id: UUID | None = None,
    state: DeliveryState | None = None,
    event_id: str | None = None,
    task_id: UUID | None = None,
    since: datetime | None = None,
    limit: int = 100,
    after: str | None = None,
) -> DeliveryPage:
    """One page of the log, newest first. *after* is the `DeliveryPage.next` of the page before."""
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidOptions(f"a page holds 1 to {MAX_PAGE} deliveries, not {limit}")
    statement = log_queries.deliveries_statement(
        endpoint=endpoint_id is not None, state=state is not None, event=event_id is not None,
        task=task_id is not None, since=since is not None, after=after is not None,
    )  # fmt: skip
    values: dict[str, Any] = {
        "endpoint_id": endpoint_id, "state": state, "event_id": event_id, "task_id": task_id, "since": since,
        "limit": limit + 1,
    }  # fmt: skip
    if after is not None:
        values["after_created_at"], values["after_delivery_id"] = read_cursor(after)
    rows = await (await execute(connection, statement, values)).fetchall()
    records = [DeliveryRecord(**row) for row in rows]
    more = len(records) > limit
    records = records[:limit]
    return DeliveryPage(
        deliveries=records, next=write_cursor(records[-1].created_at, records[-1].delivery_id) if more else None
    )


async def get_delivery(connection: Connection, delivery_id: UUID) -> DeliveryRecord:
    """One delivery. Raises `DeliveryNotFound`."""
    row = await (await execute(connection, log_queries.DELIVERY, {"delivery_id": delivery_id})).fetchone()
    if row is None:
        raise DeliveryNotFound(f"no delivery {delivery_id}; 'waybill webhooks deliveries' shows what there is")
    return DeliveryRecord(**row)


async def attempts_of(connection: Connection, delivery_id: UUID) -> list[dict[str, Any]]:
    """Every attempt of a delivery, oldest first, as commands and the API show it."""
    rows = await (await execute(connection, log_queries.ATTEMPTS, {"delivery_id": delivery_id})).fetchall()
    return [{name: _shown(value) for name, value in row.items()} for row in rows]


async def replay(
    connection: Connection,
    *,
    states: Sequence[DeliveryState] = ("dead",),
    delivery_ids: Sequence[UUID] | None = None,
    endpoint_id: UUID | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> int:
    """Send deliveries in one of *states* again, with the same id and body, from the beginning of the schedule.

    The other arguments narrow it down; all that are given have to fit. Returns how many.
    """
    values = {
        "states": list(states),
        "delivery_ids": list(delivery_ids) if delivery_ids is not None else None,
        "endpoint_id": endpoint_id,
        "since": since,
        "until": until,
    }
    row = await (await execute(connection, log_queries.REPLAY, values)).fetchone()
    return int(row["again"]) if row else 0


async def delivery_counts(connection: Connection) -> dict[str, dict[str, Any]]:
    """How many deliveries there are and when the oldest was made, by state."""
    rows = await (await execute(connection, log_queries.COUNTS, {})).fetchall()
    return {row["state"]: {"count": int(row["count"]), "oldest": row["oldest"].isoformat()} for row in rows}


def _shown(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float):
        return round(value, 1)
    return str(value) if isinstance(value, UUID) else value
