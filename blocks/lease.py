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

_SUFFIX = ".lease"


@contextmanager
def run_lease(home: Path, run_id: UUID) -> Generator[None]:
    """Hold the lease of *run_id* for the length of the block; a clean end leaves no file."""
    folder = _folder(home)
    path = folder / f"{run_id}{_SUFFIX}"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        path.unlink(missing_ok=True)
    finally:
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
            # Another process may have cleared up and removed the file between our open and our lock.
            yield path.exists()
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


def _folder(home: Path) -> Path:
    folder = home / "leases"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
