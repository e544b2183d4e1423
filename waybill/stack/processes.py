"""Identify processes, find servers by their command line, and end them.

Owns the identity of a process across pids that the kernel gives out again, and ending with a bounded wait. Refuses to
signal a process whose identity does not match. psutil is imported where it is used: light commands need none of it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any, cast

_ON_LINUX = sys.platform.startswith("linux")
# The start in /proc/PID/stat, counted from behind the bracket that closes the name (proc_pid_stat(5), field 22).
_START_FIELD = 19
# Not about the process that is looked at, but about the one that looks.
_OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
# Twenty looks a second: an end is noticed promptly, and waiting costs nothing.
POLL_SECONDS = 0.05
# A killed process is gone in milliseconds; only one that hangs in the kernel (a dead network disk) takes longer.
_KILL_SECONDS = 5.0

# What servers write is for their account alone, whatever the caller's umask is.
PRIVATE_UMASK = 0o077

# The command lines of flow runs and of their workers contain one of these.
_OUR_MARKS = ("prefect", "waybill", "multiprocessing")

# Servers that this process started. Kept so that a dead one is reaped, and not closed while others still use it.
_children: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True, kw_only=True)
class ProcessId:
    """A pid and the start of its process: the same pid, given out again to another program, does not compare equal."""

    pid: int
    started: str


def identify(pid: int) -> ProcessId | None:
    """Return the process that has *pid* now; None when there is none, or only its exit status is left.

    Raises `OSError` when that cannot be found out, for lack of descriptors or memory: a process that runs must not be
    taken for one that has ended.
    """
    reap()
    started = _start_on_linux(pid) if _ON_LINUX else _start_elsewhere(pid)
    return ProcessId(pid=pid, started=started) if started is not None else None


def this_process() -> ProcessId:
    """Return the process that runs this."""
    return identify(os.getpid()) or ProcessId(pid=os.getpid(), started="")


def is_running(process: ProcessId) -> bool:
    """Return whether exactly this process still runs."""
    return identify(process.pid) == process


def is_taken(pid: int) -> bool:
    """Return whether the kernel would not give *pid* to a new process, also when only an exit status or thread has it.

    As Postgres checks it, unlike psutil, which ignores threads.
    """
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # a process of another account
    return True


def command_line(pid: int) -> str:
    """Return the arguments of *pid*, each followed by a space; empty when it is gone or belongs to the kernel."""
    return _command_line_on_linux(pid) if _ON_LINUX else _command_line_elsewhere(pid)


def find(fragment: str) -> list[ProcessId]:
    """Return every process but this one whose command line (see `command_line`) contains *fragment*."""
    import psutil

    pids = [pid for pid in psutil.pids() if pid != os.getpid() and fragment in command_line(pid)]
    return [process for pid in pids if (process := identify(pid)) is not None]


def spawn(
    arguments: Sequence[str],
    *,
    log: IO[bytes],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: int = subprocess.DEVNULL,
    **options: Any,
) -> subprocess.Popen[bytes]:
    """Start a server in a session of its own, so that a terminal's Ctrl-C does not reach it; output goes to *log*.

    With *env* as its whole environment, by default this process's.
    """
    child = cast(
        "subprocess.Popen[bytes]",
        subprocess.Popen(
            arguments,
            stdin=stdin,
            stdout=log,
            stderr=log,
            env=env,
            cwd=cwd,
            start_new_session=True,
            umask=PRIVATE_UMASK,
            **options,
        ),
    )
    _children.append(child)
    return child


def reap() -> None:
    """Collect the exit status of servers that this process started and that have ended."""
    _children[:] = [child for child in _children if child.poll() is None]


def end(process: ProcessId, *steps: tuple[signal.Signals, float]) -> bool:
    """Send each signal of *steps* and wait its seconds, then SIGKILL. True when the process is gone.

    A process that has ended, or whose pid now belongs to another, gets no signal.
    """
    for number, seconds in (*steps, (signal.SIGKILL, _KILL_SECONDS)):
        if not is_running(process):
            return True
        try:
            os.kill(process.pid, number)
        except ProcessLookupError:
            return True
        if wait_for_end(process, seconds):
            return True
    return False


def wait_for_end(process: ProcessId, seconds: float) -> bool:
    """Wait at most *seconds*; True when the process is gone."""
    deadline = time.monotonic() + seconds
    while is_running(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def end_group(leader: ProcessId, seconds: float) -> None:
    """Wait for the processes that *leader* has started in its group, then SIGKILL them.

    Call it after the leader's own end, which may be long ago. A group that is not the leader's any more is left alone:
    its number belongs to another process now, or none of its members runs a program of Waybill.
    """
    deadline = time.monotonic() + seconds
    while (members := _members(leader)) and time.monotonic() <= deadline + _KILL_SECONDS:
        if time.monotonic() > deadline:
            for member in members:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(member, signal.SIGKILL)
        time.sleep(POLL_SECONDS)


def _members(leader: ProcessId) -> list[int]:
    import psutil

    now = identify(leader.pid)
    if now is not None and now != leader:
        return []
    pids = [pid for pid in psutil.pids() if _group(pid) == leader.pid and identify(pid) is not None]
    return [pid for pid in pids if any(mark in command_line(pid) for mark in _OUR_MARKS)]


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None


# On Linux without psutil: every command looks after its servers once a second, and the import takes longer than that.


def _command_line_on_linux(pid: int) -> str:
    try:
        found = os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return ""
    # A program that has given itself another title has written it without the mark that ends an argument.
    return f"{found.removesuffix(chr(0))}\0".replace("\0", " ") if found else ""


def _command_line_elsewhere(pid: int) -> str:
    import psutil

    try:
        return "".join(f"{argument} " for argument in psutil.Process(pid).cmdline())
    except (psutil.Error, OSError, ValueError, OverflowError):
        return ""


def _start_on_linux(pid: int) -> str | None:
    """Return the start of a process; None when there is none with this pid, only its exit status, or only a thread."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
        state, group = (next(line for line in status if line.startswith(name)) for name in ("State:", "Tgid:"))
        if state.split()[1] in {"Z", "X"} or group.split()[1] != str(pid):
            return None
        # Not psutil's create_time: it moves with the clock. Ticks since boot do not; the boot id separates boots.
        # The name may hold spaces and brackets; the fields after its last bracket do not.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return f"{_boot_id()}:{fields[_START_FIELD]}"
    except OSError as exc:
        if exc.errno in _OUT_OF_RESOURCES:
            raise
        return None
    except (StopIteration, IndexError, ValueError):
        return None


def _start_elsewhere(pid: int) -> str | None:
    import psutil

    try:
        process = psutil.Process(pid)
        dead = process.status() in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
        return None if dead else repr(process.create_time())
    except (psutil.Error, OSError, ValueError, OverflowError):
        return None


@cache
def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
