"""Run locks: which runs of this home are alive.

A run holds an exclusive file lock as long as its process lives; the kernel releases it when the process dies, also by
SIGKILL. A lock file that can be locked therefore belongs to a dead run, whatever process has its process id now.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID

from blocks.errors import StackUnavailable, StorageFull, TargetUnwritable
from blocks.runtime.file_lock import leads_to, lock_file, try_lock
from blocks.runtime.write_errors import is_disk_full, write_error

_FOLDER = "leases"
_SUFFIX = ".lease"

_LOG = logging.getLogger("waybill.runs")


@contextmanager
def hold_run_lock(home: Path, run_id: UUID) -> Generator[None]:
    """Hold the lock of *run_id* for the length of the block; after a normal end no file is left.

    A block that ends with an error leaves the file, so that its unfinished work is found like that of a dead run. Waits
    while another process holds the lock. Raises `StackUnavailable` when the home cannot be written to.
    """
    path = _folder(home) / f"{run_id}{_SUFFIX}"
    try:
        descriptor = lock_file(path)
    except OSError as exc:
        raise _unusable(path, exc) from exc
    try:
        yield
        path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def dead_runs(home: Path) -> Iterator[UUID]:
    """Yield each dead run and hold its lock until the next one is requested, which also deletes its lock file.

    If the caller raises or stops in between, the file stays and the run is found again next time.
    """
    for path in sorted(_folder(home).glob(f"*{_SUFFIX}")):
        try:
            run_id = UUID(path.name.removesuffix(_SUFFIX))
            with _dead(path) as dead:
                if dead:
                    yield run_id
                    path.unlink(missing_ok=True)
        except (FileNotFoundError, ValueError):
            continue  # cleared up meanwhile, or no run's lock
        except OSError as error:
            # A folder, or another account's file: the other runs are cleared up all the same.
            _LOG.warning("skipped the run lock %s because=%s", path.name, error.strerror)


def run_locks(home: Path) -> dict[UUID, bool]:
    """Return every run that has a lock file, and whether it is alive. Changes nothing, and makes no folder."""
    found: dict[UUID, bool] = {}
    for path in sorted((home / _FOLDER).glob(f"*{_SUFFIX}")):
        with suppress(OSError, ValueError):
            run_id = UUID(path.name.removesuffix(_SUFFIX))
            with _dead(path) as dead:
                found[run_id] = not dead
    return found


@contextmanager
def _dead(path: Path) -> Generator[bool]:
    """Whether the holder of *path* is dead; no other process can clear up after it during the block."""
    # Without O_CREAT: a file that is gone was removed by its run or by a process that cleared up.
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        # Another process may have cleared up between our open and our lock, and the run may have begun again.
        yield try_lock(descriptor) and leads_to(path, descriptor)
    finally:
        os.close(descriptor)


def _folder(home: Path) -> Path:
    folder = home / _FOLDER
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise _unusable(folder, exc) from exc
    return folder


def _unusable(path: Path, exc: OSError) -> StackUnavailable | StorageFull | TargetUnwritable:
    if is_disk_full(exc):
        return write_error(path, exc)
    return StackUnavailable(
        f"cannot use {path}: {exc.strerror}; WAYBILL_HOME must name a directory that this user can write to"
    )
