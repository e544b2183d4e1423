"""Stored bytes as a response, as they lie: some bytes from memory, then a range of a file.

The kernel sends a local file where the server offers that (`waybill.gateway.file_ranges`); otherwise, and for objects
that are only readable, such as blobs on S3, threads read pieces. Nothing is decrypted or compared here. What can be
found out before the status is sent, that the file is missing or too short, is raised there; a later failure breaks the
connection, and the client sees fewer bytes than `Content-Length` announced.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from blocks.errors import ContentMismatch
from blocks.runtime.background_tasks import running
from blocks.runtime.threads import in_thread, to_its_end
from waybill.gateway.file_ranges import FILE_RANGE, ClientGone, file_range
from waybill.gateway.http.content_response import until_disconnected
from waybill.gateway.http.head_requests import is_head

# What a thread reads at once where the kernel cannot send; a client that does not read holds two of them.
_PIECE_BYTES = 1024 * 1024


class Readable(Protocol):
    """An open file or object."""

    def read(self, size: int = -1, /) -> bytes: ...

    def seek(self, offset: int, whence: int = 0, /) -> int: ...

    def close(self) -> None: ...


OnProgress = Callable[[int, int], None]
OnEnd = Callable[[bool], Awaitable[None]]


class FileRangeResponse(Response):
    """*leading*, then *count* bytes of *source* from *offset*. Sets `Content-Length`.

    *source* is a path, the descriptor of a regular file, or an object to read from; the latter two are closed at the
    end. *on_progress* is called with the first byte of this body that is newly with the kernel, and the one after the
    last. *on_end* is called once, after *source* is closed, with whether the kernel has all of the body; what it has
    may still be lost with the connection. A `HEAD` request sends no body, and so ends with False.
    """

    def __init__(
        self,
        source: Path | int | Readable,
        *,
        offset: int,
        count: int,
        leading: bytes = b"",
        status_code: int = 200,
        headers: Mapping[str, str],
        on_progress: OnProgress = lambda first_byte, beyond: None,
        on_end: OnEnd | None = None,
    ) -> None:
        super().__init__(status_code=status_code, headers={**headers, "Content-Length": str(len(leading) + count)})
        self._source, self._leading = source, leading
        self._offset, self._count = offset, count
        self._on_progress, self._on_end = on_progress, on_end
        self._sent = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send everything. Raises `OSError` and `ContentMismatch` if the file is not as promised."""
        is_complete = False
        try:
            async with _opened(self._source, self._offset + self._count) as source:
                if is_head(scope):
                    await self._start(send)
                    await _send_body(send, b"", more_body=False)
                elif isinstance(source, int) and self._count and FILE_RANGE in scope.get("extensions", {}):
                    is_complete = await self._send_by_kernel(source, send)
                else:
                    is_complete = await self._send_by_reading(source, receive, send)
        finally:
            if self._on_end is not None:
                await self._on_end(is_complete)

    async def _start(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})

    async def _send_by_kernel(self, file: int, send: Send) -> bool:
        await self._start(send)
        await _send_body(send, self._leading)
        leading = len(self._leading)
        try:
            await send(file_range(file, self._offset, self._count, lambda sent: self._note_sent(leading + sent)))
        except ClientGone:
            return False
        await _send_body(send, b"", more_body=False)
        return True

    async def _send_by_reading(self, source: int | Readable, receive: Receive, send: Send) -> bool:
        at, end = self._offset, self._offset + self._count
        piece, sent = await _read(source, at, min(_PIECE_BYTES, end - at)), len(self._leading)
        async with running(until_disconnected(receive)) as (disconnected,):
            await self._start(send)
            await _send_body(send, self._leading)
            while True:
                await _send_body(send, piece)
                at, sent = at + len(piece), sent + len(piece)
                # Returns when what was sent before is with the kernel, or the client has disconnected.
                await _send_body(send, b"")
                if disconnected.done():
                    return False
                self._note_sent(sent)
                if at == end:
                    break
                piece = await _read(source, at, min(_PIECE_BYTES, end - at))
            await _send_body(send, b"", more_body=False)
        return True

    def _note_sent(self, beyond: int) -> None:
        if beyond > self._sent:
            self._on_progress(self._sent, beyond)
            self._sent = beyond


async def _send_body(send: Send, body: bytes, *, more_body: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more_body})


@asynccontextmanager
async def _opened(source: Path | int | Readable, end: int) -> AsyncGenerator[int | Readable]:
    """Open *source* if it is a path, and close it in any case. Raises `ContentMismatch` if it ends before *end*."""
    opened = await in_thread(lambda _: os.open(source, os.O_RDONLY)) if isinstance(source, Path) else source
    try:
        if isinstance(opened, int) and (size := os.fstat(opened).st_size) < end:
            raise _ends_early(size, end)
        yield opened
    finally:
        if isinstance(opened, int):
            os.close(opened)
        else:
            await to_its_end(asyncio.to_thread(opened.close))


async def _read(source: int | Readable, at: int, count: int) -> bytes:
    """Return exactly *count* bytes. Raises `ContentMismatch`."""

    def read(_: object) -> bytes:
        if not isinstance(source, int):
            source.seek(at)
        pieces: list[bytes] = []
        missing = count
        while missing:
            got = (
                source.read(missing) if not isinstance(source, int) else os.pread(source, missing, at + count - missing)
            )
            if not got:
                raise _ends_early(at + count - missing, at + count)
            pieces.append(got)
            missing -= len(got)
        return b"".join(pieces)

    return await in_thread(read)


def _ends_early(size: int, end: int) -> ContentMismatch:
    return ContentMismatch(f"a file ends at byte {size}, and should have at least {end}")
