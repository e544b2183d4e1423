"""Typed calls over `blocks.exports.queries`. Every call takes the caller's connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from blocks.catalog import Connection
from blocks.catalog.json_columns import json_text
from blocks.errors import ExportNotFound, InvalidOptions
from blocks.exports import queries
from blocks.exports.job import ExportJob
from blocks.exports.request import ExportRequest, check_job_id
from blocks.postgres import Row, execute, fetch_all, fetch_optional
from blocks.postgres.page_cursor import read_cursor, write_cursor

# Renewed once a second while rows come; a process that is only slow, or a database that restarts, loses no job.
CLAIM_LASTS = timedelta(seconds=60)
# A run that no process has begun for a day will not be begun: its deployment is gone, or nothing serves it.
WAIT_AT_MOST = timedelta(days=1)
MAX_PAGE = 1000


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The right of one process to work on a job. *left* is the file name that an earlier process may have left."""

    job_id: str
    claim: UUID
    left: str | None

    def values(self, **more: Any) -> dict[str, Any]:
        return {"job_id": self.job_id, "claim": self.claim, **more}


@dataclass(frozen=True, kw_only=True)
class Result:
    """The written file of a job. It is an artifact, or a file below the export storage path."""

    filename: str
    file_id: UUID | None
    size: int
    sha256: str
    rows: int
    notes: Sequence[str]
    expires_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page of jobs, newest first. `next` continues it, None at the end."""

    jobs: list[ExportJob]
    next: str | None


async def create_job(
    connection: Connection,
    job_id: str,
    request: ExportRequest,
    *,
    keep_for: timedelta,
    requested_by: str,
    run_id: UUID | None = None,
) -> ExportJob:
    """Record a job that waits, and return it. A job that exists already is returned as it is."""
    values = {
        "job_id": job_id,
        "export_type": request.export_type,
        "format": request.format,
        "compression": request.compression,
        "parameters": json_text(request.stored(), "parameters"),
        "encrypted": bool(request.encrypt_for),
        "keep_for_seconds": keep_for.total_seconds(),
        "requested_by": requested_by,
        "run_id": run_id,
    }
    await execute(connection, queries.CREATE, values)
    return await get_job(connection, job_id)


async def get_job(connection: Connection, job_id: str) -> ExportJob:
    """Return a job. Raises `ExportNotFound`, and `InvalidOptions` for what is no id."""
    row = await fetch_optional(connection, queries.GET, {"job_id": check_job_id(job_id)})
    if row is None:
        raise ExportNotFound(f"there is no export {job_id}; 'waybill exports list' shows all", job_id=job_id)
    return ExportJob(**row)


async def list_jobs(
    connection: Connection,
    *,
    state: str | None = None,
    export_type: str | None = None,
    limit: int = 100,
    after: str | None = None,
) -> Page:
    """Return one page of jobs, newest first. *after* is the `Page.next` of the page before."""
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidOptions(f"a page holds 1 to {MAX_PAGE} exports, not {limit}")
    filters: Row = {"state": state, "export_type": export_type}
    if after is not None:
        filters["after_created_at"], filters["after_job_id"] = read_cursor(after, check_job_id)
    given = {name: value for name, value in filters.items() if value is not None}
    rows = await fetch_all(connection, queries.list_statement(given), {**given, "limit": limit + 1})
    jobs = [ExportJob(**row) for row in rows[:limit]]
    return Page(jobs=jobs, next=write_cursor(jobs[-1].created_at, jobs[-1].job_id) if len(rows) > limit else None)


async def set_run(connection: Connection, job_id: str, run_id: UUID) -> None:
    """Record the run that works on the job."""
    await execute(connection, queries.SET_RUN, {"job_id": job_id, "run_id": run_id})


async def claim_job(connection: Connection, job_id: str, *, run_id: UUID | None) -> Claim | None:
    """Begin a job: None when another process works on it or it has ended. *run_id* takes over its own job."""
    claim = uuid4()
    values = {"job_id": job_id, "claim": claim, "run_id": run_id, "seconds": CLAIM_LASTS.total_seconds()}
    row = await fetch_optional(connection, queries.CLAIM, values)
    return None if row is None else Claim(job_id=job_id, claim=claim, left=row["path"])


async def renew(connection: Connection, claim: Claim, *, rows: int, rows_expected: int | None = None) -> bool:
    """Show that the process works, and how far it is. False: the job was cancelled, or taken over."""
    values = claim.values(rows=rows, rows_expected=rows_expected, seconds=CLAIM_LASTS.total_seconds())
    return (await execute(connection, queries.RENEW, values)).rowcount == 1


async def set_path(connection: Connection, claim: Claim, *, filename: str, path: str | None) -> bool:
    """Record the name of the file that is about to be written. False: the job was cancelled, or taken over."""
    done = await execute(connection, queries.SET_PATH, claim.values(filename=filename, path=path))
    return done.rowcount == 1


async def complete(connection: Connection, claim: Claim, result: Result) -> datetime | None:
    """Record the result and return when it expires. None: the job was cancelled, or taken over."""
    values = claim.values(**vars(result)) | {"notes": list(result.notes)}
    row = await fetch_optional(connection, queries.COMPLETE, values)
    return None if row is None else row["expires_at"]


async def release(connection: Connection, claim: Claim) -> bool:
    """Give the job back: another process may begin it."""
    return (await execute(connection, queries.RELEASE, claim.values())).rowcount == 1


async def end_job(
    connection: Connection,
    claim: Claim,
    *,
    state: str,
    error: str | None,
    keep_failed: timedelta,
    rows: int = 0,
    rows_expected: int | None = None,
) -> bool:
    """Record that the job failed or was cancelled, after *rows*. False: it was cancelled before, or taken over."""
    values = claim.values(
        state=state,
        error=error,
        keep_failed_seconds=keep_failed.total_seconds(),
        rows=rows,
        rows_expected=rows_expected,
    )
    return await fetch_optional(connection, queries.FAIL, values) is not None


async def fail_pending(connection: Connection, job_id: str, *, error: str, keep_failed: timedelta) -> bool:
    """Record that a job that waits will not be begun. False: it has begun."""
    values = {"job_id": job_id, "state": "failed", "error": error, "keep_failed_seconds": keep_failed.total_seconds()}
    return await fetch_optional(connection, queries.FAIL_PENDING, values) is not None


async def cancel_job(
    connection: Connection, job_id: str, *, error: str, keep_failed: timedelta
) -> Mapping[str, Any] | None:
    """Cancel a job that waits or runs, and return its ``path`` and ``run_id``; None when it has ended."""
    values = {
        "job_id": job_id,
        "state": "cancelled",
        "error": error,
        "keep_failed_seconds": keep_failed.total_seconds(),
    }
    return await fetch_optional(connection, queries.CANCEL, values)


async def fail_dead(connection: Connection, *, error: str, keep_failed: timedelta) -> list[Row]:
    """Record as failed the jobs whose process has ended without an outcome; return their ids and paths."""
    values = {
        "state": "failed",
        "error": error,
        "keep_failed_seconds": keep_failed.total_seconds(),
        "wait_seconds": WAIT_AT_MOST.total_seconds(),
    }
    return await fetch_all(connection, queries.FAIL_DEAD, values)


async def mark_deleted(connection: Connection, job_id: str) -> bool:
    """Record that the file of an ended job is gone. Idempotent; False when it was recorded before."""
    return await fetch_optional(connection, queries.MARK_DELETED, {"job_id": job_id}) is not None
