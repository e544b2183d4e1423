"""SQL of old rows: which are old enough, and in what order they are deleted. Knows no clock but the values it is given.

Every statement deletes a batch, so that no lock is held for long, and leaves out rows that another transaction holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Rows in one transaction: some tenths of a second, also where each has others that go with it.
BATCH_ROWS = 5000


@dataclass(frozen=True, kw_only=True)
class OldRows:
    """Rows of *table* that go, as a condition over the alias ``t``, *oldest* first."""

    table: str
    condition: str
    oldest: str
    batch_rows: int = BATCH_ROWS

    @property
    def count(self) -> str:
        return f"select count(*) as rows from {self.table} t where {self.condition}"

    @property
    def delete(self) -> str:
        return f"""
            delete from {self.table}
             where ctid = any(array(select t.ctid from {self.table} t where {self.condition}
                                     order by {self.oldest} limit {self.batch_rows} for update of t skip locked))
        """


# What a run needs until it is gone: where its events go, and up to which state they are recorded. A run without a note
# has not begun, or its states were never read; after a year it will not.
_IS_OVER = """
    not exists (select 1 from webhook_events e where e.task_id = t.run_id)
    and (exists (select 1 from webhook_runs_read r where r.run_id = t.run_id and r.read_at < %(before)s)
         or exists (select 1 from upload_tasks u where u.task_id = t.run_id and u.ended_at < %(before)s)
         or t.recorded_at < %(before)s - interval '365 days')
"""

# In this order: what refers to others goes before them.
TABLES = (
    OldRows(table="webhook_runs", condition=f"t.recorded_at < %(before)s and {_IS_OVER}", oldest="t.recorded_at"),
    # Before `began_at` no state gets an event, so that a run whose note is gone is read again without any harm.
    OldRows(
        table="webhook_runs_read",
        condition="""
            t.read_at < least(%(before)s, (select began_at from webhook_history_read))
            and not exists (select 1 from webhook_runs w where w.run_id = t.run_id)
            and not exists (select 1 from webhook_events e where e.task_id = t.run_id)
        """,
        oldest="t.read_at",
    ),
    # Of an upload that shared a run: its status is there as long as Prefect has that of the others.
    OldRows(
        table="upload_tasks",
        condition="""
            (t.ended_at < %(before)s or t.created_at < %(before)s - interval '365 days')
            and not exists (select 1 from webhook_runs w where w.run_id = t.task_id)
            and not exists (select 1 from webhook_events e where e.task_id = t.task_id)
        """,
        oldest="t.created_at",
    ),
    # A request is remembered for a day. New requests forget some old ones; here is what no request has followed.
    OldRows(
        table="idempotent_requests",
        condition="t.created_at < clock_timestamp() - make_interval(secs => %(remembered_seconds)s)",
        oldest="t.created_at",
    ),
    OldRows(
        table="skipped_records",
        condition="""
            t.last_seen not between clock_timestamp() - interval '1 day' and clock_timestamp() + interval '1 day'
        """,
        oldest="t.last_seen",
    ),
    # A plan that is being executed stays, however old; one that was only shown has no end.
    OldRows(
        table="retention_plans",
        condition="t.state <> 'executing' and coalesce(t.ended_at, t.created_at) < %(before)s",
        oldest="t.created_at",
        # Each has a batch of a thousand ids for every thousand files.
        batch_rows=20,
    ),
    OldRows(
        table="export_jobs",
        condition="t.state = 'deleted' and greatest(t.ended_at, t.expires_at) < %(before)s",
        oldest="t.created_at",
    ),
    # One whose time is over is ended by the retention; until then it stays.
    OldRows(
        table="transfers",
        condition="t.state not in ('pending', 'in_progress') and t.ended_at < %(before)s",
        oldest="t.ended_at",
    ),
    # With their jobs. One that a home left open when it died is over when its time is. An index for either condition.
    OldRows(
        table="assignments",
        condition="""
            (t.ended_at < %(before)s or (t.state in ('waiting', 'claimed') and t.expires_at < %(before)s))
        """,
        oldest="t.created_at",
    ),
    # Also those that have not ended: no run takes so long.
    OldRows(table="slices", condition="t.created_at < %(before)s", oldest="t.created_at"),
    # Their bytes and manifests are gone. Until now the answer was "gone"; from now on it is "not found".
    OldRows(table="artifacts", condition="t.state = 'deleted' and t.deleted_at < %(before)s", oldest="t.deleted_at"),
    # Its certificate is in the audit log, too, and is kept as long.
    OldRows(table="forgettings", condition="t.ended_at < %(audit_before)s", oldest="t.ended_at"),
    OldRows(table="audit_log", condition="t.recorded_at < %(audit_before)s", oldest="t.recorded_at"),
)

# Events ---------------------------------------------------------------------------------------------------------------

_OLD_PAGE = """
    page as materialized (
        select event_id, task_id, recorded_at from webhook_events
         where recorded_at < %(before)s
           and (recorded_at, event_id) > (%(after_at)s::timestamptz, %(after_id)s::text)
         order by recorded_at, event_id
         limit %(limit)s
    )
