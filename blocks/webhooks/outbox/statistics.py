"""How the delivery of webhooks stands, and what has happened since one looked last, in a few numbers.

Deliveries are counted as they are. Events are counted as they come, since old ones are trimmed away in the end: each is
in exactly one of the periods that follow one another.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from blocks.catalog import Connection
from blocks.postgres import Row, execute
from blocks.webhooks.outbox.deliveries import DeliveryState

# An event becomes visible when its transaction commits, a moment after the time that it bears. Whatever takes longer
# than this between the two is not counted.
_SETTLED = timedelta(seconds=5)
# The longest period that is counted at once. What happened while nobody looked for longer is not counted either.
MAX_PERIOD = timedelta(minutes=10)

_DELIVERIES = """
    select state, count(*) as deliveries, extract(epoch from now() - min(created_at))::float8 as oldest_seconds
      from webhook_deliveries
     group by state
"""

# What a dispatcher should have sent by now: nothing holds it back.
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

_UNTIL = "select clock_timestamp() - make_interval(secs => %(settled_seconds)s) as until"

# Bodies may hold U+0000, which Postgres takes in no JSON: it is cut out, with doubled backslashes out of the way, for
# which U+0001 stands meanwhile, since JSON holds that as an escape only.
_EVENTS = r"""
    with told as materialized (
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
      from told
     group by 1, 2, 3
"""


@dataclass(frozen=True, kw_only=True)
class DeliveryStatistics:
    """*by_state*: deliveries; *oldest_pending_seconds*: since the oldest that is pending was made; *overdue_seconds*:
    how long the first one in the line should have been sent by now; *endpoints*: enabled, held and disabled ones."""

    by_state: dict[DeliveryState, int]
    oldest_pending_seconds: float
    overdue_seconds: float
    endpoints: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class EventCount:
    """Events of one kind in a period; *stage*, whether its output was *reused*, and the *seconds* of work, where they
    tell of a stage."""

    event_type: str
    stage: str | None
    reused: bool
    events: int
    seconds: float


async def delivery_statistics(connection: Connection) -> DeliveryStatistics:
    """How the delivery stands now."""
    rows = await (await execute(connection, _DELIVERIES, {})).fetchall()
    overdue = cast("Row", await (await execute(connection, _OVERDUE, {})).fetchone())
    endpoints = await (await execute(connection, _ENDPOINTS, {})).fetchall()
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
    """What has happened *since* then, and until when: the *since* of the next call. None gives nothing but the time.

    Some seconds late, so that nothing is missed that was about to be told; see `MAX_PERIOD` for the longest period.
    """
    values = {"settled_seconds": _SETTLED.total_seconds()}
    until: datetime = cast("Row", await (await execute(connection, _UNTIL, values)).fetchone())["until"]
    if since is None or since >= until:
        return [], since or until
    period = {"since": max(since, until - MAX_PERIOD), "until": until}
    rows = await (await execute(connection, _EVENTS, period)).fetchall()
    return [EventCount(**row) for row in rows], until
