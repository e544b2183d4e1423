"""SQL of endpoints and their secrets. Every statement runs on the caller's connection."""

from __future__ import annotations

_ENDPOINT_COLUMNS = """
    endpoint_id, origin, name, url, event_types, description, secret_id, state, disabled_because, failures,
    case when held_until > clock_timestamp() then held_until end as held_until,
    case when held_until > clock_timestamp() then held_because end as held_because, created_at,
    loopback_allowed
"""

ADD_SECRET = "insert into webhook_secrets (secret_id, sealed) values (%(secret_id)s, %(sealed)s)"

# When two processes need the first one, one writes it and both read that.
ADD_SHARED_SECRET = """
    insert into webhook_secrets (secret_id, shared, sealed) values (%(secret_id)s, true, %(sealed)s)
    on conflict (shared) where shared do nothing
"""

SHARED_SECRET = "select secret_id from webhook_secrets where shared"

SECRETS = """
    select secret_id, sealed,
           case when previous_until > clock_timestamp() then previous_sealed end as previous_sealed
      from webhook_secrets
     where secret_id = any(%(secret_ids)s)
"""

COUNT_SECRETS = "select count(*) as secrets from webhook_secrets"

ROTATE_SECRET = """
    update webhook_secrets
       set previous_sealed = sealed, previous_until = clock_timestamp() + make_interval(secs => %(overlap_seconds)s),
           sealed = %(sealed)s, rotated_at = clock_timestamp()
     where secret_id = %(secret_id)s
    returning previous_until
"""

DROP_SECRET = "delete from webhook_secrets where secret_id = %(secret_id)s and not shared"

ADD_ENDPOINT = f"""
    insert into webhook_endpoints (endpoint_id, origin, name, url, event_types, description, secret_id,
                                   loopback_allowed)
    values (%(endpoint_id)s, %(origin)s, %(name)s, %(url)s, %(event_types)s, %(description)s, %(secret_id)s,
            %(loopback_allowed)s)
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

# The number is arbitrary, but no other program's ("webhooks" in ASCII).
BLOCKS_LOCK_KEY = 8603390863846894451
# To the end of the transaction.
LOCK_BLOCKS = f"select pg_try_advisory_xact_lock({BLOCKS_LOCK_KEY}) as locked"

# Failures at the old URL say nothing about the new one, and what the operator allowed was the old one.
CHANGE_ENDPOINT = """
    update webhook_endpoints
       set url = %(url)s, event_types = %(event_types)s, description = %(description)s,
           failures = case when url = %(url)s then failures else 0 end,
           held_until = case when url = %(url)s then held_until end,
           held_because = case when url = %(url)s then held_because end,
           loopback_allowed = loopback_allowed and url = %(url)s
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

# The lock waits for events that are being recorded and blocks new ones, so that every pending delivery is given up.
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
        returning delivery_id
    )
    select endpoint_id, (select count(*) from given_up) as given_up from removed
"""

# Locked, so that in the caller's transaction it does not go, as one that nothing refers to, before a run refers to it.
RUN_ENDPOINT = """
    select endpoint_id, loopback_allowed from webhook_endpoints
     where origin = 'run' and state <> 'removed' and md5(url) = md5(%(url)s) and url = %(url)s
       for key share
"""

ADD_RUN_ENDPOINT = """
    insert into webhook_endpoints (endpoint_id, origin, url, secret_id)
    values (%(endpoint_id)s, 'run', %(url)s, %(secret_id)s)
    on conflict (md5(url)) where origin = 'run' and state <> 'removed' do nothing
"""

# For every run with that URL, as there is one endpoint for all of them.
ALLOW_LOOPBACK = """
    update webhook_endpoints set loopback_allowed = true where endpoint_id = %(endpoint_id)s and not loopback_allowed
"""

# A run that names the URL wants its events, also where the receiver answered an earlier run with "gone".
ADD_RUN = """
    with added as (
        insert into webhook_runs (run_id, endpoint_id) values (%(run_id)s, %(endpoint_id)s)
        on conflict (run_id) do nothing
        returning endpoint_id
    )
    update webhook_endpoints e set state = 'enabled', disabled_because = null
      from added where e.endpoint_id = added.endpoint_id and e.state = 'disabled'
"""
