"""Backup repositories: their folders and formats, and what a home knows of its own.

`repository` reads and checks a repository, and the note in the home that names it. It runs no server and no program of
Postgres: `waybill.stack.backup` makes backups and restores them, and the doctor only looks at what is written here.
"""

from waybill.services.backups.archive import ArchiveState, archive_state
from waybill.services.backups.repository import (
    PARTIAL_SUFFIX,
    SLOT,
    Backup,
    BackupNote,
    Repository,
    parse_time,
    read_note,
    write_note,
)

__all__ = [
    "PARTIAL_SUFFIX",
    "SLOT",
    "ArchiveState",
    "Backup",
    "BackupNote",
    "Repository",
    "archive_state",
    "parse_time",
    "read_note",
    "write_note",
]
