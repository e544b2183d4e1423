"""Hash a file's whole content in a thread, concurrently with its reader, and compare it with the catalogue."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections import deque

from blocks.catalog import Artifact
from blocks.custody.read import as_content_mismatch
from blocks.errors import ContentMismatch
from blocks.runtime.threads import in_thread, to_its_end

# One being hashed and one waiting: the thread then never waits for the event loop, and hashing is the slowest step.
_PIECES = 2


class BackgroundHash:
    """`add` every piece in order, then `finish`; always `close`. Uses a thread only while pieces wait."""

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact
        self._hash = hashlib.sha256()
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Semaphore(_PIECES)
        self._lock = threading.Lock()  # guards the next two
        self._waiting: deque[bytes] = deque()
        self._is_running = False
        self._thread: asyncio.Task[None] | None = None

    async def add(self, piece: bytes) -> None:
        """Queue the next *piece* for hashing; wait while `_PIECES` are queued."""
        await self._room.acquire()
        with self._lock:
            self._waiting.append(piece)
            is_idle, self._is_running = not self._is_running, True
        if is_idle:
            self._thread = asyncio.create_task(in_thread(lambda _: self._work()))

    async def finish(self) -> None:
        """Wait until every piece is hashed, then compare. Raises `ContentMismatch`."""
        for _ in range(_PIECES):
            await self._room.acquire()
        found = self._hash.hexdigest()
        with as_content_mismatch(self._artifact):
            if found != self._artifact.sha256:
                raise ContentMismatch(f"expected sha256 {self._artifact.sha256} and got {found}")

    async def close(self) -> None:
        """Drop waiting pieces; on return, no thread is running."""
        with self._lock:
            self._waiting.clear()
        if self._thread is not None:
            await to_its_end(self._thread)

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._is_running = False
                    return
                piece = self._waiting.popleft()
            self._hash.update(piece)
            self._loop.call_soon_threadsafe(self._room.release)
