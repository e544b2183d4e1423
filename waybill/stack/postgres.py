"""Embedded Postgres: one cluster in the home, reached through a Unix socket only.

Owns its start, taking it over after a killed command, and its stop. A server runs if a connection to it works.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from blocks.errors import CatalogUnavailable, StackUnavailable
from blocks.settings import inherited_environment
from waybill.stack.account import ServerAccount, server_account
from waybill.stack.caller_environment import postgres_environment
from waybill.stack.home import log_tail, open_log
from waybill.stack.postgres_cluster import cannot_run, make_cluster, postgres_binaries, remove_drafts
from waybill.stack.postgres_socket import (
    SOCKET_NAME,
    is_private,
    make_socket_directory,
    remove_socket_directory,
    socket_directory,
)
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

if TYPE_CHECKING:
    import psycopg

# After a power cut the server replays up to 1 GB of log before it answers.
_START_TIMEOUT_SECONDS = 120.0
# A fast shutdown writes the cache out: a second on a disk, more where the disk is slow or busy.
_STOP_SECONDS = 30.0
# An immediate shutdown writes nothing.
_ABORT_SECONDS = 5.0
# A server that was killed leaves workers that notice within moments; until then a new one may not start.
_LEFTOVER_WORKERS_SECONDS = 15.0


class EmbeddedPostgres:
    """The cluster of one home. Only the holder of the change lock starts and stops it."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._data = home / "postgres"
        self._pid_file = self._data / "postmaster.pid"

    def url(self, database: str) -> str:
        """Return the ``postgresql://`` URL of *database*; the server need not run."""
        return f"postgresql://postgres@/{database}?host={quote(str(socket_directory(self._data)), safe='/')}"

    def is_up(self) -> bool:
        """Return whether the server answers now."""
        directory = socket_directory(self._data)
        if not is_private(directory) or not (directory / SOCKET_NAME).exists():
            return False
        try:
            _connect(self.url("postgres")).close()
        except CatalogUnavailable:
            return False
        return True

    def ensure(self, on_step: Callable[[str], None]) -> bool:
        """Start the server unless it answers; return whether this call started it. Raises `StackUnavailable`."""
        if self.is_up():
            return False
        binaries = postgres_binaries()
        account = server_account(self._home, binaries)
        if not self.is_made:
            # A server whose directory was deleted keeps running for up to a minute.
            self.stop()
            on_step("making a Postgres cluster")
            make_cluster(self._data, account)
        on_step("starting Postgres")
        deadline = time.monotonic() + _START_TIMEOUT_SECONDS
        running = self._recorded_process()
        if running is not None and self._becomes_ready(running, deadline):
            return False
        if running is not None and is_running(running):
            # Never stopped here: another command may use it, with all of its connections taken.
            raise StackUnavailable(
                f"Postgres (process {running.pid}) runs but gave no answer in {_START_TIMEOUT_SECONDS:.0f} s; see its "
                f"log, or end that process and try again; its log ends:{log_tail(self._home, 'postgres')}"
            )
        self.stop()
        self._start(binaries, account, deadline)
        return True

    def is_running(self) -> bool:
        """Return whether the server's process exists, answering or not."""
        return self._recorded_process() is not None

    @property
    def process(self) -> ProcessId | None:
        """The server's process, by its pid file; None when none runs."""
        return self._recorded_process()

    @property
    def is_made(self) -> bool:
        """Whether the home has a cluster; where it has none, starting the server makes one."""
        return (self._data / "PG_VERSION").exists()

    def create_database(self, name: str) -> None:
        """Create the database *name* unless it exists."""
        with _connect(self.url("postgres")) as connection:
            if not connection.execute("select 1 from pg_database where datname = %s", [name]).fetchone():
                connection.execute(f'create database "{name}"'.encode())

    def stop(self) -> None:
        """Shut the server down and wait. Does nothing when none runs. Raises `StackUnavailable` when it hangs."""
        process = self._process()
        if process is not None and not end(process, (signal.SIGINT, _STOP_SECONDS), (signal.SIGQUIT, _ABORT_SECONDS)):
            raise StackUnavailable(
                f"Postgres (process {process.pid}) does not end; the disk under {self._data} may hang"
            )
        remove_socket_directory(self._data)
        remove_drafts(self._data)

    def _process(self) -> ProcessId | None:
        """Return the running postmaster of this cluster: by its pid file, or by its arguments without that file."""
        return self._recorded_process() or next(iter(find(self._command_mark)), None)

    def _recorded_process(self) -> ProcessId | None:
        try:
            process = identify(int(self._pid_file.read_text().split("\n", 1)[0]))
        except (OSError, ValueError):
            return None
        return process if process is not None and self._command_mark in command_line(process.pid) else None

    @property
    def _command_mark(self) -> str:
        # The blank after it keeps /a/b/postgres apart from /a/b/postgres2.
        return f"-D {self._data} "

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
                    f"Postgres did not answer in {_START_TIMEOUT_SECONDS:.0f} s; its log ends:{tail}"
                )
            if "pre-existing shared memory block" not in tail or time.monotonic() > leftovers_until:
                raise StackUnavailable(f"Postgres did not start; its log ends:{tail}")
            time.sleep(POLL_SECONDS)

    def _launch(self, binaries: Path, account: ServerAccount | None) -> ProcessId:
        sockets = make_socket_directory(self._data, account)
        options = account.process_options() if account else {}
        with open_log(self._home, "postgres") as log:
            try:
                child = spawn(
                    [
                        str(binaries / "postgres"), "-D", str(self._data), "-k", str(sockets),
                        # The folder lets no other account through already; the socket does not depend on it.
                        "-c", "unix_socket_permissions=0700",
                    ],
                    log=log, cwd=Path("/"), env=postgres_environment(inherited_environment()), **options,
                )  # fmt: skip
            except OSError as exc:
                raise cannot_run(binaries, exc) from exc
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
        """Remove lock files that would stop Postgres from starting although no server of this cluster runs.

        Those are files that were cut short, or whose pid is taken: by another program, or by the server's own exit
        status that its parent has not collected. A pid that is free is left to Postgres, which looks at the cluster's
        shared memory before it goes on (as it does, by the directory, where there is no file).
        """
        for path in (self._pid_file, socket_directory(self._data) / f"{SOCKET_NAME}.lock"):
            try:
                stale = is_taken(int(path.read_text().split("\n", 1)[0]))
            except OSError:
                continue
            except ValueError:
                stale = True
            if stale:
                path.unlink(missing_ok=True)


def _connect(url: str) -> psycopg.Connection[tuple[Any, ...]]:
    # The driver takes a quarter of a second to import, and a command that leaves its run to `up` needs none of it.
    from blocks.postgres import connect

    return connect(url, autocommit=True)
