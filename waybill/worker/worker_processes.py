"""The processes that one start of Prefect's worker has led to, found by a mark in their environment.

Prefect starts each flow run in a session of its own: neither the process group nor, once the worker was killed, the
parent says what belongs together. Ending a flow run's process by SIGTERM lets it report to Prefect that it crashed.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

import psutil

START_VARIABLE = "WAYBILL_WORKER_START"
# A flow run's process reports its end and stops its own worker processes in a second.
_GRACE_SECONDS = 10.0
_POLL_SECONDS = 0.1


def processes_of(start: str) -> Iterator[psutil.Process]:
    """Yield the running processes whose environment has *start* as `START_VARIABLE`."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(START_VARIABLE) == start and process.status() != psutil.STATUS_ZOMBIE:
                yield process


def flow_runs_of(start: str, worker_pid: int) -> list[psutil.Process]:
    """Return the processes of the flow runs of the worker *worker_pid*: they lead the sessions that are not its own."""
    found: list[psutil.Process] = []
    for process in processes_of(start):
        with contextlib.suppress(ProcessLookupError):
            if process.pid != worker_pid and os.getsid(process.pid) == process.pid:
                found.append(process)
    return found


def end_flow_runs(start: str, worker_pid: int) -> None:
    """Ask the flow runs of the worker *worker_pid* to end, also those that begin meanwhile. Blocks, with a bound."""
    asked: set[int] = set()
    deadline = time.monotonic() + _GRACE_SECONDS
    while (left := flow_runs_of(start, worker_pid)) and time.monotonic() < deadline:
        for process in left:
            if process.pid not in asked:
                asked.add(process.pid)
                with contextlib.suppress(psutil.Error):
                    process.terminate()
        time.sleep(_POLL_SECONDS)


def kill_all(start: str, *, except_pid: int) -> None:
    """Kill everything of *start* but one process, also what is started meanwhile."""
    while left := [one for one in processes_of(start) if one.pid != except_pid]:
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        time.sleep(_POLL_SECONDS)
