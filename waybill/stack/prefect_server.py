"""The Prefect server of one home: started, found again after a killed command, checked and stopped.

Owns the server's process, its port and the record of both (``stack.json``). A record names a process by pid and start
time and is written only once the server answers; a server without a record is found by its command line. Never
imports Prefect: the server is a process of its own.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from datetime import timedelta
from importlib import metadata
from pathlib import Path
from typing import IO, cast

from blocks.errors import InvalidSettings, StackUnavailable
from blocks.runtime.atomic_file import atomic_file
from blocks.settings.retention import PERIODS
from waybill.stack.environment import server_environment
from waybill.stack.home import log_tail, open_log
from waybill.stack.prefect_credential import fingerprint_of
from waybill.stack.processes import POLL_SECONDS, ProcessId, end, find, identify, is_running, spawn

HOST = "127.0.0.1"
# The line on its stdin that signals the waiting server process that the database is ready.
GO = b"go\n"
_MODULE = "waybill.stack.prefect_process"
_LOG = "prefect-server"

# A first start imports for 4 s and migrates for 2; machines that are slow or busy get ten times that.
_START_TIMEOUT_SECONDS = 90.0
# A busy server answers in milliseconds; one that hangs is replaced.
_ANSWER_SECONDS = 5.0
# Longer than the server needs to write what it holds in memory (20 s) and to finish open requests (3 s).
_STOP_SECONDS = 30.0
_BACKLOG = 128


@dataclass(frozen=True, kw_only=True)
class PrefectServer:
    """A server that has answered once; *database* identifies its database without the password.

    *version* is that of the Prefect it was started with, *credential* the fingerprint of the credential that it asks
    for. Both are empty in older records: the server of an earlier Waybill asks for none.
    """

    process: ProcessId
    port: int
    database: str
    version: str
    credential: str

    @property
    def ui_url(self) -> str:
        """The address for a browser."""
        return f"http://{HOST}:{self.port}"

    @property
    def api_url(self) -> str:
        """The value of `PREFECT_API_URL` for this server."""
        return f"{self.ui_url}/api"

    def is_ready(self, *, within_seconds: float) -> bool:
        """Return whether exactly this process runs and, within that time, answers and reaches its database."""
        deadline = time.monotonic() + within_seconds
        while is_running(self.process):
            if _ready(self.port, _ANSWER_SECONDS):
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        return False


class StartingServer:
    """A server process that has imported Prefect, or is about to, and waits for its database."""

    def __init__(
        self, home: Path, child: subprocess.Popen[bytes], *, port: int, database: str, credential: str
    ) -> None:
        self._home = home
        self._child = child
        self._pipe = cast("IO[bytes]", child.stdin)
        self._port = port
        self._database = database
        self._credential = credential

    def release(self) -> None:
        """Signal the waiting child process that Postgres is ready."""
        # A process that has died already is reported by `wait`, with its log.
        with contextlib.suppress(BrokenPipeError), self._pipe:
            self._pipe.write(GO)

    def wait(self) -> PrefectServer:
        """Wait until the server answers, and record it. Raises `StackUnavailable` with the end of its log."""
        deadline = time.monotonic() + _START_TIMEOUT_SECONDS
        while not _ready(self._port, _ANSWER_SECONDS):
            if self._child.poll() is not None:
                raise StackUnavailable(f"the Prefect server did not start; its log ends:{log_tail(self._home, _LOG)}")
            if time.monotonic() > deadline:
                raise StackUnavailable(
                    f"the Prefect server gave no answer in {_START_TIMEOUT_SECONDS:.0f} s; its log ends:"
                    f"{log_tail(self._home, _LOG)}"
                )
            time.sleep(POLL_SECONDS)
        process = identify(self._child.pid)
        if process is None:
            raise StackUnavailable(f"the Prefect server ended early; its log ends:{log_tail(self._home, _LOG)}")
        server = PrefectServer(
            process=process,
            port=self._port,
            database=self._database,
            version=installed_version(),
            credential=self._credential,
        )
        with atomic_file(_record_path(self._home)) as stream:
            stream.write(json.dumps({"prefect_server": asdict(server)}, indent=2).encode())
        return server

    def abandon(self) -> None:
        """Kill the server. Without the line on its stdin it would end by itself, but only after importing Prefect."""
        with contextlib.suppress(BrokenPipeError):
            self._pipe.close()
        self._child.kill()
        self._child.wait()


def launch(
    home: Path,
    *,
    prefect_database_url: str,
    credential: str,
    port: int | None,
    fallback: bool,
    history: timedelta = PERIODS["history"],
) -> StartingServer:
    """Start a server process on *port* (None: any free one), which then waits for `StartingServer.release`.

    It answers only requests that carry *credential*, and keeps its events for *history*. With *fallback*, a port that
    is taken is exchanged for a free one. Raises `InvalidSettings` when it is taken.
    """
    _record_path(home).unlink(missing_ok=True)
    (home / "prefect").mkdir(mode=0o700, exist_ok=True)
    with _listen(port, fallback=fallback) as listener, open_log(home, _LOG) as log:
        bound = int(listener.getsockname()[1])
        child = spawn(
            [sys.executable, "-m", _MODULE, "--home", str(home), "--fd", str(listener.fileno())],
            log=log,
            # Prefect reads prefect.toml, .env and pyproject.toml of the directory it is started in.
            cwd=home / "prefect",
            env=server_environment(
                home=home,
                prefect_database_url=prefect_database_url,
                host=HOST,
                port=bound,
                credential=credential,
                history=history,
            ),
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
        )
    return StartingServer(
        home,
        child,
        port=bound,
        database=fingerprint(prefect_database_url),
        credential=fingerprint_of(credential),
    )


def recorded_server(home: Path) -> PrefectServer | None:
    """Return the server that the record of *home* names; None when there is no record, or it is damaged."""
    try:
        found = json.loads(_record_path(home).read_text())["prefect_server"]
        process = ProcessId(pid=int(found["process"]["pid"]), started=str(found["process"]["started"]))
        return PrefectServer(
            process=process,
            port=int(found["port"]),
            database=str(found["database"]),
            version=str(found.get("version", "")),
            credential=str(found.get("credential", "")),
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None


def stop_server(home: Path) -> None:
    """Stop the server of *home* and wait; also one without a record. Raises `StackUnavailable` when it hangs."""
    recorded = recorded_server(home)
    if recorded is not None and is_running(recorded.process):
        processes = [recorded.process]
    else:
        # The command that started it was killed before it could write the record, or the record is damaged.
        processes = find(f"{_MODULE} --home {home} --fd ")
    # The record first: if this command is killed while the server drains, the next one must not take over a server that
    # still answers but is ending. Without a record it is stopped, and waited for.
    _record_path(home).unlink(missing_ok=True)
    for process in processes:
        if not end(process, (signal.SIGTERM, _STOP_SECONDS)):
            raise StackUnavailable(f"the Prefect server (process {process.pid}) does not stop")


def installed_version() -> str:
    """Return the version of the Prefect that a server which starts now runs."""
    return metadata.version("prefect")


def fingerprint(prefect_database_url: str) -> str:
    """Return a text that differs between databases and does not reveal the password."""
    return hashlib.sha256(prefect_database_url.encode()).hexdigest()[:16]


def _listen(port: int | None, *, fallback: bool) -> socket.socket:
    try:
        # Also while connections of a server that was stopped a moment ago are in TIME_WAIT: it sets SO_REUSEADDR.
        return socket.create_server((HOST, port or 0), backlog=_BACKLOG)
    except OSError as exc:
        if exc.errno not in {errno.EADDRINUSE, errno.EACCES}:
            raise
        if fallback:
            return _listen(None, fallback=False)
        why = "is taken by another program" if exc.errno == errno.EADDRINUSE else "is reserved for the system"
        raise InvalidSettings(f"port {port} on {HOST} {why}; give Prefect another one with --ui-port") from exc


def _ready(port: int, seconds: float) -> bool:
    """Whether Prefect says that it is up and reaches its database."""
    connection = http.client.HTTPConnection(HOST, port, timeout=seconds)
    try:
        connection.request("GET", "/api/ready")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _record_path(home: Path) -> Path:
    return home / "stack.json"
