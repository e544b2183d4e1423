"""The statements of plans and batches: stored, claimed, executed. All times are the database's; pure."""

from __future__ import annotations

from blocks.catalog.queries import KEPT, OWN_LOCATIONS
from blocks.retention.judging import DECIDED

# Files of one batch: what one DeleteObjects request takes, and one transaction.
BATCH_FILES = 1000

REMOVING_RULES = "('expired', 'older_than', 'budget')"

# What is over the cap of one run stays for the next one: the files that have been over for the shortest time.
LEAVE_OVER_CAP = f"""
    update retention_found f set over_cap = true
      from (select file_id from {DECIDED} as d where rule in {REMOVING_RULES}
             order by expires_at, file_id offset %(cap)s) as over
     where f.file_id = over.file_id
"""

# What stays, as many files as are asked for: those that a rule protects first, then those that go next.
KEPT_FILES = f"""
    with staying as (
        (select file_id, rule from {DECIDED} as d where rule not in {REMOVING_RULES} and rule <> 'not_due'
          order by expires_at, file_id limit %(kept_limit)s)
        union all
        (select file_id, case when held_at is not null then 'held' else 'pinned' end from artifacts
          where state = 'available' and {KEPT} order by expires_at, file_id limit %(kept_limit)s)
        union all
        (select a.file_id, 'not_due' from artifacts a left join {DECIDED} as f on f.file_id = a.file_id
          where a.state = 'available' and not (a.pinned_at is not null or a.held_at is not null)
            and (f.file_id is null or f.rule = 'not_due')
          order by a.expires_at, a.file_id limit %(kept_limit)s)
    )
    select a.file_id, k.rule, a.kind, a.filename, a.source_file, a.stage, a.stage_name, a.size,
           encode(a.sha256, 'hex') as sha256, a.media_type, a.created_at, a.expires_at, a.state
      from staying k join artifacts a using (file_id)
     order by k.rule = 'not_due', a.expires_at, a.file_id
     limit %(kept_limit)s
"""

# By source, so that the files of one source are reported in as few events as possible. Rules of a renewal are times.
STORE_BATCHES = f"""
    with placed as (
        select file_id, case when rule in {REMOVING_RULES} then rule else renew_until::text end as rule,
               case when rule in {REMOVING_RULES} then 'remove' else 'renew' end as action, stored_size,
               row_number() over (partition by rule in {REMOVING_RULES}
                                  order by source_file collate "C", file_id) - 1 as place
          from {DECIDED} as d
         where rule in {REMOVING_RULES} or renew_until > expires_at
    ), batches as (
        select action, place / {BATCH_FILES} as part, array_agg(file_id order by place) as file_ids,
               array_agg(rule order by place) as rules, sum(stored_size) as bytes, count(*) as files
          from placed group by action, part
    ), numbered as (
        -- Renewals first: what is kept becomes readable before anything goes.
        select row_number() over (order by action desc, part) as number, * from batches
    ), stored as (
        insert into retention_batches (plan_id, number, action, file_ids, rules)
        select %(plan_id)s, number, action, file_ids, rules from numbered
    )
    select encode(sha256(coalesce(string_agg(
               sha256((array_to_string(file_ids, ',') || array_to_string(rules, ','))::bytea), '' order by number
               ) filter (where action = 'remove'), '')), 'hex') as digest,
           coalesce(sum(files) filter (where action = 'remove'), 0)::bigint as files,
           coalesce(sum(bytes) filter (where action = 'remove'), 0)::numeric as bytes,
           coalesce(sum(files) filter (where action = 'renew'), 0)::bigint as renewals
      from numbered
"""

ADD_PLAN = """
    insert into retention_plans (plan_id, digest, policy, cutoff, files, bytes, over_cap, renewals, groups, statistics)
    values (%(plan_id)s, '', %(policy)s, %(cutoff)s, 0, 0, %(over_cap)s, 0, %(groups)s, %(statistics)s)
"""

SEAL_PLAN = """
    update retention_plans
       set digest = %(digest)s, files = %(files)s, bytes = least(%(bytes)s, 9223372036854775807)::bigint,
           renewals = %(renewals)s
     where plan_id = %(plan_id)s
    returning created_at
"""

_PLAN = """
    plan_id, state, digest, policy, cutoff, created_at, started_at, ended_at, files, bytes, over_cap, renewals, groups,
    statistics
"""

GET_PLAN = f"select {_PLAN} from retention_plans where plan_id = %(plan_id)s"

