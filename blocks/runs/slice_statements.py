"""The SQL of slices; pure."""

from __future__ import annotations

from blocks.runs.lease_statements import SILENT

ADD = """
    insert into slices (parent_id, number, documents, sources)
    values (%(parent_id)s, %(number)s, %(documents)s, %(sources)s)
    on conflict do nothing
"""
_COLUMNS = "number, state, attempt, run_id, documents, result"
ALL = f"select {_COLUMNS} from slices where parent_id = %(parent_id)s order by number"
STARTED = """
    update slices set state = 'started', run_id = %(run_id)s
     where parent_id = %(parent_id)s and number = %(number)s and attempt = %(attempt)s
       and state in ('waiting', 'started') and (run_id is null or run_id = %(run_id)s)
"""
# The run itself may be quicker than its parent, which learns the run's id from the answer of Prefect's server.
CLAIM = f"""{STARTED}
    returning sources
"""
EXISTS = """
    select exists (select from slices where parent_id = %(parent_id)s and number = %(number)s) as found
"""
AGAIN = """
    update slices set state = 'waiting', run_id = null, attempt = attempt + 1
     where parent_id = %(parent_id)s and number = %(number)s and attempt = %(attempt)s and ended_at is null
"""
# Of a slice that has not ended, which does not end meanwhile.
SOURCES = """
    select sources from slices
     where parent_id = %(parent_id)s and number = %(number)s and attempt = %(attempt)s and ended_at is null
       for update
"""
LOST = """
    update slices set state = 'lost', ended_at = clock_timestamp(), result = %(result)s, sources = null
     where parent_id = %(parent_id)s and number = %(number)s and attempt = %(attempt)s and ended_at is null
"""
# What the run of a slice has delivered, its parent has delivered too.
COMPLETED = """
    with ended as (
        update slices set state = 'completed', ended_at = clock_timestamp(), result = %(result)s, sources = null
         where parent_id = %(parent_id)s and number = %(number)s and run_id = %(run_id)s and ended_at is null
        returning parent_id, run_id
    ), delivered as (
        insert into run_outputs (run_id, file_id, source_file, reused)
        select e.parent_id, o.file_id, o.source_file, o.reused
          from ended e join run_outputs o on o.run_id = e.run_id
            on conflict do nothing
    )
    select run_id from ended
"""
UNDER_WAY = """
    select run_id from slices where parent_id = %(parent_id)s and state = 'started' and run_id is not null
"""
# A slice whose run has no lease waits for a worker.
COUNTS = """
    select count(*) as total, count(*) filter (where s.state = 'completed') as done,
           count(*) filter (where s.state = 'started' and l.run_id is not null) as running,
           count(*) filter (where s.ended_at is null and (s.state = 'waiting' or l.run_id is null)) as waiting,
           count(*) filter (where s.state = 'lost') as lost
      from slices s left join run_leases l on l.run_id = s.run_id and l.given_up_at is null
     where s.parent_id = %(parent_id)s
"""
# Slices that have not ended, by run, and whether the process lives that starts them.
OPEN = f"""
    select s.parent_id, count(*) filter (where s.state = 'waiting') as waiting,
           count(*) filter (where l.run_id is not null) as working,
           coalesce(array_agg(s.run_id) filter (where s.state = 'started' and l.run_id is null), '{{}}')
               as without_lease,
           exists (select from run_leases where run_id = s.parent_id and given_up_at is null
                                            and {SILENT} <= %(lost_seconds)s) as is_led
      from slices s left join run_leases l on l.run_id = s.run_id and l.given_up_at is null
     where s.ended_at is null and s.created_at < %(before)s
     group by s.parent_id order by s.parent_id
"""
