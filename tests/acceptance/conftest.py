"""The command line as a user has it: one `waybill up` for the session, and each command a process of its own."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.forked_commands import run as run_command
from tests.hostile_environment import HOSTILE_ENVIRONMENT, fill_hostile_directory
from tests.postgres_server import Postgres
from tests.shared_servers import alone_with_prefect, shared_prefect
from tests.stack_driver import PATIENCE_SECONDS, plain_environment, prefect_variables, unused_port

# For modules that use the fixture `waybill`: one process has them all, and so one `waybill up` is started.
WITH_UP = pytest.mark.xdist_group("waybill-up")


@dataclass(frozen=True)
class CommandLine:
    """``waybill`` in a home of its own, and where its gateway answers."""

    home: Path
    run_folder: Path
    gateway: str = ""
    added: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def environment(self) -> dict[str, str]:
        return {**plain_environment(), "WAYBILL_HOME": str(self.home), "COLUMNS": "200", **self.added}

    def with_environment(self, **added: object) -> CommandLine:
        """The same home with further variables."""
        return replace(self, added={**self.added, **{name: str(value) for name, value in added.items()}})

    def run(
        self,
        *arguments: object,
        expect: int | None = 0,
        cwd: Path | None = None,
        given: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, *given* on standard input; the exit code must be *expect* (None: any)."""
        done = run_command(
            [*map(str, arguments)], self.environment,
            cwd=cwd, given=given, seconds=PATIENCE_SECONDS, run_folder=self.run_folder,
        )  # fmt: skip
        assert expect in {None, done.returncode}, (
            f"exit {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        )
        return done

    def json(self, *arguments: object, expect: int = 0) -> dict[str, Any]:
        """Run a command with ``--json``; standard output must be exactly one object."""
        found = json.loads(self.run(*arguments, "--json", expect=expect).stdout)
        assert isinstance(found, dict)
        return found


@pytest.fixture(scope="session")
def waybill(run_folder: Path) -> Iterator[CommandLine]:
    """Commands on a running stack; at the end `up` must stop cleanly and leave no process.

    `up` was started in the worst of environments, so every test with it shows that nothing of that reaches the stack.
    """
    home = Path(tempfile.mkdtemp(prefix="waybill-cli-"))
    hostile = Path(tempfile.mkdtemp(prefix="waybill-hostile-"))
    fill_hostile_directory(hostile)
    port = unused_port()
    command_line = CommandLine(home, run_folder, f"http://127.0.0.1:{port}")
    log = home / "up.log"
    with log.open("w") as output:
        up = subprocess.Popen(
            [sys.executable, "-m", "waybill", "up", "--port", str(port), "--ui-port", str(unused_port())],
            env={**command_line.environment, **HOSTILE_ENVIRONMENT},
            cwd=hostile,
            umask=0o777,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    deadline = time.monotonic() + PATIENCE_SECONDS
    try:
        while "Ctrl-C" not in log.read_text():
            assert up.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
    except BaseException:
        up.send_signal(signal.SIGINT)  # it stops what it has started
        raise
    yield command_line
    up.send_signal(signal.SIGINT)
    assert up.wait(timeout=PATIENCE_SECONDS) == 0, log.read_text()
    shutil.rmtree(hostile)
    shutil.rmtree(home)


@pytest.fixture
def alone(run_folder: Path) -> Iterator[CommandLine]:
    """Commands on a home of its own, where nothing runs between them."""
    with _new_home(run_folder) as command_line:
        yield command_line


@pytest.fixture
def on_postgres(alone: CommandLine, database_url: str) -> CommandLine:
    """Commands on a home of its own and the run's Postgres, so that no command starts one."""
    return alone.with_environment(WAYBILL_DATABASE_URL=database_url)


@pytest.fixture(scope="module")
def on_servers(postgres: Postgres, run_folder: Path) -> Iterator[CommandLine]:
    """Commands on a home of its own and the run's servers, so that no command starts one."""
    with _new_home(run_folder) as command_line, postgres.database() as database_url:
        yield command_line.with_environment(
            WAYBILL_DATABASE_URL=database_url,
            **prefect_variables(shared_prefect(run_folder)),
            PREFECT_HOME=command_line.home / "prefect",
        )


@pytest.fixture
def prefect_alone(run_folder: Path) -> Iterator[str]:
    """The API of a Prefect server that no other test uses meanwhile. The test needs the mark `PREFECT_ALONE`."""
    with alone_with_prefect(run_folder) as address:
        yield address


@contextmanager
def _new_home(run_folder: Path) -> Iterator[CommandLine]:
    # Not pytest's tmp_path: its names are longer than the path of a socket may be.
    home = Path(tempfile.mkdtemp(prefix="waybill-cli-"))
    yield CommandLine(home, run_folder)
    shutil.rmtree(home)
