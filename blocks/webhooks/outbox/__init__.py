"""The outbox: events for webhook receivers, in Postgres, from the event to the last attempt.

An event commits together with what happened, since every call takes the caller's connection; it is recorded once,
however often it is added; its body never changes, so retries and replays send the same bytes. Sends nothing. Start with
`event` (the body and its limit of 20 kB) and `outbox` (recording events). `deliveries` has what a dispatcher needs,
`delivery_log` what people look at, `statistics` the counts for the metrics, `history` how far Prefect's history was
read.
"""

from blocks.webhooks.outbox.deliveries import DeliveryState
from blocks.webhooks.outbox.delivery_log import DeliveryPage, DeliveryRecord, list_deliveries
from blocks.webhooks.outbox.event import Event, Late, computed_event_id, sequence_of, state_event_id
from blocks.webhooks.outbox.outbox import (
    RecordedEvent,
    add_event_for,
    add_events,
    events_of_run,
    make_available_with_events,
    recent_events,
    whole_body,
)

__all__ = [
    "DeliveryPage",
    "DeliveryRecord",
    "DeliveryState",
    "Event",
    "Late",
    "RecordedEvent",
    "add_event_for",
    "add_events",
    "computed_event_id",
    "events_of_run",
    "list_deliveries",
    "make_available_with_events",
    "recent_events",
    "sequence_of",
    "state_event_id",
    "whole_body",
]
