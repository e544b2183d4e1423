"""Delivery and event counts for the metrics endpoint.

Deliveries are counted now. Events, which are trimmed, are counted by period: successive periods cover each once.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from blocks.catalog import Connection
from blocks.catalog.skipped_records import report_skipped
from blocks.errors import CatalogRefused
from blocks.postgres import fetch_all, fetch_row
from blocks.webhooks.outbox.deliveries import DeliveryState

# An event becomes visible when its transaction commits, a moment after its timestamp. An event for which this takes
# longer is not counted.
_COMMIT_DELAY = timedelta(seconds=5)
# The longest period of one query. Older events are not counted when the metrics were not read for longer than this.
MAX_PERIOD = timedelta(minutes=10)

_DELIVERIES = """
    select state, count(*) as deliveries, extract(epoch from now() - min(created_at))::float8 as oldest_seconds
      from webhook_deliveries
     group by state
"""

# The oldest delivery that should have been sent by now: its endpoint is enabled and not held.
_OVERDUE = """
    select extract(epoch from clock_timestamp() - min(d.due_at))::float8 as seconds
      from webhook_endpoints e
     cross join lateral (
           select due_at from webhook_deliveries
            where endpoint_id = e.endpoint_id and state = 'pending' and due_at <= clock_timestamp()
            order by due_at
            limit 1) d
     where e.state = 'enabled' and (e.held_until is null or e.held_until <= clock_timestamp())
"""

_ENDPOINTS = """
    select case when state = 'enabled' and held_until > clock_timestamp() then 'held' else state end as state,
           count(*) as endpoints
      from webhook_endpoints
     where state <> 'removed'
     group by 1
"""

_UNTIL = "select clock_timestamp() - make_interval(secs => %(commit_delay_seconds)s) as until"

# Bodies may hold U+0000, which Postgres accepts in no JSON, so it is removed. Meanwhile U+0001, which JSON text holds
# only as an escape, replaces doubled backslashes: after one of those, "u0000" is ordinary text.
_EVENTS = r"""
    with recorded as materialized (
        select event_type,
               case when event_type in ('stage_completed', 'stage_failed')
                    then replace(replace(replace(convert_from(coalesce(whole_body, body), 'UTF8'),
                                                 '\\', chr(1)), '\u0000', ''), chr(1), '\\')::json -> 'data' end as data
          from webhook_events
         where recorded_at > %(since)s and recorded_at <= %(until)s
    )
    select event_type, data -> 'stage' ->> 'name' as stage,
           coalesce(data -> 'context' ->> 'reused' = 'true', false) as reused, count(*) as events,
           coalesce(sum((data -> 'stage' ->> 'execution_time')::float8), 0) as seconds
      from recorded
     group by 1, 2, 3
"""

_BODIES = """
    select event_id, event_type,
           case when event_type in ('stage_completed', 'stage_failed') then coalesce(whole_body, body) end as body
      from webhook_events
     where recorded_at > %(since)s and recorded_at <= %(until)s
"""


@dataclass(frozen=True, kw_only=True)
class DeliveryStatistics:
    """*by_state*: numbers of deliveries; *oldest_pending_seconds*: the age of the oldest pending one;
    *overdue_seconds*: how late the one that was due first is; *endpoints*: numbers of enabled, held, disabled ones."""

    by_state: dict[DeliveryState, int]
    oldest_pending_seconds: float
    overdue_seconds: float
    endpoints: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class EventCount:
    """Events of one kind in a period. Stage events have the *stage*, whether its output was *reused*, and the *seconds*
    of work."""

    event_type: str
    stage: str | None
    reused: bool
    events: int
    seconds: float


async def delivery_statistics(connection: Connection) -> DeliveryStatistics:
    """Return the counts of now."""
    rows = await fetch_all(connection, _DELIVERIES, {})
    overdue = await fetch_row(connection, _OVERDUE, {})
    endpoints = await fetch_all(connection, _ENDPOINTS, {})
    found = {row["state"]: row for row in rows}
    states: tuple[DeliveryState, ...] = ("pending", "delivered", "dead")
    return DeliveryStatistics(
        by_state={state: int(found[state]["deliveries"]) if state in found else 0 for state in states},
        oldest_pending_seconds=found["pending"]["oldest_seconds"] if "pending" in found else 0.0,
        overdue_seconds=overdue["seconds"] or 0.0,
        endpoints={"enabled": 0, "held": 0, "disabled": 0}
        | {str(row["state"]): int(row["endpoints"]) for row in endpoints},
    )


async def events_since(connection: Connection, since: datetime | None) -> tuple[list[EventCount], datetime]:
    """Return the events recorded *since* then, and the *since* of the next call. Without *since* only the latter.

    A few seconds late, so that events whose transaction is about to commit are not missed. Covers `MAX_PERIOD` at most.
    """
    values = {"commit_delay_seconds": _COMMIT_DELAY.total_seconds()}
    until: datetime = (await fetch_row(connection, _UNTIL, values))["until"]
    if since is None or since >= until:
        return [], since or until
    period = {"since": max(since, until - MAX_PERIOD), "until": until}
    try:
        rows = await fetch_all(connection, _EVENTS, period)
    except CatalogRefused:
        # A body that is no JSON stops the statement, which cannot leave it out.
        return await _counted_one_by_one(connection, period), until
    return [EventCount(**row) for row in rows], until


async def _counted_one_by_one(connection: Connection, period: dict[str, datetime]) -> list[EventCount]:
    """Count as `_EVENTS` does, without the stages of events whose bodies cannot be read; report those."""
    events, seconds = Counter[tuple[str, str | None, bool]](), dict[tuple[str, str | None, bool], float]()
    broken: dict[str, str] = {}
    for row in await fetch_all(connection, _BODIES, period):
        stage, reused, worked = None, False, 0.0
        if row["body"] is not None:
            try:
                data: Any = json.loads(row["body"])["data"]
                stage, worked = str(data["stage"]["name"]), float(data["stage"]["execution_time"])
                context: Any = data.get("context")
                reused = context is not None and context["reused"] is True
            except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
                broken[row["event_id"]] = f"its body is not that of an event ({type(error).__name__})"
        key = (row["event_type"], stage, reused)
        events[key] += 1
        seconds[key] = seconds.get(key, 0.0) + worked
    await report_skipped(connection, "event", broken)
    return [
        EventCount(event_type=key[0], stage=key[1], reused=key[2], events=number, seconds=seconds[key])
        for key, number in events.items()
    ]
