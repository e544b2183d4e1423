"""Locks on files (flock) that the kernel releases when their process dies, also by SIGKILL.

A lock belongs to an inode, not to a name. `lock_file` and `try_lock_file` therefore check, once they have the lock,
that the name still leads to the locked file, and start over where another process has removed it meanwhile.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def file_lock(path: Path) -> Generator[None]:
    """Hold the exclusive lock on *path* in the block; wait for it as long as it takes. The file stays.

    Lock a file of its own, never one that is replaced: the lock would go with the replaced file. Raises `OSError`.
    """
    descriptor = lock_file(path)
    try:
        yield
    finally:
        os.close(descriptor)


def lock_file(path: Path) -> int:
    """Wait for the exclusive lock on *path*, which is created (0600); return its descriptor. Raises `OSError`."""
    while True:
        descriptor = open_lock_file(path)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if leads_to(path, descriptor):
            return descriptor
        os.close(descriptor)  # removed by another process between our open and our lock


def try_lock_file(path: Path) -> int | None:
    """Like `lock_file`, but return None at once while another process has the lock. Raises `OSError`."""
    while True:
        descriptor = open_lock_file(path)
        if not try_lock(descriptor):
            os.close(descriptor)
            return None
        if leads_to(path, descriptor):
            return descriptor
        os.close(descriptor)  # removed by another process between our open and our lock


def open_lock_file(path: Path) -> int:
    """Open *path* for locking, created with mode 0600; child processes do not inherit it. Raises `OSError`."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def try_lock(descriptor: int) -> bool:
    """Return whether the lock was free for this process and is held now; never waits."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def leads_to(path: Path, descriptor: int) -> bool:
    """Return whether *path* still names the open file *descriptor*."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
