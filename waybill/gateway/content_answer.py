"""The content of a file on its way to a client, in constant memory and off the event loop.

One piece of about a MiB is sent while a thread makes the next. A slow client holds a few pieces in memory and none of
the threads that serve the others. The first piece is made before the status is sent, so that what cannot be read is
told with a status; what goes wrong later breaks the connection: a client sees fewer bytes than were announced, never a
clean end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Iterator, Mapping
from contextlib import aclosing
from typing import cast

from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from blocks.catalog import Artifact
from blocks.custody import Custody
from blocks.storage import CHUNK_BYTES
from blocks.threads import in_thread, to_its_end
from waybill.gateway.byte_ranges import ByteRange

# One piece as custody reads them: it is in memory at once anyway.
_AT_ONCE_BYTES = CHUNK_BYTES


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
            aclosing(_in_threads(content.read_range(self._start, self._stop))) as pieces,
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


async def _in_threads(pieces: Iterator[bytes]) -> AsyncGenerator[bytes]:
    """*pieces*, each made in a thread, the next one while the one before is in use.

    However this ends, no thread is at work any more then, and the iterator is closed.
    """
    upcoming = asyncio.create_task(_next(pieces))
    try:
        while (piece := await upcoming) is not None:
            upcoming = asyncio.create_task(_next(pieces))
            yield piece
    finally:
        upcoming.cancel()
        await to_its_end(asyncio.gather(upcoming, return_exceptions=True))
        await to_its_end(in_thread(lambda _: cast("Generator[bytes]", pieces).close()))


async def _next(pieces: Iterator[bytes]) -> bytes | None:
    return await in_thread(lambda _: next(pieces, None))


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
