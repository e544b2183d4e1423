"""How far the archive of the write-ahead log is, as Postgres knows it."""

from __future__ import annotations

from dataclasses import dataclass

from blocks.catalog import Connection
from blocks.postgres import fetch_optional
from waybill.services.backups.repository import SLOT

_SLOT = """
    select wal_status is distinct from 'lost' as is_intact, active as is_received,
           case when not pg_is_in_recovery()
                then coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint end as pending_bytes
      from pg_replication_slots where slot_name = %(slot)s
"""


@dataclass(frozen=True, kw_only=True)
class ArchiveState:
    """Whether the archive has no gap, whether a receiver is connected, and how much of the log it does not have."""

    is_intact: bool
    is_received: bool
    pending_bytes: int | None


async def archive_state(connection: Connection) -> ArchiveState | None:
    """Return the state of the archive; None where this server makes no backups."""
    row = await fetch_optional(connection, _SLOT, {"slot": SLOT})
    return ArchiveState(**row) if row is not None else None
