"""The events of transfers: ``transfer_completed`` and ``transfer_failed``."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from blocks.catalog import Artifact
from blocks.transfers.transfer import Transfer
from blocks.webhooks.event_links import EventLinks
from blocks.webhooks.outbox import Event, computed_event_id, sequence_of

COMPLETED, FAILED = "transfer_completed", "transfer_failed"


def ended_event(transfer: Transfer, artifact: Artifact | None, links: EventLinks) -> Event:
    """Return the event of a transfer that is completed, has failed or has expired; the state says which.

    *artifact* is the file of an upload where that is in custody.
    """
    at = transfer.ended_at or transfer.created_at
    completed = transfer.state == "completed"
    done = f"{transfer.direction} of {transfer.filename}"
    data: dict[str, Any] = {
        "transfer_id": transfer.transfer_id,
        "direction": transfer.direction,
        "status": transfer.state,
        "message": f"{done} is completed" if completed else transfer.error or f"{done} {transfer.state}",
        "worker": transfer.worker,
        "filename": transfer.filename,
        "media_type": transfer.media_type,
        "file_id": str(transfer.file_id) if transfer.file_id else None,
        "download_url": links.to_file(artifact) if artifact is not None else None,
        "size": transfer.size,
        "content_size": transfer.content_size,
        "content_sha256": transfer.content_sha256,
        "bytes_done": transfer.done_bytes,
        "bytes_sent": transfer.sent_bytes,
        "requested_by": transfer.requested_by,
        "sequence": sequence_of(at),
        "error": None if completed else {"message": transfer.error},
    }
    return _event(COMPLETED if completed else FAILED, transfer, at, data)


def _event(event_type: str, transfer: Transfer, at: datetime, data: dict[str, Any]) -> Event:
    return Event(
        event_id=computed_event_id(transfer.transfer_id, event_type),
        event_type=event_type,
        task_id=transfer.run_id,
        source_file=None,
        occurred_at=at,
        data=data,
    )
