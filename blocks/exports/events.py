"""The events of export jobs: ``export_completed`` and ``export_failed``."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from blocks.catalog import Artifact
from blocks.exports.job import ExportJob
from blocks.webhooks.event_links import EventLinks
from blocks.webhooks.outbox import Event, computed_event_id, sequence_of

COMPLETED, FAILED = "export_completed", "export_failed"


def completed_event(job: ExportJob, artifact: Artifact | None, links: EventLinks, at: datetime) -> Event:
    """Return the event of a completed job; *artifact* is its file where that is in custody."""
    data = {
        **_described(job, at),
        "status": "completed",
        "message": f"{job.rows:,} rows in {job.filename}",
        "filename": job.filename,
        "file_id": str(artifact.file_id) if artifact is not None else None,
        "download_url": links.to_file(artifact) if artifact is not None else None,
        "size": job.size,
        "sha256": job.sha256,
        "encrypted": job.encrypted,
        "rows": job.rows,
        "notes": list(job.notes),
        "expires_at": job.expires_at.isoformat() if job.expires_at else None,
        "error": None,
    }
    return _event(COMPLETED, job, at, data, job.started_at)


def failed_event(job: ExportJob, at: datetime) -> Event:
    """Return the event of a job that has failed. One that is begun again and fails again has another event."""
    data = {
        **_described(job, at),
        "status": "failed",
        "message": job.error,
        "rows": job.rows,
        "error": {"message": job.error},
    }
    return _event(FAILED, job, at, data, job.started_at)


def _described(job: ExportJob, at: datetime) -> dict[str, Any]:
    return {
        "job_id": job.job_id,
        "export_type": job.export_type,
        "format": job.format,
        "compression": job.compression,
        "requested_by": job.requested_by,
        "sequence": sequence_of(at),
    }


def _event(event_type: str, job: ExportJob, at: datetime, data: dict[str, Any], *identity: object) -> Event:
    return Event(
        event_id=computed_event_id(job.job_id, event_type, *identity),
        event_type=event_type,
        task_id=job.run_id,
        source_file=None,
        occurred_at=at,
        data=data,
    )
