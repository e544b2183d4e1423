"""SQL that records events, leases endpoints, and claims and updates deliveries. All times are the database's."""

from __future__ import annotations

from blocks.catalog.queries import MAKE_AVAILABLE_CTES

# Dispatchers that listen on this channel are notified with the id of each endpoint that has something due.
CHANNEL = "waybill_webhooks"
# The name of the session in which a dispatcher listens; every account of the server sees it.
DISPATCHER_SESSION = "waybill dispatcher"

DISPATCHER_LISTENS = """
    select exists (select from pg_stat_activity
                    where datname = current_database() and application_name = %(name)s) as listens
"""

# Events --------------------------------------------------------------------------------------------------------------

# Whether an endpoint is sent an event. `run` is the endpoint of the event's run.
_WANTS = """
    endpoint.state <> 'removed'
    and case when endpoint.origin = 'run' then endpoint.endpoint_id = run.endpoint_id
             else endpoint.event_types is null or event.event_type = any(endpoint.event_types) end
"""

# An event that exists already changes nothing; a new one gets a delivery for every endpoint that wants it, and
# dispatchers are notified when the caller's transaction commits. Rows are passed as arrays, so any number costs one
# round trip; they are inserted, and delivered, in the order in which they are given. Endpoints are locked until that
# commit (foreign keys would do so too, a moment later): for one that is removed meanwhile a delivery would wait for
# ever. They are locked in the order of their ids, as everywhere. An event that no endpoint wants is read only where
# runs are looked at, so its short body is recorded; both parts of the statement see the same endpoints. One that is
# given without its body is refused (`body` is not null) if an endpoint wants it after all.
RECORD_EVENTS = f"""
    added as (
        insert into webhook_events (event_id, event_type, task_id, source_file, occurred_at, body, whole_body)
        select event_id, event_type, task_id, source_file, occurred_at,
               convert_to(case when is_short then short_body else event.body end, 'UTF8'),
               convert_to(case when not is_short then event.whole_body end, 'UTF8')
          from rows from (json_to_recordset(%(events)s::json) as (
               event_id text, event_type text, task_id uuid, source_file text, occurred_at timestamptz, body text,
               whole_body text, short_body text, made_file uuid)) with ordinality
               as event (event_id, event_type, task_id, source_file, occurred_at, body, whole_body, short_body,
                         made_file, place)
         cross join lateral (
               select short_body is not null
                      and not exists (select from webhook_endpoints endpoint
                                        left join webhook_runs run on run.run_id = event.task_id
                                       where {_WANTS}) as is_short) as chosen
         where {{condition}}
         order by place
        on conflict (event_id) do nothing
        returning event_id, event_type, task_id
    ), to_deliver as (
        insert into webhook_deliveries (event_id, endpoint_id)
        select event.event_id, endpoint.endpoint_id
          from (select *, row_number() over () as place from added) event
          left join webhook_runs run on run.run_id = event.task_id
          join webhook_endpoints endpoint on {_WANTS}
         order by endpoint.endpoint_id, event.place
           for key share of endpoint
        returning endpoint_id
    ), notified as (
        select pg_notify('waybill_webhooks', endpoint_id::text)
          from (select distinct endpoint_id from to_deliver) as due
    )
"""

# Which of these kinds of events an endpoint wants now.
WANTED = f"""
    select event.event_type, event.task_id
      from unnest(%(event_types)s::text[], %(task_ids)s::uuid[]) as event (event_type, task_id)
      left join webhook_runs run on run.run_id = event.task_id
     where exists (select from webhook_endpoints endpoint where {_WANTS})
"""

ADD_EVENTS = f"""
    with {RECORD_EVENTS.format(condition="true")}
    select (select count(*) from added) as added, (select count(*) from notified) as notified
"""

# Files become available and their events are recorded in one statement, which is faster than a transaction around two
# (ADR 0015). The count is selected because Postgres does not run a query whose result is not read.
MAKE_AVAILABLE_WITH_EVENTS = f"""
    with {MAKE_AVAILABLE_CTES}, {RECORD_EVENTS.format(condition="made_file in (select file_id from made)")}
    select file_id from made, (select count(*) as notified from notified) as counted
"""

