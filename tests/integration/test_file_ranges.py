"""Ranges of files that the kernel sends: real sockets and curl against the gateway's server and its middleware."""

from __future__ import annotations

import asyncio
import hashlib
import io
import logging
import math
import os
import socket
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.stack_driver import PATIENCE_SECONDS
from waybill.gateway.errors import install_error_handlers
from waybill.gateway.file_ranges import FILE_RANGE, ClientGone
from waybill.gateway.http.file_range_response import FileRangeResponse, Readable
from waybill.gateway.http.head_requests import HeadAsGet
from waybill.gateway.pages.error_pages import unexpected_answer
from waybill.gateway.request_log import RequestLog
from waybill.gateway.server.client_limits import TransportLimits
from waybill.gateway.server.server import GatewayServer
from waybill.process.gateway_socket import address_of, listen

MIB = 1024 * 1024
# More than the buffers of both sides of a connection hold.
LARGE_BYTES = 48 * MIB + 12_345
GET = b"GET /file HTTP/1.1\r\nHost: x\r\n\r\n"


@dataclass
class Sent:
    """What became of one response."""

    progress: list[tuple[int, int]] = field(default_factory=list)
    ends: list[bool] = field(default_factory=list)
    logged: list[dict[str, Any]] = field(default_factory=list)

    @property
    def beyond(self) -> int:
        return self.progress[-1][1] if self.progress else 0

    async def ended(self, count: int = 1) -> None:
        """*count* responses have ended."""
        await eventually(lambda: min(len(self.ends), len(self.logged)) >= count, "the response has ended")

    def note_progress(self, first_byte: int, beyond: int) -> None:
        self.progress.append((first_byte, beyond))

    async def note_end(self, is_complete: bool) -> None:
        self.ends.append(is_complete)

    def log(self, **request: Any) -> None:
        self.logged.append(request)

    def response(self, source: Path | int | Readable, *, offset: int, count: int, leading: bytes) -> FileRangeResponse:
        return FileRangeResponse(
            source, offset=offset, count=count, leading=leading, headers={"X-A": "b"},
            on_progress=self.note_progress, on_end=self.note_end,
        )  # fmt: skip


def application(
    sent: Sent, open_source: Callable[[], Path | int | Readable], size: int, leading: bytes = b""
) -> FastAPI:
    """The gateway's middleware around one path, `/file`, whose query may ask for less."""
    app = FastAPI()
    install_error_handlers(app)

    @app.get("/file", response_model=None)
    async def _(request: Request) -> FileRangeResponse:
        offset = int(request.query_params.get("offset", 0))
        count = int(request.query_params.get("count", size - offset))
        return sent.response(open_source(), offset=offset, count=count, leading=leading)

    app.add_middleware(CORSMiddleware, allow_origins=["https://other.example"])
    app.add_middleware(HeadAsGet)
    app.add_middleware(RequestLog, unexpected=unexpected_answer, observe=sent.log)
    return app


def without_kernel(app: ASGIApp) -> ASGIApp:
    async def reading(scope: Scope, receive: Receive, send: Send) -> None:
        scope["extensions"] = {}
        await app(scope, receive, send)

    return reading


@dataclass
class Served:
    server: GatewayServer
    url: str
    port: int
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def connect(self, request: bytes = GET) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A client that has sent *request*; its buffer is small, so that it has read about what its test has."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=65_536)
        writer.write(request)
        self.writers.append(writer)
        return reader, writer

    @property
    def connections(self) -> int:
        return len(self.server.server_state.connections)


@asynccontextmanager
async def serving(app: ASGIApp, **limits: Any) -> AsyncGenerator[Served]:
    listener, ending = listen("127.0.0.1", 0), asyncio.Event()
    url = address_of(listener)
    server = GatewayServer(app, ending.is_set, limits=TransportLimits(**limits))
    server.config.timeout_graceful_shutdown = 0
    running = asyncio.create_task(server.serve(sockets=[listener]))
    served = Served(server, url, int(url.rsplit(":", 1)[1]))
    try:
        yield served
    finally:
        for writer in served.writers:
            writer.transport.abort()
        ending.set()
        await running


