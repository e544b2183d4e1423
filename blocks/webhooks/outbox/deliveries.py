"""Deliveries (one event for one endpoint): leases on endpoints, due deliveries, and the outcomes of attempts.

The lease owner of an endpoint is its only sender, for the length of the lease unless it renews.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from blocks.catalog import Connection
from blocks.postgres import execute, fetch_all, fetch_row
from blocks.webhooks.endpoints import EndpointState
from blocks.webhooks.outbox import queries

DeliveryState = Literal["pending", "delivered", "dead"]


@dataclass(frozen=True, kw_only=True)
class AcquiredEndpoint:
    """An endpoint that this dispatcher may send to for the length of its lease."""

    endpoint_id: UUID
    url: str
    loopback_allowed: bool
    secret_id: UUID
    failures: int


@dataclass(frozen=True, kw_only=True)
class RenewedEndpoint:
    """An endpoint whose lease was renewed, as it is now: it may have been changed, disabled or removed."""

    endpoint_id: UUID
    url: str
    loopback_allowed: bool
    secret_id: UUID | None
    state: EndpointState


@dataclass(frozen=True, kw_only=True)
class DueDelivery:
    """A delivery to be sent. `attempts`: those since it was created or replayed; `body`: the exact bytes."""

    delivery_id: UUID
    endpoint_id: UUID
    event_id: str
    attempts: int
    body: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One attempt, and the delivery's state after it: delivered, dead, or pending again after `pause`."""

    delivery_id: UUID
    state: DeliveryState
    pause: timedelta
    started_at: datetime
    milliseconds: float
    status: int | None
    peer: str | None
    error: str | None
    answer: str | None


async def dispatcher_listens(connection: Connection) -> bool:
    """Return whether a dispatcher, on any machine, is connected to this database."""
    row = await fetch_row(connection, queries.DISPATCHER_LISTENS, {"name": queries.DISPATCHER_SESSION})
    return bool(row["listens"])


async def acquire(
    connection: Connection,
    owner: UUID,
    *,
    lease: timedelta,
    limit: int,
    endpoint_ids: Collection[UUID] | None = None,
    without: Collection[UUID] = (),
) -> list[AcquiredEndpoint]:
    """Lease up to *limit* endpoints that have a delivery due and that no other dispatcher owns.

    Only *endpoint_ids*, where given, and none of *without* (those that *owner* knows it has).
    """
    values = {
        "owner": owner,
        "lease_seconds": lease.total_seconds(),
        "limit": limit,
        "endpoint_ids": list(endpoint_ids) if endpoint_ids is not None else None,
        "without": list(without),
    }
    return [AcquiredEndpoint(**row) for row in await fetch_all(connection, queries.ACQUIRE, values)]


async def renew(
    connection: Connection, owner: UUID, endpoint_ids: Collection[UUID], *, lease: timedelta
) -> list[RenewedEndpoint]:
    """Renew the leases on *endpoint_ids*. Endpoints missing from the result belong to another owner now."""
    values = {"owner": owner, "lease_seconds": lease.total_seconds(), "endpoint_ids": list(endpoint_ids)}
    return [RenewedEndpoint(**row) for row in await fetch_all(connection, queries.RENEW, values)]


async def release(connection: Connection, owner: UUID, endpoint_ids: Collection[UUID] | None = None) -> None:
    """Release the leases on *endpoint_ids*, or all of *owner*, and notify the other dispatchers."""
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
    """Return the oldest due deliveries of the endpoints in *room* that *owner* has leased, at most *room* of each.

    Deliveries in *busy* are left out; a delivery without an attempt is due *first_pause* after its creation. Endpoints
    that are held or disabled give none.
    """
    values = {
        "owner": owner,
        "endpoint_ids": list(room),
        "room": list(room.values()),
        "busy": list(busy),
        "first_pause_seconds": first_pause.total_seconds(),
    }
    return [DueDelivery(**row) for row in await fetch_all(connection, queries.DUE, values)]


async def record_outcomes(connection: Connection, outcomes: Sequence[Outcome]) -> None:
    """Log attempts and update their deliveries, in one statement. A delivered or dead delivery keeps its state.

    Idempotent: an attempt is identified by its delivery and its start time.
    """
    await execute(
        connection,
        queries.RECORD_OUTCOMES,
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
    """Reset the failures and holds of *endpoint_ids*, which have accepted a delivery."""
    await execute(connection, queries.MARK_HEALTHY, {"endpoint_ids": list(endpoint_ids)})


async def mark_unhealthy(
    connection: Connection, endpoint_id: UUID, *, failures: int, pause: timedelta | None, because: str
) -> None:
    """Record how many deliveries have failed since the last success; with *pause* hold the endpoint for that long."""
    values = {
        "endpoint_id": endpoint_id,
        "failures": failures,
        "pause_seconds": pause.total_seconds() if pause is not None else None,
        "because": because,
    }
    await execute(connection, queries.MARK_UNHEALTHY, values)


async def has_due(connection: Connection, *, within: timedelta, first_pause: timedelta = timedelta(0)) -> bool:
    """Whether a delivery is due, now or *within* that time, at an open endpoint; *first_pause* as in `due`."""
    values = {"within_seconds": within.total_seconds(), "first_pause_seconds": first_pause.total_seconds()}
    return bool((await fetch_row(connection, queries.HAS_DUE, values))["has_due"])


async def has_deliverable(
    connection: Connection,
    owner: UUID,
    *,
    without: Collection[UUID],
    task_id: UUID | None = None,
    first_pause: timedelta = timedelta(0),
) -> bool:
    """Whether a due delivery is left for a healthy endpoint that no other dispatcher than *owner* holds.

    Endpoints in *without* do not count; with *task_id* only the events of that run do; *first_pause* as in `due`.
    """
    values = {
        "owner": owner,
        "without": list(without),
        "task_id": task_id,
        "first_pause_seconds": first_pause.total_seconds(),
    }
    return bool((await fetch_row(connection, queries.HAS_DELIVERABLE, values))["has_deliverable"])
