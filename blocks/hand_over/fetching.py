"""The threads of a download: for each range one that receives and decrypts and one that writes, and one that hashes.

All of these steps release the interpreter lock, so they run at the same time where cores allow. Writing has a thread of
its own, because the kernel takes longer for new pages of a file (a second or two a gigabyte) than everything else does.
Each range has a few buffers of a group, whatever the file's size.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Empty, Queue
from threading import Condition, Lock, Thread
from typing import TypeVar

from blocks.age.stream import (
    CHUNK_BYTES,
    SEALED_CHUNK_BYTES,
    PayloadCipher,
    empty_last_chunk,
    payload_changed,
)
from blocks.hand_over.connection import Session
from blocks.hand_over.layout import GROUP_CHUNKS, Layout
from blocks.hand_over.partial_file import PartialFile
from blocks.hand_over.ranges import RangeReader
from blocks.runtime.threads import WorkStopped

T = TypeVar("T")
Progress = Callable[[int, int], None]
"""Gets bytes done and bytes in all."""

# One that is filled, one that is written, and one that rides out a slow write.
_BUFFERS = 3
# With several ranges: 16 MiB for a connection at a time, so that all of them end together and the hash keeps up.
_SEGMENT_GROUPS = 64
_CHECK_SECONDS = 0.2
_PROGRESS_SECONDS = 0.1


class _Room:
    """Room for the content of a group: that of a cipher, or a buffer for bytes that are kept as they are."""

    def __init__(self, layout: Layout, key: tuple[bytes, bytes] | None) -> None:
        chunks = min(GROUP_CHUNKS, layout.chunks)
        self.cipher = PayloadCipher(*key, group_chunks=chunks) if key else None
        self.plain = memoryview(bytearray(0 if key else min(layout.group_bytes, layout.total)))


_Filled = tuple[int, memoryview, _Room]
"""A group's number, its content, and where that is."""


