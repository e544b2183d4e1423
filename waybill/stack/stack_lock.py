"""Who uses the stack of a home: a shared lock for as long as a command runs.

Owns two lock files under the home. Every user of the stack holds the first one shared; starting and stopping servers
happens while the second one is held alone. The kernel drops both when a process dies, however it dies, so there is no
count that could be wrong. "Last one out": whoever can turn the shared lock into a lone one is the only user left.
Refuses to wait for ever. Knows nothing about servers.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from blocks.errors import StackUnavailable

# A first start takes up to 15 s on a slow disk, a stop up to 40 s when a server hangs; longer means it never ends.
_WAIT_SECONDS = 180.0
_POLL_SECONDS = 0.05
# Worth a line on the terminal; shorter waits are not noticed.
_TELL_AFTER_SECONDS = 1.0


class Lease:
    """One command's share in the stack of *home*. Not for use by several threads."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._users = _open(home / "stack.lock")
        self._changes = _open(home / "stack-change.lock")

    def close(self) -> None:
        """Give everything back; closing also ends the share."""
        os.close(self._users)
        os.close(self._changes)

    @contextmanager
    def changing(self, on_step: Callable[[str], None]) -> Generator[None]:
        """Be the only one who starts or stops servers. Raises `StackUnavailable` after three minutes of waiting."""
        began = time.monotonic()
        told = False
        while not _try_lock(self._changes, fcntl.LOCK_EX):
            waited = time.monotonic() - began
            if waited > _WAIT_SECONDS:
                raise StackUnavailable(
                    f"another waybill command has been starting or stopping the stack of {self._home} for more than "
                    f"{_WAIT_SECONDS:.0f} s; end that command and try again"
                )
            if waited > _TELL_AFTER_SECONDS and not told:
                on_step("waiting for another waybill command that is starting or stopping")
                told = True
            time.sleep(_POLL_SECONDS)
        try:
            yield
        finally:
            fcntl.flock(self._changes, fcntl.LOCK_UN)

    def join(self) -> None:
        """Count as a user. Only inside of `changing`, where nobody can hold the lock alone, so it never waits."""
        fcntl.flock(self._users, fcntl.LOCK_SH)

    def is_alone(self) -> bool:
        """Whether nobody else uses the stack. Only inside of `changing`; this command stays a user."""
        alone = _try_lock(self._users, fcntl.LOCK_EX)
        # flock(2) converts by dropping the old lock first, so a refusal leaves none: take the shared one again.
        fcntl.flock(self._users, fcntl.LOCK_SH)
        return alone

    def leave(self) -> None:
        """Stop counting as a user. Only inside of `changing`: of two that leave at once, the later one is alone."""
        fcntl.flock(self._users, fcntl.LOCK_UN)


class SoleHolder:
    """A lock that one process of a home holds alone, such as `waybill up`."""

    def __init__(self, path: Path) -> None:
        self._file = _open(path)

    def try_take(self) -> bool:
        """Whether this process has it now; never waits."""
        return _try_lock(self._file, fcntl.LOCK_EX)

    def close(self) -> None:
        """Give it back."""
        os.close(self._file)


def _open(path: Path) -> int:
    try:
        # Not inheritable (Python's default): a server that outlives this command must not keep the lock.
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as exc:
        raise StackUnavailable(
            f"cannot open {path}: {exc.strerror}; WAYBILL_HOME must name a directory that this user can write to"
        ) from exc


def _try_lock(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
