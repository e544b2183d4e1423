"""Run leases: which runs of this home are alive.

A run holds an exclusive file lock for as long as its process lives; the kernel gives it up when the process dies, also
by SIGKILL. A lease file that can be locked therefore belongs to a dead run, whatever its process id may have become.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID

from blocks.errors import StackUnavailable

_SUFFIX = ".lease"


@contextmanager
def run_lease(home: Path, run_id: UUID) -> Generator[None]:
    """Hold the lease of *run_id* for the length of the block; a clean end leaves no file.

    A block that ends with an error leaves the file, so that what it left half done is found like that of a dead run.
    Waits while somebody else holds the lease. Raises `StackUnavailable` when the home cannot be written to.
    """
    path = _folder(home) / f"{run_id}{_SUFFIX}"
    descriptor = _lock(path)
    try:
        yield
        path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def dead_runs(home: Path) -> Iterator[UUID]:
    """Each dead run, locked until the next one is asked for; its lease file goes when the caller has come back.

    If the caller raises or stops in between, the file stays and the run is found again next time.
    """
    for path in sorted(_folder(home).glob(f"*{_SUFFIX}")):
        with suppress(FileNotFoundError, ValueError):
            run_id = UUID(path.name.removesuffix(_SUFFIX))
            with _dead(path) as dead:
                if dead:
                    yield run_id
                    path.unlink(missing_ok=True)


def _lock(path: Path) -> int:
    """A descriptor that holds the lock on the file that is *path* now."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise _unusable(path, exc) from exc
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _is_current(descriptor, path):
            return descriptor
        # Between our open and our lock somebody took the new file for that of a dead run, and removed it.
        os.close(descriptor)


@contextmanager
def _dead(path: Path) -> Generator[bool]:
    """Whether the holder of *path* is dead; while the block lasts, nobody else can clear up after it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            # Another process may have cleared up between our open and our lock, and the run may have begun again.
            yield _is_current(descriptor, path)
    finally:
        os.close(descriptor)


def _is_current(descriptor: int, path: Path) -> bool:
    """Whether *path* still leads to the open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _folder(home: Path) -> Path:
    folder = home / "leases"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise _unusable(folder, exc) from exc
    return folder


def _unusable(path: Path, exc: OSError) -> StackUnavailable:
    return StackUnavailable(
        f"cannot use {path}: {exc.strerror}; WAYBILL_HOME must name a directory that this user can write to"
    )