class Fetching:
    """Fetches the groups that *partial* lacks. After `run`, `sha256` is that of the whole content."""

    def __init__(
        self,
        session: Session,
        partial: PartialFile,
        layout: Layout,
        key: tuple[bytes, bytes] | None,
        *,
        on_progress: Progress | None,
    ) -> None:
        """*key*: file key and nonce, None for bytes that are kept as they are."""
        self.layout = layout
        self.sha256 = ""
        self.bytes_received = 0
        self._session = session
        self._partial = partial
        self._key = key
        self._on_progress = on_progress
        self._failure: BaseException | None = None
        self._lock = Lock()
        self._grown = Condition()
        self._segments: Iterator[tuple[int, int]] = iter(())
        self._done_bytes = 0
        self._shown_at = 0.0

    def run(self, first: RangeReader, ranges: int) -> None:
        """Fetch with *first*, which may have begun, and connections for the other *ranges*. Raises what fails first."""
        gaps = list(self._partial.gaps())
        missing = sum(self.layout.place(end - 1)[1] - self.layout.place(start)[0] for start, end in gaps)
        self._done_bytes = self.layout.content_size - missing
        self._segments = iter(gaps if ranges == 1 else _cut(gaps))
        readers = [first, *(RangeReader(self._session, first.described) for _ in range(ranges - 1))]
        threads = [Thread(target=self._guarded, args=(self._hash,), name="hash")]
        for reader in readers:
            threads += self._pipeline(reader)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._failure is not None:
            raise self._failure
        self._show(last=True)

    def _pipeline(self, reader: RangeReader) -> list[Thread]:
        free: Queue[_Room] = Queue()
        filled: Queue[_Filled | None] = Queue()
        for _ in range(min(_BUFFERS, self.layout.groups)):
            free.put(_Room(self.layout, self._key))
        return [
            Thread(target=self._guarded, args=(self._receive, reader, free, filled), name="receive"),
            Thread(target=self._guarded, args=(self._write, free, filled), name="write"),
        ]

    def _receive(self, reader: RangeReader, free: Queue[_Room], filled: Queue[_Filled | None]) -> None:
        sealed = memoryview(bytearray(min(self.layout.group_bytes, self.layout.total) if self._key else 0))
        try:
            while (segment := self._next_segment()) is not None:
                start, end = segment
                reader.start(self.layout.span(start)[0], self.layout.span(end - 1)[1])
                for group in range(start, end):
                    room = self._take(free)
                    begin, stop = self.layout.span(group)
                    arriving = (sealed if room.cipher else room.plain)[: stop - begin]
                    reader.fill(arriving)
                    content = self._opened(room.cipher, group, arriving) if room.cipher else arriving
                    filled.put((group, content, room))
            filled.put(None)
        finally:
            reader.close()
            with self._lock:
                self.bytes_received += reader.received

    def _write(self, free: Queue[_Room], filled: Queue[_Filled | None]) -> None:
        while (item := self._take(filled)) is not None:
            group, content, room = item
            self._partial.write(group, content, self.layout.place(group)[0])
            free.put(room)
            with self._grown:
                self._done_bytes += len(content)
                self._grown.notify()
            self._show()

    def _opened(self, cipher: PayloadCipher, group: int, sealed: memoryview) -> memoryview:
        size = 0
        for place, start in enumerate(range(0, len(sealed), SEALED_CHUNK_BYTES)):
            number = group * GROUP_CHUNKS + place
            last = number == self.layout.chunks - 1
            opened = cipher.open_chunk(number, sealed[start : start + SEALED_CHUNK_BYTES], last=last, place=place)
            if opened is None:
                raise payload_changed(number, "its tag does not fit")
            if opened == 0 and number > 0:
                raise empty_last_chunk()
            size += opened
        return cipher.opened_view(size)

    def _hash(self) -> None:
        """Hash the content from its beginning as far as it has been written, and so on to its end."""
        digest = hashlib.sha256()
        room = memoryview(bytearray(min(GROUP_CHUNKS * CHUNK_BYTES, max(1, self.layout.content_size))))
        for group in range(self.layout.groups):
            with self._grown:
                while not self._partial.has(group):
                    if self._session.stopped.is_set():
                        raise WorkStopped
                    self._grown.wait(_CHECK_SECONDS)
            place, end = self.layout.place(group)
            while place < end:
                count = os.preadv(self._partial.content, [room[: end - place]], place)
                digest.update(room[:count])
                place += count
        self.sha256 = digest.hexdigest()

    def _next_segment(self) -> tuple[int, int] | None:
        with self._lock:
            return next(self._segments, None)

    def _take(self, items: Queue[T]) -> T:
        """Return the next item. Raises `WorkStopped` when there is none and this download has been stopped.

        So what has arrived is still written, and the next call need not fetch it again.
        """
        while True:
            stopped = self._session.stopped.is_set()
            with suppress(Empty):
                return items.get(timeout=0 if stopped else _CHECK_SECONDS)
            if stopped:
                raise WorkStopped

    def _guarded(self, work: Callable[..., None], *arguments: object) -> None:
        """Do *work*; its failure ends all other threads of this download."""
        try:
            work(*arguments)
        except BaseException as exc:  # noqa: BLE001 - raised by `run`
            with self._lock:
                # What ends because another thread has failed is not the reason.
                if self._failure is None or isinstance(self._failure, WorkStopped):
                    self._failure = exc
            self._session.stop()

    def _show(self, *, last: bool = False) -> None:
        if self._on_progress is None:
            return
        with self._lock:
            now = time.monotonic()
            if not last and now - self._shown_at < _PROGRESS_SECONDS:
                return
            self._shown_at = now
        self._on_progress(self._done_bytes, self.layout.content_size)


def _cut(gaps: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    for first, end in gaps:
        for start in range(first, end, _SEGMENT_GROUPS):
            yield start, min(start + _SEGMENT_GROUPS, end)
