"""Record events, and read them back. The database notifies the dispatchers as soon as the caller commits."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import orjson
from psycopg.pq import TransactionStatus

from blocks.catalog import Artifact, Catalog, Connection
from blocks.errors import CatalogRefused, EventNotFound
from blocks.json_cleaning import storable_text
from blocks.postgres import fetch_all, fetch_optional, fetch_row
from blocks.webhooks.outbox import queries
from blocks.webhooks.outbox.event import Event, PayloadLink, render, short_body

RecordedT = TypeVar("RecordedT")

# Postgres' not_null_violation: an event that an endpoint wants has no body.
_NO_BODY = "23502"


@dataclass(frozen=True, kw_only=True)
class RecordedEvent:
    """An event as recorded; *body* holds the bytes that are sent."""

    event_id: str
    event_type: str
    task_id: UUID | None
    source_file: str | None
    occurred_at: datetime
    recorded_at: datetime
    body: bytes

    def as_json(self) -> dict[str, Any]:
        """Return the event's id and the fields of its body."""
        return {"event_id": self.event_id, **orjson.loads(self.body)}


async def add_events(connection: Connection, events: Sequence[Event], payload_link: PayloadLink) -> int:
    """Record *events* and their deliveries. Return how many were new. Idempotent by event id."""
    if not events:
        return 0

    async def add(given: str) -> int:
        return int((await fetch_row(connection, queries.ADD_EVENTS, {"events": given}))["added"])

    return await _recorded(connection, [(event, None) for event in events], payload_link, add)


async def make_available_with_events(
    catalog: Catalog,
    connection: Connection,
    files: Sequence[tuple[Artifact, Sequence[Event]]],
    payload_link: PayloadLink,
) -> dict[UUID, Artifact]:
    """Make *files* available and record the events of each with it, in one statement.

    Return those whose rows were still pending, by id; of another file nothing is recorded.
    """
    artifacts = [artifact for artifact, _ in files]
    events = [(event, artifact.file_id) for artifact, its_events in files for event in its_events]
    if not events:
        return await catalog.make_all_available(connection, artifacts)

    async def make_available(given: str) -> dict[UUID, Artifact]:
        statement = queries.MAKE_AVAILABLE_WITH_EVENTS
        return await catalog.make_all_available(
            connection, artifacts, statement=statement, more_values={"events": given}
        )

    return await _recorded(connection, events, payload_link, make_available)


async def add_event_for(connection: Connection, event: Event, endpoint_id: UUID, payload_link: PayloadLink) -> UUID:
    """Record *event* for one endpoint only. Return the id of its delivery."""
    bodies = render(event, payload_link)
    values = {
        "event_id": event.event_id,
        "event_type": event.event_type,
        "task_id": event.task_id,
        "source_file": storable_text(event.source_file),
        "occurred_at": event.occurred_at,
        "body": bodies.body,
        "whole_body": bodies.whole_body,
        "endpoint_id": endpoint_id,
    }
    return (await fetch_row(connection, queries.ADD_EVENT_FOR, values))["delivery_id"]


async def whole_body(connection: Connection, event_id: str) -> bytes:
    """Return the whole body of an event, as JSON. Raises `EventNotFound`."""
    row = await fetch_optional(connection, queries.WHOLE_BODY, {"event_id": event_id})
    if row is None:
        raise EventNotFound(f"no event {event_id}; it never existed, or its history has been trimmed")
    return row["body"]


async def recent_events(
    connection: Connection, since: timedelta, *, event_types: Sequence[str] | None = None, limit: int = 1000
) -> list[RecordedEvent]:
    """Return events of the time *since*, newest first, at most *limit*; only of *event_types*, where given."""
    values = {
        "seconds": since.total_seconds(),
        "event_types": list(event_types) if event_types is not None else None,
        "limit": limit,
    }
    return [RecordedEvent(**row) for row in await fetch_all(connection, queries.RECENT_EVENTS, values)]


async def events_of_run(
    connection: Connection, run_id: UUID, *, event_types: Sequence[str], limit: int = 1000
) -> list[RecordedEvent]:
    """Return events of one run, newest first, at most *limit*; those that were trimmed are not among them."""
    values = {"task_id": run_id, "event_types": list(event_types), "limit": limit}
    return [RecordedEvent(**row) for row in await fetch_all(connection, queries.EVENTS_OF_RUN, values)]


async def _recorded(
    connection: Connection,
    events: Sequence[tuple[Event, UUID | None]],
    payload_link: PayloadLink,
    record: Callable[[str], Awaitable[RecordedT]],
) -> RecordedT:
    """Return what *record* does, given the events, each with the file that becomes available with it.

    Rendering a body signs its links, the dear part of an event. So only those that an endpoint wants are
    rendered.
    """
    shorts = [short_body(event) for event, _ in events]
    kinds = {_kind(event) for (event, _), short in zip(events, shorts, strict=True) if short is not None}
    wanted: set[tuple[str, UUID | None]] = set()
    if kinds:
        values = {"event_types": [kind for kind, _ in kinds], "task_ids": [task_id for _, task_id in kinds]}
        rows = await fetch_all(connection, queries.WANTED, values)
        wanted = {(row["event_type"], row["task_id"]) for row in rows}
    if wanted != kinds:
        with suppress(_EndpointAdded):
            async with _alone(connection):
                return await record(_rows(events, shorts, payload_link, wanted))
    return await record(_rows(events, shorts, payload_link, kinds))


class _EndpointAdded(Exception):
    """An endpoint that was added after the look wants an event without a body; nothing is recorded yet."""


@asynccontextmanager
async def _alone(connection: Connection) -> AsyncGenerator[None]:
    """Undo the one statement of the block alone when it is refused, also in a transaction. Raises `_EndpointAdded`."""
    is_in_transaction = connection.info.transaction_status == TransactionStatus.INTRANS
    try:
        async with connection.transaction() if is_in_transaction else nullcontext():
            yield
    except CatalogRefused as error:
        if error.context.get("sqlstate") == _NO_BODY:
            raise _EndpointAdded from error
        raise


def _kind(event: Event) -> tuple[str, UUID | None]:
    """Return what decides, of all events, whether an endpoint wants this one."""
    return event.event_type, event.task_id


def _rows(
    events: Sequence[tuple[Event, UUID | None]],
    shorts: Sequence[bytes | None],
    payload_link: PayloadLink,
    wanted: Collection[tuple[str, UUID | None]],
) -> str:
    """Return the JSON that `queries.RECORD_EVENTS` reads; of events that may be short, bodies of the *wanted* ones."""
    rows: list[dict[str, Any]] = []
    for (event, file_id), short in zip(events, shorts, strict=True):
        bodies = render(event, payload_link) if short is None or _kind(event) in wanted else None
        row = {
            "event_id": event.event_id,
            "event_type": event.event_type,
            "task_id": event.task_id,
            "source_file": storable_text(event.source_file),
            "occurred_at": event.occurred_at,
            "made_file": file_id,
            "body": bodies.body.decode() if bodies else None,
            "whole_body": bodies.whole_body.decode() if bodies and bodies.whole_body else None,
            "short_body": short.decode() if short is not None else None,
        }
        rows.append(row)
    return orjson.dumps(rows).decode()
