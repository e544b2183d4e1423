"""Keep the archive of the write-ahead log up to date while `waybill up` runs.

Owns the process `pg_receivewal`. Where no backup was made yet there is none. When it ends (the folder is missing or
full) it is started again after pauses; Postgres keeps the log for it meanwhile, up to `MOST_KEPT_WAL`, and then goes on
without: the archive has a gap, the doctor reports it, and the next backup begins a new archive.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from blocks.errors import WaybillError
from blocks.postgres import connect
from waybill.services.backups import SLOT, BackupNote, read_note
from waybill.stack.backup.programs import ENVIRONMENT, receive_mark, receive_wal
from waybill.stack.home import log_path, open_log
from waybill.stack.postgres import EmbeddedPostgres
from waybill.stack.processes import ProcessId, end, find, identify, is_running, spawn

# Half an hour of heavy use; a full disk would stop the database, a gap in the archive does not.
MOST_KEPT_WAL = "2GB"
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 60.0
# It flushes what it has.
_STOP_SECONDS = 5.0

_ADD_SLOT = "select pg_create_physical_replication_slot(%s, true)"
_SLOT = "select wal_status from pg_replication_slots where slot_name = %s"


class WalReceiver:
    """At most one `pg_receivewal` of a home."""

    def __init__(self, home: Path, say: Callable[[str], None]) -> None:
        self._home = home
        self._say = say
        self._process: ProcessId | None = None
        self._started_at = self._not_before = 0.0
        self._pause_seconds = _FIRST_PAUSE_SECONDS

    def keep_running(self) -> None:
        """Start the receiver where backups are made and none runs."""
        now = time.monotonic()
        if now < self._not_before:
            return
        try:
            runs = self._process is not None and is_running(self._process)
        except OSError:
            return  # descriptors or memory are too short to find out
        if runs:
            if now - self._started_at > _LONGEST_PAUSE_SECONDS:
                self._pause_seconds = _FIRST_PAUSE_SECONDS
            return
        try:
            note = read_note(self._home)
        except WaybillError as error:
            self._pause(error.message)
            return
        if note is None:
            self._not_before = now + _FIRST_PAUSE_SECONDS
            return
        if self._process is not None:
            self._process = None
            self._pause(f"the log is not archived to {note.repository}; see {log_path(self._home, 'backup')}")
            return
        end_receivers(note)
        try:
            with open_log(self._home, "backup") as log:
                command = receive_wal(EmbeddedPostgres(self._home).url("postgres"), note.wal_folder)
                child = spawn(command, log=log, env=ENVIRONMENT, cwd=Path("/"))
            self._process = identify(child.pid) or ProcessId(pid=child.pid, started="ended")
        except (OSError, WaybillError) as exc:
            self._pause(f"the log is not archived to {note.repository}: {exc}")
            return
        self._started_at = now
        self._not_before = now + _FIRST_PAUSE_SECONDS

    def stop(self) -> None:
        """End the receiver, which has ended by itself where Postgres was stopped."""
        if self._process is not None:
            end(self._process, (signal.SIGINT, _STOP_SECONDS))
            self._process = None

    def _pause(self, why: str) -> None:
        if self._pause_seconds == _FIRST_PAUSE_SECONDS:
            self._say(why)
        self._not_before = time.monotonic() + self._pause_seconds
        self._pause_seconds = min(2 * self._pause_seconds, _LONGEST_PAUSE_SECONDS)


@contextmanager
def wal_receiver(home: Path, say: Callable[[str], None]) -> Generator[WalReceiver]:
    """Yield the receiver of *home*; it is ended with the block. Enter it before the servers are started.

    Postgres sends all of its log to the receiver before it ends, so the receiver has to be there until then.
    """
    receiver = WalReceiver(home, say)
    try:
        yield receiver
    finally:
        receiver.stop()


def end_receivers(note: BackupNote) -> None:
    """End receivers of the same archive that a killed `waybill up` has left."""
    for process in find(receive_mark(note.wal_folder)):
        end(process, (signal.SIGINT, _STOP_SECONDS))


def slot_is_intact(database_url: str) -> bool:
    """Return whether Postgres has kept the log without a gap for the archive."""
    with connect(database_url, autocommit=True) as connection:
        row = connection.execute(_SLOT, [SLOT]).fetchone()
    return row is not None and row[0] != "lost"


def renew_slot(database_url: str) -> None:
    """Let Postgres keep its log from now on, bounded; a slot that has lost its log is replaced."""
    with connect(database_url, autocommit=True) as connection:
        connection.execute(f"alter system set max_slot_wal_keep_size = '{MOST_KEPT_WAL}'".encode())
        connection.execute("select pg_reload_conf()")
        if connection.execute(_SLOT, [SLOT]).fetchone() is not None:
            connection.execute("select pg_drop_replication_slot(%s)", [SLOT])
        connection.execute(_ADD_SLOT, [SLOT])
