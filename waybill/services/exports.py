"""Operations on exports, for commands and the gateway. Each commits together with its entry in the audit log.

Checks no permissions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

from blocks.access import Actor, record
from blocks.catalog import Artifact, Catalog, Connection
from blocks.custody import Custody
from blocks.errors import ArtifactGone, ArtifactNotFound, ExportGone
from blocks.exports import (
    ExportJob,
    ExportRequest,
    Page,
    cancel_job,
    create_job,
    get_job,
    list_jobs,
    mark_deleted,
    new_job_id,
)
from blocks.exports.expiry import fail_dead_jobs, remove_files
from blocks.settings import Settings
from tasks.export_source import check_request
from waybill.services.files import delete_file

RowWriter = Callable[[Connection, ExportJob], Awaitable[None]]
"""Writes more rows in the transaction that records a job; an error undoes all of it."""

_NOT_OVER = frozenset({"pending", "running"})


def keep_for(settings: Settings, request: ExportRequest) -> timedelta:
    """Return how long the file of *request* is kept."""
    return request.keep_for or settings.retention.period("export")


async def add_export(
    catalog: Catalog,
    settings: Settings,
    request: ExportRequest,
    *,
    by: Actor,
    also: RowWriter | None = None,
) -> ExportJob:
    """Record a new job and return it; it waits until something runs it. Raises `InvalidOptions`."""
    check_request(settings, request)
    job_id = new_job_id()
    async with catalog.transaction() as connection:
        job = await create_job(connection, job_id, request, keep_for=keep_for(settings, request), requested_by=by.actor)
        detail = {"job_id": job_id, "export_type": request.export_type, "format": request.format}
        await record(connection, by.entry("export", detail={**detail, **request.stored()}))
        if also is not None:
            await also(connection, job)
    return job


async def read_export(catalog: Catalog, settings: Settings, job_id: str) -> ExportJob:
    """Return a job; one whose process was killed is failed first. Raises `ExportNotFound`."""
    async with catalog.connection() as connection:
        job = await get_job(connection, job_id)
    if job.state in _NOT_OVER and await fail_dead_jobs(catalog, settings):
        async with catalog.connection() as connection:
            return await get_job(connection, job_id)
    return job


async def read_exports(
    catalog: Catalog,
    settings: Settings,
    *,
    state: str | None = None,
    export_type: str | None = None,
    limit: int = 100,
    after: str | None = None,
) -> Page:
    """Return one page of jobs, newest first; those whose processes were killed are failed first."""
    if after is None:
        await fail_dead_jobs(catalog, settings)
    async with catalog.connection() as connection:
        return await list_jobs(connection, state=state, export_type=export_type, limit=limit, after=after)


async def remove_export(custody: Custody, settings: Settings, job_id: str, *, by: Actor) -> ExportJob:
    """Cancel a job that is not over, or delete the file of one that is; return it as it is then.

    Raises `ExportNotFound`, `ExportGone` when its file is gone already, `ArtifactPinned`, and what the storage raises.
    """
    catalog = custody.catalog
    keep_failed = settings.retention.period("failed")
    async with catalog.transaction() as connection:
        await get_job(connection, job_id)
        # Before the job is read: one that has just been completed has a file.
        cancelled = await cancel_job(connection, job_id, error=f"cancelled by {by.actor}", keep_failed=keep_failed)
        job = await get_job(connection, job_id)
        if cancelled is not None:
            await record(connection, by.entry("export_removed", detail={"job_id": job_id}))
            return job
    if job.state == "deleted":
        # Below the export storage path it stays until the next expiry comes; here it goes now.
        await asyncio.to_thread(remove_files, settings, job)
        require_file(job)
    if job.file_id is not None:
        with suppress(ArtifactGone):
            await delete_file(custody, job.file_id, by=by)
    await asyncio.to_thread(remove_files, settings, job)
    async with catalog.transaction() as connection:
        await mark_deleted(connection, job_id)
        await record(connection, by.entry("export_removed", file_id=job.file_id, detail={"job_id": job_id}))
        return await get_job(connection, job_id)


async def export_file(custody: Custody, job: ExportJob) -> Artifact | None:
    """Return the file of a completed job where it is in custody and readable, else None."""
    if job.file_id is None:
        return None
    with suppress(ArtifactNotFound):
        return await custody.get(job.file_id)
    return None


def location_of(job: ExportJob) -> str | None:
    """Return the path or URL of a job's file below the export storage path, None where it has none there."""
    return job.path if job.state == "completed" else None


def require_file(job: ExportJob) -> ExportJob:
    """Return *job*. Raises `ExportGone` when its file has expired or was deleted."""
    if job.state == "deleted":
        raise ExportGone(
            f"the file of export {job.job_id} has expired or was deleted; export it again", job_id=job.job_id
        )
    return job
