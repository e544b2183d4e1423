"""The rules of `blocks.retention.policy` in SQL: what goes, what is renewed, and counts of the rest; pure.

Parts that a policy does not use are left out. What is not over, near its end or over a budget is only counted. All
times are the database's.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from blocks.catalog.queries import KEPT
from blocks.retention.policy import RENEW_BEFORE, RENEW_FOR, RetentionPolicy

# Files that the policy has to decide about, for the length of the transaction that makes the plan: their own time is
# over or near, or the budget takes them. All other files stay, and are only counted.
FOUND_TABLE = """
    create temporary table retention_found (
        file_id uuid, kind text, source_file text, stage smallint, document_sha256 bytea, created_at timestamptz,
        expires_at timestamptz, stored_size bigint, near boolean, due text, guard text, going text,
        kept_seconds float8, needed boolean not null default false, over_cap boolean not null default false
    ) on commit drop
"""
_ANALYZE = "analyze retention_found"

_COLUMNS = "file_id, kind, source_file, stage, document_sha256, created_at, expires_at, stored_size"

_KEPT_SECONDS = """
    (select max(kept.seconds)
       from unnest(%(patterns)s::text[], %(pattern_seconds)s::float8[]) as kept (pattern, seconds)
      where a.source_file like kept.pattern)
"""

# As many newer files of the same source, kind and stage as are kept, found by the index by source.
_AMONG_NEWEST = """
    ({a}.kind in ('upload', 'stage_output') and (select count(*) from (
        select from artifacts n
         where n.state = 'available' and left(n.source_file, 512) = left({a}.source_file, 512)
           and n.source_file = {a}.source_file and n.kind = {a}.kind and n.stage is not distinct from {a}.stage
           and (n.created_at, n.file_id) > ({a}.created_at, {a}.file_id)
         limit %(keep_newest)s) as newer) < %(keep_newest)s)
"""


def like_pattern(pattern: str) -> str:
    """Return the pattern of a policy as one of LIKE."""
    escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%").replace("?", "_")


def judge_statements(policy: RetentionPolicy) -> list[str]:
    """Return the statements that fill `retention_found` with what decides on each file, in order."""
    scope = "kind = any(%(kinds)s)" if policy.kinds is not None else "true"
    by_age = "created_at <= %(old_before)s" if policy.older_than else "false"
    found = f"""
        insert into retention_found ({_COLUMNS}, near, due, kept_seconds, guard, going)
        select g.*, case when guard is null then due end from (
            select f.*, {_guard(policy)} as guard from (
                select {_COLUMNS}, expires_at <= %(near)s as near,
                       case when expires_at <= %(now)s then 'expired' when {by_age} then 'older_than' end as due,
                       {_kept_seconds(policy)} as kept_seconds
                  from artifacts a
                 where state = 'available' and not {KEPT} and {scope} and (expires_at <= %(near)s or {by_age})
                ) as f
            ) as g
    """
    newest = f"""
        update retention_found f set guard = 'newest', going = null
         where guard is null and {_AMONG_NEWEST.format(a="f")}
    """
    return [
        found,
        *([_ANALYZE] if policy.keep_newest or policy.keep_inputs or policy.max_stored_bytes is not None else []),
        *([newest] if policy.keep_newest else []),
        *([_budget(policy, scope)] if policy.max_stored_bytes is not None else []),
        *([_INPUTS] if policy.keep_inputs else []),
    ]


def _kept_seconds(policy: RetentionPolicy) -> str:
    return _KEPT_SECONDS if policy.sources else "null::float8"


def _guard(policy: RetentionPolicy) -> str:
    """Return the protections that a row shows by itself; *f* has `kept_seconds`."""
    young = "f.created_at > %(young_since)s" if policy.min_age else "false"
    return f"""
        case when file_id = any(array(select file_id from artifact_readers where read_until > %(now)s)) then 'reading'
             when {young} then 'min_age'
             when f.created_at > %(now)s - make_interval(secs => f.kept_seconds) then 'source' end
    """


def _budget(policy: RetentionPolicy, scope: str) -> str:
    newest = f"and not ({_AMONG_NEWEST.format(a='f')})" if policy.keep_newest else ""
    return f"""
        with excess as (
            select %(stored_bytes)s::numeric - %(max_stored_bytes)s - coalesce(sum(stored_size), 0) as bytes
              from retention_found where going is not null
        ), eligible as (
            select file_id, created_at, stored_size from (
                select {_COLUMNS}, {_kept_seconds(policy)} as kept_seconds
                  from artifacts a
                 where state = 'available' and not {KEPT} and {scope}
                   and not exists (select from retention_found g where g.file_id = a.file_id and g.going is not null)
                ) as f
             where {_guard(policy)} is null {newest}
        ), oldest as (
            select file_id, sum(stored_size) over (order by created_at, file_id) - stored_size as before from eligible
        ), chosen as (
            select o.file_id from oldest o, excess where o.before < excess.bytes
        ), known as (
            update retention_found f set going = 'budget' from chosen c where f.file_id = c.file_id
            returning f.file_id
        )
        insert into retention_found ({_COLUMNS}, near, going)
        select {_COLUMNS}, false, 'budget' from artifacts
         where file_id in (select file_id from chosen except all select file_id from known)
    """


# A kept output is an available one that does not go; what it may have been made from is needed.
_INPUTS = """
    with documents as materialized (
        select distinct document_sha256 from retention_found
    ), kept as materialized (
        select k.document_sha256, k.stage, max(k.created_at) as made_at
          from artifacts k join documents using (document_sha256)
          left join retention_found g on g.file_id = k.file_id and g.going is not null
         where k.state = 'available' and k.stage is not null and g.file_id is null
         group by k.document_sha256, k.stage
    )
    update retention_found f set needed = true
      from kept
     where f.document_sha256 = kept.document_sha256 and f.kind in ('upload', 'stage_output')
       and (f.stage is null or f.stage < kept.stage) and f.created_at <= kept.made_at
