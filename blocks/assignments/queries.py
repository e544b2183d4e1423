"""All SQL of assignments. The database's clock decides whose one is; pure.

The process that waits for an assignment listens on `CHANNEL` and is notified with its id.
"""

from __future__ import annotations

CHANNEL = "waybill_assignments"

_COLUMNS = """
    a.assignment_id, a.run_id, a.stage, a.stage_name, a.stage_version, a.label, a.state, a.worker, a.remote_run_id,
    a.attempts, a.claimed_at, a.claimed_until, a.error, a.created_at, a.ended_at, a.expires_at,
    a.time_limit,
    coalesce(a.claimed_until <= clock_timestamp(), false) as lease_is_over,
    a.expires_at <= clock_timestamp() as is_expired
"""

_JOB_COLUMNS = """
    j.assignment_id, j.ordinal, j.state, j.stage_key, j.document, j.options, j.inputs, j.upload_id, j.result, j.error,
    t.worker
"""

_JOBS = f"select {_JOB_COLUMNS} from assignment_jobs j left join transfers t on t.transfer_id = j.upload_id"

CREATE = f"""
    with made as (
        insert into assignments (assignment_id, run_id, stage, stage_name, stage_version, label, time_limit, expires_at)
        values (%(assignment_id)s, %(run_id)s, %(stage)s, %(stage_name)s, %(stage_version)s, %(label)s, %(time_limit)s,
                clock_timestamp() + %(lasts)s)
        returning *
    ), jobs as (
        insert into assignment_jobs (assignment_id, ordinal, stage_key, document, options, inputs)
        select %(assignment_id)s, given.ordinal, given.stage_key, given.document, given.options, given.inputs
          from jsonb_to_recordset(%(jobs)s::jsonb)
               as given (ordinal integer, stage_key text, document jsonb, options jsonb, inputs jsonb)
    )
    select {_COLUMNS} from made a
"""

COUNT_WAITING = """
    select count(*) as assignments from assignments where state = 'waiting' and expires_at > clock_timestamp()
"""

GET = f"select {_COLUMNS} from assignments a where a.assignment_id = %(assignment_id)s"
# Two changes at once would both find the former state.
GET_FOR_UPDATE = f"{GET} for update of a"

JOBS = f"{_JOBS} where j.assignment_id = %(assignment_id)s order by j.ordinal"

# Jobs of a run that a worker has or may take, or whose outputs wait to be fetched; the latest first.
JOBS_OF_RUN = f"""
    {_JOBS} join assignments a on a.assignment_id = j.assignment_id
     where a.run_id = %(run_id)s and a.stage_name = %(stage_name)s and a.label = %(label)s
       and j.stage_key = any(%(stage_keys)s) and a.expires_at > clock_timestamp()
       and ((j.state = 'waiting' and a.state in ('waiting', 'claimed'))
            or (j.state = 'completed'
                and exists (select from artifacts f where f.file_id = t.file_id and f.state = 'available')))
     order by a.created_at desc, j.ordinal
"""


def _changing(change: str, where: str) -> str:
    """Return a statement that makes a change and notifies the process that waits for the assignment."""
    return f"""
        with changed as (
            update assignments set {change} where assignment_id = %(assignment_id)s and {where} returning *
        )
        select {_COLUMNS}, pg_notify('{CHANNEL}', a.assignment_id) as notified from changed a
    """


# The caller has locked the row and looked at its state.
CLAIM = _changing(
    """state = 'claimed', worker = %(worker)s, remote_run_id = %(remote_run_id)s, attempts = attempts + 1,
       claimed_at = clock_timestamp(), claimed_until = clock_timestamp() + %(lease)s""",
    "state in ('waiting', 'claimed')",
)

# One that is late, and was lost to no other, has it still. Nothing has changed for the process that waits.
RENEW = f"""
    with changed as (
        update assignments
           set claimed_until = clock_timestamp() + %(lease)s
         where assignment_id = %(assignment_id)s and state = 'claimed' and worker = %(worker)s
           and expires_at > clock_timestamp()
        returning *
    )
    select {_COLUMNS} from changed a
"""

_WAITING = "state = 'waiting', claimed_until = null, error = %(error)s"

GIVE_BACK = _changing(_WAITING, "state = 'claimed' and worker = %(worker)s")

LOSE = _changing(_WAITING, "state = 'claimed' and claimed_until <= clock_timestamp()")

END = _changing(
    "state = %(state)s, claimed_until = null, ended_at = clock_timestamp(), error = %(error)s",
    "state in ('waiting', 'claimed')",
)

# A job that is over stays as it is.
END_JOB = """
    update assignment_jobs
       set state = %(state)s, result = %(result)s::jsonb, error = %(error)s::jsonb
     where assignment_id = %(assignment_id)s and ordinal = %(ordinal)s and state = 'waiting'
    returning ordinal
"""

COMPLETE = _changing(
    "state = 'completed', claimed_until = null, ended_at = clock_timestamp(), error = null",
    "state = 'claimed' and not exists (select from assignment_jobs j where j.assignment_id = assignments.assignment_id "
    "and j.state = 'waiting')",
)

NOTIFY = f"select pg_notify('{CHANNEL}', %(assignment_id)s)"

SET_UPLOAD = """
    update assignment_jobs set upload_id = %(upload_id)s
     where assignment_id = %(assignment_id)s and ordinal = %(ordinal)s and state = 'waiting'
"""

OF_WORKER = f"select {_COLUMNS} from assignments a where a.worker = %(worker)s and a.state = 'claimed'"

OF_RUN = f"select {_COLUMNS} from assignments a where a.run_id = %(run_id)s and a.state in ('waiting', 'claimed')"
