"""The serving process as `waybill up` sees it: started, watched, started again, ended with all of its flow runs.

Owns that process and its group, and a record of it (``up.json``), so that flow runs which survive when both `up` and
the serving process are killed are ended before the next ones begin.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from blocks.errors import StackUnavailable
from blocks.settings import inherited_environment
from waybill.stack.home import log_tail, open_log
from waybill.stack.processes import ProcessId, end, end_group, identify, is_running, reap, spawn

_MODULE = "waybill.stack.serve"
_LOG = "serve"

# Importing Prefect, the flows and their libraries takes 2-4 s; slow or busy machines get ten times that.
_START_TIMEOUT_SECONDS = 60.0
# The runner ends within a second; its flow runs get the rest to let go of what they hold.
_STOP_SECONDS = 10.0
# A process that dies at once is not started more often than this, and one that has run this long has recovered.
_LONGEST_PAUSE_SECONDS = 60.0
_FIRST_PAUSE_SECONDS = 1.0


class ServedFlows:
    """At most one serving process of a home at a time."""

    def __init__(self, home: Path, project: Path, on_step: Callable[[str], None]) -> None:
        self._home = home
        self._project = project
        self._on_step = on_step
        self._process: ProcessId | None = None
        self._pause_seconds = _FIRST_PAUSE_SECONDS
        self._started_at = 0.0
        self._not_before = 0.0

    def start(self) -> None:
        """Start serving and wait until runs are taken. Raises `StackUnavailable` with the end of its log."""
        self._end_leftovers()
        reading, writing = os.pipe()
        with open_log(self._home, _LOG) as log, os.fdopen(reading, "rb") as ready:
            child = spawn(
                [
                    sys.executable, "-m", _MODULE,
                    "--home", str(self._home), "--project", str(self._project), "--ready-fd", str(writing),
                ],
                log=log,
                cwd=self._project,
                env=inherited_environment(PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL="WARNING"),
                # Never written to: that it closes tells the child that this process is gone.
                stdin=subprocess.PIPE,
                pass_fds=[writing],
            )  # fmt: skip
            os.close(writing)
            self._started_at = time.monotonic()
            self._process = identify(child.pid) or ProcessId(pid=child.pid, started="ended")
            self._write_record(self._process)
            select.select([ready], [], [], _START_TIMEOUT_SECONDS)
            os.set_blocking(ready.fileno(), False)
            if not ready.read(1):
                self.stop()
                raise StackUnavailable(f"the flows cannot be served; its last words:{log_tail(self._home, _LOG)}")

    def keep_running(self) -> None:
        """Start the process again if it has ended, with growing pauses if it keeps ending."""
        reap()
        now = time.monotonic()
        if self._process is not None and is_running(self._process):
            if now - self._started_at > _LONGEST_PAUSE_SECONDS:
                self._pause_seconds = _FIRST_PAUSE_SECONDS
        elif self._process is not None:
            self._process = None
            self._pause("the serving process has ended")
        elif now >= self._not_before:
            try:
                self.start()
            except StackUnavailable as exc:
                self._pause(exc.message)
            else:
                self._on_step("the flows are served again")

    def _pause(self, why: str) -> None:
        self._on_step(f"{why}; starting it again in {self._pause_seconds:.0f} s")
        self._not_before = time.monotonic() + self._pause_seconds
        self._pause_seconds = min(self._pause_seconds * 2, _LONGEST_PAUSE_SECONDS)

    def stop(self) -> None:
        """End the process and its flow runs; the runs go on when the flows are served again."""
        if self._process is None:
            return
        # The runner only: a flow run that got the signal too would be recorded as crashed.
        end(self._process, (signal.SIGTERM, _STOP_SECONDS))
        self._process = None
        self._end_leftovers()

    def _end_leftovers(self) -> None:
        leader = _recorded(self._home)
        if leader is None:
            return
        # A serving process whose parent was killed a moment ago is about to end by itself.
        end(leader, (signal.SIGTERM, _STOP_SECONDS))
        end_group(leader, seconds=1.0)
        _record_path(self._home).unlink(missing_ok=True)

    def _write_record(self, process: ProcessId) -> None:
        path = _record_path(self._home)
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(process)))


def _record_path(home: Path) -> Path:
    return home / "serve.json"


def _recorded(home: Path) -> ProcessId | None:
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        found = json.loads(_record_path(home).read_text())
        return ProcessId(pid=int(found["pid"]), started=str(found["started"]))
    return None
