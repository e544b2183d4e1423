"""Events: what happened, as consumers are told; pure.

Owns the body's form ``{"event_type", "timestamp", "task_id", "source_file", "data"}``, the ids that make the same event
the same however often it is seen, and thinning: a body over `MAX_BODY_BYTES` is sent as a link to the whole, never cut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

import orjson

from blocks.json_cleaning import cleaned, without_surrogates

# What consumers and their proxies take without complaint; Standard Webhooks asks for less than 20 kB.
MAX_BODY_BYTES = 20_000

# Any fixed id does; computed event ids are made below it.
_NAMESPACE = UUID("6f1f6c1e-54a5-4c3e-9d5b-1d6b3a1e9a77")

# Fields of a thinned event's data that stay, as long as they are short: what a consumer decides by.
_KEPT_WHEN_THINNED = ("status", "message", "progress", "sequence", "overall_success", "total_execution_time")
_MAX_KEPT_CHARS = 500

PayloadLink = Callable[[str], str | None]
"""Gives the address under which the whole body of an event can be read, for its id; None where there is none."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened. *task_id* is the flow run, *occurred_at* has a time zone, *data* is plain JSON."""

    event_id: str
    event_type: str
    task_id: UUID | None
    source_file: str | None
    occurred_at: datetime
    data: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Bodies:
    """The bytes to be sent, and the whole of it where those are only a link."""

    body: bytes
    whole_body: bytes | None


def state_event_id(state_id: UUID) -> str:
    """The id of the event that tells of a Prefect state."""
    return f"evt_{state_id}"


def computed_event_id(*parts: object) -> str:
    """The same id for the same parts, so that what is told again is recognised."""
    return f"evt_{uuid5(_NAMESPACE, '/'.join(str(part) for part in parts))}"


def sequence_of(occurred_at: datetime) -> int:
    """A number that grows with time, in microseconds: consumers sort the events of a task by it."""
    return round(occurred_at.timestamp() * 1_000_000)


def render(event: Event, payload_link: PayloadLink) -> Bodies:
    """The event as JSON bytes; *payload_link* is asked only when it is too long to be sent whole."""
    whole = _dump(event, event.data)
    if len(whole) <= MAX_BODY_BYTES:
        return Bodies(body=whole, whole_body=None)
    kept = {name: event.data[name] for name in _KEPT_WHEN_THINNED if name in event.data}
    short = {name: value for name, value in kept.items() if len(str(value)) <= _MAX_KEPT_CHARS}
    link = {"thinned": True, "payload_bytes": len(whole), "payload_url": payload_link(event.event_id)}
    thinned = _dump(event, short | link)
    if len(thinned) > MAX_BODY_BYTES:
        # An address may be longer than all the rest.
        thinned = _dump(replace(event, source_file=None), short | link)
    return Bodies(body=thinned, whole_body=whole)


def _dump(event: Event, data: Mapping[str, Any]) -> bytes:
    body = {
        "event_type": event.event_type,
        "timestamp": event.occurred_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "task_id": str(event.task_id) if event.task_id else None,
        "source_file": event.source_file,
        "data": data,
    }
    try:
        return orjson.dumps(body)  # NaN becomes null
    except TypeError:
        return orjson.dumps(cleaned(body, leaf=_plain))


def _plain(value: Any) -> Any:
    """A leaf without what no JSON parser takes everywhere: lone surrogates and numbers beyond 64 bits."""
    if isinstance(value, str):
        return without_surrogates(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    return value