NEWEST_PLANS = f"select {_PLAN} from retention_plans order by created_at desc, plan_id limit %(limit)s"

# Also one that was abandoned: a person names it again.
START_PLAN = f"""
    update retention_plans
       set state = 'executing', started_at = coalesce(started_at, clock_timestamp()), ended_at = null
     where plan_id = %(plan_id)s and state <> 'done'
    returning {_PLAN}
"""

ABANDON_PLAN = """
    update retention_plans set state = 'abandoned', ended_at = clock_timestamp()
     where plan_id = %(plan_id)s and state = 'executing'
"""

# Whether the session that has claimed the batch *c* is there: that of a killed process has ended.
_IS_CLAIMED = """
    exists (select from pg_locks
             where locktype = 'advisory' and objsubid = 1 and granted
               and database = (select oid from pg_database where datname = current_database())
               and classid::bigint = c.claimed_by >> 32 and objid::bigint = c.claimed_by & 4294967295)
"""

# Plans that a process began and did not end, the oldest first; not those that a process works on now.
EXECUTING_PLANS = f"""
    select {_PLAN} from retention_plans p
     where state = 'executing'
       and not exists (select from retention_batches c
                        where c.plan_id = p.plan_id and c.state = 'pending' and {_IS_CLAIMED})
     order by created_at, plan_id
"""

END_PLAN = """
    update retention_plans p set state = 'done', ended_at = clock_timestamp()
     where plan_id = %(plan_id)s and state = 'executing'
       and not exists (select from retention_batches b where b.plan_id = p.plan_id and b.state = 'pending')
    returning plan_id
"""

# Held by the session of a process for as long as it executes a plan.
LOCK_CLAIMANT = "select pg_advisory_lock(%(claimant)s)"
UNLOCK_CLAIMANT = "select pg_advisory_unlock(%(claimant)s)"

# Batches of a process whose session has ended, killed or cut off, are free immediately.
# "is null or not" is no detour: with "not exists" alone Postgres plans an anti-join, which it does not check again on a
# batch that another worker has claimed in the meantime.
CLAIM_BATCH = f"""
    update retention_batches b set claimed_by = %(claimant)s
     where (b.plan_id, b.number) in (
           select plan_id, number from retention_batches c
            where plan_id = %(plan_id)s and state = 'pending' and (claimed_by is null or not {_IS_CLAIMED})
            order by number limit 1 for update skip locked)
    returning number, action, file_ids, rules
"""

# Rows that another transaction is changing are left for the next run. In order, so that two runs that meet do not wait
# for each other crosswise. A statement of its own: a reader locks the row before it writes its lease, and only a
# statement that begins after the lock is there sees every lease.
LOCK_PLANNED = """
    select file_id from artifacts where file_id = any(%(file_ids)s) and state = 'available'
     order by file_id for update skip locked
"""

# Why the planned file *a*, which goes by the rule *p.rule*, stays after all.
_KEPT_SINCE = """
    case when a.held_at is not null then 'held' when a.pinned_at is not null then 'pinned'
         when p.rule = 'expired' and a.expires_at > %(cutoff)s then 'extended'
         when a.extended_at > %(cutoff)s then 'extended'
         when exists (select from artifact_readers r
                       where r.file_id = a.file_id and r.read_until > clock_timestamp()) then 'reading' end
"""

# The tombstones of a batch: exactly the planned files, less what was pinned, held, extended or is being read since.
ENTOMB = f"""
    with planned as (
        select * from unnest(%(file_ids)s::uuid[], %(rules)s::text[]) as p (file_id, rule)
    ), locked as (
        select a.file_id, p.rule,
               {_KEPT_SINCE} as kept
          from artifacts a join planned p using (file_id)
         where a.state = 'available' and a.file_id = any(%(locked)s)
    ), entombed as (
        update artifacts a set state = 'deleting', removed_because = l.rule
          from locked l where a.file_id = l.file_id and l.kept is null and not {KEPT}
        returning a.file_id, a.filename, a.kind, a.stage, a.source_file, a.size, a.expires_at, l.rule
    )
    select p.file_id, e.rule, e.filename, e.kind, e.stage, e.source_file, e.size, e.expires_at,
           case when e.file_id is not null then null when l.file_id is not null then coalesce(l.kept, 'busy')
                when a.state = 'available' then 'busy' else 'gone' end as kept
      from planned p left join locked l using (file_id) left join entombed e using (file_id)
      left join artifacts a on a.file_id = p.file_id
     order by e.source_file, p.file_id
"""

