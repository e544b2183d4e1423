"""Steps in threads behave like the plain iterator: order, content, errors, and nothing left running."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from blocks.runtime.prefetch import INLINE_BYTES, PIECES_AHEAD, prefetch
from tests.stack_driver import PATIENCE_SECONDS

MIB = 2**20
OTHERS: set[threading.Thread] = set()


def pieces(count: int) -> Iterator[bytes]:
    for number in range(count):
        yield bytes([number % 256]) * MIB


@pytest.fixture(autouse=True)
def those_of_other_tests() -> None:
    """What another test in this process has left is not looked at."""
    OTHERS.clear()
    OTHERS.update(threading.enumerate())


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "prefetch" and thread not in OTHERS]


@pytest.mark.parametrize("count", [0, 1, INLINE_BYTES // MIB, INLINE_BYTES // MIB + 1, 40])
def test_the_pieces_are_the_same_and_in_order(count: int) -> None:
    assert list(prefetch(prefetch(pieces(count)))) == list(pieces(count))
    assert threads() == []


def test_little_is_passed_on_without_a_thread() -> None:
    seen: list[str] = []

    def watched() -> Iterator[bytes]:
        seen.append(threading.current_thread().name)
        yield b"little"

    assert list(prefetch(watched())) == [b"little"]
    assert seen == [threading.current_thread().name]


@pytest.mark.parametrize("count", [0, 2, 20])
def test_what_the_producer_raises_comes_after_the_pieces_before_it(count: int) -> None:
    class Broke(Exception):
        pass

    error = Broke("here")

    def breaking() -> Iterator[bytes]:
        yield from pieces(count)
        raise error

    seen = 0
    with pytest.raises(Broke) as caught:
        for _ in prefetch(breaking()):
            seen += 1
    assert seen == count
    assert caught.value is error
    assert threads() == []


@pytest.mark.parametrize("taken", [1, 10])
def test_a_consumer_that_stops_ends_the_producer_and_closes_it(taken: int) -> None:
    made, closed = [], threading.Event()

    def endless() -> Iterator[bytes]:
        try:
            while True:
                made.append(1)
                yield bytes(MIB)
        finally:
            closed.set()

    stream = prefetch(endless())
    for _ in range(taken):
        next(stream)
    stream.close()
    assert closed.wait(PATIENCE_SECONDS)
    assert threads() == []
    # Bounded: a producer without a consumer does not go on.
    assert len(made) <= taken + PIECES_AHEAD + 3
