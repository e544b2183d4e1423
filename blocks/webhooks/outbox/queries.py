"""The outbox's SQL up to the sending, readable in one place; pure.

Every statement runs on the caller's connection. All times are the database's.
"""

from __future__ import annotations

from blocks.catalog.queries import MADE_AVAILABLE

# A dispatcher that listens on this channel is told of every endpoint for which something has become due.
CHANNEL = "waybill_webhooks"

# Events and endpoints -------------------------------------------------------------------------------------------------

# An event that is there already changes nothing; a new one gets a delivery for every endpoint that wants it, and
# dispatchers are told when the caller's transaction commits. Rows travel as arrays, so any number costs one exchange
# with the server. Endpoints stay as they are until that commit (foreign keys see to it anyway, a moment later): for one
# that is removed meanwhile a delivery would wait for ever. They are locked in the order of their ids, as everywhere.
_TOLD = """
    added as (
        insert into webhook_events (event_id, event_type, task_id, source_file, occurred_at, body, whole_body)
        select * from unnest(%(event_ids)s::text[], %(event_types)s::text[], %(task_ids)s::uuid[],
                             %(source_files)s::text[], %(occurred_at)s::timestamptz[], %(bodies)s::bytea[],
                             %(whole_bodies)s::bytea[])
         where {condition}
        on conflict (event_id) do nothing
        returning event_id, event_type, task_id
    ), to_deliver as (
        insert into webhook_deliveries (event_id, endpoint_id)
        select told.event_id, endpoint.endpoint_id
          from (select *, row_number() over () as place from added) told
          left join webhook_runs run on run.run_id = told.task_id
          join webhook_endpoints endpoint
            on endpoint.state <> 'removed'
               and case when endpoint.origin = 'run' then endpoint.endpoint_id = run.endpoint_id
                        else endpoint.event_types is null or told.event_type = any(endpoint.event_types) end
         order by endpoint.endpoint_id, told.place
           for key share of endpoint
        returning endpoint_id
    ), told as (
        select pg_notify('waybill_webhooks', endpoint_id::text)
          from (select distinct endpoint_id from to_deliver) as due
    )
"""

ADD_EVENTS = f"""
    with {_TOLD.format(condition="true")}
    select (select count(*) from added) as added, (select count(*) from told) as told
"""

# A file and what is told of it become true in one statement, a third of the cost of a transaction around two. The count
# is asked for since a query that nobody reads is not run.
MAKE_AVAILABLE_AND_TELL = f"""
    with {MADE_AVAILABLE}, {_TOLD.format(condition="exists (select 1 from made)")}
    select made.* from made, (select count(*) from told) as notified
"""

# For one endpoint only, whatever it wants to be told: a test.
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

_ENDPOINT_COLUMNS = """
    endpoint_id, origin, name, url, event_types, description, secret_id, state, disabled_because, failures,
    case when held_until > clock_timestamp() then held_until end as held_until,
    case when held_until > clock_timestamp() then held_because end as held_because, created_at
"""

ADD_SECRET = "insert into webhook_secrets (secret_id, sealed) values (%(secret_id)s, %(sealed)s)"

# Two processes that both need the first one: one writes it, and both read that.
ADD_SHARED_SECRET = """
    insert into webhook_secrets (secret_id, shared, sealed) values (%(secret_id)s, true, %(sealed)s)
    on conflict (shared) where shared do nothing
"""

SHARED_SECRET = "select secret_id from webhook_secrets where shared"

SECRETS = """
    select secret_id, sealed,
           case when previous_until > clock_timestamp() then previous_sealed end as previous_sealed, previous_until
      from webhook_secrets
     where secret_id = any(%(secret_ids)s)
"""

ROTATE_SECRET = """
    update webhook_secrets
       set previous_sealed = sealed, previous_until = clock_timestamp() + make_interval(secs => %(overlap_seconds)s),
           sealed = %(sealed)s, rotated_at = clock_timestamp()
     where secret_id = %(secret_id)s
    returning previous_until
"""

DROP_SECRET = "delete from webhook_secrets where secret_id = %(secret_id)s and not shared"

ADD_ENDPOINT = f"""
    insert into webhook_endpoints (endpoint_id, origin, name, url, event_types, description, secret_id)
    values (%(endpoint_id)s, %(origin)s, %(name)s, %(url)s, %(event_types)s, %(description)s, %(secret_id)s)
    returning {_ENDPOINT_COLUMNS}
"""

ENDPOINT = f"select {_ENDPOINT_COLUMNS} from webhook_endpoints where endpoint_id = %(endpoint_id)s"

