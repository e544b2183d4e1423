"""Read the audit log for commands and the API."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from blocks.access import MAX_PAGE, AuditEntry, audit_entries
from blocks.catalog import Catalog


@dataclass(frozen=True, kw_only=True)
class AuditPage:
    """One page, newest first. `next` is the cursor of the next page, None at the end."""

    entries: list[AuditEntry]
    next: int | None

    def as_json(self) -> dict[str, Any]:
        """Return the page in the form of `--json` and the API."""
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
    """Return what was done in the last *hours*. Raises `InvalidOptions` for an action that does not exist."""
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
