"""The SQL of how far Prefect's history was read; pure.

Every statement runs on the caller's connection. All times are the database's.
"""

from __future__ import annotations

HISTORY_READ = "select began_at, read_until from webhook_history_read"

ADVANCE = """
    update webhook_history_read set read_until = %(read_until)s where read_until < %(read_until)s
"""

RUNS_READ = "select run_id, state_id from webhook_runs_read where run_id = any(%(run_ids)s)"

NOTE_RUN_READ = """
    insert into webhook_runs_read (run_id, state_id) values (%(run_id)s, %(state_id)s)
    on conflict (run_id) do update set state_id = excluded.state_id, read_at = clock_timestamp()
"""

# The type is written out, as in the index.
CRASHED_RUNS = """
    select distinct task_id from webhook_events
     where event_type = 'task_crashed' and recorded_at > clock_timestamp() - make_interval(secs => %(seconds)s)
       and task_id is not null
"""

FORGET_RUNS_READ = """
    delete from webhook_runs_read where read_at < clock_timestamp() - make_interval(secs => %(seconds)s)
"""