# Also those of an earlier attempt, whose process was killed before the bytes were gone.
TOMBSTONES = f"""
    select file_id, stored_size, {OWN_LOCATIONS}, manifest from artifacts
     where file_id = any(%(file_ids)s) and state = 'deleting'
"""

# Counts what this process has finished: another one may be at work on the same files.
FINISH_DELETIONS = """
    with finished as (
        update artifacts set state = 'deleted', deleted_at = clock_timestamp(), spare_location = null
         where file_id = any(%(file_ids)s) and state = 'deleting'
        returning stored_size
    )
    select count(*) as files, coalesce(sum(stored_size), 0)::numeric as bytes from finished
"""

# What earlier processes made unreadable and could not delete, or did not come to delete.
LEFT_DELETING = f"""
    select file_id from artifacts
     where state = 'deleting' and file_id > %(after)s
       and file_id not in (select unnest(file_ids) from retention_batches c where state = 'pending' and {_IS_CLAIMED})
     order by file_id limit %(limit)s
"""

FINISH_BATCH = """
    update retention_batches
       set state = 'done', claimed_by = null, removed = %(removed)s, removed_bytes = %(removed_bytes)s,
           kept = %(kept)s, failed = %(failed)s
     where plan_id = %(plan_id)s and number = %(number)s
"""

# Never shortens, and not what was pinned, held, removed or extended since.
RENEW = """
    update artifacts a set expires_at = p.renew_until
      from unnest(%(file_ids)s::uuid[], %(times)s::timestamptz[]) as p (file_id, renew_until)
     where a.file_id = p.file_id and a.state = 'available' and a.expires_at < p.renew_until
"""

# Planned files that would not go if the plan were executed now. A batch that is done is not looked at again.
STAYING = f"""
    select file_id, kept, stored_size from (
        select p.file_id, coalesce(a.stored_size, 0) as stored_size,
               case when a.state is distinct from 'available' then 'gone'
                    when b.state = 'done' then coalesce(b.kept ->> p.file_id::text, 'busy')
                    else {_KEPT_SINCE} end as kept
          from retention_batches b
         cross join lateral unnest(b.file_ids, b.rules) as p (file_id, rule)
          left join artifacts a on a.file_id = p.file_id
         where b.plan_id = %(plan_id)s and b.action = 'remove') as planned
     where kept is not null
"""

EXCEPTIONS = """
    select e.key as file_id, e.value as reason, 'kept' as outcome from retention_batches, jsonb_each_text(kept) e
     where plan_id = %(plan_id)s
    union all
    select e.key, e.value, 'failed' from retention_batches, jsonb_each_text(failed) e where plan_id = %(plan_id)s
     limit %(limit)s
"""

_FILE = """
    file_id, kind, filename, source_file, stage, stage_name, size, encode(sha256, 'hex') as sha256, media_type,
    created_at, expires_at, state
"""

FILES = f"select {_FILE} from artifacts where file_id = any(%(file_ids)s)"

# The row of a file that a retention removes has its rule.
TOMBSTONES_WITH_RULES = f"""
    select {_FILE}, coalesce(removed_because, 'request') as rule from artifacts where file_id = any(%(file_ids)s)
"""

# Statistics as they will be when the plan is executed.
STATISTICS_WITHOUT = """
    select kind, stage, count(*) as count, least(sum(size), 9223372036854775807)::bigint as bytes,
           min(created_at) as oldest, max(created_at) as newest
      from artifacts
     where state = 'available'
       and (file_id = any(%(staying)s)
            or file_id not in (select unnest(file_ids) from retention_batches
                                where plan_id = %(plan_id)s and action = 'remove'))
     group by kind, stage
     order by kind, stage
"""

# The files of the first batch after a number.
PLANNED_FILES = """
    with batch as (
        select number, file_ids, rules from retention_batches
         where plan_id = %(plan_id)s and action = 'remove' and number > %(after)s
         order by number limit 1
    )
    select batch.number, a.file_id, p.rule, a.kind, a.filename, a.source_file, a.stage, a.stage_name, a.size,
           encode(a.sha256, 'hex') as sha256, a.media_type, a.created_at, a.expires_at, a.state
      from batch
     cross join lateral unnest(file_ids, rules) with ordinality as p (file_id, rule, place)
      join artifacts a on a.file_id = p.file_id
     order by p.place
"""
