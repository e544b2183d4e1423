"""Endpoints: the URLs that events are sent to, with their event filters and states.

An endpoint is registered by a person, follows a Prefect block of the same name, or comes with a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from blocks.catalog import Connection
from blocks.errors import EndpointNotFound
from blocks.postgres import Row, execute, fetch_all, fetch_optional, fetch_row
from blocks.webhooks import endpoint_queries as queries

Origin = Literal["registered", "block", "run"]
EndpointState = Literal["enabled", "disabled", "removed"]


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A URL that events are sent to. `event_types` None: all. `held_until`: it asked for a pause, or keeps failing.

    `loopback_allowed`: the operator added it on the command line with an address of this machine.
    """

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
    loopback_allowed: bool = False
    pending: int = 0
    dead: int = 0
    given_up: int = 0
    """Of an endpoint that was removed now: the deliveries that waited and are never sent."""

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
            "loopback_allowed": self.loopback_allowed,
        }

    def listing(self) -> dict[str, Any]:
        """Return `as_json` with the numbers of pending and dead deliveries, as lists show it."""
        return {**self.as_json(), "pending": self.pending, "dead": self.dead}


async def get_endpoint(connection: Connection, endpoint_id: UUID) -> Endpoint:
    """Return the endpoint, also a removed one. Raises `EndpointNotFound`."""
    return Endpoint(**await _row_of(connection, queries.ENDPOINT, endpoint_id))


async def list_endpoints(connection: Connection) -> list[Endpoint]:
    """Return every endpoint that is not removed, oldest first, with its numbers of pending and dead deliveries."""
    return [Endpoint(**row) for row in await fetch_all(connection, queries.ENDPOINTS, {})]


async def lock_blocks(connection: Connection) -> bool:
    """Lock the sync of endpoints with blocks until the transaction ends; False when another process syncs."""
    return bool((await fetch_row(connection, queries.LOCK_BLOCKS, {}))["locked"])


async def endpoints_of_blocks(connection: Connection) -> dict[str, Endpoint]:
    """Return the endpoints that follow Prefect blocks, by the block's name."""
    rows = await fetch_all(connection, queries.ENDPOINTS_OF_BLOCKS, {})
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
    await _row_of(connection, queries.ENABLE, endpoint_id)


async def disable_endpoint(connection: Connection, endpoint_id: UUID, because: str) -> None:
    """Disable the endpoint; due deliveries wait. Raises `EndpointNotFound`."""
    await _row_of(connection, queries.DISABLE, endpoint_id, because=because)


async def remove_endpoint(connection: Connection, endpoint_id: UUID) -> int:
    """Remove endpoint and secret, in a transaction. Return how many pending deliveries are dead by that.

    Raises `EndpointNotFound`.
    """
    found = await _row_of(connection, queries.ENDPOINT_TO_REMOVE, endpoint_id)
    removed = await _row_of(connection, queries.REMOVE, endpoint_id)
    if found["secret_id"] is not None:
        await execute(connection, queries.DROP_SECRET, {"secret_id": found["secret_id"]})
    return int(removed["given_up"])


async def _row_of(connection: Connection, statement: str, endpoint_id: UUID, **values: object) -> Row:
    """Return the row of a statement on one endpoint. Raises `EndpointNotFound` without one."""
    row = await fetch_optional(connection, statement, {"endpoint_id": endpoint_id, **values})
    if row is None:
        raise EndpointNotFound(f"no webhook endpoint {endpoint_id}; 'waybill webhooks list' shows all of them")
    return row
