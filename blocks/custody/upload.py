"""A file on its way into custody while it still arrives over the network: stored as it comes, in constant memory.

An event loop hands over pieces, a thread hashes, encrypts and writes them; whoever is quicker waits for the other. What
the file is may be said after its last byte. Refuses to keep anything unless it is told to: what is left without a word,
by an error or by a sender who went away, is undone.
"""

from __future__ import annotations

import asyncio
import io
import queue
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import BinaryIO, TypeVar

from blocks.catalog import Artifact, Connection, Draft, Reservation, Stored
from blocks.custody.custody import Custody, MakeAvailable
from blocks.custody.read import open_stored
from blocks.errors import WaybillError
from blocks.runtime.threads import in_thread, to_its_end
from blocks.storage import CHUNK_BYTES

T = TypeVar("T")

# Pieces of `CHUNK_BYTES` that wait for the thread: enough for it never to wait for a fast sender.
_WAITING_PIECES = 3


class Discarded(WaybillError):
    """Nobody said that the file is to be kept; never leaves this module."""


@asynccontextmanager
async def streaming_upload(custody: Custody, draft: Draft) -> AsyncGenerator[StreamingUpload]:
    """Take in a file in pieces; at the end of the block it is undone unless `StreamingUpload.keep` was called.

    *draft* says what is known before the first byte. Raises what `Custody.reserve` raises.
    """
    (reservation,) = await custody.reserve([draft])
    incoming = StreamingUpload(custody, reservation)
    try:
        yield incoming
    finally:
        await to_its_end(incoming.discard())


class StreamingUpload:
    """One file that arrives. `write` its pieces, then `finish`, then `keep` it."""

    def __init__(self, custody: Custody, reservation: Reservation) -> None:
        loop = asyncio.get_running_loop()
        self.reservation = reservation
        self._custody = custody
        self._pieces: queue.SimpleQueue[bytes | BaseException | None] = queue.SimpleQueue()
        self._room = asyncio.Semaphore(_WAITING_PIECES)
        self._gathered = io.BytesIO()
        self._is_stored: asyncio.Future[Stored] = loop.create_future()
        self._description: asyncio.Future[Draft] = loop.create_future()
        self._make_available: MakeAvailable | None = None
        self._storing = asyncio.create_task(self._store(loop))
        # Whoever waits for room, or for the end, waits no longer when there will be none.
        self._storing.add_done_callback(lambda _: self._room.release())

    async def write(self, piece: bytes) -> None:
        """Hand over the next *piece*; waits while the storage is slower. Raises what storing raised."""
        rest = memoryview(piece)
        # Exactly so much at a time: that is what is encrypted at a time, and need not be put together once more.
        while self._gathered.tell() + len(rest) >= CHUNK_BYTES:
            missing = CHUNK_BYTES - self._gathered.tell()
            self._gathered.write(rest[:missing])
            rest = rest[missing:]
            await self._hand_over()
        self._gathered.write(rest)

    async def finish(self) -> Stored:
        """There is no more. Waits until everything lies in storage, and raises what storing raised."""
        await self._hand_over()
        self._pieces.put(None)
        await asyncio.wait([self._is_stored, self._storing], return_when=asyncio.FIRST_COMPLETED)
        self._raise_what_went_wrong()
        return self._is_stored.result()

    async def inspect(self, examine: Callable[[BinaryIO], T]) -> T | None:
        """What *examine* makes of the stored content, in a thread; None where the key that reads it is not here."""
        stored = self._is_stored.result()
        custody, location = self._custody, self.reservation.location
        if not custody.keys.opens(stored.encrypted_for):
            return None

        def look() -> T:
            with open_stored(custody.backend, custody.keys, location, stored) as content:
                return examine(content)

        return await in_thread(lambda _: look())

    async def keep(self, draft: Draft, *, make_available: MakeAvailable | None = None) -> Artifact:
        """Make it available as what *draft* says. After `finish`. Raises what `Custody.fill` raises."""
        self._make_available = make_available
        self._description.set_result(draft)
        return await asyncio.shield(self._storing)

    async def discard(self) -> None:
        """Undo what was written, unless it was kept. Returns when nothing of it is left, or is at work."""
        if not self._description.done():
            self._description.set_exception(Discarded("not kept"))
            self._description.exception()  # seen, also when nothing waits for it
        self._pieces.put(Discarded("not kept"))  # ends the thread, unless it has ended already
        with suppress(WaybillError):
            await self._storing

    async def _hand_over(self) -> None:
        await self._room.acquire()
        self._raise_what_went_wrong()
        # Nothing is copied: a `BytesIO` gives its own buffer away.
        self._pieces.put(self._gathered.getvalue())
        self._gathered = io.BytesIO()

    def _raise_what_went_wrong(self) -> None:
        if self._storing.done():
            self._room.release()
            self._storing.result()

    async def _store(self, loop: asyncio.AbstractEventLoop) -> Artifact:
        async def describe(stored: Stored) -> Draft:
            self._is_stored.set_result(stored)
            return await self._description

        async def make_available(connection: Connection, artifact: Artifact) -> Artifact:
            chosen = self._make_available or self._custody.catalog.make_available
            return await chosen(connection, artifact)

        # A thread of its own: it waits for its sender most of the time, and many slow ones must not take all there are.
        executor = ThreadPoolExecutor(1, thread_name_prefix="incoming")
        try:
            return await self._custody.fill(
                self.reservation,
                self._arriving(loop),
                draft=describe,
                make_available=make_available,
                executor=executor,
            )
        finally:
            executor.shutdown(wait=False)  # its work has ended

    def _arriving(self, loop: asyncio.AbstractEventLoop) -> Iterator[bytes]:
        """What was handed over, in the thread that stores it."""
        while (piece := self._pieces.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            loop.call_soon_threadsafe(self._room.release)
            yield piece
