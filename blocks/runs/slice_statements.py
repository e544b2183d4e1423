"""The SQL of slices; pure."""

from __future__ import annotations

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
