"""A home with all that runs for it: `waybill up`, commands from several checkouts, and the role of each process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.stack_driver import end_everything, eventually, left_running, plain_environment, unused_port
from tests.webhooks.receiver import Receiver

ROOT = Path(__file__).parents[2]
# A start may have to recover Postgres from a crash, on a machine whose two cores are busy.
START_SECONDS = 300.0
_STOP_SECONDS = 180.0
# What a second checkout needs to run; the environment is shared.
_CHECKED_OUT = ("waybill", "flows", "tasks", "blocks", "prefect.yaml", "pyproject.toml")
# So short that nothing is dead in the end, however long the receiver or the dispatcher were away.
_WEBHOOK_SCHEDULE = ",".join(["0", "1s", "1s", "2s", *["5s"] * 90])

# The record files of the programs that `waybill up` keeps running.
_RECORDS = {"gateway": "gateway.json", "dispatcher": "dispatch.json", "flow server": "serve.json"}


@dataclass
class World:
    """One home. *prefix* starts every command, for instance in a network namespace; *host* is where it is reached."""

    folder: Path
    receiver: Receiver
    host: str = "127.0.0.1"
    prefix: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict[str, str])
    database_url: str = ""
    checkout: Path = ROOT
    port: int = field(default_factory=unused_port)
    ui_port: int = field(default_factory=unused_port)
    up: subprocess.Popen[bytes] | None = None
    # Held by whoever starts or stops `up`, so that only one does.
    changing: threading.Lock = field(default_factory=threading.Lock)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def log(self) -> Path:
        return self.folder / "up.log"

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def key(self) -> str:
        """The first API key, once `up` was there."""
        return (self.home / "api-key").read_text().strip()

    @property
    def database(self) -> str:
        """Where the catalogue is, as seen from here."""
        return self.database_url or f"postgresql://postgres@/waybill?host={self.home / 'postgres'}"

    def environment(self, **more: str) -> dict[str, str]:
        return {
            **plain_environment(),
            "WAYBILL_HOME": str(self.home),
            "WAYBILL_WORKERS": "1",
            "WAYBILL_WEBHOOK_SCHEDULE": _WEBHOOK_SCHEDULE,
            "WAYBILL_ALLOW_PRIVATE_WEBHOOKS": "on" if self.prefix else "loopback",
            **self.variables,
            **more,
        }

    def start(self, checkout: Path | None = None, variables: Mapping[str, str] | None = None) -> None:
        """Start `waybill up` and wait until it is up; one that gives up, as on a full disk, is tried again."""
        self.checkout = checkout or ROOT
        listening = ("--host", "0.0.0.0") if self.prefix else ()  # noqa: S104 - in a namespace of its own
        command = self._command("up", "--port", str(self.port), "--ui-port", str(self.ui_port), *listening)
        deadline = time.monotonic() + START_SECONDS
        while not self._is_started(command, variables or {}):
            assert time.monotonic() < deadline, f"up does not start: {self.log.read_text()[-3000:]}"
            time.sleep(1)

    def _is_started(self, command: Sequence[str], variables: Mapping[str, str]) -> bool:
        begin = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as output:
            self.up = up = subprocess.Popen(
                command,
                env=self.environment(**variables),
                cwd=self.checkout,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        eventually(
            lambda: b"Ctrl-C" in self.log.read_bytes()[begin:] or up.poll() is not None, "up is up", START_SECONDS
        )
        assert up.poll() != 2, f"up is used wrongly: {self.log.read_text()[-1000:]}"
        return up.poll() is None

    def stop(self) -> None:
        """Stop `waybill up` as Ctrl-C does."""
        assert self.up is not None
        self.up.send_signal(signal.SIGINT)
        code = self.up.wait(_STOP_SECONDS)
        assert code == 0, f"up ended with {code}: {self.log.read_text()[-3000:]}"

    def kill(self) -> None:
        """Kill `waybill up` alone."""
        assert self.up is not None
        self.up.kill()
        self.up.wait()

    def start_again_if_ended(self) -> str:
        """Start `up` again if it has ended; nothing here ends it by itself, so the answer is a finding, or empty."""
        assert self.up is not None
        if self.up.poll() is None:
            return ""
        ended = f"up ended with {self.up.returncode}: {self.log.read_text()[-1500:]}"
        self.start()
        return ended

    def run(self, *words: str, checkout: Path | None = None, seconds: float = 600) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self._command(*words),
            env=self.environment(),
            cwd=checkout or ROOT,
            capture_output=True,
            text=True,
            timeout=seconds,
        )

    def spawn(self, *words: str, checkout: Path | None = None) -> subprocess.Popen[str]:
        """Start a command; its output is read with `communicate`."""
        return subprocess.Popen(
            self._command(*words),
            env=self.environment(),
            cwd=checkout or ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def _command(self, *words: str) -> list[str]:
        return [*self.prefix, sys.executable, "-m", "waybill", *words]

    # Who is who -------------------------------------------------------------------------------------------------------

    def roles(self) -> dict[str, psutil.Process]:
        """The long-lived processes that are there now, by what they are."""
        pids = {role: self._recorded(name) for role, name in _RECORDS.items()}
        pids["Prefect server"] = self._recorded("stack.json", "prefect_server", "process")
        pids["Postgres"] = self._postmaster()
        pids["up"] = self.up.pid if self.up is not None and self.up.poll() is None else None
        found: dict[str, psutil.Process] = {}
        for role, pid in pids.items():
            with suppress(psutil.Error):
                if pid is not None and (process := psutil.Process(pid)).status() != psutil.STATUS_ZOMBIE:
                    found[role] = process
        return found

    def flow_runs(self) -> list[psutil.Process]:
        """The processes of flow runs that the flow server has started."""
        server = self.roles().get("flow server")
        return [] if server is None else _children(server, recursive=False)

    def workers(self) -> list[psutil.Process]:
        """Whatever runs below a flow run: fork servers, their workers and resource trackers."""
        return [process for run in self.flow_runs() for process in _children(run, recursive=True)]

    def backends(self) -> list[psutil.Process]:
        """The processes of Postgres that serve one connection each."""
        postmaster = self.roles().get("Postgres")
        found: list[psutil.Process] = []
        for process in [] if postmaster is None else _children(postmaster, recursive=False):
            with suppress(psutil.Error):
                if any(name in " ".join(process.cmdline()) for name in (" waybill ", " prefect ")):
                    found.append(process)
        return found

    def end(self) -> list[str]:
        """What still runs for the home although it should have ended; it is killed."""
        left = left_running(self.home)
        end_everything(self.home)
        return left

    def _recorded(self, name: str, *path: str) -> int | None:
        try:
            found: Any = json.loads((self.home / name).read_text())
            for part in path:
                found = found[part]
            return int(found["pid"])
        except (OSError, ValueError, KeyError, TypeError):
            return None  # it is just being started again

    def _postmaster(self) -> int | None:
        try:
            return int((self.home / "postgres" / "postmaster.pid").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return None


def second_checkout(folder: Path) -> Path:
    """A copy of the product's code, as another checkout of the same version."""
    copy = folder / "second-checkout"
    copy.mkdir()
    for name in _CHECKED_OUT:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)
    return copy


def _children(process: psutil.Process, *, recursive: bool) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return process.children(recursive=recursive)
    return []


def kill(process: psutil.Process, number: signal.Signals = signal.SIGKILL) -> bool:
    """Send a signal; whether the process was still there."""
    with suppress(ProcessLookupError, psutil.Error):
        if process.is_running():
            os.kill(process.pid, number)
            return True
    return False
