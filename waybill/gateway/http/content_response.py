"""The content of a file as a response, in constant memory and off the event loop.

Pieces are sent in slices. While a client is fast, threads read the next piece and hash this one. As soon as it stops
reading, everything but the slice that waits in its connection is dropped, and read again when it goes on; after a
second the file is closed too, because an open S3 object holds some MiB. The first piece is read before the status is
sent, so that a file that cannot be read gets an error status; a later failure breaks the connection, and the client
sees fewer bytes than `Content-Length` announced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Self

from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from blocks.catalog import Artifact
from blocks.custody import Content, Custody
from blocks.custody.hash_check import BackgroundHash
from blocks.runtime.background_tasks import running
from blocks.runtime.threads import in_thread, to_its_end
from blocks.storage import CHUNK_BYTES
from waybill.gateway.errors import HttpError
from waybill.gateway.fair_places import FairPlaces, NoPlace, Place, PlaceLost
from waybill.gateway.http.conditional_requests import ByteRange

# Up to this size the content is read as one piece: custody reads that much into memory anyway.
_ONE_PIECE_BYTES = CHUNK_BYTES
# One chunk of an encrypted file. Pieces start small and grow with what a client has received, up to `CHUNK_BYTES`: a
# piece is at most 1/32 of that, which is small compared with what the network's buffers hold.
_FIRST_PIECE_BYTES = 64 * 1024
_PIECE_SHARE = 32
# What a client that does not read holds in memory, apart from some KiB for its connection. Below 64 KiB together.
SLICE_BYTES = 32 * 1024
# A client that takes a slice within this time is fast: it reads at least 320 KiB a second. What was read ahead for one
# that takes longer is dropped.
_FAST_SECONDS = 0.1
# The file of a client that takes longer than this is closed. Opening it again takes some requests on S3.
_CLOSE_SECONDS = 1.0
# Long enough for a burst of downloads to pass.
_PLACE_WAIT_SECONDS = 5.0


class ContentResponse(Response):
    """The whole content of *artifact* (200), or *part* of it (206), for *holder*, who needs a place among *readers*."""

    def __init__(
        self,
        custody: Custody,
        artifact: Artifact,
        part: ByteRange | None,
        *,
        headers: Mapping[str, str],
        readers: FairPlaces,
        holder: str,
    ) -> None:
        start, stop = (part.start, part.stop) if part else (0, artifact.size)
        framing = {"Content-Length": str(stop - start)}
        if part is not None:
            framing["Content-Range"] = part.content_range(artifact.size)
        super().__init__(status_code=206 if part else 200, headers={**headers, **framing})
        self._custody = custody
        self._artifact = artifact
        self._start, self._stop = start, stop
        self._readers, self._holder = readers, holder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the content. Errors before the first piece are raised with nothing sent."""
        del scope
        try:
            async with self._readers.place(self._holder, wait_seconds=_PLACE_WAIT_SECONDS) as place:
                await self._send_all(receive, send, place)
        except NoPlace:
            message = "too many downloads are in progress; try again in a moment"
            raise HttpError(503, "TooManyDownloads", message) from None

    async def _send_all(self, receive: Receive, send: Send, place: Place) -> None:
        async with _Source(self._custody, self._artifact, self._start, self._stop, place) as source:
            await source.read(is_fast=True)
            async with running(until_disconnected(receive)) as (disconnected,):
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                try:
                    async with place.revocable():
                        # Once a client has disconnected, the server would discard the rest.
                        while source.has_more and not disconnected.done():
                            await source.read(is_fast=await _send_piece(source, send))
                except PlaceLost:
                    raise HttpError(503, "DownloadDisplaced", "the place was given to another reader") from None
                if not source.has_more:
                    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send_piece(source: _Source, send: Send) -> bool:
    """Send what was read, in slices. Return False if the client stopped reading, and the rest has to be read again."""
    while body := source.next_slice():
        if not await _sent_within(send, body, _FAST_SECONDS):
            del body
            # Wait until the client has taken what was sent before, with as little in memory as possible.
            await source.forget()
            if not await _sent_within(send, b"", _CLOSE_SECONDS):
                await source.close_file()
                await send({"type": "http.response.body", "body": b"", "more_body": True})
            return False
        source.sent(len(body))
    return True


async def _sent_within(send: Send, body: bytes | memoryview, seconds: float) -> bool:
    """Return whether *body* was sent; if not, nothing of it was: `send` first waits for what was sent before."""
    try:
        async with asyncio.timeout(seconds):
            await send({"type": "http.response.body", "body": body, "more_body": True})
    except TimeoutError:
        return False
    return True


