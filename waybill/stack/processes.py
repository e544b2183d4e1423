"""Which process is which, and how to end one.

Owns the identity of a process across process ids that the kernel gives out again, the search for servers by their
command line, and ending with a bounded wait. Refuses to signal a process whose identity does not match. Linux is read
from /proc (small containers have no `ps`), other systems through `ps`.
"""

from __future__ import annotations

import contextlib
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

_PROC = Path("/proc")
_ON_LINUX = sys.platform.startswith("linux")
# Fields of /proc/PID/stat behind the bracket that closes the name (proc_pid_stat(5): 3 state, 5 group, 22 start).
_STATE_FIELD = 0
_GROUP_FIELD = 2
_START_FIELD = 19
# Twenty looks a second: an end is noticed at once, and waiting costs nothing.
POLL_SECONDS = 0.05
# A killed process is gone in milliseconds; only one that hangs in the kernel (a dead network disk) takes longer.
_KILL_SECONDS = 5.0

# What the command lines of flow runs and of their workers hold.
_OUR_MARKS = ("prefect", "waybill", "multiprocessing")

# Servers that this process started. Kept so that a dead one is reaped, and not closed while others still use it.
_children: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True, kw_only=True)
class ProcessId:
    """A pid together with when it began: the same pid given out again to another program does not compare equal."""

    pid: int
    started: str


def identify(pid: int) -> ProcessId | None:
    """The process that has *pid* now; None when there is none, or only its exit status is left."""
    reap()
    started = _start_on_linux(pid) if _ON_LINUX else _start_by_ps(pid)
    return None if started is None else ProcessId(pid=pid, started=started)


def is_running(process: ProcessId) -> bool:
    """Whether exactly this process still runs."""
    return identify(process.pid) == process


def is_taken(pid: int) -> bool:
    """Whether the kernel would not give *pid* to a new process, be it that only an exit status is left of the old."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def command_line(pid: int) -> str:
    """The arguments of *pid* joined by spaces; empty when it is gone or belongs to the kernel."""
    if _ON_LINUX:
        try:
            raw = (_PROC / str(pid) / "cmdline").read_bytes()
        except OSError:
            return ""
        return os.fsdecode(raw).replace("\0", " ")
    return _ps("-ww", "-o", "command=", "-p", str(pid)).strip() + " "


def find(fragment: str) -> list[ProcessId]:
    """Every process of which the command line (see `command_line`) contains *fragment*, this one excepted."""
    if _ON_LINUX:
        hits = [pid for pid in _all_pids() if pid != os.getpid() and fragment in command_line(pid)]
    else:
        rows = (line.strip().partition(" ") for line in _ps("-axww", "-o", "pid=,command=").splitlines())
        hits = [int(pid) for pid, _, command in rows if fragment in f"{command} " and int(pid) != os.getpid()]
    return [process for pid in hits if (process := identify(pid)) is not None]


def spawn(
    arguments: Sequence[str],
    *,
    log: IO[bytes],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: int = subprocess.DEVNULL,
    **options: Any,
) -> subprocess.Popen[bytes]:
    """Start a server in a session of its own, so that a terminal's Ctrl-C does not reach it; output goes to *log*."""
    child = cast(
        "subprocess.Popen[bytes]",
        subprocess.Popen(
            arguments, stdin=stdin, stdout=log, stderr=log, env=env, cwd=cwd, start_new_session=True, **options
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


def end_group(leader: ProcessId, seconds: float) -> bool:
    """Wait for the processes that *leader* has started in its group, then SIGKILL them. True when none is left.

    For after the leader's own end, which may be long ago. A group that is not the leader's any more is left alone:
    either its number is now another process's, or none of its members runs anything of ours.
    """
    deadline = time.monotonic() + seconds
    kill_deadline = deadline + _KILL_SECONDS
    while members := _members(leader):
        if time.monotonic() > kill_deadline:
            return False
        if time.monotonic() > deadline:
            for member in members:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(member, signal.SIGKILL)
        time.sleep(POLL_SECONDS)
    return True


def _members(leader: ProcessId) -> list[int]:
    now = identify(leader.pid)
    if now is not None and now != leader:
        return []
    if _ON_LINUX:
        rows = [(pid, _fields(pid)) for pid in _all_pids()]
        pids = [pid for pid, fields in rows if fields and fields[_GROUP_FIELD] == str(leader.pid)]
    else:
        table = (line.split() for line in _ps("-axo", "pid=,pgid=,stat=").splitlines())
        pids = [int(pid) for pid, group, state in table if group == str(leader.pid) and not state.startswith("Z")]
    return [pid for pid in pids if any(mark in command_line(pid) for mark in _OUR_MARKS)]


def _start_on_linux(pid: int) -> str | None:
    fields = _fields(pid)
    # Ticks since boot stand still when the clock is set; the boot id tells two boots apart.
    return f"{_boot_id()}:{fields[_START_FIELD]}" if fields else None


def _fields(pid: int) -> list[str]:
    """What /proc/PID/stat says after the name; empty when the process is gone or only its exit status is left."""
    try:
        # The name may hold spaces and brackets; the fields after its last bracket do not.
        fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
    return [] if not fields or fields[_STATE_FIELD] in {"Z", "X"} else fields


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]


@cache
def _boot_id() -> str:
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def _start_by_ps(pid: int) -> str | None:
    state, _, started = _ps("-o", "stat=,lstart=", "-p", str(pid)).strip().partition(" ")
    return None if not started or state.startswith("Z") else started.strip()


def _ps(*arguments: str) -> str:
    result = subprocess.run(["ps", *arguments], capture_output=True, text=True, errors="replace", check=False)
    return result.stdout