# For one endpoint only, whatever its event filter: a test.
ADD_EVENT_FOR = """
    with added as (
        insert into webhook_events (event_id, event_type, task_id, source_file, occurred_at, body, whole_body)
        values (%(event_id)s, %(event_type)s, %(task_id)s, %(source_file)s, %(occurred_at)s, %(body)s, %(whole_body)s)
        returning event_id
    ), to_deliver as (
        insert into webhook_deliveries (event_id, endpoint_id)
        select event_id, %(endpoint_id)s from added
        returning delivery_id, endpoint_id
    )
    select delivery_id, pg_notify('waybill_webhooks', endpoint_id::text) from to_deliver
"""

WHOLE_BODY = "select coalesce(whole_body, body) as body from webhook_events where event_id = %(event_id)s"

_EVENT_COLUMNS = "event_id, event_type, task_id, source_file, occurred_at, recorded_at, body"

RECENT_EVENTS = f"""
    select {_EVENT_COLUMNS} from webhook_events
     where recorded_at > clock_timestamp() - make_interval(secs => %(seconds)s)
       and (%(event_types)s::text[] is null or event_type = any(%(event_types)s))
     order by recorded_at desc, event_id
     limit %(limit)s
"""

EVENTS_OF_RUN = f"""
    select {_EVENT_COLUMNS} from webhook_events
     where task_id = %(task_id)s and event_type = any(%(event_types)s)
     order by occurred_at desc, event_id
     limit %(limit)s
"""

# Dispatching ----------------------------------------------------------------------------------------------------------

_OPEN = "e.state = 'enabled' and (e.held_until is null or e.held_until <= clock_timestamp())"

# A lease is renewed some seconds before its end. One that ends much later was taken while the clock was ahead, by a
# dispatcher that may be gone.
_LONGEST_LEASE = "interval '10 minutes'"
_FREE = f"""
    (e.owner is null or e.owner = %(owner)s
     or e.owned_until not between clock_timestamp() and clock_timestamp() + {_LONGEST_LEASE})
"""

_WITH_DUE = """
    exists (select 1 from webhook_deliveries d
             where d.endpoint_id = e.endpoint_id and d.state = 'pending' and d.due_at <= clock_timestamp())
"""

# The lease is on the endpoint: its owner is the only sender, so that the limit of attempts in flight, the breaker and
# Retry-After hold for any number of dispatchers. Rows that another dispatcher is leasing are skipped; the owner may
# lease its endpoints again, since it may have lost the answer.
ACQUIRE = f"""
    update webhook_endpoints
       set owner = %(owner)s, owned_until = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
     where endpoint_id in (
           select endpoint_id from webhook_endpoints e
            where {_OPEN} and {_FREE}
              and (%(endpoint_ids)s::uuid[] is null or endpoint_id = any(%(endpoint_ids)s))
              and not endpoint_id = any(%(without)s::uuid[])
              and {_WITH_DUE}
            order by endpoint_id
            limit %(limit)s
              for update of e skip locked)
    returning endpoint_id, url, loopback_allowed, secret_id, failures
"""

RENEW = """
    update webhook_endpoints
       set owned_until = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
     where endpoint_id = any(%(endpoint_ids)s) and owner = %(owner)s
    returning endpoint_id, url, loopback_allowed, secret_id, state
"""

RELEASE = """
    with released as (
        update webhook_endpoints set owner = null, owned_until = null
         where (%(endpoint_ids)s::uuid[] is null or endpoint_id = any(%(endpoint_ids)s)) and owner = %(owner)s
        returning endpoint_id
    )
    select pg_notify('waybill_webhooks', endpoint_id::text) from released
"""

