"""`waybill up` as a user has it, with its gateway, for tests that kill parts of it.

They are given to one process and share one `up`, so each leaves it working.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.stack_driver import (
    PATIENCE_SECONDS,
    end_everything,
    eventually,
    plain_environment,
    private_directory,
    unused_port,
)

KILLED_IN_PARTS = pytest.mark.xdist_group("up-killed-in-parts")


@dataclass(frozen=True)
class Up:
    """A running `waybill up`, and the runs that it has done."""

    home: Path
    url: str
    key: str
    run_ids: list[str] = field(default_factory=list[str])

    def pid(self, record: str, *names: str) -> int:
        found = json.loads((self.home / record).read_text())
        for name in names:
            found = found[name]
        return int(found["pid"])

    def run(self) -> None:
        """Process a document; the run has completed."""
        with httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=PATIENCE_SECONDS
        ) as client:
            started = client.post(
                "/api/v1/ingest/file", files={"file": ("a.md", b"# Heading\n\nSome words.\n")}, data={"stages": "1"}
            )
            assert started.status_code == 202, started.text
            run_id = started.json()["task_id"]
            eventually(
                lambda: client.get(f"/api/v1/status/{run_id}").json()["status"] == "completed", "the run has completed"
            )
        self.run_ids.append(run_id)

    @property
    def gateway_pid(self) -> int:
        return self.pid("gateway.json")

    @property
    def prefect_pid(self) -> int:
        return self.pid("stack.json", "prefect_server", "process")

    @property
    def postgres_pid(self) -> int:
        return int((self.home / "postgres" / "postmaster.pid").read_text().split()[0])


@contextmanager
def running_up() -> Iterator[Up]:
    """Everything, in a home of its own, until the end of the block; then nothing of it is left."""
    with private_directory() as directory:
        home, log = directory / "home", directory / "up.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "waybill", "up", "--port", "0", "--ui-port", str(unused_port())],
                env={**plain_environment(), "WAYBILL_HOME": str(home)},
                stdout=output,
                stderr=output,
            )
        try:
            eventually(lambda: "Ctrl-C" in log.read_text() or process.poll() is not None, "up is up")
            url, key = (home / "gateway-url").read_text().split()[0], (home / "api-key").read_text().strip()
            up = Up(home, url, key)
            up.run()
            yield up
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE_SECONDS) == 0, log.read_text()
        finally:
            process.kill()
            process.wait()
            end_everything(home)
