"""A home while it is being restored: marked, so that no other command uses it, and removed unless all ends well."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from blocks.errors import InvalidOptions, WaybillError
from blocks.runtime.atomic_file import write_atomically
from waybill.services.unfinished_restore import UNFINISHED_RESTORE
from waybill.stack.home import prepare_home, restoring_process
from waybill.stack.postgres import EmbeddedPostgres
from waybill.stack.processes import is_running, this_process


@contextmanager
def restoring(home: Path) -> Generator[None]:
    """Make *home* for the block to restore into; remove it when the block fails.

    What a killed restore has left there is removed first. Raises `InvalidOptions` when *home* holds anything else, or
    another process restores it now, and `StackUnavailable`.
    """
    process = restoring_process(home)
    if process is not None and is_running(process):
        raise InvalidOptions(f"{home} is being restored by the process {process.pid}")
    if (home / UNFINISHED_RESTORE).exists():
        _clear(home)
    if home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise InvalidOptions(f"{home} holds something already; move it away, or name another folder in WAYBILL_HOME")
    was_there = home.exists()
    prepare_home(home)
    me = this_process()
    write_atomically(home / UNFINISHED_RESTORE, f"{me.pid} {me.started}\n".encode())
    try:
        yield
    except BaseException:
        # What cannot be removed keeps its mark, and the next restore tries again.
        with suppress(OSError, WaybillError):
            _clear(home)
            if not was_there:
                home.rmdir()
        raise
    (home / UNFINISHED_RESTORE).unlink()


def _clear(home: Path) -> None:
    """Stop the home's Postgres and remove everything in it, the mark last."""
    EmbeddedPostgres(home).stop()
    for path in sorted(home.iterdir(), key=lambda path: path.name == UNFINISHED_RESTORE):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
