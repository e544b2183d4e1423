"""Endpoints: the URLs that events are sent to, their event filters, and their sealed secrets.

An endpoint is registered by a person, follows a Prefect block of the same name, or comes with a run; those of runs
share one secret. Secrets are sealed bytes here: `blocks.webhooks.secrets` seals and opens them. Every call takes the
caller's connection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID, uuid4

from blocks.catalog import Connection
from blocks.errors import EndpointNotFound, InvalidWebhookUrl
from blocks.postgres import execute
from blocks.webhooks import endpoint_queries as queries

Origin = Literal["registered", "block", "run"]
EndpointState = Literal["enabled", "disabled", "removed"]

# The endpoint of a URL may be removed between the two statements.
_ADDING_TRIES = 4


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A URL that events are sent to. `event_types` None: all. `held_until`: it asked for a pause, or keeps failing."""

    endpoint_id: UUID
    origin: Origin
    name: str | None
    url: str
    event_types: list[str] | None
    description: str
    secret_id: UUID | None
    state: EndpointState
    disabled_because: str | None
    failures: int
    held_until: datetime | None
    held_because: str | None
    created_at: datetime
    pending: int = 0
    dead: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return the endpoint as commands and the API show it; never its secret."""
        return {
            "endpoint_id": str(self.endpoint_id),
            "url": self.url,
            "events": self.event_types,
            "origin": self.origin,
            "name": self.name,
            "description": self.description,
            "state": self.state,
            "disabled_because": self.disabled_because,
            "failures": self.failures,
            "held_until": self.held_until.isoformat() if self.held_until else None,
            "held_because": self.held_because,
            "created_at": self.created_at.isoformat(),
        }

    def listing(self) -> dict[str, Any]:
        """Return `as_json` with the numbers of pending and dead deliveries, as lists show it."""
        return {**self.as_json(), "pending": self.pending, "dead": self.dead}


@dataclass(frozen=True, kw_only=True)
class SealedSecret:
    """A secret as stored, and the previous one while it still signs."""

    secret_id: UUID
    sealed: bytes
    previous_sealed: bytes | None
    previous_until: datetime | None


async def add_secret(connection: Connection, secret_id: UUID, sealed: bytes) -> None:
    """Store a sealed secret."""
    await execute(connection, queries.ADD_SECRET, {"secret_id": secret_id, "sealed": sealed})


async def offer_shared_secret(connection: Connection, secret_id: UUID, sealed: bytes) -> None:
    """Store the secret that the endpoints of all runs share, unless there is one already."""
    await execute(connection, queries.ADD_SHARED_SECRET, {"secret_id": secret_id, "sealed": sealed})


async def shared_secret_id(connection: Connection) -> UUID | None:
    """Return the id of the secret that the endpoints of all runs share; None before it exists."""
    row = await (await execute(connection, queries.SHARED_SECRET, {})).fetchone()
    return row["secret_id"] if row else None


async def sealed_secrets(connection: Connection, secret_ids: Sequence[UUID]) -> dict[UUID, SealedSecret]:
    """Return those of *secret_ids* that exist, by id."""
    cursor = await execute(connection, queries.SECRETS, {"secret_ids": list(secret_ids)})
    return {row["secret_id"]: SealedSecret(**row) for row in await cursor.fetchall()}


async def rotate_secret(connection: Connection, secret_id: UUID, sealed: bytes, overlap: timedelta) -> datetime:
    """Replace a secret; the old one signs too for *overlap*. Return when it stops. Raises `EndpointNotFound`."""
    values = {"secret_id": secret_id, "sealed": sealed, "overlap_seconds": overlap.total_seconds()}
    row = await (await execute(connection, queries.ROTATE_SECRET, values)).fetchone()
    if row is None:
        raise EndpointNotFound("this endpoint has no secret any more; it was removed")
    return row["previous_until"]


async def add_endpoint(
    connection: Connection,
    *,
    endpoint_id: UUID,
    origin: Origin,
    url: str,
    secret_id: UUID,
    event_types: Sequence[str] | None = None,
    name: str | None = None,
    description: str = "",
) -> Endpoint:
    """Add an endpoint for events from now on; *url* must have been checked."""
    values = {
        "endpoint_id": endpoint_id,
        "origin": origin,
        "name": name,
        "url": url,
        "event_types": list(event_types) if event_types is not None else None,
        "description": description,
        "secret_id": secret_id,
    }
    row = await (await execute(connection, queries.ADD_ENDPOINT, values)).fetchone()
    if row is None:
        raise AssertionError("unreachable: an insert returns its row")
    return Endpoint(**row)


async def get_endpoint(connection: Connection, endpoint_id: UUID) -> Endpoint:
    """Return the endpoint, also a removed one. Raises `EndpointNotFound`."""
    return await _read_endpoint(connection, queries.ENDPOINT, endpoint_id)


async def list_endpoints(connection: Connection) -> list[Endpoint]:
    """Return every endpoint that is not removed, oldest first, with its numbers of pending and dead deliveries."""
    return [Endpoint(**row) for row in await (await execute(connection, queries.ENDPOINTS, {})).fetchall()]


async def lock_blocks(connection: Connection) -> bool:
    """Lock the sync of endpoints with blocks until the transaction ends; False when another process syncs."""
    row = await (await execute(connection, queries.LOCK_BLOCKS, {})).fetchone()
    return bool(row and row["locked"])


async def endpoints_of_blocks(connection: Connection) -> dict[str, Endpoint]:
    """Return the endpoints that follow Prefect blocks, by the block's name."""
    rows = await (await execute(connection, queries.ENDPOINTS_OF_BLOCKS, {})).fetchall()
    return {row["name"]: Endpoint(**row) for row in rows}


