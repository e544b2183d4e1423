"""Store a file while it still arrives over the network, in constant memory.

The event loop queues chunks; a thread hashes, encrypts and writes them; the faster one waits for the other. Unless
`keep` is called, the write is undone: also after an error, or when the sender disconnects.
"""

from __future__ import annotations

import asyncio
import io
import queue
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import BinaryIO, TypeVar

from blocks.catalog import Artifact, Draft, Reservation, Stored
from blocks.custody.custody import Custody, MakeAvailable
from blocks.custody.read import open_stored
from blocks.errors import WaybillError
from blocks.runtime.threads import in_thread, to_its_end
from blocks.storage import CHUNK_BYTES

T = TypeVar("T")

# Chunks of `CHUNK_BYTES` queued for the thread: enough that it never waits for a fast sender.
_QUEUED_CHUNKS = 3


class Discarded(WaybillError):
    """The upload ended without `keep`; never leaves this module."""


@asynccontextmanager
async def streaming_upload(custody: Custody, draft: Draft) -> AsyncGenerator[StreamingUpload]:
    """Open an upload; at the end of the block it is undone unless `StreamingUpload.keep` was called.

    *draft* describes the file as far as it is known before the first byte. Raises what `Custody.reserve` raises.
    """
    (reservation,) = await custody.reserve([draft])
    upload = StreamingUpload(custody, reservation)
    try:
        yield upload
    finally:
        await to_its_end(upload.discard())


class StreamingUpload:
    """One upload: `write` its content, then `finish`, then `keep`; `discard` ends it in any case."""

    # One task (`_storing`) runs `Custody.fill` from beginning to end. Everything else synchronises with it:
    #
    # - `_chunks` is the queue of the thread in which `fill` hashes, encrypts and writes. None ends the content; an
    #   exception aborts it.
    # - `_free_slots`, a semaphore, bounds that queue. The thread releases it for each chunk it takes; so does the end
    #   of `_storing`, because `write` must not wait for a thread that has ended.
    # - `_stored`, a future, is set by `fill` when all bytes are in the storage: `finish` waits for it.
    # - `_description`, a future, is what `fill` waits for then. `keep` sets it, and `fill` makes the file available;
    #   `discard` sets it to `Discarded`, and `fill` undoes the write.
    #
    # Order: write* -> finish (None, `_stored`) -> keep (`_description`) -> the end of `_storing`. `discard` may be
    # called at any time and does nothing after `keep`.

    def __init__(self, custody: Custody, reservation: Reservation) -> None:
        loop = asyncio.get_running_loop()
        self.reservation = reservation
        self._custody = custody
        self._chunks: queue.SimpleQueue[bytes | BaseException | None] = queue.SimpleQueue()
        self._free_slots = asyncio.Semaphore(_QUEUED_CHUNKS)
        self._buffer = io.BytesIO()
        self._stored: asyncio.Future[Stored] = loop.create_future()
        self._description: asyncio.Future[Draft] = loop.create_future()
        self._make_available: MakeAvailable | None = None
        self._storing = asyncio.create_task(self._store(loop))
        self._storing.add_done_callback(lambda _: self._free_slots.release())

    async def write(self, content: bytes) -> None:
        """Queue the next *content*; wait while the storage is slower. Raises what storing raised."""
        rest = memoryview(content)
        # Exactly `CHUNK_BYTES` at a time: that is what is encrypted at a time, so it need not be joined again.
        while self._buffer.tell() + len(rest) >= CHUNK_BYTES:
            missing = CHUNK_BYTES - self._buffer.tell()
            self._buffer.write(rest[:missing])
            rest = rest[missing:]
            await self._queue_chunk()
        self._buffer.write(rest)

    async def finish(self) -> Stored:
        """End the content, and wait until all of it is in the storage. Raises what storing raised."""
        await self._queue_chunk()
        self._chunks.put(None)
        await asyncio.wait([self._stored, self._storing], return_when=asyncio.FIRST_COMPLETED)
        self._raise_error()
        return self._stored.result()

    async def inspect(self, examine: Callable[[BinaryIO], T]) -> T | None:
        """Return the result of *examine* on the stored content, in a thread; None without the key to read it."""
        stored = self._stored.result()
        custody, location = self._custody, self.reservation.location
        if not custody.keys.opens(stored.encrypted_for):
            return None

        def read() -> T:
            with open_stored(custody.backend, custody.keys, location, stored) as content:
                return examine(content)

        return await in_thread(lambda _: read())

    async def keep(self, draft: Draft, *, make_available: MakeAvailable | None = None) -> Artifact:
        """Make the file available as *draft* describes it; call after `finish`. Raises what `Custody.fill` raises."""
        self._make_available = make_available
        self._description.set_result(draft)
        return await asyncio.shield(self._storing)

    async def discard(self) -> None:
        """Undo the upload unless it was kept. On return no bytes of it remain, and no thread is running."""
        if not self._description.done():
            self._description.set_exception(Discarded("not kept"))
            self._description.exception()  # mark as retrieved, also when `fill` does not wait for it
        self._chunks.put(Discarded("not kept"))  # ends the thread, unless it has ended already
        with suppress(WaybillError):
            await self._storing

    async def _queue_chunk(self) -> None:
        await self._free_slots.acquire()
        self._raise_error()
        # Without a copy: `BytesIO.getvalue` shares its buffer.
        self._chunks.put(self._buffer.getvalue())
        self._buffer = io.BytesIO()

    def _raise_error(self) -> None:
        if self._storing.done():
            self._free_slots.release()
            self._storing.result()

    async def _store(self, loop: asyncio.AbstractEventLoop) -> Artifact:
        async def describe(stored: Stored) -> Draft:
            self._stored.set_result(stored)
            return await self._description

        async def make_available(artifact: Artifact) -> Artifact:
            return await (self._make_available or self._custody.make_available)(artifact)

        # A thread of its own: it mostly waits for its sender, and many slow senders must not occupy the shared threads.
        executor = ThreadPoolExecutor(1, thread_name_prefix="upload")
        try:
            return await self._custody.fill(
                self.reservation,
                self._content(loop),
                draft=describe,
                make_available=make_available,
                executor=executor,
            )
        finally:
            executor.shutdown(wait=False)  # its work has ended

    def _content(self, loop: asyncio.AbstractEventLoop) -> Iterator[bytes]:
        """Yield the queued chunks, in the thread that stores them."""
        while (chunk := self._chunks.get()) is not None:
            if isinstance(chunk, BaseException):
                raise chunk
            loop.call_soon_threadsafe(self._free_slots.release)
            yield chunk
