"""The home, which holds everything local: created for its owner alone.

A log is rotated when its server starts, and cut when it has grown too long meanwhile.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from blocks.errors import StackUnavailable
from blocks.runtime.write_errors import is_disk_full, write_error
from waybill.services.unfinished_restore import UNFINISHED_RESTORE
from waybill.stack.processes import ProcessId, this_process

# Holds the errors of many runs; a home keeps at most two logs per server.
_LOG_LIMIT_BYTES = 1024 * 1024
# A server that runs for months: some days of a busy gateway's requests.
_RUNNING_LOG_LIMIT_BYTES = 10 * 1024 * 1024
# What a terminal shows without scrolling; the last lines are those that say why a server went down.
_TAIL_LINES = 12
_TAIL_BYTES = 4096


def prepare_home(home: Path) -> None:
    """Create *home* for its owner alone, or take every right of other accounts from it.

    Run by root, the home may still be passed by its group, which the account of Postgres joins (`account`). Raises
    `StackUnavailable`, also for a home that another process restores, or has restored in part.
    """
    remedy = "set WAYBILL_HOME to a directory that this user owns"
    allowed = stat.S_IRWXU | (stat.S_IXGRP if os.geteuid() == 0 else 0)
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = home.stat()
        if found.st_uid != os.geteuid():
            # Its owner could exchange keys, and the programs' settings, of the account that runs them.
            raise StackUnavailable(
                f"cannot use {home} as the home: it belongs to another account (uid {found.st_uid}); run waybill as "
                f"that account, {remedy}, or give this one to the account: chown -R {os.geteuid()} {home}"
            )
        mode = stat.S_IMODE(found.st_mode)
        if mode & ~allowed & (stat.S_IRWXG | stat.S_IRWXO):
            home.chmod(mode & ~((stat.S_IRWXG | stat.S_IRWXO) & ~allowed))
            if stat.S_IMODE(home.stat().st_mode) == mode:
                raise StackUnavailable(
                    f"cannot use {home} as the home: its file system keeps no rights, so every account can read the "
                    f"keys in it; {remedy}, on another file system"
                )
    except OSError as exc:
        if is_disk_full(exc):
            raise write_error(home, exc) from exc
        raise StackUnavailable(f"cannot use {home} as the home: {exc.strerror}; {remedy}") from exc
    if (home / UNFINISHED_RESTORE).exists() and restoring_process(home) != this_process():
        raise StackUnavailable(
            f"cannot use {home} as the home: its restore is not finished; let it end, or run 'waybill restore' with "
            "this home again, which begins again"
        )


def restoring_process(home: Path) -> ProcessId | None:
    """Return the process that restores *home*, which may have ended; None without a mark that can be read."""
    try:
        pid, started = (home / UNFINISHED_RESTORE).read_text(errors="replace").split(maxsplit=1)
        return ProcessId(pid=int(pid), started=started.strip())
    except (OSError, ValueError):
        return None


def open_log(home: Path, name: str) -> BinaryIO:
    """Open ``logs/NAME.log`` for appending (0600); one that has grown past 1 MiB becomes ``NAME.log.1`` first."""
    path = log_path(home, name)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if path.exists() and path.stat().st_size > _LOG_LIMIT_BYTES:
        path.replace(path.with_name(f"{path.name}.1"))
    path.touch(mode=0o600)
    return path.open("ab")


def bound_logs(home: Path) -> None:
    """Move what a log of more than 10 MiB holds to ``NAME.log.1``, and empty it, while its server writes to it.

    Lines that are written in that moment may be lost. A log that cannot be moved stays as it is.
    """
    for path in sorted((home / "logs").glob("*.log")):
        # Its writer appends, so it goes on at the new end. Of several commands that look at the same time, one does it.
        with suppress(OSError), path.open("r+b") as log:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(log.fileno()).st_size > _RUNNING_LOG_LIMIT_BYTES:
                _copy(log, path.with_name(f"{path.name}.1"))
                log.truncate(0)


def _copy(log: BinaryIO, target: Path) -> None:
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as copy:
        shutil.copyfileobj(log, copy)


def log_path(home: Path, name: str) -> Path:
    """Return the path of the log of the server called *name*."""
    return home / "logs" / f"{name}.log"


def log_tail(home: Path, name: str) -> str:
    """Return the last lines of a log, indented for an error message, or a note that it is empty."""
    path = log_path(home, name)
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()[-_TAIL_LINES:]
    except OSError:
        lines = []
    return "".join(f"\n    {line}" for line in lines or ["(its log is empty)"]) + f"\n  (all of it: {path})"
