"""The audit log as commands and the API show it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from blocks.access import MAX_PAGE, AuditEntry, audit_entries
from blocks.catalog import Catalog


@dataclass(frozen=True, kw_only=True)
class AuditPage:
    """One page, newest first. `next` continues it, None at the end."""

    entries: list[AuditEntry]
    next: int | None

    def as_json(self) -> dict[str, Any]:
        """As commands and the API show it."""
        return {"entries": [entry.as_json() for entry in self.entries], "next": self.next}


async def read_audit_log(
    catalog: Catalog,
    *,
    hours: float,
    action: str | None = None,
    file_id: UUID | None = None,
    key_id: str | None = None,
    limit: int = 100,
    after: int | None = None,
) -> AuditPage:
    """What was done in the last *hours*. Raises `InvalidOptions` for an action that is never recorded."""
    async with catalog.connection() as connection:
        entries = await audit_entries(
            connection,
            action=action,
            actor=f"key:{key_id}" if key_id is not None else None,
            file_id=file_id,
            within=timedelta(hours=hours),
            limit=min(limit, MAX_PAGE),
            after=after,
        )
    # A full page may be the last one; then the next is empty.
    return AuditPage(entries=entries, next=entries[-1].entry_id if len(entries) == limit else None)
