"""The delivery log: list deliveries and their attempts, and replay them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from blocks.catalog import MAX_PAGE, Connection
from blocks.errors import DeliveryNotFound, InvalidOptions
from blocks.json_cleaning import json_value
from blocks.postgres import fetch_all, fetch_optional, fetch_row
from blocks.postgres.page_cursor import read_row_cursor, write_cursor
from blocks.webhooks.outbox.deliveries import DeliveryState

_DELIVERIES = """
    select d.delivery_id, d.event_id, event.event_type, event.task_id, event.source_file, d.endpoint_id, e.url, d.state,
           d.attempts, d.created_at, case when d.state = 'pending' then d.due_at end as due_at, d.settled_at,
           last.started_at as last_attempt_at, last.status as last_status, last.milliseconds as last_milliseconds,
           last.peer as last_peer, last.error as last_error
      from webhook_deliveries d
      join webhook_events event using (event_id)
      join webhook_endpoints e on e.endpoint_id = d.endpoint_id
      left join lateral (select * from webhook_attempts a where a.delivery_id = d.delivery_id
                          order by attempt_id desc limit 1) last on true
"""

# The condition of each filter of `list_deliveries`.
_CONDITIONS = {
    "endpoint_id": "d.endpoint_id = %(endpoint_id)s",
    "state": "d.state = %(state)s",
    "task_id": "event.task_id = %(task_id)s",
    "since": "d.created_at >= %(since)s",
    "after_delivery_id": "(d.created_at, d.delivery_id) < (%(after_created_at)s, %(after_delivery_id)s)",
}

_ATTEMPTS = """
    select started_at, milliseconds, status, peer, error, answer from webhook_attempts
     where delivery_id = %(delivery_id)s
     order by attempt_id
"""

# The same event with the same id and body, from the beginning of the schedule.
_REPLAY = """
    with replayed as (
        update webhook_deliveries d
           set state = 'pending', attempts = 0, due_at = clock_timestamp(), settled_at = null
         where d.state = any(%(states)s)
           and (%(delivery_ids)s::uuid[] is null or d.delivery_id = any(%(delivery_ids)s))
           and (%(endpoint_id)s::uuid is null or d.endpoint_id = %(endpoint_id)s)
           and (%(since)s::timestamptz is null or d.created_at >= %(since)s)
           and (%(until)s::timestamptz is null or d.created_at < %(until)s)
           and exists (select 1 from webhook_endpoints e where e.endpoint_id = d.endpoint_id and e.state <> 'removed')
        returning endpoint_id
    ), notified as (
        select pg_notify('waybill_webhooks', endpoint_id::text) from (select distinct endpoint_id from replayed) as due
    )
    select (select count(*) from replayed) as replayed, (select count(*) from notified) as notified
"""

_WAITING = """
    select count(*) as deliveries from webhook_deliveries d join webhook_events event using (event_id)
     where d.state = 'pending' and event.task_id = %(task_id)s
"""

_COUNTS = """
    select state, count(*) as count, min(created_at) as oldest from webhook_deliveries group by state order by state
"""


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
        """Return the delivery as commands and the API show it."""
        return {name: _shown(value) for name, value in vars(self).items()}


@dataclass(frozen=True, kw_only=True)
class DeliveryPage:
    """One page of the log, newest first. `next` continues it, None at the end."""

    deliveries: list[DeliveryRecord]
    next: str | None


async def count_waiting(connection: Connection, task_id: UUID) -> int:
    """Return how many deliveries of a run's events have not arrived yet and will be tried again."""
    return int((await fetch_row(connection, _WAITING, {"task_id": task_id}))["deliveries"])


async def list_deliveries(
    connection: Connection,
    *,
    endpoint_id: UUID | None = None,
    state: DeliveryState | None = None,
    task_id: UUID | None = None,
    since: datetime | None = None,
    limit: int = 100,
    after: str | None = None,
) -> DeliveryPage:
    """Return one page, newest first, after the `DeliveryPage.next` *after*. Raises `InvalidOptions`."""
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidOptions(f"a page holds 1 to {MAX_PAGE} deliveries, not {limit}")
    values: dict[str, Any] = {
        "endpoint_id": endpoint_id, "state": state, "task_id": task_id, "since": since,
    }  # fmt: skip
    if after is not None:
        values["after_created_at"], values["after_delivery_id"] = read_row_cursor(after)
    # Only the filters that are given, so that Postgres can use their indexes; by key set and never by offset.
    conditions = [condition for name, condition in _CONDITIONS.items() if values.get(name) is not None]
    statement = f"""
        {_DELIVERIES}
         where {" and ".join(conditions) or "true"}
         order by d.created_at desc, d.delivery_id desc
         limit %(limit)s
    """
    rows = await fetch_all(connection, statement, {**values, "limit": limit + 1})
    records = [DeliveryRecord(**row) for row in rows[:limit]]
    more = len(rows) > limit
    return DeliveryPage(
        deliveries=records, next=write_cursor(records[-1].created_at, records[-1].delivery_id) if more else None
    )


async def get_delivery(connection: Connection, delivery_id: UUID) -> DeliveryRecord:
    """Return one delivery. Raises `DeliveryNotFound`."""
    statement = f"{_DELIVERIES} where d.delivery_id = %(delivery_id)s"
    row = await fetch_optional(connection, statement, {"delivery_id": delivery_id})
    if row is None:
        raise DeliveryNotFound(f"no delivery {delivery_id}; 'waybill webhooks deliveries' lists all of them")
    return DeliveryRecord(**row)


async def attempts_of(connection: Connection, delivery_id: UUID) -> list[dict[str, Any]]:
    """Return every attempt of a delivery, oldest first, as commands and the API show it."""
    rows = await fetch_all(connection, _ATTEMPTS, {"delivery_id": delivery_id})
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

    A delivery has to match all the other arguments that are given. Return how many are sent again.
    """
    values = {
        "states": list(states),
        "delivery_ids": list(delivery_ids) if delivery_ids is not None else None,
        "endpoint_id": endpoint_id,
        "since": since,
        "until": until,
    }
    return int((await fetch_row(connection, _REPLAY, values))["replayed"])


async def delivery_counts(connection: Connection) -> dict[str, dict[str, Any]]:
    """Return the number of deliveries and the creation time of the oldest one, by state."""
    rows = await fetch_all(connection, _COUNTS, {})
    return {row["state"]: {"count": int(row["count"]), "oldest": row["oldest"].isoformat()} for row in rows}


def _shown(value: Any) -> Any:
    return round(value, 1) if isinstance(value, float) else json_value(value)