# The oldest due deliveries of each endpoint, as many as its worker has room for, without those it has already. The
# first pause of the schedule is a setting of the dispatcher, so it is not in `due_at`.
DUE = f"""
    select r.endpoint_id, d.delivery_id, d.event_id, d.attempts, event.body
      from unnest(%(endpoint_ids)s::uuid[], %(room)s::integer[]) as r (endpoint_id, room)
      join webhook_endpoints e on e.endpoint_id = r.endpoint_id and e.owner = %(owner)s and {_OPEN}
     cross join lateral (
           select delivery_id, event_id, attempts from webhook_deliveries d
            where d.endpoint_id = r.endpoint_id and state = 'pending' and due_at <= clock_timestamp()
              and not delivery_id = any(%(busy)s::uuid[])
              and (attempts > 0 or due_at <= clock_timestamp() - make_interval(secs => %(first_pause_seconds)s))
            order by due_at, delivery_id
            limit r.room) d
      join webhook_events event using (event_id)
"""

# Logs attempts and updates their deliveries. An outcome counts also after the lease was lost, since what was delivered
# is delivered; a delivery that is delivered or dead keeps its state. An attempt that is in the log already is left out:
# a dispatcher that lost the connection during a commit writes its outcomes again.
RECORD_OUTCOMES = """
    with given as (
        select * from unnest(%(delivery_ids)s::uuid[], %(states)s::text[], %(pause_seconds)s::float8[],
                             %(started_at)s::timestamptz[], %(milliseconds)s::real[], %(statuses)s::smallint[],
                             %(peers)s::text[], %(errors)s::text[], %(answers)s::text[])
               as o (delivery_id, state, pause_seconds, started_at, milliseconds, status, peer, error, answer)
    ), outcome as (
        select * from given
         where not exists (select 1 from webhook_attempts a
                            where a.delivery_id = given.delivery_id and a.started_at = given.started_at)
    ), logged as (
        insert into webhook_attempts (delivery_id, started_at, milliseconds, status, peer, error, answer)
        select o.delivery_id, started_at, milliseconds, status, peer, error, answer
          from outcome o join webhook_deliveries using (delivery_id)
    )
    update webhook_deliveries d
       set state = o.state, attempts = least(d.attempts, 2147483646) + 1,
           due_at = case when o.state = 'pending'
                         then clock_timestamp() + make_interval(secs => o.pause_seconds) else d.due_at end,
           settled_at = case when o.state <> 'pending' then clock_timestamp() end
      from outcome o
     where d.delivery_id = o.delivery_id and d.state = 'pending'
"""

# After a success.
MARK_HEALTHY = """
    update webhook_endpoints set failures = 0, held_until = null, held_because = null
     where endpoint_id = any(%(endpoint_ids)s) and (failures > 0 or held_until is not null)
"""

# A pause never ends earlier than one that was set before.
MARK_UNHEALTHY = """
    update webhook_endpoints
       set failures = %(failures)s,
           held_until = greatest(held_until, clock_timestamp() + make_interval(secs => %(pause_seconds)s::float8)),
           held_because = case when %(pause_seconds)s::float8 is null then held_because else %(because)s end
     where endpoint_id = %(endpoint_id)s
"""

# Whether a delivery is due, now or within the given time: what a drain waits for.
HAS_DUE = f"""
    select exists (
        select 1 from webhook_deliveries d join webhook_endpoints e using (endpoint_id)
         where d.state = 'pending' and d.due_at <= clock_timestamp() + make_interval(secs => %(within_seconds)s)
           and (d.attempts > 0 or d.due_at <= clock_timestamp() + make_interval(secs => %(within_seconds)s)
                                              - make_interval(secs => %(first_pause_seconds)s))
           and {_OPEN}
    ) as has_due
"""

# What a command waits for at its end: a delivery that is due now, for a healthy endpoint without another lease owner.
HAS_DELIVERABLE = f"""
    select exists (
        select 1 from webhook_deliveries d join webhook_endpoints e using (endpoint_id)
         where d.state = 'pending' and d.due_at <= clock_timestamp() and {_OPEN} and e.failures = 0
           and (d.attempts > 0 or d.due_at <= clock_timestamp() - make_interval(secs => %(first_pause_seconds)s))
           and {_FREE}
           and not e.endpoint_id = any(%(without)s::uuid[])
           and (%(task_id)s::uuid is null
                or d.event_id in (select event_id from webhook_events where task_id = %(task_id)s))
    ) as has_deliverable
"""
