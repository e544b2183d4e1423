"""Prefetch the pieces of a stream in a thread, so that its steps (read, hash, encrypt, write) run concurrently.

The steps release the interpreter lock; the queue is bounded. Order, content and errors are the plain iterator's.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Iterator

# A thread costs more than it saves on a shorter stream.
INLINE_BYTES = 4 * 1024 * 1024

# Pieces waiting between two steps. Two would do for steps of equal speed; some more ride out a slow write.
PIECES_AHEAD = 4

# How often a producer that waits for room checks whether its consumer has stopped.
_CHECK_SECONDS = 0.1


def prefetch(pieces: Iterable[bytes]) -> Generator[bytes]:
    """Yield *pieces*; after the first `INLINE_BYTES` a thread produces them and keeps `PIECES_AHEAD` of them ready.

    An error of the producer is raised here, after the pieces before it. When the consumer stops early, the producer
    stops after its current piece, and its thread has ended when this generator has.
    """
    remaining, inline_bytes = iter(pieces), 0
    for piece in remaining:
        yield piece
        inline_bytes += len(piece)
        if inline_bytes >= INLINE_BYTES:
            yield from _in_thread(remaining)


def _in_thread(pieces: Iterator[bytes]) -> Generator[bytes]:
    ready: queue.Queue[bytes | _End] = queue.Queue(PIECES_AHEAD)
    stopped = threading.Event()

    def hand_over(item: bytes | _End) -> bool:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=_CHECK_SECONDS)
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
        except BaseException as error:  # noqa: BLE001 - the consumer raises it
            hand_over(_End(error))
        finally:
            if isinstance(pieces, Generator):
                pieces.close()  # in the thread that ran it

    producer = threading.Thread(target=produce, name="prefetch", daemon=True)
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
        stopped.set()
        producer.join()


class _End:
    """Marks the end of the stream, with the error that ended it early."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error
