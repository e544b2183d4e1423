"""The command line as a user has it: one `waybill up` for the session, commands as processes beside it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.stack_driver import plain_environment, unused_port

_START_SECONDS = 90
_STOP_SECONDS = 60


@dataclass(frozen=True)
class CommandLine:
    """``waybill`` in a home of its own, and where its gateway answers."""

    home: Path
    gateway: str = ""
    added: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def environment(self) -> dict[str, str]:
        return {**plain_environment(), "WAYBILL_HOME": str(self.home), "COLUMNS": "200", **self.added}

    def with_environment(self, **added: object) -> CommandLine:
        """The same home with further variables."""
        return replace(self, added={**self.added, **{name: str(value) for name, value in added.items()}})

    def run(self, *arguments: object, expect: int | None = 0, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; the exit code must be *expect* (None: any)."""
        done = subprocess.run(
            [sys.executable, "-m", "waybill", *map(str, arguments)],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=170,
            **options,
        )
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
def waybill() -> Iterator[CommandLine]:
    """Commands on a running stack; at the end `up` must stop cleanly and leave no process."""
    home = Path(tempfile.mkdtemp(prefix="waybill-cli-"))
    port = unused_port()
    command_line = CommandLine(home, f"http://127.0.0.1:{port}")
    log = home / "up.log"
    with log.open("w") as output:
        up = subprocess.Popen(
            [sys.executable, "-m", "waybill", "up", "--port", str(port), "--ui-port", str(unused_port())],
            env=command_line.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    deadline = time.monotonic() + _START_SECONDS
    while "Ctrl-C" not in log.read_text():
        assert up.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    yield command_line
    up.send_signal(signal.SIGINT)
    assert up.wait(timeout=_STOP_SECONDS) == 0, log.read_text()
    shutil.rmtree(home)


@pytest.fixture
def alone() -> Iterator[CommandLine]:
    """Commands on a home of its own, where nothing runs between them."""
    # Not pytest's tmp_path: its names are longer than the path of a socket may be.
    home = Path(tempfile.mkdtemp(prefix="waybill-cli-"))
    yield CommandLine(home)
    shutil.rmtree(home)
