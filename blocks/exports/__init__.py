"""Export jobs: what was asked for, how far it is, where its file is, and when that goes.

`request` checks what is asked for, `jobs` keeps the rows, `place` knows the storage of finished files, `expiry` deletes
what has expired, and `query_role` is the role as which SQL from outside reads the catalogue. Promises that one process
works on a job at a time, that no password is stored, and that the next look fails a job whose process was killed.
Writes no file of an export: that is `tasks.export_job`. Start reading at `request`, then `jobs`. Import `expiry`,
`place`, `events` and `query_role` by name.
"""

from blocks.exports.job import STATES, ExportJob
from blocks.exports.jobs import (
    Claim,
    Page,
    Result,
    cancel_job,
    claim_job,
    complete,
    create_job,
    end_job,
    fail_pending,
    get_job,
    list_jobs,
    mark_deleted,
    release,
    renew,
    set_path,
    set_run,
)
from blocks.exports.request import CATALOG, TABLES, ExportRequest, check_job_id, new_job_id

__all__ = [
    "CATALOG",
    "STATES",
    "TABLES",
    "Claim",
    "ExportJob",
    "ExportRequest",
    "Page",
    "Result",
    "cancel_job",
    "check_job_id",
    "claim_job",
    "complete",
    "create_job",
    "end_job",
    "fail_pending",
    "get_job",
    "list_jobs",
    "mark_deleted",
    "new_job_id",
    "release",
    "renew",
    "set_path",
    "set_run",
]
