"""Checks of backups, where the home makes any: their age, their folder, and that the log is archived without a gap."""

from __future__ import annotations

from datetime import datetime, timedelta

from blocks.catalog import Catalog
from blocks.runtime.clock import Clock, utc_now
from blocks.settings import Settings
from waybill.services.backups import ArchiveState, BackupNote, Repository, archive_state, read_note
from waybill.services.doctor.findings import Findings

# Nightly backups, of which one was missed.
_OLD = timedelta(days=2)
# Half of what Postgres keeps for the archive before it goes on without.
_MUCH_LOG_BYTES = 1024**3


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
            archive = await archive_state(connection)
        found.counts["backups"] = {
            "last_backup_at": note.last_backup_at.isoformat() if note.last_backup_at else None,
            "log_bytes_to_archive": archive.pending_bytes if archive else None,
        }
        unreadable: list[str] = []
        Repository(note.repository).backups(unreadable.append)
        if unreadable:
            remedy = "mend or move each; until then --keep frees no room in files/ and wal/"
            found.warning("backups", "backups cannot be read", remedy, unreadable)
        _report_age(note, clock(), found)
        _report_archive(note, archive, found, up_is_running=up_is_running)


def _report_age(note: BackupNote, now: datetime, found: Findings) -> None:
    again = f"run: waybill backup {note.repository}"
    if not note.wal_folder.is_dir():
        found.problem("backups", f"{note.repository} is not there", "mount or restore that folder, or name a new one")
    elif note.last_backup_at is None:
        found.problem("backups", "the first backup was not completed", again)
    elif now - note.last_backup_at > _OLD:
        age = (now - note.last_backup_at).days
        found.warning("backups", f"the last backup is {age} days old", again)


def _report_archive(note: BackupNote, archive: ArchiveState | None, found: Findings, *, up_is_running: bool) -> None:
    if archive is None or not archive.is_intact:
        message = "the archived log has a gap: moments since the last backup cannot be restored"
        found.problem("backups", message, f"run: waybill backup {note.repository}")
    elif up_is_running and not archive.is_received:
        remedy = "see logs/backup.log in the home; the folder may be full or missing"
        found.problem("backups", "the log is not archived", remedy)
    elif (archive.pending_bytes or 0) > _MUCH_LOG_BYTES:
        message = f"{archive.pending_bytes:,} bytes of log wait for the archive"
        found.warning("backups", message, "run 'waybill up' or 'waybill backup'; Postgres keeps 2 GB at most")