ENDPOINTS = f"""
    select {_ENDPOINT_COLUMNS},
           (select count(*) from webhook_deliveries d
             where d.endpoint_id = e.endpoint_id and d.state = 'pending') as pending,
           (select count(*) from webhook_deliveries d
             where d.endpoint_id = e.endpoint_id and d.state = 'dead') as dead
      from webhook_endpoints e
     where state <> 'removed'
     order by created_at, endpoint_id
"""

ENDPOINTS_OF_BLOCKS = f"""
    select {_ENDPOINT_COLUMNS} from webhook_endpoints where origin = 'block' and state <> 'removed'
"""

# To the end of the transaction; any fixed number does that no other program takes ("webhooks" in ASCII).
LOCK_BLOCKS = "select pg_try_advisory_xact_lock(8603390863846894451) as locked"

# What failed elsewhere says nothing about another address.
CHANGE_ENDPOINT = """
    update webhook_endpoints
       set url = %(url)s, event_types = %(event_types)s, description = %(description)s,
           failures = case when url = %(url)s then failures else 0 end,
           held_until = case when url = %(url)s then held_until end,
           held_because = case when url = %(url)s then held_because end
     where endpoint_id = %(endpoint_id)s
"""

ENABLE = """
    with enabled as (
        update webhook_endpoints
           set state = 'enabled', disabled_because = null, failures = 0, held_until = null, held_because = null
         where endpoint_id = %(endpoint_id)s and state <> 'removed'
        returning endpoint_id
    )
    select pg_notify('waybill_webhooks', endpoint_id::text) from enabled
"""

DISABLE = """
    update webhook_endpoints set state = 'disabled', disabled_because = %(because)s
     where endpoint_id = %(endpoint_id)s and state <> 'removed'
    returning endpoint_id
"""

# Waits for events that are being added for it, and has others wait: what is given up is all that there is.
ENDPOINT_TO_REMOVE = f"{ENDPOINT} for update"

REMOVE = """
    with removed as (
        update webhook_endpoints
           set state = 'removed', secret_id = null, owner = null, owned_until = null, held_until = null,
               held_because = null
         where endpoint_id = %(endpoint_id)s and state <> 'removed'
        returning endpoint_id
    ), given_up as (
        update webhook_deliveries set state = 'dead', settled_at = clock_timestamp()
         where state = 'pending' and endpoint_id in (select endpoint_id from removed)
    )
    select endpoint_id from removed
"""

RUN_ENDPOINT = """
    select endpoint_id from webhook_endpoints
     where origin = 'run' and state <> 'removed' and md5(url) = md5(%(url)s) and url = %(url)s
"""

ADD_RUN_ENDPOINT = """
    insert into webhook_endpoints (endpoint_id, origin, url, secret_id)
    values (%(endpoint_id)s, 'run', %(url)s, %(secret_id)s)
    on conflict (md5(url)) where origin = 'run' and state <> 'removed' do nothing
"""

# A run that names an address anew wants it to be told, also where an earlier run was answered "gone".
ADD_RUN = """
    with added as (
        insert into webhook_runs (run_id, endpoint_id) values (%(run_id)s, %(endpoint_id)s)
        on conflict (run_id) do nothing
        returning endpoint_id
    )
    update webhook_endpoints e set state = 'enabled', disabled_because = null
      from added where e.endpoint_id = added.endpoint_id and e.state = 'disabled'
"""

# Dispatching ----------------------------------------------------------------------------------------------------------

_OPEN = "e.state = 'enabled' and (e.held_until is null or e.held_until <= clock_timestamp())"

_HAS_DUE = """
    exists (select 1 from webhook_deliveries d
             where d.endpoint_id = e.endpoint_id and d.state = 'pending' and d.due_at <= clock_timestamp())
"""

# The lease is on the endpoint: whoever holds it is the only one that sends there, so that the limit of attempts in
# flight, the breaker and Retry-After hold for any number of dispatchers. What another one is taking is skipped; what
# the owner has already may be taken again, since it may have lost the answer.
ACQUIRE = f"""
    update webhook_endpoints
       set owner = %(owner)s, owned_until = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
     where endpoint_id in (
           select endpoint_id from webhook_endpoints e
            where {_OPEN} and (owner is null or owner = %(owner)s or owned_until < clock_timestamp())
              and (%(endpoint_ids)s::uuid[] is null or endpoint_id = any(%(endpoint_ids)s))
              and not endpoint_id = any(%(without)s::uuid[])
              and {_HAS_DUE}
            order by endpoint_id
            limit %(limit)s
              for update of e skip locked)
    returning endpoint_id, url, secret_id, failures
"""

RENEW = """
    update webhook_endpoints
       set owned_until = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
     where endpoint_id = any(%(endpoint_ids)s) and owner = %(owner)s
    returning endpoint_id, url, secret_id, state
"""

