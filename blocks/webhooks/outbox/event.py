"""Events and their JSON bodies.

Owns the form ``{"event_type", "timestamp", "task_id", "source_file", "data"}``, the ids that identify an event however
often it is recorded, and thinning: a body over `MAX_BODY_BYTES` is replaced by a link to the whole, never cut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from uuid import UUID, uuid5

import orjson

from blocks.json_cleaning import cleaned, without_surrogates

# Accepted by receivers and their proxies; Standard Webhooks asks for less than 20 kB.
MAX_BODY_BYTES = 20_000

# An arbitrary fixed id: the namespace of computed event ids.
_NAMESPACE = UUID("6f1f6c1e-54a5-4c3e-9d5b-1d6b3a1e9a77")

# Fields that a thinned event keeps, as long as they are short: receivers decide by them.
_KEPT_WHEN_THINNED = (
    "status", "message", "progress", "sequence", "overall_success", "total_execution_time", "plan_id", "count", "bytes",
)  # fmt: skip
_MAX_KEPT_CHARS = 500

# Events of documents that succeed: by far the most. Failures are few, and their bodies say why.
_SHORTENED = ("stage_completed", "stage_chain_completed")
_KEPT_WHEN_SHORT = ("overall_success", "total_execution_time")
_KEPT_OF_STAGE = ("name", "execution_time")
_KEPT_OF_CONTEXT = {
    "stage_completed": ("document_sha256", "reused"),
    "stage_chain_completed": ("document_sha256", "document"),
}

PayloadLink = Callable[[str], str | None]
"""Returns the URL of the whole body of the event with this id; None where there is none."""


class Late:
    """A value in the data of an event that is computed when a body is rendered, once. Most bodies never are."""

    def __init__(self, compute: Callable[[], str | None]) -> None:
        self._compute = compute

    @cached_property
    def value(self) -> str | None:
        """The value, as plain JSON."""
        return self._compute()


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened. *task_id* is the flow run's id, *occurred_at* has a time zone.

    *data* is plain JSON, and may have a `Late` in place of a value.
    """

    event_id: str
    event_type: str
    task_id: UUID | None
    source_file: str | None
    occurred_at: datetime
    data: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Bodies:
    """The bytes to send, and the whole body where those hold only a link to it."""

    body: bytes
    whole_body: bytes | None


def state_event_id(state_id: UUID) -> str:
    """Return the id of the event of a Prefect state."""
    return f"evt_{state_id}"


def computed_event_id(*parts: object) -> str:
    """Return an id that is the same for the same parts, so that recording an event twice records it once."""
    return f"evt_{uuid5(_NAMESPACE, '/'.join(str(part) for part in parts))}"


def sequence_of(occurred_at: datetime) -> int:
    """Return microseconds since 1970: receivers sort the events of a task by it."""
    return round(occurred_at.timestamp() * 1_000_000)


def render(event: Event, payload_link: PayloadLink) -> Bodies:
    """Return the event as JSON bytes; *payload_link* is called only when the body is too long to be sent whole."""
    whole = _dump(event, event.data)
    if len(whole) <= MAX_BODY_BYTES:
        return Bodies(body=whole, whole_body=None)
    kept = {name: event.data[name] for name in _KEPT_WHEN_THINNED if name in event.data}
    short = {name: value for name, value in kept.items() if len(str(value)) <= _MAX_KEPT_CHARS}
    link = {"thinned": True, "payload_bytes": len(whole), "payload_url": payload_link(event.event_id)}
    thinned = _dump(event, short | link)
    if len(thinned) > MAX_BODY_BYTES:
        # A source's URL may be longer than all the rest.
        thinned = _dump(replace(event, source_file=None), short | link)
    return Bodies(body=thinned, whole_body=whole)


def short_body(event: Event) -> bytes | None:
    """Return what is recorded of a document's success that no endpoint wants; None where the whole body is.

    It has what lists of events and of a run's documents show, what the metrics count, and by what the events of a
    document are found to be forgotten; the rest is in the other columns and in the catalogue.
    """
    data = event.data
    if event.event_type not in _SHORTENED or data.get("overall_success") is False:
        return None
    short = {name: data[name] for name in _KEPT_WHEN_SHORT if name in data}
    for name, kept in (("stage", _KEPT_OF_STAGE), ("context", _KEPT_OF_CONTEXT[event.event_type])):
        if isinstance(data.get(name), Mapping):
            short[name] = {field: data[name][field] for field in kept if field in data[name]}
    return _json({"data": short})


def _dump(event: Event, data: Mapping[str, Any]) -> bytes:
    body = {
        "event_type": event.event_type,
        "timestamp": event.occurred_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "task_id": str(event.task_id) if event.task_id else None,
        "source_file": event.source_file,
        "data": data,
    }
    return _json(body)


def _json(body: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(body, default=_computed)  # NaN becomes null
    except TypeError:
        return orjson.dumps(cleaned(body, leaf=_plain))


def _computed(value: Any) -> Any:
    if isinstance(value, Late):
        return value.value
    raise TypeError(type(value).__name__)


def _plain(value: Any) -> Any:
    """Return a leaf without what some JSON parsers refuse: lone surrogates and integers beyond 64 bits."""
    if isinstance(value, Late):
        value = value.value
    if isinstance(value, str):
        return without_surrogates(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    return value
