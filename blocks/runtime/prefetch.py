"""Steps of a stream that work at the same time: each in a thread of its own, a few pieces ahead of the next.

Hashing, encrypting, reading and writing let go of the interpreter lock, so two cores do two of them at once. Bounded:
a step that is ahead waits. Order, content and errors are those of the plain iterator.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Iterator

# What is shorter than this is over before threads have saved what they cost.
INLINE_BYTES = 4 * 1024 * 1024

# Pieces waiting between two steps. Two would do for steps of equal speed; some more ride out a slow write.
PIECES_AHEAD = 4

# How often a step that waits for room looks whether anybody still wants its pieces.
_LOOK_UP_SECONDS = 0.1


def read_ahead(pieces: Iterable[bytes], *, ahead: int = PIECES_AHEAD) -> Generator[bytes]:
    """Yield *pieces*; after the first `INLINE_BYTES` of them they are produced in a thread, which keeps *ahead* ready.

    What the producer raises is raised here, after the pieces before it. When the consumer stops early, so does the
    producer, after the piece it is at; its thread has ended by then.
    """
    remaining, inline_bytes = iter(pieces), 0
    for piece in remaining:
        yield piece
        inline_bytes += len(piece)
        if inline_bytes >= INLINE_BYTES:
            yield from _in_thread(remaining, ahead)


def _in_thread(pieces: Iterator[bytes], ahead: int) -> Generator[bytes]:
    ready: queue.Queue[bytes | _End] = queue.Queue(ahead)
    unwanted = threading.Event()

    def hand_over(item: bytes | _End) -> bool:
        while not unwanted.is_set():
            try:
                ready.put(item, timeout=_LOOK_UP_SECONDS)
            except queue.Full:
                continue
            return True
        return False

    def produce() -> None:
        try:
            for piece in pieces:
                if not hand_over(piece):
                    break
            hand_over(_End(None))
        except BaseException as error:  # noqa: BLE001 - handed to the consumer, who raises it
            hand_over(_End(error))
        finally:
            if isinstance(pieces, Generator):
                pieces.close()  # in the thread that ran it

    producer = threading.Thread(target=produce, name="read-ahead", daemon=True)
    producer.start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        unwanted.set()
        producer.join()


class _End:
    """Nothing more comes; with what went wrong, if anything did."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error
