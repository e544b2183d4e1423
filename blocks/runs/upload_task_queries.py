"""SQL of uploads that share a run; pure. All times are the database's."""

from __future__ import annotations

_COLUMNS = """
    task_id, file_id, source_file, filename, parameters, run_key, run_id, state, message, created_at, started_at,
    ended_at
"""

ADD = """
    insert into upload_tasks (task_id, file_id, source_file, filename, parameters)
    values (%(task_id)s, %(file_id)s, %(source_file)s, %(filename)s, %(parameters)s::jsonb)
"""

GET = f"select {_COLUMNS} from upload_tasks where task_id = %(task_id)s"

OF_RUNS = f"""
    select {_COLUMNS} from upload_tasks where run_id = any(%(run_ids)s) order by created_at, task_id
"""

# Of several gateways on one catalogue, each takes what no other one is taking.
WAITING = f"""
    select {_COLUMNS} from upload_tasks
     where state = 'waiting' and run_id is null and run_key is null
     order by created_at, task_id
     limit %(limit)s
       for update skip locked
"""

GIVE_TO_RUN = """
    update upload_tasks set run_key = %(run_key)s, claimed_at = clock_timestamp() where task_id = any(%(task_ids)s)
"""

# Given to a run that is not known to exist: the gateway was killed, or Prefect did not answer.
WITHOUT_RUN = """
    select distinct run_key from upload_tasks
     where state = 'waiting' and run_id is null and run_key is not null
       and claimed_at not between clock_timestamp() - make_interval(secs => %(seconds)s) and clock_timestamp()
"""

STUCK = f"""
    select {_COLUMNS} from upload_tasks
     where state = 'waiting' and run_id is null
       and created_at < clock_timestamp() - make_interval(secs => %(seconds)s)
     order by created_at, task_id
     limit %(limit)s
"""

OF_KEY = f"select {_COLUMNS} from upload_tasks where run_key = %(run_key)s order by created_at, task_id"

NOTE_RUN = "update upload_tasks set run_id = %(run_id)s where run_key = %(run_key)s and run_id is null"

# By the run itself, as it begins: the gateway may have been killed before it noted the run.
BEGIN = """
    update upload_tasks
       set run_id = %(run_id)s, state = 'running', started_at = clock_timestamp()
     where run_key = %(run_key)s and state = 'waiting'
"""

# One that was cancelled stays so; one that has failed may be completed by a later attempt of its run.
END = f"""
    update upload_tasks u
       set state = ended.state, message = ended.message, ended_at = clock_timestamp()
      from unnest(%(task_ids)s::uuid[], %(states)s::text[], %(messages)s::text[]) as ended (task_id, state, message)
     where u.task_id = ended.task_id
       and (u.ended_at is null or (u.state = 'failed' and ended.state = 'completed'))
    returning {", ".join(f"u.{name.strip()}" for name in _COLUMNS.split(","))}
"""

# What the run has delivered of the upload's document, as delivered by its task: every list of a run's files and
# passages then has them by the id that the client knows.
DELIVER = """
    insert into run_outputs (run_id, file_id, source_file, reused)
    select u.task_id, o.file_id, o.source_file, o.reused
      from upload_tasks u
      join artifacts f on f.file_id = u.file_id
      join run_outputs o on o.run_id = u.run_id and o.source_file = u.source_file
      join artifacts a on a.file_id = o.file_id
       and a.document_sha256 = f.document_sha256 and (a.kind <> 'upload' or a.file_id = u.file_id)
     where u.task_id = any(%(task_ids)s)
    on conflict do nothing
"""

CANCEL = f"""
    update upload_tasks set state = 'cancelled', message = %(message)s, ended_at = clock_timestamp()
     where task_id = %(task_id)s and ended_at is null
    returning {_COLUMNS}
"""

FAIL_OF_KEY = f"""
    update upload_tasks set state = 'failed', message = %(message)s, ended_at = clock_timestamp()
     where run_key = %(run_key)s and ended_at is null
    returning {_COLUMNS}
"""