"""

# The rows of `retention_found`, each with its rule and the time until which it is renewed. Computed where it is read:
# an update of every row would write the whole table once more.
DECIDED = """
    (select *,
            case when over_cap then 'over_cap'
                 when going is not null and not needed then going
                 when guard in ('newest', 'source') or guard is not null and due is not null then guard
                 when guard is null and needed then 'input'
                 else 'not_due' end as rule,
            case when not near then null
                 when guard = 'newest' or guard is null and needed then %(renew_until)s::timestamptz
                 when guard = 'source'
                 then greatest(expires_at, least(created_at, %(now)s) + make_interval(secs => kept_seconds))
            end as renew_until
       from retention_found)
"""

# What was decided, and all files by their marks: the rest is `not_due`.
FOUND_GROUPS = f"""
    select rule, kind, count(*) as files, sum(stored_size)::numeric as bytes from {DECIDED} as f group by rule, kind
"""
FOUND_RULE = f"select rule from {DECIDED} as f where file_id = %(file_id)s"
ALL_GROUPS = """
    select case when held_at is not null then 'held' when pinned_at is not null then 'pinned'
                else 'not_due' end as rule,
           kind, stage, count(*) as count, sum(size)::numeric as bytes, sum(stored_size)::numeric as stored_bytes,
           min(created_at) as oldest, max(created_at) as newest
      from artifacts where state = 'available' group by 1, 2, 3
"""


def judge_values(policy: RetentionPolicy, now: datetime, stored_bytes: int) -> dict[str, Any]:
    """Return the values of `judge_statements`; *now* is the database's time, *stored_bytes* those of all files."""
    return {
        "stored_bytes": stored_bytes,
        "now": now,
        "near": now + RENEW_BEFORE,
        "renew_until": now + RENEW_FOR,
        "kinds": policy.kinds,
        # Cutoffs and not sums: a row may have any time that Postgres has, and a sum beyond its calendar is an error.
        "old_before": now - policy.older_than if policy.older_than else None,
        "young_since": now - policy.min_age if policy.min_age else None,
        "keep_newest": policy.keep_newest,
        "patterns": [like_pattern(pattern) for pattern in policy.sources],
        "pattern_seconds": [period.total_seconds() for period in policy.sources.values()],
        "max_stored_bytes": policy.max_stored_bytes,
    }