RELEASE = """
    with released as (
        update webhook_endpoints set owner = null, owned_until = null
         where (%(endpoint_ids)s::uuid[] is null or endpoint_id = any(%(endpoint_ids)s)) and owner = %(owner)s
        returning endpoint_id
    )
    select pg_notify('waybill_webhooks', endpoint_id::text) from released
"""

# The oldest due ones of each endpoint, as many as it has room for, without those that are being worked on here. The
# first pause of the schedule is a setting of whoever sends, so it is not in `due_at`.
DUE = f"""
    select r.endpoint_id, d.delivery_id, d.event_id, d.attempts, d.due_at, event.event_type, event.body
      from unnest(%(endpoint_ids)s::uuid[], %(room)s::integer[]) as r (endpoint_id, room)
      join webhook_endpoints e on e.endpoint_id = r.endpoint_id and e.owner = %(owner)s and {_OPEN}
     cross join lateral (
           select delivery_id, event_id, attempts, due_at from webhook_deliveries d
            where d.endpoint_id = r.endpoint_id and state = 'pending' and due_at <= clock_timestamp()
              and not delivery_id = any(%(busy)s::uuid[])
              and (attempts > 0 or due_at <= clock_timestamp() - make_interval(secs => %(first_pause_seconds)s))
            order by due_at, delivery_id
            limit r.room) d
      join webhook_events event using (event_id)
"""

# What became of attempts, and what that means for their endpoints: everything in one statement. An outcome counts
# whoever reports it, since what was delivered is delivered; one that is settled stays as it is. An attempt that is in
# the log already is left out: who lost the connection in mid-commit tells again.
SETTLE = """
    with told as (
        select * from unnest(%(delivery_ids)s::uuid[], %(states)s::text[], %(pause_seconds)s::float8[],
                             %(started_at)s::timestamptz[], %(milliseconds)s::real[], %(statuses)s::smallint[],
                             %(peers)s::text[], %(errors)s::text[], %(answers)s::text[])
               as o (delivery_id, state, pause_seconds, started_at, milliseconds, status, peer, error, answer)
    ), outcome as (
        select * from told
         where not exists (select 1 from webhook_attempts a
                            where a.delivery_id = told.delivery_id and a.started_at = told.started_at)
    ), logged as (
        insert into webhook_attempts (delivery_id, started_at, milliseconds, status, peer, error, answer)
        select o.delivery_id, started_at, milliseconds, status, peer, error, answer
          from outcome o join webhook_deliveries using (delivery_id)
    )
    update webhook_deliveries d
       set state = o.state, attempts = d.attempts + 1,
           due_at = case when o.state = 'pending'
                         then clock_timestamp() + make_interval(secs => o.pause_seconds) else d.due_at end,
           settled_at = case when o.state <> 'pending' then clock_timestamp() end
      from outcome o
     where d.delivery_id = o.delivery_id and d.state = 'pending'
"""

# After a success: nothing to hold it for.
MARK_SOUND = """
    update webhook_endpoints set failures = 0, held_until = null, held_because = null
     where endpoint_id = any(%(endpoint_ids)s) and (failures > 0 or held_until is not null)
"""

# A pause never ends earlier than one that was set before.
MARK_FAILING = """
    update webhook_endpoints
       set failures = %(failures)s,
           held_until = greatest(held_until, clock_timestamp() + make_interval(secs => %(pause_seconds)s::float8)),
           held_because = case when %(pause_seconds)s::float8 is null then held_because else %(because)s end
     where endpoint_id = %(endpoint_id)s
"""

# Whether anything may still be sent now or within the given time: what a drain waits for.
UNDER_WAY = f"""
    select exists (
        select 1 from webhook_deliveries d join webhook_endpoints e using (endpoint_id)
         where d.state = 'pending' and d.due_at <= clock_timestamp() + make_interval(secs => %(within_seconds)s)
           and (d.attempts > 0 or d.due_at <= clock_timestamp() + make_interval(secs => %(within_seconds)s)
                                              - make_interval(secs => %(first_pause_seconds)s))
           and {_OPEN}
    ) as under_way
"""

# What a command waits for at its end: due now, at endpoints that have taken what they were sent, and with nobody else
# to send it.
AWAITED = f"""
    select exists (
        select 1 from webhook_deliveries d join webhook_endpoints e using (endpoint_id)
         where d.state = 'pending' and d.due_at <= clock_timestamp() and {_OPEN} and e.failures = 0
           and (d.attempts > 0 or d.due_at <= clock_timestamp() - make_interval(secs => %(first_pause_seconds)s))
           and (e.owner is null or e.owner = %(owner)s or e.owned_until < clock_timestamp())
           and not e.endpoint_id = any(%(without)s::uuid[])
           and (%(task_id)s::uuid is null
                or d.event_id in (select event_id from webhook_events where task_id = %(task_id)s))
    ) as awaited
"""
