"""Record events, and read them back. The database notifies the dispatchers as soon as the caller commits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from blocks.catalog import Artifact, Catalog, Connection
from blocks.errors import EventNotFound
from blocks.json_cleaning import storable_text
from blocks.postgres import fetch_all, fetch_optional, fetch_row
from blocks.webhooks.outbox import queries
from blocks.webhooks.outbox.event import Event, PayloadLink, render, short_body


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
    rows = _rows([(event, None) for event in events], payload_link)
    return int((await fetch_row(connection, queries.ADD_EVENTS, rows))["added"])


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
    statement, rows = queries.MAKE_AVAILABLE_WITH_EVENTS, _rows(events, payload_link)
    return await catalog.make_all_available(connection, artifacts, statement=statement, more_values=rows)


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


def _rows(events: Sequence[tuple[Event, UUID | None]], payload_link: PayloadLink) -> dict[str, list[Any]]:
    """Return the events, each with the file that becomes available with it, as the arrays that the statements take."""
    bodies = [render(event, payload_link) for event, _ in events]
    return {
        "event_ids": [event.event_id for event, _ in events],
        "event_types": [event.event_type for event, _ in events],
        "task_ids": [event.task_id for event, _ in events],
        "source_files": [storable_text(event.source_file) for event, _ in events],
        "occurred_at": [event.occurred_at for event, _ in events],
        "made_files": [file_id for _, file_id in events],
        "bodies": [one.body for one in bodies],
        "whole_bodies": [one.whole_body for one in bodies],
        "short_bodies": [short_body(event) for event, _ in events],
    }
