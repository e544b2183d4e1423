"""One at a time for each name, among the threads of this process.

S3 decides between two writers of one name. Some servers (Swift) look first whether the name is free and take it a
moment later; at least the writers of one process do not meet in that moment.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager


class _Turns:
    def __init__(self) -> None:
        self._free = threading.Condition()
        self._taken: set[str] = set()

    @contextmanager
    def turn(self, name: str) -> Generator[None]:
        with self._free:
            self._free.wait_for(lambda: name not in self._taken)
            self._taken.add(name)
        try:
            yield
        finally:
            with self._free:
                self._taken.remove(name)
                self._free.notify_all()


# By process: what a parent's thread held when it forked will never be given back in the child.
_turns: dict[int, _Turns] = {}


@contextmanager
def turn(name: str) -> Generator[None]:
    """Wait until nobody else in this process has the turn for *name*, and have it."""
    turns = _turns.get(os.getpid()) or _turns.setdefault(os.getpid(), _Turns())
    with turns.turn(name):
        yield
