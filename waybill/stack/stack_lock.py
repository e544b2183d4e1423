"""The stack lock: which commands use the servers of a home.

Owns two lock files in the home. Every command that uses the stack holds the first one shared; servers are started and
stopped while the second one is held exclusively. The kernel releases both when a process dies, so no count can be
wrong. A command that can turn its shared lock into an exclusive one is the last user. No wait is without end.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from blocks.errors import StackUnavailable
from blocks.runtime.file_lock import open_lock_file, try_lock
from blocks.runtime.write_errors import is_disk_full, write_error

# A first start takes up to 15 s on a slow disk, a stop up to 40 s when a server hangs; longer means it never ends.
_WAIT_SECONDS = 180.0
_POLL_SECONDS = 0.05
# Worth a line on the terminal; shorter waits are not noticed.
_REPORT_AFTER_SECONDS = 1.0


class StackLock:
    """One command's use of the stack of *home*. Not for use by several threads."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._users = _open(home / "stack.lock")
        self._changes = _open(home / "stack-change.lock")

    def close(self) -> None:
        """Release both locks."""
        os.close(self._users)
        os.close(self._changes)

    @contextmanager
    def changing(self, on_step: Callable[[str], None]) -> Generator[None]:
        """Hold the right to start and stop servers. Raises `StackUnavailable` after three minutes of waiting."""
        began = time.monotonic()
        reported = False
        while not try_lock(self._changes):
            waited = time.monotonic() - began
            if waited > _WAIT_SECONDS:
                raise StackUnavailable(
                    f"another waybill command has been starting or stopping the stack of {self._home} for more than "
                    f"{_WAIT_SECONDS:.0f} s; end that command and try again"
                )
            if waited > _REPORT_AFTER_SECONDS and not reported:
                on_step("waiting for another waybill command that is starting or stopping")
                reported = True
            time.sleep(_POLL_SECONDS)
        try:
            yield
        finally:
            fcntl.flock(self._changes, fcntl.LOCK_UN)

    def join(self) -> None:
        """Count as a user. Only inside `changing`, where the lock cannot be held exclusively, so it never waits."""
        fcntl.flock(self._users, fcntl.LOCK_SH)

    def is_alone(self) -> bool:
        """Return whether no other command uses the stack. Only inside `changing`; this command stays a user."""
        alone = try_lock(self._users)
        # flock(2) converts by dropping the old lock first, so a refusal leaves none: take the shared one again.
        fcntl.flock(self._users, fcntl.LOCK_SH)
        return alone

    def leave(self) -> None:
        """Stop counting as a user. Only inside `changing`: of two commands that leave, the later one is alone."""
        fcntl.flock(self._users, fcntl.LOCK_UN)


@contextmanager
def sole_holder(path: Path) -> Generator[bool]:
    """Yield whether this process alone holds the lock on *path*, such as that of `waybill up`; never waits."""
    descriptor = _open(path)
    try:
        yield try_lock(descriptor)
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        # Not inheritable: a server that outlives this command must not keep the lock.
        return open_lock_file(path)
    except OSError as exc:
        if is_disk_full(exc):
            raise write_error(path, exc) from exc
        raise StackUnavailable(
            f"cannot open {path}: {exc.strerror}; WAYBILL_HOME must name a directory that this user can write to"
        ) from exc