"""

# All events of a run go, or none: as long as a run is not over, its later events need the earlier ones, which keep it
# from being recorded twice. A run that was started and has no end yet is not over. A delivery that ended lately can
# still be looked at for the whole period.
_JUDGED = f"""
    {_OLD_PAGE}, tasks as (
        select distinct task_id from page where task_id is not null
    ), judged as materialized (
        select task_id,
               case when exists (select 1 from webhook_events e join webhook_deliveries d using (event_id)
                                  where e.task_id = tasks.task_id and d.state = 'pending') then 'pending_delivery'
                    when exists (select 1 from webhook_events e
                                  where e.task_id = tasks.task_id and e.recorded_at >= %(before)s) then 'recent_event'
                    when exists (select 1 from webhook_events e
                                  where e.task_id = tasks.task_id and e.event_type = 'task_started')
                         and not exists (select 1 from webhook_events e
                                  where e.task_id = tasks.task_id
                                    and e.event_type in ('task_completed', 'task_failed', 'task_cancelled',
                                                         'task_crashed')) then 'not_over'
               end as reason
          from tasks
    ), result as materialized (
        select page.event_id,
               coalesce(judged.reason,
                        case when exists (select 1 from webhook_deliveries d
                                           where d.event_id = page.event_id and d.state = 'pending')
                             then 'pending_delivery'
                             when exists (select 1 from webhook_deliveries d
                                           where d.event_id = page.event_id and d.settled_at >= %(before)s)
                             then 'recent_delivery' end) as reason
          from page left join judged using (task_id)
    )
"""

# One page of old events, judged. The ids of those that go, how many stay and why, and where the next page begins.
JUDGE_EVENTS = f"""
    with {_JUDGED}
    select (select count(*) from page) as looked_at,
           (select array_agg(event_id) from result where reason is null) as event_ids,
           (select coalesce(jsonb_object_agg(reason, events), '{{}}')
              from (select reason, count(*) as events from result where reason is not null group by reason) r) as kept,
           last.recorded_at as last_at, last.event_id as last_id
      from (select recorded_at, event_id from page order by recorded_at desc, event_id desc limit 1) last
"""

# Deliveries first, each looked at again as it is locked: one that was replayed since stays, and so does its event.
DELETE_DELIVERIES = """
    delete from webhook_deliveries
     where event_id = any(%(event_ids)s) and state <> 'pending' and settled_at < %(before)s
"""
DELETE_EVENTS = """
    delete from webhook_events e
     where event_id = any(%(event_ids)s)
       and not exists (select 1 from webhook_deliveries d where d.event_id = e.event_id)
"""
COUNT_DELIVERIES = "select count(*) as rows from webhook_deliveries where event_id = any(%(event_ids)s)"

# A state before this moment gets no event any more, so that events which went are not recorded again. A day behind the
# states that were read: one may appear late.
ADVANCE_BEGINNING = """
    update webhook_history_read set began_at = least(%(before)s, read_until - interval '1 day')
     where began_at < least(%(before)s, read_until - interval '1 day')
"""

# Endpoints ------------------------------------------------------------------------------------------------------------

# Endpoints that were removed, and those that only runs have named; what the operator has allowed stays allowed.
_UNUSED_ENDPOINT = """
    (e.state = 'removed' or (e.origin = 'run' and not e.loopback_allowed)) and e.created_at < %(before)s
    and not exists (select 1 from webhook_runs r where r.endpoint_id = e.endpoint_id)
    and not exists (select 1 from webhook_deliveries d where d.endpoint_id = e.endpoint_id)
"""
COUNT_ENDPOINTS = f"select count(*) as rows from webhook_endpoints e where {_UNUSED_ENDPOINT}"
# Locked first and looked at again by the next statement: while they are locked, nothing new can refer to them.
LOCK_ENDPOINTS = f"""
    select endpoint_id from webhook_endpoints e where {_UNUSED_ENDPOINT}
     order by endpoint_id limit {BATCH_ROWS} for update of e skip locked
"""
DELETE_ENDPOINTS = f"""
    delete from webhook_endpoints e where endpoint_id = any(%(endpoint_ids)s) and {_UNUSED_ENDPOINT}
"""
UNUSED_SECRETS = OldRows(
    table="webhook_secrets",
    condition="""
        not t.shared and t.created_at < %(before)s
        and not exists (select 1 from webhook_endpoints e where e.secret_id = t.secret_id)
    """,
    oldest="t.created_at",
)

# Sizes ----------------------------------------------------------------------------------------------------------------

CUTOFFS = """
    select clock_timestamp() - make_interval(secs => %(history_seconds)s) as before,
           clock_timestamp() - make_interval(secs => %(audit_seconds)s) as audit_before
"""

# Prefect's database, where it is on the same server: the local stack calls it prefect, or after the catalogue's.
DATABASE_SIZES = """
    select datname::text as name, pg_database_size(oid)::bigint as bytes from pg_database
     where datname = current_database()
        or (datname in ('prefect', current_database() || '_prefect') and has_database_privilege(oid, 'CONNECT'))
     order by datname <> current_database(), datname
"""

# What people call the rows of each table.
NAMES: Mapping[str, str] = {
    "webhook_events": "events",
    "webhook_deliveries": "deliveries",
    "webhook_runs": "webhook addresses of runs",
    "webhook_runs_read": "notes on runs",
    "upload_tasks": "uploads that shared a run",
    "webhook_endpoints": "endpoints",
    "webhook_secrets": "webhook secrets",
    "idempotent_requests": "idempotent requests",
    "skipped_records": "skipped records",
    "retention_plans": "retention plans",
    "export_jobs": "export jobs",
    "transfers": "transfers",
    "assignments": "assignments of remote workers",
    "slices": "slices of runs",
    "artifacts": "deleted files",
    "forgettings": "certificates of forgotten documents",
    "audit_log": "audit entries",
}
