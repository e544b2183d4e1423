"""All SQL of export jobs. The database's clock decides what has expired; pure."""

from __future__ import annotations

from collections.abc import Iterable

from blocks.catalog.queries import READABLE

# A completed job is shown as deleted as soon as no client can read its file, whatever removed that. An artifact may be
# pinned or extended, and then the job lasts as long as it does.
_READABLE_FILE = f"exists (select from artifacts where file_id = j.file_id and {READABLE})"
_SHOWN_STATE = f"""
    case when j.state = 'completed' and j.path is null and not {_READABLE_FILE} then 'deleted'
         when j.state = 'completed' and j.path is not null and j.expires_at <= clock_timestamp() then 'deleted'
         else j.state end
"""
_EXPIRY = """
    coalesce((select a.expires_at from artifacts a where a.file_id = j.file_id and a.state = 'available'), j.expires_at)
"""

_COLUMNS = f"""
    j.job_id, j.export_type, j.format, j.compression, {_SHOWN_STATE} as state, j.parameters, j.encrypted, j.filename,
    j.file_id, j.path, j.size, j.sha256, j.rows, j.rows_expected, j.notes, j.error, j.run_id, j.requested_by,
    j.created_at, j.started_at, j.ended_at, {_EXPIRY} as expires_at, j.keep_for
"""

CREATE = """
    insert into export_jobs (job_id, export_type, format, compression, parameters, encrypted, keep_for, requested_by,
                             run_id)
    values (%(job_id)s, %(export_type)s, %(format)s, %(compression)s, %(parameters)s::jsonb, %(encrypted)s,
            make_interval(secs => %(keep_for_seconds)s), %(requested_by)s, %(run_id)s)
    on conflict (job_id) do nothing
"""

GET = f"select {_COLUMNS} from export_jobs j where j.job_id = %(job_id)s"

SET_RUN = "update export_jobs set run_id = %(run_id)s where job_id = %(job_id)s"

# A job that waits is claimed by its first process. A run that begins again after its process died takes its job over.
CLAIM = """
    update export_jobs
       set state = 'running', claim = %(claim)s, claimed_until = clock_timestamp() + make_interval(secs => %(seconds)s),
           run_id = coalesce(%(run_id)s, run_id), rows = 0, rows_expected = null, size = null, sha256 = null,
           filename = null, file_id = null, notes = '{}', error = null, ended_at = null, expires_at = null,
           started_at = clock_timestamp()
     where job_id = %(job_id)s
       and (state = 'pending' or (run_id = %(run_id)s and state in ('running', 'failed')))
    returning path
"""

_CLAIMED = "job_id = %(job_id)s and claim = %(claim)s and state = 'running'"

RENEW = f"""
    update export_jobs
       set claimed_until = clock_timestamp() + make_interval(secs => %(seconds)s), rows = %(rows)s,
           rows_expected = coalesce(%(rows_expected)s, rows_expected)
     where {_CLAIMED}
"""

# Before the file is written, so that a file of a process that was killed is found and removed.
SET_PATH = f"update export_jobs set filename = %(filename)s, path = %(path)s where {_CLAIMED}"

COMPLETE = f"""
    update export_jobs
       set state = 'completed', claim = null, claimed_until = null, filename = %(filename)s, file_id = %(file_id)s,
           size = %(size)s, sha256 = %(sha256)s, rows = %(rows)s, rows_expected = %(rows)s, notes = %(notes)s,
           ended_at = clock_timestamp(), expires_at = coalesce(%(expires_at)s, clock_timestamp() + keep_for)
     where {_CLAIMED}
    returning expires_at
"""

RELEASE = f"update export_jobs set state = 'pending', claim = null, claimed_until = null, rows = 0 where {_CLAIMED}"

_ENDED = """
       set state = %(state)s, claim = null, claimed_until = null, error = %(error)s, ended_at = clock_timestamp(),
           expires_at = clock_timestamp() + make_interval(secs => %(keep_failed_seconds)s)
"""

FAIL = f"""
    update export_jobs {_ENDED}, rows = greatest(rows, %(rows)s),
           rows_expected = coalesce(%(rows_expected)s, rows_expected)
     where {_CLAIMED}
    returning path
"""

# A pending job whose run could not be started, or was cancelled before it began.
FAIL_PENDING = f"update export_jobs {_ENDED} where job_id = %(job_id)s and state = 'pending' returning job_id"

CANCEL = f"""
    update export_jobs {_ENDED} where job_id = %(job_id)s and state in ('pending', 'running') returning path, run_id
"""

# Several processes may look at the same time: each dead job is failed by one of them.
FAIL_DEAD = f"""
    update export_jobs {_ENDED}
     where job_id = any(array(
           select job_id from export_jobs
            where (state = 'running' and claimed_until < clock_timestamp())
               or (state = 'pending' and created_at < clock_timestamp() - make_interval(secs => %(wait_seconds)s))
            for update skip locked))
    returning job_id, path
"""

EXPIRED = """
    select job_id, path, file_id, state, size, filename from export_jobs
     where (state in ('failed', 'cancelled') or (state = 'completed' and path is not null)) and expires_at <= %(now)s
     order by expires_at
"""

# Artifacts are removed by the general expiry; their jobs follow, also where the file was deleted by hand.
WITHOUT_FILE = """
    select j.job_id, j.path, j.file_id, j.state, j.size, j.filename
      from export_jobs j left join artifacts a on a.file_id = j.file_id
     where j.state = 'completed' and j.path is null and coalesce(a.state, 'deleted') = 'deleted'
"""

MARK_DELETED = """
    update export_jobs set state = 'deleted', expires_at = least(expires_at, clock_timestamp())
     where job_id = %(job_id)s and state in ('completed', 'failed', 'cancelled')
    returning job_id
"""

# Rows of jobs whose files are gone are history.
FORGET = """
    delete from export_jobs
     where state = 'deleted' and ended_at < %(now)s - make_interval(secs => %(history_seconds)s)
"""

_LIST_FILTERS = {
    "state": f"{_SHOWN_STATE} = %(state)s",
    "export_type": "j.export_type = %(export_type)s",
    "after_job_id": "(j.created_at, j.job_id) < (%(after_created_at)s, %(after_job_id)s)",
}


def list_statement(filters: Iterable[str]) -> str:
    """Return the listing for the given *filters*, newest first, paged by key set."""
    conditions = ["true", *(_LIST_FILTERS[name] for name in filters if name in _LIST_FILTERS)]
    return f"""
        select {_COLUMNS} from export_jobs j
         where {" and ".join(f"({condition})" for condition in conditions)}
         order by j.created_at desc, j.job_id desc
         limit %(limit)s
    """
