"""The outbox: what consumers are to be told, in Postgres, from the event to the last attempt."""

from blocks.webhooks.outbox.event import Event, PayloadLink, computed_event_id, sequence_of, state_event_id
from blocks.webhooks.outbox.outbox import (
    RecordedEvent,
    add_event_for,
    add_events,
    make_available_and_tell,
    recent_events,
    whole_body,
)

__all__ = [
    "Event",
    "PayloadLink",
    "RecordedEvent",
    "add_event_for",
    "add_events",
    "computed_event_id",
    "make_available_and_tell",
    "recent_events",
    "sequence_of",
    "state_event_id",
    "whole_body",
]