async def change_endpoint(
    connection: Connection, endpoint_id: UUID, *, url: str, event_types: Sequence[str] | None, description: str
) -> None:
    """Update the endpoint's URL, event filter and description."""
    values: Mapping[str, Any] = {
        "endpoint_id": endpoint_id,
        "url": url,
        "event_types": list(event_types) if event_types is not None else None,
        "description": description,
    }
    await execute(connection, queries.CHANGE_ENDPOINT, values)


async def enable_endpoint(connection: Connection, endpoint_id: UUID) -> None:
    """Enable the endpoint and clear its holds; deliveries that are due are sent now. Raises `EndpointNotFound`."""
    if await (await execute(connection, queries.ENABLE, {"endpoint_id": endpoint_id})).fetchone() is None:
        raise _not_found(endpoint_id)


async def disable_endpoint(connection: Connection, endpoint_id: UUID, because: str) -> None:
    """Disable the endpoint; due deliveries wait. Raises `EndpointNotFound`."""
    values = {"endpoint_id": endpoint_id, "because": because}
    if await (await execute(connection, queries.DISABLE, values)).fetchone() is None:
        raise _not_found(endpoint_id)


async def remove_endpoint(connection: Connection, endpoint_id: UUID) -> None:
    """Remove the endpoint and its secret; pending deliveries become dead, the log stays. Raises `EndpointNotFound`.

    The caller has to open a transaction.
    """
    found = await _read_endpoint(connection, queries.ENDPOINT_TO_REMOVE, endpoint_id)
    if await (await execute(connection, queries.REMOVE, {"endpoint_id": endpoint_id})).fetchone() is None:
        raise _not_found(endpoint_id)
    if found.secret_id is not None:
        await execute(connection, queries.DROP_SECRET, {"secret_id": found.secret_id})


async def set_run_webhook(connection: Connection, run_id: UUID, url: str, secret_id: UUID) -> None:
    """Send the events of *run_id* to *url* too, signed with the shared secret. Idempotent: a run keeps its first URL.

    Raises `InvalidWebhookUrl` where another URL has the same MD5 sum.
    """
    for _ in range(_ADDING_TRIES):
        endpoint = await (await execute(connection, queries.RUN_ENDPOINT, {"url": url})).fetchone()
        if endpoint is not None:
            await execute(connection, queries.ADD_RUN, {"run_id": run_id, "endpoint_id": endpoint["endpoint_id"]})
            return
        values = {"endpoint_id": uuid4(), "url": url, "secret_id": secret_id}
        await execute(connection, queries.ADD_RUN_ENDPOINT, values)
    raise InvalidWebhookUrl("it has the same MD5 sum as the URL of another run, which does not happen by chance")


async def _read_endpoint(connection: Connection, statement: str, endpoint_id: UUID) -> Endpoint:
    row = await (await execute(connection, statement, {"endpoint_id": endpoint_id})).fetchone()
    if row is None:
        raise _not_found(endpoint_id)
    return Endpoint(**row)


def _not_found(endpoint_id: UUID) -> EndpointNotFound:
    return EndpointNotFound(f"no webhook endpoint {endpoint_id}; 'waybill webhooks list' shows all of them")