class _Source:
    """The bytes of *artifact* from *start* up to *stop*, piece by piece, again from where `sent` has got to.

    When the whole content is read, its last piece is provided only if the sha256 is right. Leaves no thread running.
    """

    def __init__(self, custody: Custody, artifact: Artifact, start: int, stop: int, place: Place) -> None:
        self._custody, self._artifact = custody, artifact
        self._start, self._stop, self._place = start, stop, place
        self._at = self._hashed_to = start
        self._piece, self._piece_start = memoryview(b""), start
        self._piece_bytes = _FIRST_PIECE_BYTES
        self._leased, self._opened = AsyncExitStack(), AsyncExitStack()
        self._content: Content | None = None
        self._upcoming: asyncio.Task[bytes] | None = None
        self._hash: BackgroundHash | None = None
        self._is_verified = self._is_leased = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: Any) -> None:
        async with self._leased:
            await self._drop_upcoming()
            await self._opened.__aexit__(*error)  # notes in the catalogue that the file is damaged
            if self._hash is not None:
                await self._hash.close()

    @property
    def has_more(self) -> bool:
        """Whether something is still to be sent."""
        return self._at < self._stop

    async def read(self, *, is_fast: bool) -> None:
        """Read what follows what was sent; for a *fast* client, begin to read what follows that."""
        if not self.has_more:
            return
        self._piece_bytes = _next_size(self._piece_bytes, sent_bytes=self._at - self._start, is_fast=is_fast)
        if self._stop - self._start <= _ONE_PIECE_BYTES and self._at == self._start:
            piece, self._is_verified = await self._custody.read_part(self._artifact, self._start, self._stop), True
        else:
            piece = await self._read_piece(read_on=is_fast)
        self._piece, self._piece_start = memoryview(piece), self._at
        self._place.buffered_bytes = len(piece) + (self._piece_bytes if self._upcoming is not None else 0)

    async def _read_piece(self, *, read_on: bool) -> bytes:
        content = await self._open()
        piece = await (self._upcoming or self._begin(content, self._at))
        self._upcoming = None
        end = self._at + len(piece)
        if self._hash is not None and end > self._hashed_to:
            await self._hash.add(piece[self._hashed_to - self._at :])
            self._hashed_to = end
            if end == self._stop:
                await self._hash.finish()
        if read_on and end < self._stop:
            self._upcoming = self._begin(content, end)
        return piece

    def next_slice(self) -> memoryview:
        """Return the next slice of what was read; nothing at its end."""
        at = self._at - self._piece_start
        return self._piece[at : at + SLICE_BYTES]

    def sent(self, count: int) -> None:
        """Note that *count* further bytes were sent."""
        self._at += count
        self._place.moved(count)

    async def forget(self) -> None:
        """Drop what was read ahead, and what was read and not sent."""
        self._piece, self._piece_start = memoryview(b""), self._at
        await self._drop_upcoming()
        self._place.buffered_bytes = SLICE_BYTES
        if self._content is not None:
            self._content.release_buffer()

    async def close_file(self) -> None:
        """Close the file until it is read again."""
        await self._drop_upcoming()
        self._content = None
        await self._opened.aclose()

    async def _open(self) -> Content:
        if self._content is None:
            if not self._is_leased:
                # Until the end, also while the file is closed: what a client has begun it can finish.
                self._is_leased = True
                await self._leased.enter_async_context(self._custody.open_reads.reading(self._artifact))
            self._content = await self._opened.enter_async_context(self._custody.open_content(self._artifact))
            is_whole = (self._start, self._stop) == (0, self._content.size)
            if is_whole and self._hash is None and not self._is_verified:
                self._hash = BackgroundHash(self._content.artifact)
        return self._content

    def _begin(self, content: Content, at: int) -> asyncio.Task[bytes]:
        # Up to the end of an encrypted chunk, which would otherwise be decrypted again for the next piece.
        until = min(self._stop, (at // _FIRST_PIECE_BYTES) * _FIRST_PIECE_BYTES + self._piece_bytes)
        return asyncio.create_task(in_thread(lambda _: content.read(at, until)))

    async def _drop_upcoming(self) -> None:
        upcoming, self._upcoming = self._upcoming, None
        if upcoming is not None:
            upcoming.cancel()
            await to_its_end(asyncio.gather(upcoming, return_exceptions=True))


def _next_size(piece_bytes: int, *, sent_bytes: int, is_fast: bool) -> int:
    if not is_fast:
        return _FIRST_PIECE_BYTES
    return piece_bytes * 2 if piece_bytes * 2 <= min(CHUNK_BYTES, sent_bytes // _PIECE_SHARE) else piece_bytes


async def until_disconnected(receive: Receive) -> None:
    """Wait until the client has disconnected, or the response is complete."""
    while (await receive())["type"] != "http.disconnect":
        pass
