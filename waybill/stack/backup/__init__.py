"""Backup and restore of a home with embedded Postgres, to any moment since its oldest kept backup.

`make_backup` adds one backup to a repository while everything runs; `restore_backup` makes a new home of one;
`wal_receiver` keeps the archive of the write-ahead log up to date while `waybill up` runs; `programs` calls those of
Postgres. ADR 0018 says why it is done this way. A backup folder that is missing or full never stops the database.
"""

from waybill.stack.backup.archived_log import recovery_target
from waybill.stack.backup.make_backup import MadeBackup, make_backup
from waybill.stack.backup.restore_backup import Restored, choose_backup, restore_backup, restore_database
from waybill.stack.backup.unfinished import restoring
from waybill.stack.backup.wal_receiver import wal_receiver

__all__ = [
    "MadeBackup",
    "Restored",
    "choose_backup",
    "make_backup",
    "recovery_target",
    "restore_backup",
    "restore_database",
    "restoring",
    "wal_receiver",
]
