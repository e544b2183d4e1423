"""The content of a file on its way to a client, in constant memory and off the event loop.

One piece is sent while threads read the next and compare this one. A slow client holds two pieces in memory, and none
of the threads that serve the others. The first piece is made before the status is sent, so that what cannot be read is
told with a status; what goes wrong later breaks the connection: a client sees fewer bytes than were announced, never a
clean end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from blocks.catalog import Artifact
from blocks.custody import Custody
from blocks.custody.hash_check import BackgroundHash
from blocks.custody.read import Content
from blocks.runtime.threads import in_thread, to_its_end
from blocks.storage import CHUNK_BYTES
from waybill.gateway.http.byte_ranges import ByteRange

# One piece as custody reads them: it is in memory at once anyway.
_AT_ONCE_BYTES = CHUNK_BYTES
# One chunk of an encrypted file. Many clients that hardly read must not fill the memory, so pieces grow with what a
# client takes, up to `CHUNK_BYTES`: a piece is a small part of that, most of which lies in the network's buffers.
_FIRST_PIECE_BYTES = 64 * 1024
_SHARE = 32
# What a network of 1 Gbit/s takes for a MiB, several times over.
_QUICK_SECONDS = 0.05


class ContentAnswer(Response):
    """The whole content of *artifact* (200), or *part* of it (206)."""

    def __init__(
        self, custody: Custody, artifact: Artifact, part: ByteRange | None, *, headers: Mapping[str, str]
    ) -> None:
        start, stop = (part.start, part.stop) if part else (0, artifact.size)
        framing = {"Content-Length": str(stop - start)}
        if part is not None:
            framing["Content-Range"] = part.content_range(artifact.size)
        super().__init__(status_code=206 if part else 200, headers={**headers, **framing})
        self._custody = custody
        self._artifact = artifact
        self._start, self._stop = start, stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. What custody raises before the first piece leaves this call with nothing sent."""
        del scope
        if self._stop - self._start <= _AT_ONCE_BYTES:
            piece = await self._custody.read_part(self._artifact, self._start, self._stop)
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": piece})
            return
        await self._send_in_pieces(receive, send)

    async def _send_in_pieces(self, receive: Receive, send: Send) -> None:
        async with (
            self._custody.open_content(self._artifact) as content,
            aclosing(_pieces(content, self._start, self._stop)) as pieces,
        ):
            piece = await anext(pieces, None)
            gone = asyncio.create_task(_until_gone(receive))
            try:
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                while piece is not None:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                    if gone.done():
                        return  # nobody reads on: the server drops what is sent, and this would go on to the end
                    piece = await anext(pieces, None)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            finally:
                gone.cancel()


async def _pieces(content: Content, start: int, stop: int) -> AsyncGenerator[bytes]:
    """The bytes from *start* up to *stop*, the next piece made while the one before is in use.

    Of the whole content the last piece comes only when its sha256 is right. However this ends, no thread is at work any
    more then.
    """
    comparison = BackgroundHash(content.artifact) if (start, stop) == (0, content.size) else None
    piece_bytes, at = _FIRST_PIECE_BYTES, start
    upcoming = _read(content, at, stop, piece_bytes)
    try:
        while at < stop:
            piece = await upcoming
            at += len(piece)
            if at < stop:
                upcoming = _read(content, at, stop, piece_bytes)
            if comparison is not None:
                await comparison.add(piece)
                if at == stop:
                    await comparison.finish()
            handed_over = time.monotonic()
            yield piece
            is_quick = time.monotonic() - handed_over < _QUICK_SECONDS
            piece_bytes = _next_size(piece_bytes, taken_bytes=at - start, is_quick=is_quick)
    finally:
        upcoming.cancel()
        await to_its_end(asyncio.gather(upcoming, return_exceptions=True))
        if comparison is not None:
            await comparison.close()


def _next_size(piece_bytes: int, *, taken_bytes: int, is_quick: bool) -> int:
    if not is_quick:
        return max(piece_bytes // 2, _FIRST_PIECE_BYTES)
    return piece_bytes * 2 if piece_bytes * 2 <= min(CHUNK_BYTES, taken_bytes // _SHARE) else piece_bytes


def _read(content: Content, at: int, stop: int, piece_bytes: int) -> asyncio.Task[bytes]:
    # Up to where an encrypted chunk ends: otherwise it would be decrypted once more for the next piece.
    until = min(stop, (at // _FIRST_PIECE_BYTES) * _FIRST_PIECE_BYTES + piece_bytes)
    return asyncio.create_task(in_thread(lambda _: content.read(at, until)))


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
