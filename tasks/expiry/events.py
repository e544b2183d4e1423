"""The events of files that a retention removes: one for each source and batch, in the tombstones' transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any
from uuid import UUID

from blocks.catalog import Connection
from blocks.postgres import fetch_row
from blocks.redaction import redacted_source
from blocks.retention import Removed
from blocks.webhooks.event_links import EventLinks
from blocks.webhooks.outbox import Event, add_events, computed_event_id

FILES_EXPIRED = "files_expired"
_NOW = "select clock_timestamp() as now"


@dataclass(frozen=True, kw_only=True)
class ExpiryEvents:
    """Records what a plan removes. *task_id* is the flow run's id, None for a command or a request."""

    plan_id: UUID
    links: EventLinks
    task_id: UUID | None = None

    async def record(self, connection: Connection, removed: Sequence[Removed]) -> None:
        """Record the events of *removed*; an id is computed from the plan and the files, so each is recorded once."""
        now: datetime = (await fetch_row(connection, _NOW, {}))["now"]
        by_source = sorted(removed, key=lambda one: (one.source_file, one.file_id))
        events = [
            self._event(source, list(files), now) for source, files in groupby(by_source, lambda one: one.source_file)
        ]
        await add_events(connection, events, self.links.to_payload)

    def _event(self, source: str, files: Sequence[Removed], now: datetime) -> Event:
        return Event(
            event_id=computed_event_id(FILES_EXPIRED, self.plan_id, *(one.file_id for one in files)),
            event_type=FILES_EXPIRED,
            task_id=self.task_id,
            source_file=redacted_source(source),
            occurred_at=now,
            data={
                "plan_id": str(self.plan_id),
                "count": len(files),
                "bytes": sum(one.size for one in files),
                "files": [_file(one) for one in files],
            },
        )


def _file(one: Removed) -> dict[str, Any]:
    return {
        "file_id": str(one.file_id),
        "filename": one.filename,
        "kind": one.kind,
        "stage": one.stage,
        "size": one.size,
        "expires_at": one.expires_at.isoformat(),
        "rule": one.rule,
    }
