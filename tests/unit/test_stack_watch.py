"""The watch of the servers: it repairs what has died, tries a failed repair again later, and ends with its block."""

from __future__ import annotations

import errno
import threading

import pytest

from blocks.errors import StackUnavailable
from tests.stack_driver import PATIENCE_SECONDS
from waybill.stack import watch
from waybill.stack.watch import StackWatch, watched


class Servers:
    """Servers that are dead, and whose first repairs fail."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.alive = False
        self.logs_bounded = 0
        self.repaired = threading.Event()

    def is_intact(self) -> bool:
        return self.alive

    def bound_logs(self) -> None:
        self.logs_bounded += 1

    def repair(self) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.alive = True
        self.repaired.set()


def test_a_repair_that_fails_is_reported_and_tried_again_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    looking = StackWatch(Servers(StackUnavailable("no room"), OSError("no process")), said.append)
    assert [looking.look(), looking.look()] == [False, False]
    assert said == ["a server has ended; starting it again", "no room"]
    monkeypatch.setattr(looking, "_repair_at", 0.0)
    assert not looking.look()
    assert said[2:] == ["a server has ended; starting it again", "no process"]
    monkeypatch.setattr(looking, "_repair_at", 0.0)
    assert [looking.look(), looking.look()] == [False, True]
    assert said[-1] == "the servers are back"


def test_servers_that_cannot_be_looked_at_are_not_taken_for_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    servers = Servers()
    looking = StackWatch(servers, said.append)

    def without_descriptors() -> bool:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(servers, "is_intact", without_descriptors)
        assert not looking.look()
    assert (said, servers.repaired.is_set()) == ([], False)
    assert [looking.look(), looking.look()] == [False, True]


def test_a_thread_watches_during_the_block_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.001)
    others = set(threading.enumerate())
    servers = Servers()
    with watched(servers, lambda _: None):
        assert servers.repaired.wait(PATIENCE_SECONDS)
    assert not [one for one in set(threading.enumerate()) - others if one.name == "stack-watch"]
