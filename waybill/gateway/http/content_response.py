"""The content of a file as a response, in constant memory and off the event loop.

One piece is sent while threads read the next and hash this one. A slow client holds two pieces in memory, and no
thread. The first piece is read before the status is sent, so that a file that cannot be read gets an error status; a
later failure breaks the connection, and the client sees fewer bytes than `Content-Length` announced.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from blocks.catalog import Artifact
from blocks.custody import Content, Custody
from blocks.custody.hash_check import BackgroundHash
from blocks.runtime.background_tasks import running
from blocks.runtime.threads import in_thread, to_its_end
from blocks.storage import CHUNK_BYTES
from waybill.gateway.http.conditional_requests import ByteRange

# Up to this size the content is read and sent as one piece: custody reads that much into memory anyway.
_ONE_PIECE_BYTES = CHUNK_BYTES
# One chunk of an encrypted file. Many clients that hardly read must not fill the memory, so pieces start small and grow
# with what a client has received, up to `CHUNK_BYTES`: a piece is at most 1/32 of that, which is small compared with
# what the network's buffers hold.
_FIRST_PIECE_BYTES = 64 * 1024
_PIECE_SHARE = 32
# A client that takes a piece within this time is fast: a network of 1 Gbit/s needs a fraction of it for a MiB.
_FAST_SECONDS = 0.05


class ContentResponse(Response):
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
        """Send the content. Errors before the first piece are raised with nothing sent."""
        del scope
        if self._stop - self._start <= _ONE_PIECE_BYTES:
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
            async with running(_until_disconnected(receive)) as (disconnected,):
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                while piece is not None:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                    if disconnected.done():
                        return  # the server would discard the rest
                    piece = await anext(pieces, None)
                await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _pieces(content: Content, start: int, stop: int) -> AsyncGenerator[bytes]:
    """Yield the bytes from *start* up to *stop*, reading the next piece while the previous one is sent.

    When the whole content is read, its last piece is yielded only if the sha256 is right. No thread outlives this.
    """
    hash_check = BackgroundHash(content.artifact) if (start, stop) == (0, content.size) else None
    piece_bytes, at = _FIRST_PIECE_BYTES, start
    upcoming = _read(content, at, stop, piece_bytes)
    try:
        while at < stop:
            piece = await upcoming
            at += len(piece)
            if at < stop:
                upcoming = _read(content, at, stop, piece_bytes)
            if hash_check is not None:
                await hash_check.add(piece)
                if at == stop:
                    await hash_check.finish()
            yielded_at = time.monotonic()
            yield piece
            is_fast = time.monotonic() - yielded_at < _FAST_SECONDS
            piece_bytes = _next_size(piece_bytes, sent_bytes=at - start, is_fast=is_fast)
    finally:
        upcoming.cancel()
        await to_its_end(asyncio.gather(upcoming, return_exceptions=True))
        if hash_check is not None:
            await hash_check.close()


def _next_size(piece_bytes: int, *, sent_bytes: int, is_fast: bool) -> int:
    if not is_fast:
        return max(piece_bytes // 2, _FIRST_PIECE_BYTES)
    return piece_bytes * 2 if piece_bytes * 2 <= min(CHUNK_BYTES, sent_bytes // _PIECE_SHARE) else piece_bytes


def _read(content: Content, at: int, stop: int, piece_bytes: int) -> asyncio.Task[bytes]:
    # Up to the end of an encrypted chunk, which would otherwise be decrypted again for the next piece.
    until = min(stop, (at // _FIRST_PIECE_BYTES) * _FIRST_PIECE_BYTES + piece_bytes)
    return asyncio.create_task(in_thread(lambda _: content.read(at, until)))


async def _until_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
