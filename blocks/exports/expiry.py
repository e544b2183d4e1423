"""What goes by itself: files of exports that have expired, and what killed processes have left.

Files in custody expire like all others (`blocks.custody`); here their jobs only follow. Any number of processes may do
this at the same time: removing what is gone already is no error.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from blocks.catalog import Catalog
from blocks.custody import Custody
from blocks.errors import WaybillError
from blocks.exports import queries
from blocks.exports.events import failed_event
from blocks.exports.job import ExportJob
from blocks.exports.jobs import fail_dead, get_job, mark_deleted
from blocks.exports.place import ExportPlace
from blocks.exports.query_role import end_abandoned_sessions
from blocks.postgres import execute, fetch_all
from blocks.settings import Settings
from blocks.webhooks.event_links import EventLinks
from blocks.webhooks.outbox import add_events

_DIED = "the process of this export ended before the export was finished; start it again"

_LOG = logging.getLogger("waybill.exports")


@dataclass(frozen=True, kw_only=True)
class ExpiredExport:
    """A job whose file is gone, or would go. *error* says why it is still there; the next call tries again."""

    job_id: str
    filename: str | None
    size: int | None
    state: str
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


def scratch_of(settings: Settings, job_id: str) -> Path:
    """Return the folder of a job's unfinished files."""
    return settings.scratch / "exports" / job_id


async def expire_exports(custody: Custody, settings: Settings, now: datetime | None = None) -> list[ExpiredExport]:
    """Delete the files of exports that have expired, and return these jobs, failed deletions among them.

    Also fails the jobs of dead processes, ends the queries that they have left, and forgets jobs whose file went longer
    ago than the retention of history. *now* is the database's time when it is not given. Raises `CatalogUnavailable`.
    """
    catalog = custody.catalog
    at = now or await catalog.now()
    await fail_dead_jobs(catalog, settings)
    await asyncio.to_thread(end_abandoned_sessions, settings.required_database_url)
    gone = [await _expire(catalog, settings, row) for row in await _due(catalog, at)]
    history = settings.retention.period("history")
    async with catalog.connection() as connection:
        await execute(connection, queries.FORGET, {"now": at, "history_seconds": history.total_seconds()})
    return gone


async def exports_to_go(catalog: Catalog, now: datetime | None = None) -> list[ExpiredExport]:
    """Return the jobs that `expire_exports` would end now, as they are, and change nothing.

    The jobs of files in custody that a plan removes are not among them before it is executed.
    """
    return [_job(row) for row in await _due(catalog, now or await catalog.now())]


async def fail_dead_jobs(catalog: Catalog, settings: Settings) -> list[str]:
    """Record as failed the jobs whose processes were killed, and remove what these have left; return the job ids."""
    keep_failed = settings.retention.period("failed")
    async with catalog.transaction() as connection:
        dead = await fail_dead(connection, error=_DIED, keep_failed=keep_failed)
        jobs = [await get_job(connection, row["job_id"]) for row in dead]
        if jobs:
            events = [failed_event(job, job.ended_at or job.created_at) for job in jobs]
            await add_events(connection, events, EventLinks.of(settings).to_payload)
    for job in jobs:
        _LOG.warning("failed export=%s, whose process ended", job.job_id)
        try:
            await asyncio.to_thread(remove_files, settings, job)
        except WaybillError as error:
            _LOG.warning("what is left of export=%s is removed later: %s", job.job_id, error.message)
    return [job.job_id for job in jobs]


def remove_files(settings: Settings, job: ExportJob) -> None:
    """Remove a job's file below the export storage path, and its scratch folder. Idempotent. Blocks."""
    remove_leftovers(settings, job.job_id, job.path)


def remove_leftovers(settings: Settings, job_id: str, path: str | None) -> None:
    """Remove the file at *path*, where `ExportPlace.locate` has said that it is, and the scratch folder. Blocks."""
    shutil.rmtree(scratch_of(settings, job_id), ignore_errors=True)
    if path is not None:
        place, name = ExportPlace.holding(settings, path, job_id)
        place.remove(name)


async def _due(catalog: Catalog, at: datetime) -> list[dict[str, Any]]:
    async with catalog.connection() as connection:
        due = await fetch_all(connection, queries.EXPIRED, {"now": at})
        return due + await fetch_all(connection, queries.WITHOUT_FILE, {})


def _job(row: dict[str, Any]) -> ExpiredExport:
    return ExpiredExport(job_id=row["job_id"], filename=row["filename"], size=row["size"], state=row["state"])


async def _expire(catalog: Catalog, settings: Settings, row: dict[str, Any]) -> ExpiredExport:
    job = _job(row)
    try:
        await asyncio.to_thread(remove_leftovers, settings, job.job_id, row["path"])
    except WaybillError as error:
        return replace(job, error=error.message)
    async with catalog.connection() as connection:
        await mark_deleted(connection, job.job_id)
    return replace(job, state="deleted")
