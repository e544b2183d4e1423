"""Clients that drag out, cut short or confuse HTTP itself: raw sockets against the gateway's server.

Times are short here; what they are by default is checked at the end.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from tests.gateway import running_gateway
from tests.stack_driver import PATIENCE_SECONDS
from waybill.gateway.resources import MOST_UPLOADS
from waybill.gateway.server.client_limits import MinimumThroughput, TransportLimits
from waybill.gateway.server.protocol import is_not_duplicate
from waybill.gateway.server.request_head import MAX_FIELDS, MAX_HEAD_BYTES, MAX_LINE_BYTES
from waybill.gateway.server.server import GatewayServer
from waybill.process.gateway_socket import address_of, listen

MIB = 1024 * 1024
GET = b"GET /count HTTP/1.1\r\nHost: x\r\n\r\n"


class Application:
    """Counts bodies, refuses, sends without end, or holds a request; notes what became of each."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, int | str]] = []
        self.under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.under_way += 1
        try:
            await getattr(self, scope["path"].strip("/"))(scope, receive, send)
        finally:
            self.under_way -= 1

    async def count(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The number of bytes of the body."""
        received = 0
        try:
            async for piece in Request(scope, receive).stream():
                received += len(piece)
        except ClientDisconnect:
            self.seen.append((scope["method"], "disconnected after", received))
            return
        self.seen.append((scope["method"], "whole", received))
        await answer(send, 200, str(received).encode())

    async def refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Does not look at the body."""
        del receive
        self.seen.append((scope["method"], "refused", scope["path"]))
        await answer(send, 403, b"no")

    async def pour(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A MiB, and another, for as long as somebody takes them."""
        gone = asyncio.create_task(until_gone(receive))
        length = (b"content-length", str(1024 * MIB).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        sent = 0
        while not gone.done() and sent < 1024:
            await send({"type": "http.response.body", "body": bytes(MIB), "more_body": True})
            sent += 1
        gone.cancel()
        self.seen.append((scope["method"], "poured MiB", sent))

    async def hold(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Works until nobody waits any more."""
        await until_gone(receive)
        self.seen.append((scope["method"], "held", "until the end"))
        del send


async def answer(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@dataclass
class Client:
    """A bare connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    began: float = field(default_factory=time.monotonic)

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def rest(self) -> bytes:
        """What comes until the server ends the connection."""
        received = bytearray()
        async with asyncio.timeout(PATIENCE_SECONDS):
            try:
                while piece := await self.reader.read(MIB):
                    received += piece
            except ConnectionResetError:
                pass
        self.writer.close()
        return bytes(received)

    async def one_answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer; the connection may go on."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = await self.reader.readuntil(b"\r\n\r\n")
            status, headers = read_head(head)
            body = await self.reader.readexactly(int(headers.get("content-length", 0))) if status >= 200 else b""
        return status, headers, body

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began


@dataclass
class Served:
    application: Application
    server: GatewayServer
    port: int
    clients: list[Client] = field(default_factory=list)

    async def connect(self) -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=MIB)
        self.clients.append(Client(reader, writer))
        return self.clients[-1]


Serve = Callable[..., Awaitable[Served]]


@asynccontextmanager
async def serving(**limits: Any) -> AsyncGenerator[Served]:
    listener, ending, application = listen("127.0.0.1", 0), asyncio.Event(), Application()
    port = int(address_of(listener).rsplit(":", 1)[1])
    server = GatewayServer(application, ending.is_set, limits=TransportLimits(**{"linger_seconds": 0.3, **limits}))
    server.config.timeout_graceful_shutdown = 0
    running = asyncio.create_task(server.serve(sockets=[listener]))
    served = Served(application, server, port)
    try:
        yield served
    finally:
        for client in served.clients:
            client.writer.transport.abort()
        ending.set()
        await running


@pytest.fixture
async def serve() -> AsyncGenerator[Serve]:
    async with AsyncExitStack() as until_done:

        async def begin(**limits: Any) -> Served:
            return await until_done.enter_async_context(serving(**limits))

        yield begin


def read_head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    assert first.startswith("HTTP/1.1 ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(first.split(" ")[1]), headers


def only_error(received: bytes) -> tuple[int, str]:
    """Status and code of one answer in the shape of all errors, with which the connection ends."""
    head, _, body = received.partition(b"\r\n\r\n")
    status, headers = read_head(head)
    assert headers["connection"] == "close"
    assert headers["content-type"] == "application/json"
    assert headers["content-length"] == str(len(body)), "nothing comes after it"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "private, no-store"
    assert len(headers["x-request-id"]) == 32
    assert "server" not in headers
    error = json.loads(body)["error"]
    assert error.keys() == {"code", "message", "detail"}
    return status, error["code"]


async def eventually(condition: Callable[[], bool], what: str) -> None:
    for _ in range(int(PATIENCE_SECONDS * 100)):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"after {PATIENCE_SECONDS:g} s it is still not so that {what}")


# Heads that never come ------------------------------------------------------------------------------------------------


async def test_whoever_sends_no_whole_head_in_time_is_told_and_cut_off(serve: Serve) -> None:
    served = await serve(head_seconds=0.4)
    took: list[float] = []

    async def drip(client: Client) -> None:
        for byte in b"GET /count HTTP/1.1\r\nHost: x\r\n" + b"X-A: b\r\n" * 1000:
            if client.reader.at_eof() or client.writer.is_closing():
                return
            client.send(bytes([byte]))
            await asyncio.sleep(0.02)

    async def dragged_out(beginning: bytes, *, after_a_request: bool, and_on: bool = False) -> None:
        began, client = served.server.served_seconds(), await served.connect()
        if after_a_request:
            client.send(GET)
            assert (await client.one_answer())[0] == 200
        client.send(beginning)
        dripping = asyncio.create_task(drip(client) if and_on else asyncio.sleep(0))
        assert only_error(await client.rest()) == (408, "RequestTimeout")
        took.append(served.server.served_seconds() - began)
        await dripping

    beginnings = (b"G", b"GET /count HTTP/1.1\r\n", b"GET /count HTTP/1.1\r\nHost: x\r\n", GET[:-1])
    await asyncio.gather(
        dragged_out(b"", after_a_request=False),
        *(dragged_out(b"", after_a_request=after, and_on=True) for after in (False, True)),
        *(dragged_out(beginning, after_a_request=after) for beginning in beginnings for after in (False, True)),
    )
    await eventually(lambda: not served.server.server_state.connections, "no connection is left")
    assert max(took) < 9, "by the limit of this test, not by the usual one"


async def test_a_connection_without_a_further_request_ends_silently(serve: Serve) -> None:
    served = await serve(idle_seconds=1, head_seconds=5)
    began, client = served.server.served_seconds(), await served.connect()
    client.send(GET)
    assert (await client.one_answer())[0] == 200
    assert await client.rest() == b""
    assert client.seconds > 0.8
    assert served.server.served_seconds() - began < 25, "by the limit of this test, not by the usual one"


# Bodies that never come -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 1000000", b"Transfer-Encoding: chunked"], ids=["length", "chunks"]
)
async def test_a_body_that_stops_is_told_and_the_application_learns_it(serve: Serve, framing: bytes) -> None:
    served = await serve(body_silence_seconds=0.4)
    client = await served.connect()
    client.send(b"POST /count HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n" + b"3e8\r\n" + b"x" * 1000)
    assert only_error(await client.rest()) == (408, "RequestTimeout")
    await eventually(lambda: bool(served.application.seen), "the application has noticed")
    ((method, what, received),) = served.application.seen
    assert (method, what) == ("POST", "disconnected after")
    assert 1000 <= int(received) <= 1005
    assert served.application.under_way == 0


async def test_a_body_that_drips_is_too_slow_in_the_end(serve: Serve) -> None:
    served = await serve(body_silence_seconds=0.5, pace_window_seconds=1.0, pace_bytes=5000)
    client = await served.connect()
    client.send(b"POST /count HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")

    async def drip() -> None:
        while not client.reader.at_eof() and not client.writer.is_closing():
            client.send(b"x")
            await asyncio.sleep(0.05)

    dripping = asyncio.create_task(drip())
    assert only_error(await client.rest()) == (408, "RequestTimeout")
    await dripping
    await eventually(lambda: bool(served.application.seen), "the application has noticed")
    assert served.application.seen[0][1] == "disconnected after"


async def test_time_in_which_the_gateway_stands_still_is_not_the_clients_fault(serve: Serve) -> None:
    served = await serve(head_seconds=1.0, body_silence_seconds=1.0, pace_window_seconds=1.0)

    async def stand_still() -> None:
        await asyncio.sleep(0.05)  # until its limits are watched
        time.sleep(1.5)  # noqa: ASYNC251 - the server runs in this loop too
        await asyncio.sleep(0.25)

    client = await served.connect()
    await stand_still()
    client.send(b"POST /count HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello")
    await stand_still()
    client.send(b"world")
    assert (await client.one_answer())[2] == b"10"


async def test_a_slow_but_steady_body_arrives(serve: Serve) -> None:
    # For longer than either of them, and several times as much as is wanted.
    served = await serve(body_silence_seconds=1.5, pace_window_seconds=1.0, pace_bytes=3000)
    client = await served.connect()
    client.send(b"POST /count HTTP/1.1\r\nHost: x\r\nContent-Length: 40000\r\n\r\n")
    for _ in range(20):
        client.send(b"x" * 2000)
        await asyncio.sleep(0.1)
    assert (await client.one_answer())[2] == b"40000"


async def test_an_application_that_takes_its_time_is_not_the_clients_fault(serve: Serve) -> None:
    served = await serve(
        head_seconds=0.3, body_silence_seconds=0.3, reader_silence_seconds=0.3, pace_window_seconds=0.4
    )
    client = await served.connect()
    client.send(b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n")
    waiting_to_send = await served.connect()
    waiting_to_send.send(b"POST /hold HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello")
    await eventually(lambda: served.application.under_way == 2, "both have begun")
    await asyncio.sleep(1.0)
    assert served.application.under_way == 2
    assert served.application.seen == []


async def test_a_body_in_chunks_of_a_byte_is_refused_before_it_costs_much(serve: Serve) -> None:
    served = await serve()
    chunked = b"POST /count HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    client = await served.connect()
    client.send(chunked + b"1\r\nx\r\n" * 100_000)
    assert only_error(await client.rest()) == (400, "ChunksTooSmall")
    await eventually(lambda: bool(served.application.seen), "the application has noticed")
    assert served.application.seen[0][1] == "disconnected after"
    for chunk, count in ((b"1\r\nx\r\n", 1000), (b"28\r\n" + b"x" * 40 + b"\r\n", 5000)):
        client = await served.connect()
        client.send(chunked + chunk * count + b"0\r\n\r\n")
        assert (await client.one_answer())[2] == str(count * chunk.count(b"x")).encode()


async def test_a_client_that_breaks_off_its_body_is_seen_by_the_application(serve: Serve) -> None:
    served = await serve()
    client = await served.connect()
    client.send(b"POST /count HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 100_000)
    await eventually(lambda: served.application.under_way == 1, "it has begun")
    client.writer.transport.abort()
    await eventually(lambda: bool(served.application.seen), "the application has noticed")
    assert served.application.seen[0][:2] == ("POST", "disconnected after")


# Answers that nobody takes --------------------------------------------------------------------------------------------


async def test_an_answer_that_nobody_takes_is_broken_off(serve: Serve) -> None:
    served = await serve(reader_silence_seconds=0.5)
    client = await served.connect()
    client.send(b"GET /pour HTTP/1.1\r\nHost: x\r\n\r\n")
    await eventually(lambda: bool(served.application.seen), "the application has noticed")
    ((_, what, sent),) = served.application.seen
    assert what == "poured MiB" and int(sent) < 200
    await eventually(lambda: not served.server.server_state.connections, "the connection is gone")


async def test_an_answer_that_is_sipped_is_broken_off(serve: Serve) -> None:
    served = await serve(reader_silence_seconds=10, pace_window_seconds=1.0, pace_bytes=50 * MIB)
    client = await served.connect()
    client.send(b"GET /pour HTTP/1.1\r\nHost: x\r\n\r\n")

    async def sip() -> None:
        while not client.reader.at_eof():
            await client.reader.read(50_000)
            await asyncio.sleep(0.02)

    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        async with asyncio.timeout(PATIENCE_SECONDS):
            await sip()
            raise asyncio.IncompleteReadError(b"", None)
    await eventually(lambda: bool(served.application.seen), "the application has noticed")


async def test_a_file_is_let_go_of_when_its_reader_does_not_read(database_url: str, tmp_path: Any) -> None:
    limits = TransportLimits(reader_silence_seconds=0.5)
    async with running_gateway(database_url, tmp_path / "home", limits=limits) as gateway:
        artifact = await gateway.put(os.urandom(MIB) * 64)
        stored = str(gateway.stored(artifact))

        def is_open() -> bool:
            return stored in {os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")}  # noqa: PTH208

        url = httpx.URL(gateway.link(artifact))
        reader, writer = await asyncio.open_connection("127.0.0.1", url.port, limit=65_536)
        writer.write(b"GET " + url.raw_path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readexactly(1000)
        assert is_open()
        await eventually(lambda: not is_open(), "the file is closed")
        with pytest.raises(asyncio.IncompleteReadError):
            await reader.readexactly(artifact.size)
        writer.close()


# Too many -------------------------------------------------------------------------------------------------------------


async def test_whoever_comes_when_all_connections_are_in_use_is_told_to_come_again(serve: Serve) -> None:
    served = await serve(connections=3)
    for number in range(3):
        (await served.connect()).send(b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n")
        await eventually(lambda number=number: served.application.under_way == number + 1, "it has begun")
    for _ in range(3):
        late = await served.connect()
        late.send(GET)
        received = await late.rest()
        assert only_error(received) == (503, "TooManyConnections")
        assert b"\r\nretry-after: 2\r\n" in received.lower()
    assert served.application.under_way == 3
    served.clients[0].writer.transport.abort()
    await eventually(lambda: served.application.under_way == 2, "one has gone")
    client = await served.connect()
    client.send(GET)
    assert (await client.one_answer())[0] == 200


async def test_connections_that_are_only_held_open_keep_nobody_out(serve: Serve) -> None:
    served = await serve(connections=20)
    busy = await served.connect()
    busy.send(b"POST /count HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel")
    await eventually(lambda: served.application.under_way == 1, "it has begun")
    for number in range(100):
        holding = await served.connect()
        if number % 2:
            holding.send(b"GET /count HTTP/1.1\r\nHost:")
        client = await served.connect()
        client.send(GET)
        assert (await client.one_answer())[0] == 200
        assert len(served.server.server_state.connections) <= 20
    busy.send(b"lo")
    assert (await busy.one_answer())[2] == b"5", "what is under way goes on"


# Refused before the body ----------------------------------------------------------------------------------------------


async def test_who_asks_first_is_refused_before_the_body_or_told_to_go_on(serve: Serve) -> None:
    served = await serve(body_silence_seconds=0.3)
    asking = b" HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    refused = await served.connect()
    refused.send(b"POST /refuse" + asking)
    received = await refused.rest()
    assert received.startswith(b"HTTP/1.1 403 ") and b"100 Continue" not in received
    assert b"connection: close" in received.lower(), "it cannot be told whether the body comes"
    welcome = await served.connect()
    welcome.send(b"POST /count" + asking)
    assert (await welcome.one_answer())[0] == 100
    welcome.send(b"hello")
    assert (await welcome.one_answer())[2] == b"5"
    busy = await served.connect()
    busy.send(b"POST /hold" + asking.replace(b"5", b"0"))
    await asyncio.sleep(0.6)
    assert not busy.reader.at_eof(), "who waits to be asked is not late"


async def test_who_is_refused_while_it_sends_gets_to_read_why(serve: Serve) -> None:
    served = await serve(linger_seconds=15.0)
    size = 30 * MIB
    client = await served.connect()
    client.send(b"POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
    for _ in range(20):  # more than fits into the buffers of the sockets
        client.send(bytes(MIB))
        await client.writer.drain()
    status, headers, body = await client.one_answer()
    assert (status, headers["connection"], body) == (403, "close", b"no")
    client.send(bytes(10 * MIB) + GET)
    assert await client.rest() == b"", "nothing after it is a request"


async def test_who_is_refused_and_sends_on_for_ever_is_cut_off(serve: Serve) -> None:
    served = await serve(linger_seconds=0.7)  # by a clock that may be a tick behind
    client = await served.connect()
    client.send(b"POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000000\r\n\r\n")

    async def send_on() -> None:
        while True:
            client.send(bytes(MIB))
            await client.writer.drain()

    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        async with asyncio.timeout(PATIENCE_SECONDS):
            await send_on()
    assert 0.4 < client.seconds < PATIENCE_SECONDS


async def test_an_upload_is_refused_before_its_body(database_url: str, tmp_path: Any) -> None:
    async with running_gateway(database_url, tmp_path / "home", max_upload_mib=1) as gateway:
        writer, reader = await gateway.headers("write"), await gateway.headers("read")
        port = int(httpx.URL(gateway.url).port or 0)

        async def ask(headers: dict[str, str], size: int, path: str = "/api/v1/files/upload") -> int:
            client = Client(*await asyncio.open_connection("127.0.0.1", port))
            form = {"Content-Type": "multipart/form-data; boundary=x", "Content-Length": str(size)}
            lines = [f"{name}: {value}" for name, value in {**form, **headers}.items()]
            first = [f"POST {path} HTTP/1.1", "Host: x", "Expect: 100-continue"]
            client.send("\r\n".join([*first, *lines, "", ""]).encode())
            status, answered, _ = await client.one_answer()
            assert status == 100 or (answered["connection"] == "close" and await client.rest() == b"")
            client.writer.transport.abort()
            return status

        assert await ask(writer, 500_000) == 100
        assert await ask(writer, 10**12) == 413
        assert await ask({**writer, "Content-Type": "text/plain"}, 500_000) == 415
        for path in ("/api/v1/files/upload", "/api/v1/ingest/file"):
            assert await ask({}, 500_000, path) == 401
            assert await ask({"Authorization": "Bearer nonsense"}, 500_000, path) == 401
            assert await ask(reader, 500_000, path) == 403
        assert await ask(writer, 500_000, "/api/v1/nowhere") == 404
        async with AsyncExitStack() as until_done:
            for number in range(MOST_UPLOADS):
                taken = gateway.resources.uploads.place(f"key {number}", wait_seconds=PATIENCE_SECONDS)
                await until_done.enter_async_context(taken)
            assert await ask(writer, 500_000) == 503


async def test_an_upload_that_stops_is_undone(database_url: str, tmp_path: Any) -> None:
    limits = TransportLimits(body_silence_seconds=0.5)
    async with running_gateway(database_url, tmp_path / "home", limits=limits) as gateway:
        key = (await gateway.headers("write"))["Authorization"]
        client = Client(*await asyncio.open_connection("127.0.0.1", int(httpx.URL(gateway.url).port or 0)))
        client.send(
            b"POST /api/v1/files/upload HTTP/1.1\r\nHost: x\r\nAuthorization: " + key.encode() + b"\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 99999999\r\n\r\n"
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n' + bytes(5 * MIB)
        )
        assert only_error(await client.rest()) == (408, "RequestTimeout")

        async def rows() -> int:
            async with gateway.custody.catalog.connection() as connection:
                found = await (await connection.execute("select count(*) as rows from artifacts")).fetchone()
            return int((found or {})["rows"])

        async with asyncio.timeout(PATIENCE_SECONDS):
            while await rows():  # noqa: ASYNC110 - it is in the database
                await asyncio.sleep(0.01)
        assert list(gateway.custody.backend.paths()) == []
        assert list(gateway.custody.backend.leftovers()) == []


# One request after the other ------------------------------------------------------------------------------------------


async def test_requests_that_are_sent_ahead_are_answered_in_order(serve: Serve) -> None:
    served = await serve()
    client = await served.connect()
    bodies = [b"x" * number for number in range(50)]
    client.send(
        b"".join(b"POST /count HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body for body in bodies)
        + b"GET /count HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        + GET
    )
    answers = [(await client.one_answer())[2] for _ in range(51)]
    assert answers == [*(str(number).encode() for number in range(50)), b"0"]
    assert await client.rest() == b"", "nothing counts after the last"
    assert served.application.under_way == 0


# What is no request ---------------------------------------------------------------------------------------------------


def post(headers: bytes, body: bytes = b"hello", *, first: bytes = b"POST /count HTTP/1.1") -> bytes:
    return first + b"\r\n" + headers + b"\r\n\r\n" + body


HOST = b"Host: x\r\n"
MALFORMED: dict[str, tuple[bytes, int]] = {
    "nothing like a request": (b"hello\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "HTTP/3.0": (b"GET /count HTTP/3.0\r\nHost: x\r\n\r\n", 505),
    "HTTP/0.9": (b"GET /count\r\n\r\n", 400),
    "a URL of another scheme's form": (b"GET http:/count HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a URL without a host": (b"GET http:///count HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a URL with a user": (b"GET http://a:b@x/count HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a URL without Host": (b"GET http://x/count HTTP/1.1\r\n\r\n", 400),
    "an empty line of LF first": (b"\n" + GET, 400),
    "no host": (b"GET /count HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET /count HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
    "a space before the colon": (post(HOST + b"Content-Length : 5"), 400),
    "a header without a colon": (post(HOST + b"Content-Length"), 400),
    "a header without a name": (post(HOST + b": 5"), 400),
    "NUL in a header": (post(HOST + b"X: a\0b"), 400),
    "CR in a header": (post(HOST + b"X: a\rb\r\nContent-Length: 5"), 400),
    "CR in the first line": (b"GET /count\rX HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "lines end with LF": (b"GET /count HTTP/1.1\nHost: x\n\n", 400),
    "one line ends with LF": (b"GET /count HTTP/1.1\r\nHost: x\nX: y\r\n\r\n", 400),
    "the head ends with LF LF": (b"GET /count HTTP/1.1\r\nHost: x\n\n", 400),
    "a folded header": (post(HOST + b"X: a\r\n b\r\nContent-Length: 5"), 400),
    "a folded length": (post(HOST + b"Content-Length:\r\n 5"), 400),
    "a folded first header": (b"GET /count HTTP/1.1\r\n Host: x\r\n\r\n", 400),
    "two lengths": (post(HOST + b"Content-Length: 5\r\nContent-Length: 6"), 400),
    "the same length twice": (post(HOST + b"Content-Length: 5\r\nContent-Length: 5"), 400),
    "two lengths in one": (post(HOST + b"Content-Length: 5, 5"), 400),
    "a negative length": (post(HOST + b"Content-Length: -5"), 400),
    "a length with a sign": (post(HOST + b"Content-Length: +5"), 400),
    "a length in hexadecimal": (post(HOST + b"Content-Length: 0x5"), 400),
    "no length": (post(HOST + b"Content-Length: "), 400),
    "a length beyond reason": (post(HOST + b"Content-Length: " + b"9" * 5000), 400),
    "a length and chunks": (post(HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"), 400),
    "chunks and a length": (post(HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 5", b"0\r\n\r\n"), 400),
    "chunks twice": (post(HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"), 501),
    "chunks of chunks": (post(HOST + b"Transfer-Encoding: chunked, chunked", b"0\r\n\r\n"), 501),
    "another encoding": (post(HOST + b"Transfer-Encoding: gzip, chunked", b"0\r\n\r\n"), 501),
    "an encoding that only looks like chunks": (post(HOST + b"Transfer-Encoding: xchunked", b"0\r\n\r\n"), 501),
    "chunks with HTTP/1.0": (
        post(HOST + b"Transfer-Encoding: chunked", b"0\r\n\r\n", first=b"POST /count HTTP/1.0"),
        400,
    ),
    "a chunk without a size": (post(HOST + b"Transfer-Encoding: chunked", b"\r\n\r\n"), 400),
    "a chunk with a sign": (post(HOST + b"Transfer-Encoding: chunked", b"+5\r\nhello\r\n0\r\n\r\n"), 400),
    "a chunk with 0x": (post(HOST + b"Transfer-Encoding: chunked", b"0x5\r\nhello\r\n0\r\n\r\n"), 400),
    "a chunk that is longer than it says": (
        post(HOST + b"Transfer-Encoding: chunked", b"3\r\nhello\r\n0\r\n\r\n"),
        400,
    ),
    "a chunk whose end is LF": (post(HOST + b"Transfer-Encoding: chunked", b"5\r\nhello\n0\r\n\r\n"), 400),
    "a chunk's size beyond reason": (post(HOST + b"Transfer-Encoding: chunked", b"f" * 30 + b"\r\nhello"), 400),
    "a chunk's size without an end": (post(HOST + b"Transfer-Encoding: chunked", b"1;" + b"x" * 100_000), 400),
    "a first line without an end": (b"GET /" + b"a" * (MAX_LINE_BYTES + 10), 414),
    "a first line that is too long": (b"GET /" + b"a" * MAX_LINE_BYTES + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    "a header that is too long": (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n", 431),
    "a header without an end": (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * (MAX_HEAD_BYTES + 10), 431),
    "too many headers": (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * MAX_FIELDS + b"\r\n", 431),
    "headers without an end": (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * MAX_FIELDS, 431),
}


@pytest.mark.parametrize("in_pieces", [False, True], ids=["at once", "in pieces"])
async def test_what_is_no_request_is_refused_and_nothing_after_it_counts(serve: Serve, in_pieces: bool) -> None:
    served = await serve()
    found: dict[str, int] = {}
    for name, (sent, _) in MALFORMED.items():
        client = await served.connect()
        smuggled = b"" if "without an end" in name or name == "TLS" else b"GET /refuse HTTP/1.1\r\nHost: x\r\n\r\n"
        if in_pieces:
            for piece in (sent[: len(sent) // 2], sent[len(sent) // 2 :], smuggled):
                client.send(piece)
                await asyncio.sleep(0.01)
        else:
            client.send(sent + smuggled)
        found[name], _ = only_error(await client.rest())
    assert found == {name: status for name, (_, status) in MALFORMED.items()}
    assert not [seen for seen in served.application.seen if seen[1] in {"whole", "refused"}]
    await eventually(lambda: served.application.under_way == 0, "nothing is at work")


async def test_what_looks_odd_and_is_allowed_is_answered(serve: Serve) -> None:
    served = await serve()
    fields = b"".join(b"X-%d: y\r\n" % number for number in range(MAX_FIELDS - 2))
    allowed = {
        "in single bytes": (b"POST /count HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", b"5"),
        "chunks with extensions and trailers": (
            post(HOST + b"Transfer-Encoding: chunked", b"5;a=b\r\nhello\r\nA\r\n0123456789\r\n0\r\nX: y\r\n\r\n"),
            b"15",
        ),
        "Chunked": (post(HOST + b"transfer-ENCODING: Chunked", b"5\r\nhello\r\n0\r\n\r\n"), b"5"),
        "as many headers as may be": (b"GET /count HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n", b"0"),
        "an empty line first": (b"\r\n" + GET, b"0"),
        "empty lines first": (b"\r\n\r\n\r\n" + GET, b"0"),
        "an empty line after a body": (post(HOST + b"Content-Length: 5", b"hello\r\n"), b"5"),
        "a URL": (b"GET http://x/count HTTP/1.1\r\nHost: x\r\n\r\n", b"0"),
        "a URL of another host": (b"GET HTTPS://y.example:1/count?a=b HTTP/1.1\r\nHost: x\r\n\r\n", b"0"),
        "percent-encoded letters": (b"GET /%63oun%74 HTTP/1.1\r\nHost: x\r\n\r\n", b"0"),
        "names in lower case": (b"POST /count HTTP/1.1\r\nhost:x\r\ncontent-length:5\r\n\r\nhello", b"5"),
        "a length of 0": (b"DELETE /count HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", b"0"),
        "GET with a body": (b"GET /count HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", b"5"),
        "an offer of HTTP/2": (
            b"GET /count HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
            b"0",
        ),
    }
    for name, (request, expected) in allowed.items():
        client = await served.connect()
        for _ in range(2):  # the connection goes on
            for piece in [bytes([byte]) for byte in request] if name == "in single bytes" else [request]:
                client.send(piece)
                await asyncio.sleep(0)
            status, headers, body = await client.one_answer()
            assert (name, status, body, headers.get("connection")) == (name, 200, expected, None)
    for last in (b"GET /count HTTP/1.0\r\n\r\n", GET[:-2] + b"Connection: Close, keep-alive\r\n\r\n"):
        old = await served.connect()
        old.send(last)
        assert (await old.rest()).endswith(b"\r\n\r\n0")
    waiting = await served.connect()
    waiting.send(post(HOST + b"Content-Length: 5\r\nExpect: 100-Continue", b""))
    assert (await waiting.one_answer())[0] == 100
    waiting.send(b"hello")
    assert (await waiting.one_answer())[2] == b"5"


async def test_nothing_that_was_sent_is_repeated(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    served = await serve()
    for sent in (
        b"GET /?token=eyJsecret HTTP/1.1\r\nHost: x\r\n\0: eyJsecret\r\n\r\n",
        b"GET /?token=eyJsecret HTTP/1.1\r\nHost: x\r\nX y: eyJsecret\r\n\r\n",
        b"eyJsecret\r\n\r\n",
    ):
        client = await served.connect()
        client.send(sent)
        assert b"eyJ" not in await client.rest()
    assert "eyJ" not in caplog.text
    told = [record for record in caplog.records if record.levelname in {"INFO", "WARNING"} and is_not_duplicate(record)]
    assert [(record.getMessage(), vars(record)["status"]) for record in told] == [("refused", 400)] * 3


async def test_odd_targets_and_methods_at_the_gateway(database_url: str, tmp_path: Any) -> None:
    cases = {
        b"OPTIONS * HTTP/1.1": 204,
        b"OPTIONS http://localhost:1 HTTP/1.1": 204,
        b"OPTIONS /health HTTP/1.1": 405,
        b"GET http://localhost:1/health HTTP/1.1": 200,
        b"GET https://localhost/he%61lth?a=b HTTP/1.1": 200,
        b"HEAD http://localhost:1/metrics HTTP/1.1": 401,
        b"GET http://localhost:1 HTTP/1.1": 303,  # to the page that asks for a key
        b"GET ftp://localhost/health HTTP/1.1": 404,
        b"GET //health HTTP/1.1": 404,
        b"GET /health/ HTTP/1.1": 404,
        b"CONNECT localhost:22 HTTP/1.1": 404,
        b"GET http://localhost:1/api/v1/files/download/x HTTP/1.1": 422,
        b"GET //localhost/ HTTP/1.1": 404,
        b"GET /%00 HTTP/1.1": 404,
        b"GET /%ff%fe HTTP/1.1": 404,
        b"GET /health#x HTTP/1.1": 404,
        b"GET /a/../health HTTP/1.1": 404,
        b"DELETE /health HTTP/1.1": 405,
        b"get /health HTTP/1.1": 405,
        b"BREW /health HTTP/1.1": 405,
    }
    async with running_gateway(database_url, tmp_path / "home") as gateway:
        port = httpx.URL(gateway.url).port
        found: dict[bytes, int] = {}
        for line in cases:
            client = Client(*await asyncio.open_connection("127.0.0.1", port))
            client.send(line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
            received = await client.rest()
            found[line] = read_head(received.partition(b"\r\n\r\n")[0])[0]
            # A redirect may lead to a path of this gateway, never to the host that the client has named.
            assert b"localhost" not in received and b"location: http" not in received.lower()
        assert found == cases


# The end --------------------------------------------------------------------------------------------------------------


async def test_the_end_waits_for_nobody_who_only_holds_a_connection() -> None:
    async with serving(linger_seconds=36000) as served:
        silent, refused = await served.connect(), await served.connect()
        refused.send(b"nonsense\r\n\r\n")
        assert (await refused.one_answer())[0] == 400
        began = time.monotonic()
        served.server.should_exit = True
        assert await silent.rest() == b""
        await refused.rest()
    assert time.monotonic() - began < PATIENCE_SECONDS, "not for as long as the refused one may linger"


def test_what_a_client_may_take_by_default() -> None:
    limits = TransportLimits()
    assert (limits.head_seconds, limits.idle_seconds, limits.connections) == (10.0, 30, 1000)
    assert (limits.body_silence_seconds, limits.reader_silence_seconds) == (30.0, 60.0)


def test_pace_counts_only_the_time_in_which_something_was_owed() -> None:
    pace = MinimumThroughput(silence_seconds=30, window_seconds=60, least_bytes=600)
    assert not pace.is_too_slow(0, 0, owed=False)
    assert not pace.is_too_slow(1000, 0, owed=False)
    assert not pace.is_too_slow(1029, 0, owed=True)
    assert not pace.is_too_slow(1030, 1, owed=True)
    assert not pace.is_too_slow(1059, 1, owed=True)
    assert pace.is_too_slow(1060, 1, owed=True)
    assert not pace.is_too_slow(1061, 1, owed=False)
    for second in range(1, 60):
        assert not pace.is_too_slow(1061 + second, second * 9, owed=True)
    assert pace.is_too_slow(1061 + 60, 60 * 9, owed=True)
    for second in range(1, 200):
        assert not pace.is_too_slow(1121 + second, 540 + second * 10, owed=True)
