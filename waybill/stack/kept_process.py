"""A process that `waybill up` keeps running: started, watched, restarted, and stopped with everything it has started.

Owns the process and its group, and a record of it (``NAME.json``), so that children that survive when both `up` and the
process are killed are stopped before the next one starts. `waybill.process.child_protocol` is the process's side.
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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from blocks.errors import StackUnavailable
from blocks.runtime.atomic_file import atomic_file
from blocks.settings import inherited_environment
from waybill.stack.code_version import code_on_disk
from waybill.stack.home import log_tail, open_log
from waybill.stack.processes import ProcessId, end, end_group, identify, is_running, reap, spawn

# Importing Prefect, the flows and their libraries takes 2-4 s; slow or busy machines get ten times that.
_START_TIMEOUT_SECONDS = 60.0
# A runner ends within a second, and its flow runs get the rest to release what they hold. The gateway gives half of it
# to requests that are under way.
_STOP_SECONDS = 10.0
# A process that keeps dying is restarted after pauses up to this, and one that has run this long has recovered.
_LONGEST_PAUSE_SECONDS = 60.0
_FIRST_PAUSE_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program. *name* is that of its log and record; *module* takes ``--home``, ``--ready-fd`` and *arguments*."""

    name: str
    called: str
    module: str
    arguments: Sequence[str] = ()
    cwd: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    pass_fds: Sequence[int] = ()


class KeptProcess:
    """At most one process of a home, which runs *program*."""

    def __init__(self, home: Path, program: Program, on_step: Callable[[str], None]) -> None:
        self._home = home
        self._program = program
        self._on_step = on_step
        self._process: ProcessId | None = None
        self._ready: IO[bytes] | None = None
        self._pause_seconds = _FIRST_PAUSE_SECONDS
        self._started_at = 0.0
        self._not_before = 0.0

    def launch(self) -> None:
        """Start the process without waiting; call `wait_until_ready` or `stop` next."""
        end_recorded(self._home, self._program.name)
        reading, writing = os.pipe()
        self._ready = os.fdopen(reading, "rb")
        try:
            self._spawn(writing)
        except BaseException:
            self._ready.close()
            self._ready = None
            raise
        finally:
            os.close(writing)

    def wait_until_ready(self) -> None:
        """Wait until the process is ready. Raises `StackUnavailable` with the end of its log."""
        if self._ready is None:
            raise ValueError("it has not been launched")
        with self._ready as ready:
            self._ready = None
            select.select([ready], [], [], _START_TIMEOUT_SECONDS)
            os.set_blocking(ready.fileno(), False)
            is_ready = bool(ready.read(1))
        if not is_ready:
            self.stop()
            last_words = log_tail(self._home, self._program.name)
            raise StackUnavailable(f"{self._program.called} does not start; its log ends:{last_words}")

    def keep_running(self) -> None:
        """Start the process again if it has ended, with growing pauses if it keeps ending.

        Where descriptors or memory are short, it is left as it is and looked at again.
        """
        reap()
        now = time.monotonic()
        if self._process is not None:
            with contextlib.suppress(OSError):
                self._look(self._process, now)
        elif now >= self._not_before:
            try:
                self.launch()
                self.wait_until_ready()
            except StackUnavailable as exc:
                self._schedule_restart(exc.message)
            except OSError as exc:
                self._schedule_restart(f"{self._program.called} cannot be started: {exc.strerror}")
            else:
                self._on_step(f"{self._program.called} is back")

    def stop(self) -> None:
        """Stop the process and everything it has started."""
        if self._ready is not None:
            self._ready.close()
            self._ready = None
        if self._process is None:
            return
        # Only the process itself: it stops its own children and records that.
        end(self._process, (signal.SIGTERM, _STOP_SECONDS))
        self._process = None
        end_recorded(self._home, self._program.name)

    def _look(self, process: ProcessId, now: float) -> None:
        if not is_running(process):
            self._process = None
            self._schedule_restart(f"{self._program.called} has ended")
        elif now - self._started_at > _LONGEST_PAUSE_SECONDS:
            self._pause_seconds = _FIRST_PAUSE_SECONDS

    def _spawn(self, ready_fd: int) -> None:
        program = self._program
        with open_log(self._home, program.name) as log:
            child = spawn(
                [
                    sys.executable, "-m", program.module,
                    "--home", str(self._home), "--ready-fd", str(ready_fd), *program.arguments,
                ],
                log=log,
                cwd=program.cwd,
                env=inherited_environment(**program.environment),
                # Never written to: the child sees it close when this process is gone.
                stdin=subprocess.PIPE,
                pass_fds=[ready_fd, *program.pass_fds],
            )  # fmt: skip
        try:
            process = identify(child.pid) or ProcessId(pid=child.pid, started="ended")
            with atomic_file(_record_path(self._home, program.name)) as stream:
                stream.write(json.dumps({**asdict(process), "code": code_on_disk()}).encode())
        except BaseException:
            child.kill()  # without its record nothing would find it
            raise
        self._started_at, self._process = time.monotonic(), process

    def _schedule_restart(self, why: str) -> None:
        self._on_step(f"{why}; starting it again in {self._pause_seconds:.0f} s")
        self._not_before = time.monotonic() + self._pause_seconds
        self._pause_seconds = min(self._pause_seconds * 2, _LONGEST_PAUSE_SECONDS)


def end_recorded(home: Path, name: str) -> None:
    """Stop what a killed `up` has left of *name*. Call it only while no other `up` of the home runs."""
    record = _read_record(home, name)
    if record is None:
        return
    leader, _ = record
    # A process whose parent was killed a moment ago is ending by itself.
    end(leader, (signal.SIGTERM, _STOP_SECONDS))
    end_group(leader, seconds=1.0)
    _record_path(home, name).unlink(missing_ok=True)


def recorded_process(home: Path, name: str) -> ProcessId | None:
    """Return the process that was last recorded as *name*, running or not; None without a record."""
    record = _read_record(home, name)
    return record[0] if record is not None else None


def running_code(home: Path, name: str) -> str | None:
    """Return the code that the process called *name* was started with, as `code_on_disk` writes it.

    None when no such process runs, and ``unknown`` when its record is older than this field.
    """
    record = _read_record(home, name)
    if record is None:
        return None
    process, code = record
    return code if is_running(process) else None


def _record_path(home: Path, name: str) -> Path:
    return home / f"{name}.json"


def _read_record(home: Path, name: str) -> tuple[ProcessId, str] | None:
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        found = json.loads(_record_path(home, name).read_text())
        return ProcessId(pid=int(found["pid"]), started=str(found["started"])), str(found.get("code") or "unknown")
    return None
