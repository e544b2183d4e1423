"""A client that costs little, for transfers all at once: its bytes go from a file to a socket, and are dropped at once.

One process with one event loop. Each transfer has a connection of its own, like machines that know nothing of each
other, and does what clients should: it waits for "100 Continue", asks where to go on after a refusal, and no sooner
than `Retry-After` says.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import random
import socket
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PATIENCE_SECONDS = 300.0
_BUFFER_BYTES = 256 * 1024
_BUSY = frozenset({423, 503})
# All bodies are read into it, over each other.
_DROPPED = bytearray(_BUFFER_BYTES)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One transfer: a `get`, a `put` of a file, or the same by `tus`; *report* is sent to `complete` after a `get`."""

    method: str
    url: str
    size: int
    token: str | None = None
    path: str | None = None
    report: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Moved:
    """How a transfer went. *error* is empty for a completed one."""

    seconds: float
    refusals: int
    error: str


@dataclass
class _Answer:
    status: int
    headers: dict[str, str]
    body: bytes


def run_at_once(wanted: list[Wanted]) -> list[Moved]:
    """Begin all of them at the same moment, in a process of its own; return how they went, in the same order."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(_run, wanted).result()


def _run(wanted: list[Wanted]) -> list[Moved]:
    async def run() -> list[Moved]:
        return list(await asyncio.gather(*[_timed(one, time.perf_counter()) for one in wanted]))

    return asyncio.run(run())


async def _timed(wanted: Wanted, began: float) -> Moved:
    client, error = _Client(wanted), ""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await client.run()
    except (OSError, AssertionError, TimeoutError, asyncio.IncompleteReadError) as exc:
        error = f"{wanted.method}: {type(exc).__name__} {exc}"
    return Moved(seconds=time.perf_counter() - began, refusals=client.refusals, error=error)


class _Client:
    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.refusals = 0
        self._parts = urlsplit(wanted.url)
        self._socket: socket.socket | None = None

    async def run(self) -> None:
        try:
            if self.wanted.method == "tus":
                await self._tus()
            elif self.wanted.method == "put":
                answer = await self._until_not_busy("PUT", {"Content-Length": str(self.wanted.size)}, offset=0)
                assert answer.status in {201, 204}, answer
            else:
                await self._get()
        finally:
            self._close()

    async def _get(self) -> None:
        answer = await self._until_not_busy("GET", {})
        assert answer.status == 200 and int(answer.headers["content-length"]) == self.wanted.size, answer
        if self.wanted.report is not None:
            path = self._parts.path.removesuffix("download") + "complete"
            body = json.dumps(self.wanted.report).encode()
            headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
            answer = await self._until_not_busy("POST", headers, path=path, body=body)
            assert answer.status == 200, answer

    async def _tus(self) -> None:
        answer = await self._until_not_busy("POST", {"Upload-Length": str(self.wanted.size), "Content-Length": "0"})
        assert answer.status == 201, answer
        offset = 0
        while offset < self.wanted.size:
            headers = {
                "Upload-Offset": str(offset),
                "Content-Type": "application/offset+octet-stream",
                "Content-Length": str(self.wanted.size - offset),
            }
            answer = await self._once("PATCH", headers, offset=offset)
            if answer.status == 204:
                offset = int(answer.headers["upload-offset"])
                continue
            assert answer.status in _BUSY, answer
            await self._wait(answer)
            answer = await self._until_not_busy("HEAD", {})
            assert answer.status == 200, answer
            offset = int(answer.headers["upload-offset"])

    async def _until_not_busy(self, method: str, headers: dict[str, str], **more: Any) -> _Answer:
        while (answer := await self._once(method, headers, **more)).status in _BUSY:
            await self._wait(answer)
        return answer

    async def _wait(self, answer: _Answer) -> None:
        self.refusals += 1
        self._close()
        # As clients should: all that were refused in one moment do not come back in one moment.
        await asyncio.sleep(random.uniform(0.5, 1.0) * float(answer.headers.get("retry-after", "1")))

    async def _once(
        self,
        method: str,
        headers: dict[str, str],
        *,
        path: str | None = None,
        body: bytes = b"",
        offset: int | None = None,
    ) -> _Answer:
        """Send one request, with the file from *offset* on as its body if that is given."""
        connection = await self._connected()
        given = {"Host": self._parts.netloc, "Tus-Resumable": "1.0.0", **headers}
        if self.wanted.token is not None:
            given["Authorization"] = f"Bearer {self.wanted.token}"
        if offset is not None:
            given["Expect"] = "100-continue"
        lines = [
            f"{method} {path or self._parts.path} HTTP/1.1",
            *(f"{name}: {value}" for name, value in given.items()),
        ]
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(connection, "\r\n".join([*lines, "", ""]).encode() + body)
        answer = await self._answer(is_head=method == "HEAD")
        if offset is not None and answer.status == 100:
            assert self.wanted.path is not None
            # The file is in the cache of the kernel. Refused in the middle, the answer says why.
            with Path(self.wanted.path).open("rb") as file, suppress(ConnectionError):  # noqa: ASYNC230
                await loop.sock_sendfile(connection, file, offset, self.wanted.size - offset)
            answer = await self._answer(is_head=False)
        if answer.headers.get("connection", "").lower() == "close":
            self._close()
        return answer

    async def _answer(self, *, is_head: bool) -> _Answer:
        loop, connection = asyncio.get_running_loop(), await self._connected()
        found = b""
        while b"\r\n\r\n" not in found:
            piece = await loop.sock_recv(connection, _BUFFER_BYTES)
            if not piece:
                raise ConnectionResetError("no answer")
            found += piece
        head, _, body = found.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(first.split()[1])
        length = 0 if is_head or status in {100, 204} else int(headers["content-length"])
        left = length - len(body)
        while left:
            count = await loop.sock_recv_into(connection, _DROPPED)
            if not count:
                raise ConnectionResetError(f"{left} of {length} bytes are missing")
            left -= count
        return _Answer(status, headers, body if status >= 400 else b"")

    async def _connected(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.socket()
            self._socket.setblocking(False)
            await asyncio.get_running_loop().sock_connect(
                self._socket, (self._parts.hostname or "", self._parts.port or 0)
            )
        return self._socket

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
