"""Checks of backups, where the home makes any: their age, their folder, and that the log is archived without a gap."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from blocks.catalog import Catalog
from blocks.postgres import fetch_optional
from blocks.runtime.clock import Clock, utc_now
from blocks.settings import Settings
from waybill.services.backups import SLOT, BackupNote, read_note
from waybill.services.doctor.findings import Findings

# Nightly backups, of which one was missed.
_OLD = timedelta(days=2)
# Half of what Postgres keeps for the archive before it goes on without.
_MUCH_LOG_BYTES = 1024**3

_SLOT = """
    select wal_status, active, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint as pending_bytes
      from pg_replication_slots where slot_name = %(slot)s
"""


async def check_backups(
    catalog: Catalog, settings: Settings, found: Findings, *, up_is_running: bool, clock: Clock = utc_now
) -> None:
    """Examine the last backup of the home and the archive of its log."""
    with found.examining("backups"):
        note = read_note(settings.home)
        if note is None:
            found.skip(["backups"], "no backup was made: waybill backup PATH")
            return
        async with catalog.connection() as connection:
            slot = await fetch_optional(connection, _SLOT, {"slot": SLOT})
        found.counts["backups"] = {
            "last_backup_at": note.last_backup_at.isoformat() if note.last_backup_at else None,
            "log_bytes_to_archive": slot["pending_bytes"] if slot else None,
        }
        _report_age(note, clock(), found)
        _report_archive(note, slot, found, up_is_running=up_is_running)


def _report_age(note: BackupNote, now: datetime, found: Findings) -> None:
    again = f"run: waybill backup {note.repository}"
    if not note.wal_folder.is_dir():
        found.problem("backups", f"{note.repository} is not there", "mount or restore that folder, or name a new one")
    elif note.last_backup_at is None:
        found.problem("backups", "the first backup was not completed", again)
    elif now - note.last_backup_at > _OLD:
        age = (now - note.last_backup_at).days
        found.warning("backups", f"the last backup is {age} days old", again)


def _report_archive(note: BackupNote, slot: dict[str, Any] | None, found: Findings, *, up_is_running: bool) -> None:
    if slot is None or slot["wal_status"] == "lost":
        message = "the archived log has a gap: moments since the last backup cannot be restored"
        found.problem("backups", message, f"run: waybill backup {note.repository}")
    elif up_is_running and not slot["active"]:
        remedy = "see logs/backup.log in the home; the folder may be full or missing"
        found.problem("backups", "the log is not archived", remedy)
    elif (slot["pending_bytes"] or 0) > _MUCH_LOG_BYTES:
        message = f"{slot['pending_bytes']:,} bytes of log wait for the archive"
        found.warning("backups", message, "run 'waybill up' or 'waybill backup'; Postgres keeps 2 GB at most")
