"""A mutex per object key, within this process.

S3 decides between two writers of one key. Some servers (Swift) check whether the key is free and write a moment later;
this keeps the writers of one process out of that moment. Other processes are not kept out.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager


class KeyMutex:
    """Locks by object key, without one object for each key ever used."""

    def __init__(self) -> None:
        self._released = threading.Condition()
        self._held: set[str] = set()

    @contextmanager
    def hold(self, key: str) -> Generator[None]:
        """Wait until no other thread holds *key*, then hold it for the block."""
        with self._released:
            self._released.wait_for(lambda: key not in self._held)
            self._held.add(key)
        try:
            yield
        finally:
            with self._released:
                self._held.remove(key)
                self._released.notify_all()


# By process id: a lock that a thread of the parent held at a fork is never released in the child.
_mutexes: dict[int, KeyMutex] = {}


def key_mutex() -> KeyMutex:
    """Return the mutex of this process."""
    return _mutexes.get(os.getpid()) or _mutexes.setdefault(os.getpid(), KeyMutex())
