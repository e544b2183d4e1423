"""The SQL of the delivery log: reading it, and sending again; pure.

Every statement runs on the caller's connection. All times are the database's.
"""

from __future__ import annotations

_DELIVERY_COLUMNS = """
    d.delivery_id, d.event_id, event.event_type, event.task_id, event.source_file, d.endpoint_id, e.url, d.state,
    d.attempts, d.created_at, case when d.state = 'pending' then d.due_at end as due_at, d.settled_at,
    last.started_at as last_attempt_at, last.status as last_status, last.milliseconds as last_milliseconds,
    last.peer as last_peer, last.error as last_error
"""

_LAST_ATTEMPT = """
    left join lateral (select * from webhook_attempts a where a.delivery_id = d.delivery_id
                        order by attempt_id desc limit 1) last on true
"""


def deliveries_statement(*, endpoint: bool, state: bool, event: bool, task: bool, since: bool, after: bool) -> str:
    """The delivery log for the filters that are given, newest first, one page by key set (never by offset)."""
    conditions = ["true"]
    if endpoint:
        conditions.append("d.endpoint_id = %(endpoint_id)s")
    if state:
        conditions.append("d.state = %(state)s")
    if event:
        conditions.append("d.event_id = %(event_id)s")
    if task:
        conditions.append("event.task_id = %(task_id)s")
    if since:
        conditions.append("d.created_at >= %(since)s")
    if after:
        conditions.append("(d.created_at, d.delivery_id) < (%(after_created_at)s, %(after_delivery_id)s)")
    return f"""
        select {_DELIVERY_COLUMNS}
          from webhook_deliveries d
          join webhook_events event using (event_id)
          join webhook_endpoints e on e.endpoint_id = d.endpoint_id
          {_LAST_ATTEMPT}
         where {" and ".join(conditions)}
         order by d.created_at desc, d.delivery_id desc
         limit %(limit)s
    """


DELIVERY = f"""
    select {_DELIVERY_COLUMNS}
      from webhook_deliveries d
      join webhook_events event using (event_id)
      join webhook_endpoints e on e.endpoint_id = d.endpoint_id
      {_LAST_ATTEMPT}
     where d.delivery_id = %(delivery_id)s
"""

ATTEMPTS = """
    select started_at, milliseconds, status, peer, error, answer from webhook_attempts
     where delivery_id = %(delivery_id)s
     order by attempt_id
"""

# A new round: the same event with the same id and body, and the whole schedule from its beginning. What is under way
# keeps its place in the schedule.
REPLAY = """
    with again as (
        update webhook_deliveries d
           set state = 'pending', attempts = 0, due_at = clock_timestamp(), settled_at = null
         where d.state = any(%(states)s)
           and (%(delivery_ids)s::uuid[] is null or d.delivery_id = any(%(delivery_ids)s))
           and (%(endpoint_id)s::uuid is null or d.endpoint_id = %(endpoint_id)s)
           and (%(since)s::timestamptz is null or d.created_at >= %(since)s)
           and (%(until)s::timestamptz is null or d.created_at < %(until)s)
           and exists (select 1 from webhook_endpoints e where e.endpoint_id = d.endpoint_id and e.state <> 'removed')
        returning endpoint_id
    ), told as (
        select pg_notify('waybill_webhooks', endpoint_id::text) from (select distinct endpoint_id from again) as due
    )
    select (select count(*) from again) as again, (select count(*) from told) as told
"""

COUNTS = """
    select state, count(*) as count, min(created_at) as oldest from webhook_deliveries group by state order by state
"""
