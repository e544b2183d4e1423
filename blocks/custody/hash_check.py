"""The sha256 of a file's whole content, taken in a thread beside its reading, and compared with the catalogue."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections import deque

from blocks.catalog import Artifact
from blocks.custody.read import as_content_mismatch
from blocks.errors import ContentMismatch
from blocks.runtime.threads import in_thread, to_its_end

# One that is hashed and one that waits: the thread then never waits for a turn of the event loop, and hashing is what
# takes longest of all.
_PIECES = 2


class BackgroundHash:
    """`add` every piece in order, then `finish`; `close` in any case. Holds a thread only while there is work."""

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact
        self._hash = hashlib.sha256()
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Semaphore(_PIECES)
        self._lock = threading.Lock()  # for the next two
        self._waiting: deque[bytes] = deque()
        self._is_at_work = False
        self._thread: asyncio.Task[None] | None = None

    async def add(self, piece: bytes) -> None:
        """Have the next *piece* hashed; waits while there are enough others before it."""
        await self._room.acquire()
        with self._lock:
            self._waiting.append(piece)
            is_idle, self._is_at_work = not self._is_at_work, True
        if is_idle:
            self._thread = asyncio.create_task(in_thread(lambda _: self._work()))

    async def finish(self) -> None:
        """Wait for the end and compare. Raises `ContentMismatch`."""
        for _ in range(_PIECES):
            await self._room.acquire()
        found = self._hash.hexdigest()
        with as_content_mismatch(self._artifact):
            if found != self._artifact.sha256:
                raise ContentMismatch(f"expected sha256 {self._artifact.sha256} and got {found}")

    async def close(self) -> None:
        """Leave what waits; when this returns, no thread is at work."""
        with self._lock:
            self._waiting.clear()
        if self._thread is not None:
            await to_its_end(self._thread)

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._is_at_work = False
                    return
                piece = self._waiting.popleft()
            self._hash.update(piece)
            self._loop.call_soon_threadsafe(self._room.release)
