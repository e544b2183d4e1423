"""What runs for a home, for an audit: recorded processes, and those that no command owns any more. Ends nothing."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from waybill.services.doctor.home import HomeProcesses, KnownProcess
from waybill.stack.kept_process import recorded_process
from waybill.stack.kept_programs import kept_names
from waybill.stack.postgres import EmbeddedPostgres
from waybill.stack.prefect_server import recorded_server
from waybill.stack.processes import ProcessId, command_line, is_running
from waybill.stack.stack_lock import sole_holder

# What a home's programs, their flow runs and the workers of those have in their command lines.
_PROGRAMS = ("waybill.process.", "waybill.stack.", "prefect.engine", "prefect.flow_engine", "multiprocessing.")
# A process whose parent has died has the first process, or the session's reaper, as its parent.
_INIT = 1
_SHOWN_CHARS = 200


def processes_of(home: Path) -> HomeProcesses:
    """Return the processes of *home*."""
    import psutil

    server = recorded_server(home)
    records = {
        "postgres": EmbeddedPostgres(home).process,
        "prefect": server.process if server is not None else None,
        **{name: recorded_process(home, name) for name in kept_names()},
    }
    recorded = [_known(name, process) for name, process in records.items() if process is not None]
    owned = {one.pid for one in recorded if one.is_running}
    leftovers = [
        f"{pid} {command_line(pid)[:_SHOWN_CHARS]}"
        for pid in psutil.pids()
        if pid not in owned and pid != os.getpid() and _is_left(pid, home, owned)
    ]
    return HomeProcesses(recorded=recorded, leftovers=leftovers, up_is_running=_is_held(home / "up.lock"))


def _known(name: str, process: ProcessId) -> KnownProcess:
    import psutil

    if not is_running(process):
        return KnownProcess(name=name, pid=process.pid, is_running=False)
    found = KnownProcess(name=name, pid=process.pid, is_running=True)
    with suppress(psutil.Error, OSError, AttributeError):
        one = psutil.Process(process.pid)
        limit = one.rlimit(psutil.RLIMIT_NOFILE)[0]
        found = KnownProcess(name=name, pid=process.pid, is_running=True, descriptors=one.num_fds(), limit=limit)
    return found


def _is_left(pid: int, home: Path, owned: set[int]) -> bool:
    """Whether *pid* is a program of *home* whose parent is gone and whose group no recorded process leads."""
    import psutil

    try:
        process = psutil.Process(pid)
        if process.ppid() != _INIT or not any(mark in command_line(pid) for mark in _PROGRAMS):
            return False
        return process.environ().get("WAYBILL_HOME") == str(home) and os.getpgid(pid) not in owned
    except (psutil.Error, OSError):
        return False  # it has ended, or belongs to another account


def _is_held(path: Path) -> bool:
    if not path.exists():
        return False
    with sole_holder(path) as is_free:
        return not is_free