async def curl(*arguments: str) -> tuple[int, bytes]:
    process = await asyncio.create_subprocess_exec("curl", "-sS", *arguments, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(PATIENCE_SECONDS):
        output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output


async def rest_of(reader: asyncio.StreamReader) -> bytes:
    """What comes until the server ends the connection."""
    received = bytearray()
    async with asyncio.timeout(PATIENCE_SECONDS):
        try:
            while piece := await reader.read(MIB):
                received += piece
        except ConnectionResetError:
            pass
    return bytes(received)


async def head_of(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await reader.readuntil(b"\r\n\r\n")


async def eventually(condition: Callable[[], bool], what: str) -> None:
    for _ in range(int(PATIENCE_SECONDS * 100)):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"after {PATIENCE_SECONDS:g} s it is still not so that {what}")


def is_open(path: Path) -> bool:
    return str(path) in {os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")}  # noqa: PTH208


@pytest.fixture(scope="module")
def content() -> bytes:
    return os.urandom(LARGE_BYTES)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> Path:
    path = tmp_path_factory.mktemp("large") / "large.bin"
    path.write_bytes(content)
    return path


# Whole ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["path", "descriptor", "path, read", "descriptor, read", "object"])
async def test_a_response_is_the_leading_bytes_and_the_range_in_every_way(
    large: Path, content: bytes, way: str
) -> None:
    sources: dict[str, Callable[[], Path | int | Readable]] = {
        "path": lambda: large,
        "descriptor": lambda: os.open(large, os.O_RDONLY),
        "object": lambda: large.open("rb"),
    }
    sent, leading = Sent(), b"leading " * 100
    app: ASGIApp = application(sent, sources[way.removesuffix(", read")], LARGE_BYTES, leading)
    async with serving(without_kernel(app) if way.endswith(", read") else app) as served:
        code, output = await curl(f"{served.url}/file?offset=1234567")
        await sent.ended()
    content = leading + content[1_234_567:]
    assert (code, len(output)) == (0, len(content))
    assert hashlib.sha256(output).digest() == hashlib.sha256(content).digest()
    assert sent.ends == [True]
    assert sent.progress[0][0] == 0
    assert sent.beyond == len(content)
    assert all(before[1] == after[0] for before, after in pairwise(sent.progress))
    assert len(sent.progress) > 1
    assert (sent.logged[0]["status"], sent.logged[0]["bytes_sent"]) == (200, len(content))
    assert not is_open(large)


async def test_the_kernel_sends_what_lies_in_a_local_file(
    large: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_reads(*_: object) -> bytes:
        raise AssertionError("read")

    monkeypatch.setattr(os, "pread", no_reads)
    sent = Sent()
    async with serving(application(sent, lambda: large, LARGE_BYTES)) as served:
        code, output = await curl(f"{served.url}/file")
    assert (code, output == content) == (0, True)


@pytest.mark.parametrize(("offset", "count"), [(0, 0), (0, 1), (7, 4096), (LARGE_BYTES - 1, 1), (LARGE_BYTES, 0)])
async def test_a_connection_goes_on_after_any_range(large: Path, content: bytes, offset: int, count: int) -> None:
    sent = Sent()
    async with serving(application(sent, lambda: large, LARGE_BYTES)) as served:
        url = f"{served.url}/file?offset={offset}&count={count}"
        code, output = await curl("-w", "|%{num_connects}|", url, url, f"{served.url}/nothing")
        await sent.ended(2)
    content = content[offset : offset + count]
    assert code == 0
    assert output.startswith(content + b"|1|" + content + b'|0|{"error"')
    assert output.endswith(b"|0|")
    assert sent.ends == [True, True]


async def test_an_old_client_gets_the_range_too(large: Path, content: bytes) -> None:
    async with serving(application(Sent(), lambda: large, LARGE_BYTES)) as served:
        code, output = await curl("--http1.0", f"{served.url}/file")
    assert (code, output == content) == (0, True)


async def test_requests_sent_at_once_are_answered_one_after_the_other(large: Path, content: bytes) -> None:
    async with serving(application(Sent(), lambda: large, LARGE_BYTES)) as served:
        reader, _ = await served.connect(GET.replace(b"/file", b"/file?count=1000000") + GET)
        async with asyncio.timeout(PATIENCE_SECONDS):
            for size in (1_000_000, LARGE_BYTES):
                assert f"content-length: {size}\r\n".encode() in (await head_of(reader)).lower()
                assert await reader.readexactly(size) == content[:size]


async def test_bytes_and_ranges_may_alternate_in_a_body_of_unknown_length(large: Path, content: bytes) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        assert scope["extensions"] == {FILE_RANGE: {}}
        await send({"type": "http.response.start", "status": 200, "headers": []})
        with large.open("rb") as file:
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
            await send({"type": FILE_RANGE, "file": file, "offset": 5, "count": 20 * MIB, "more_body": True})
            await send({"type": "http.response.body", "body": b"middle", "more_body": True})
            await send({"type": FILE_RANGE, "file": file.fileno(), "offset": 0, "count": 9, "more_body": False})

    async with serving(app) as served:
        code, output = await curl("-w", "|%{num_connects}|", f"{served.url}/", f"{served.url}/")
    once = b"first" + content[5 : 5 + 20 * MIB] + b"middle" + content[:9]
    assert (code, output == once + b"|1|" + once + b"|0|") == (0, True)


async def test_a_range_beyond_what_was_announced_is_refused_before_a_byte_of_it(large: Path) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        with large.open("rb") as file:
            await send({"type": FILE_RANGE, "file": file, "offset": 0, "count": 6, "more_body": False})

    async with serving(app) as served:
        reader, _ = await served.connect()
        received = await rest_of(reader)
    assert received.partition(b"\r\n\r\n")[2] == b""


async def test_head_sends_nothing_and_completes_nothing(large: Path) -> None:
    sent = Sent()
    async with serving(application(sent, lambda: large, LARGE_BYTES)) as served:
        code, output = await curl("-w", "|%{num_connects}", "-I", f"{served.url}/file", f"{served.url}/file")
        await sent.ended(2)
    assert code == 0
    assert output.lower().count(f"content-length: {LARGE_BYTES}\r\n".encode()) == 2
    assert output.endswith(b"|0")
    assert (sent.ends, sent.progress) == ([False, False], [])
    assert [request["bytes_sent"] for request in sent.logged] == [0, 0]


async def test_the_server_sends_no_range_after_the_head(large: Path) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"6")]})
        with large.open("rb") as file:
            await send({"type": FILE_RANGE, "file": file, "offset": 0, "count": 6, "more_body": False})

    async with serving(app) as served:
        reader, _ = await served.connect(b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = await rest_of(reader)
    assert received.startswith(b"HTTP/1.1 200 ")
    assert received.endswith(b"\r\n\r\n")


# Broken off -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["kernel", "read"])
async def test_a_client_that_goes_ends_the_response(large: Path, way: str) -> None:
    sent = Sent()
    app: ASGIApp = application(sent, lambda: large, LARGE_BYTES)
    async with serving(without_kernel(app) if way == "read" else app) as served:
        reader, writer = await served.connect()
        await reader.readexactly(1000)
        assert is_open(large)
        writer.transport.abort()
        await sent.ended()
        assert sent.ends == [False]
        assert sent.beyond < LARGE_BYTES
        assert not is_open(large)
        if way == "kernel":
            assert sent.logged[0]["bytes_sent"] == sent.beyond
        await eventually(lambda: served.connections == 0, "the connection is closed")


@pytest.mark.parametrize("way", ["kernel", "read"])
async def test_an_error_while_progress_is_noted_breaks_the_connection(large: Path, way: str) -> None:
    class Refusing(Sent):
        def note_progress(self, first_byte: int, beyond: int) -> None:
            super().note_progress(first_byte, beyond)
            raise ValueError

    sent = Refusing()
    app: ASGIApp = application(sent, lambda: large, LARGE_BYTES)
    async with serving(without_kernel(app) if way == "read" else app) as served:
        reader, _ = await served.connect()
        assert (await head_of(reader)).startswith(b"HTTP/1.1 200 ")
        assert len(await rest_of(reader)) < LARGE_BYTES
        await sent.ended()
    assert sent.ends == [False]


async def test_a_client_that_resets_the_connection_while_bytes_flow_ends_the_response(large: Path) -> None:
    sent = Sent()
    async with serving(application(sent, lambda: large, LARGE_BYTES)) as served:
        with socket.create_connection(("127.0.0.1", served.port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await asyncio.to_thread(client.sendall, GET)
            await asyncio.to_thread(client.recv, 100_000)
        await sent.ended()
    assert sent.ends == [False]


async def test_what_waits_for_a_client_that_hangs_up_was_not_sent(large: Path) -> None:
    """The kernel takes MiBs for a client that reads nothing; of these it gets what fits into its buffer."""
    sent = Sent()
    async with serving(application(sent, lambda: large, LARGE_BYTES)) as served:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
            await asyncio.to_thread(client.connect, ("127.0.0.1", served.port))
            await asyncio.to_thread(client.sendall, GET)

            def taken() -> int:
                sendings = [getattr(one, "_file_sending", None) for one in served.server.server_state.connections]
                return sum(one.sent_bytes for one in sendings if one is not None)

            await eventually(lambda: taken() > MIB, "the kernel has taken more than the client can hold")
        await sent.ended()
    assert sent.ends == [False]
    assert sent.beyond <= MIB // 4
    assert sent.logged[0]["bytes_sent"] == sent.beyond


@pytest.mark.parametrize("way", ["kernel", "read"])
async def test_a_reader_that_stops_is_aborted(large: Path, way: str, caplog: pytest.LogCaptureFixture) -> None:
    sent = Sent()
    app: ASGIApp = application(sent, lambda: large, LARGE_BYTES)
    caplog.set_level(logging.INFO, logger="waybill.gateway.access")
    async with serving(without_kernel(app) if way == "read" else app, reader_silence_seconds=0.5) as served:
        reader, _ = await served.connect()
        head = await head_of(reader)
        await sent.ended()
        assert (sent.ends, is_open(large)) == ([False], False)
        assert any(getattr(record, "why", "") == "the client does not read the response" for record in caplog.records)
        received = await rest_of(reader)
    assert f"content-length: {LARGE_BYTES}\r\n".encode() in head.lower()
    assert len(received) < LARGE_BYTES


async def test_clients_that_do_not_read_keep_no_one_from_reading(large: Path, content: bytes) -> None:
    """More of them than there are threads to send."""
    sent = Sent()
    app = application(sent, lambda: large, LARGE_BYTES)
    async with serving(app, reader_silence_seconds=math.inf, pace_window_seconds=math.inf) as served:
        for reader, _ in [await served.connect() for _ in range(40)]:
            await reader.readexactly(1000)
        code, output = await curl(f"{served.url}/file")
        assert (code, output == content) == (0, True)
        await sent.ended()
        assert sent.ends == [True]
    assert sorted(sent.ends) == [False] * 40 + [True]


@pytest.mark.parametrize("way", ["kernel", "read"])
async def test_a_file_that_becomes_shorter_breaks_the_connection(tmp_path: Path, way: str) -> None:
    path, sent = tmp_path / "file", Sent()
    path.write_bytes(bytes(LARGE_BYTES))
    app: ASGIApp = application(sent, lambda: path, LARGE_BYTES)
    async with serving(without_kernel(app) if way == "read" else app) as served:
        reader, _ = await served.connect()
        head = await head_of(reader)
        os.truncate(path, 100)
        received = await rest_of(reader)
        await sent.ended()
    assert head.startswith(b"HTTP/1.1 200 ")
    assert len(received) < LARGE_BYTES
    assert sent.ends == [False]


@pytest.mark.parametrize("way", ["path", "path, read", "object"])
async def test_a_file_that_is_too_short_from_the_start_is_an_error_response(tmp_path: Path, way: str) -> None:
    path, sent = tmp_path / "file", Sent()
    path.write_bytes(b"four")
    app: ASGIApp = application(sent, lambda: io.BytesIO(b"four") if way == "object" else path, 5)
    async with serving(without_kernel(app) if way.endswith(", read") else app) as served:
        code, output = await curl("-w", "|%{http_code}", f"{served.url}/file")
    assert code == 0
    assert output.startswith(b'{"error":')
    assert output.endswith(b"|500")
    assert sent.ends == [False]


async def test_a_missing_file_is_an_error_response(tmp_path: Path) -> None:
    sent = Sent()
    async with serving(application(sent, lambda: tmp_path / "missing", 5)) as served:
        code, output = await curl("-w", "|%{http_code}", f"{served.url}/file")
    assert (code, output[-4:]) == (0, b"|500")
    assert sent.ends == [False]


async def test_an_application_that_is_cancelled_in_a_range_cannot_answer_on_as_if_nothing_was(large: Path) -> None:
    seen: list[BaseException] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        length = (b"content-length", str(LARGE_BYTES).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        with large.open("rb") as file:
            try:
                async with asyncio.timeout(0.2):
                    await send({"type": FILE_RANGE, "file": file, "offset": 0, "count": LARGE_BYTES})
            except TimeoutError as exc:
                seen.append(exc)
            try:
                await send({"type": FILE_RANGE, "file": file, "offset": 0, "count": 0})
            except ClientGone as exc:
                seen.append(exc)

    async with serving(app) as served:
        reader, _ = await served.connect()
        await head_of(reader)
        await eventually(lambda: len(seen) == 2, "it has noticed")
        assert len(await rest_of(reader)) < LARGE_BYTES
    assert isinstance(seen[0], TimeoutError)


class ServerByHand(GatewayServer):
    """A server whose clock for clients is set by the test."""

    now = 0.0
    ticks = 0

    def served_seconds(self) -> float:
        return self.now

    async def passed(self, seconds: float) -> None:
        """Let *seconds* pass, and every client be checked."""
        self.now += seconds
        ticks = self.ticks
        await eventually(lambda: self.ticks > ticks + 1, "the limits were checked")

    async def on_tick(self, counter: int) -> bool:
        ending = await super().on_tick(counter)
        self.ticks += 1
        return ending


@pytest.mark.parametrize("way", ["kernel", "read"])
async def test_a_slow_reader_is_served_although_the_kernel_has_room_only_now_and_then(large: Path, way: str) -> None:
    """40 kB a second fill the room that the kernel waits for, a third of its buffer, in more than ten seconds."""
    sent, listener, ending = Sent(), listen("127.0.0.1", 0), asyncio.Event()
    app: ASGIApp = application(sent, lambda: large, LARGE_BYTES)
    limits = TransportLimits(reader_silence_seconds=10, pace_window_seconds=10, pace_bytes=50_000)
    server = ServerByHand(without_kernel(app) if way == "read" else app, ending.is_set, limits=limits)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, listener.getsockname())
        await loop.sock_sendall(client, GET)
        for _ in range(15):
            got = 0
            while got < 40_000:
                got += len(await loop.sock_recv(client, 40_000 - got))
            await server.passed(1)
        assert sent.ends == []
        # The kernel may still deliver what was on its way.
        while not sent.ends:
            await server.passed(10)
        await sent.ended()
    ending.set()
    await running
    assert sent.ends == [False]


# Shutdown -------------------------------------------------------------------------------------------------------------


async def test_a_range_under_way_is_sent_to_its_end_at_shutdown(large: Path, content: bytes) -> None:
    sent = Sent()
    async with serving(application(sent, lambda: large, LARGE_BYTES)) as served:
        served.server.config.timeout_graceful_shutdown = int(PATIENCE_SECONDS)
        reader, _ = await served.connect()
        await head_of(reader)
        assert sent.ends == []
        served.server.should_exit = True
        assert await rest_of(reader) == content
    assert sent.ends == [True]


async def test_a_range_that_takes_too_long_is_broken_off_at_shutdown(large: Path) -> None:
    sent = Sent()
    async with serving(application(sent, lambda: large, LARGE_BYTES)) as served:
        reader, _ = await served.connect()
        await head_of(reader)
        served.server.should_exit = True
        await sent.ended()
        assert (sent.ends, is_open(large)) == ([False], False)
        assert len(await rest_of(reader)) < LARGE_BYTES
