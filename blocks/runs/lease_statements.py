"""The SQL of run leases, with the reasons for it; pure."""

from __future__ import annotations

LOCK_KEY = "hashtextextended('waybill-run:' || %(run_id)s::text, 0)"
# A server that was away could not be asked to renew anything.
SILENT = "extract(epoch from clock_timestamp() - greatest(run_leases.renewed_at, pg_postmaster_start_time()))"

# As with output locks: the server finds out in a minute that a machine has vanished, and an earlier session of this
# process, which it may not have found out about, is ended.
BEGIN = """
    select set_config('application_name', %(name)s, false), set_config('tcp_keepalives_idle', '30', false),
           set_config('tcp_keepalives_interval', '10', false), set_config('tcp_keepalives_count', '3', false),
           (select count(pg_terminate_backend(pid)) from pg_stat_activity
             where application_name = %(name)s and pid <> pg_backend_pid())
"""
TRY_LOCK = f"select pg_try_advisory_lock({LOCK_KEY}) as got"
UNLOCK = f"select pg_advisory_unlock({LOCK_KEY})"
# Of a run of the same home the file lock has decided: the caller holds it.
TAKE = f"""
    insert into run_leases (run_id, holder, home) values (%(run_id)s, %(holder)s, %(home)s)
    on conflict (run_id) do update
       set holder = excluded.holder, home = excluded.home, taken_at = clock_timestamp(),
           renewed_at = clock_timestamp(), given_up_at = null
     where run_leases.home = excluded.home or run_leases.holder = excluded.holder
        or run_leases.given_up_at is not null or {SILENT} > %(lost_seconds)s
    returning holder
"""
RENEW = """
    update run_leases set renewed_at = clock_timestamp()
     where run_id = %(run_id)s and holder = %(holder)s and given_up_at is null
    returning run_id
"""
END = "delete from run_leases where run_id = %(run_id)s and holder = %(holder)s"
FORGET = "delete from run_leases where run_id = %(run_id)s"

LEASES = f"""
    select run_id, holder, home, ({SILENT})::float8 as silent_seconds, given_up_at is not null as given_up
      from run_leases
"""
ONE = f"{LEASES} where run_id = %(run_id)s"
OF_RUNS = "select run_id from run_leases where run_id = any(%(run_ids)s) and given_up_at is null"
SUSPECTS = f"{LEASES} where given_up_at is not null or {SILENT} > %(lost_seconds)s order by renewed_at"
GIVE_UP = f"""
    update run_leases set given_up_at = coalesce(given_up_at, clock_timestamp())
     where run_id = %(run_id)s and holder = %(holder)s and (given_up_at is not null or {SILENT} > %(silent_seconds)s)
    returning run_id
"""
END_SESSIONS = """
    select count(pg_terminate_backend(pid)) as sessions from pg_stat_activity where application_name = any(%(names)s)
"""
