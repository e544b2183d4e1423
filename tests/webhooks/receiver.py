"""A real HTTP server on loopback that answers as it is told and keeps what it was sent.

It runs in a thread with an event loop of its own, so it serves tests with and without a loop, and other processes. The
protocol is spoken by hand: frameworks would clean up just what is to go wrong, and cost more than the client.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from tests.stack_driver import PATIENCE_SECONDS
from tests.webhooks.answers import Answer
from tests.webhooks.certificate import client_context, server_context

ResultT = TypeVar("ResultT")

_POLL_SECONDS = 0.005
# SO_LINGER on, with no time: closing sends RST.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What arrived, byte for byte."""

    method: str
    target: str
    raw_headers: list[tuple[bytes, bytes]] = field(repr=False)
    body: bytes = field(repr=False)
    arrived_at: datetime
    arrived_monotonic: float
    connection: int
    peer: str

    @property
    def headers(self) -> dict[str, str]:
        """The headers by their names in lower case."""
        return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self.raw_headers}

    @property
    def event_id(self) -> str:
        return self.headers.get("webhook-id", "")


When = Callable[[Request], bool]
Script = Answer | Callable[[Request], Answer]


@dataclass
class _Rule:
    when: When
    script: Script
    times: int | None


class Receiver:
    """Rules, first match first, and a record of what came. Everything may be called from any thread."""

    def __init__(self, *, host: str = "127.0.0.1", tls_names: Sequence[str] = (), tls_expired: bool = False) -> None:
        self.host = host
        self.requests: list[Request] = []
        self.connections = 0
        self.bytes_received = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self.client_tls = client_context(tls_names, expired=tls_expired) if tls_names else None
        self._server_tls = server_context(tls_names, expired=tls_expired) if tls_names else None
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()
        self._open: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        # Bound and never listening: keeps the port ours while the receiver is down.
        self._reserved = _reserve(host)
        self.port: int = self._reserved.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=f"receiver-{self.port}", daemon=True)
        self._thread.start()
        self.come_back()

    def url(self, path: str = "/hook", *, host: str | None = None) -> str:
        """The address of *path*, under *host* if another name than the receiver's own address is wanted."""
        return f"{'https' if self._server_tls else 'http'}://{host or self.host}:{self.port}{path}"

    def answer(self, script: Script, *, times: int | None = None, when: When | str | None = None) -> None:
        """Answer the next *times* requests (None: all) with *script*; those that *when* chooses or names by path.

        Rules that were added first come first. Without a rule the answer is 204.
        """
        chosen: When = (lambda request: request.target == when) if isinstance(when, str) else when or _any
        with self._lock:
            self._rules.append(_Rule(chosen, script, times))

    def forget_rules(self) -> None:
        with self._lock:
            self._rules.clear()

    def forget_requests(self) -> None:
        with self._lock:
            self.requests = []
            self.most_in_flight = self.in_flight

    def wait_for(self, count: int, *, when: When | str | None = None) -> list[Request]:
        """The requests so far (those to a path, or that *when* chooses), once there are *count*."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(found := self.received(when)) < count:
            assert time.monotonic() < deadline, f"{len(found)} of {count} requests within {PATIENCE_SECONDS:g} s"
            time.sleep(_POLL_SECONDS)
        return found

    async def until(self, count: int, *, when: When | str | None = None) -> list[Request]:
        """`wait_for` for tests that run in an event loop."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(found := self.received(when)) < count:
            assert time.monotonic() < deadline, f"{len(found)} of {count} requests within {PATIENCE_SECONDS:g} s"
            await asyncio.sleep(_POLL_SECONDS)
        return found

    def received(self, when: When | str | None = None) -> list[Request]:
        """The requests so far: all, those to a path, or those that *when* chooses."""
        if when is None:
            return list(self.requests)
        chosen: When = (lambda request: request.target == when) if isinstance(when, str) else when
        return [request for request in list(self.requests) if chosen(request)]

    def go_down(self) -> None:
        """Refuse connections and cut those that there are."""
        self._call(self._go_down())

    def come_back(self) -> None:
        """Listen again, on the same port."""
        self._call(self._come_back())

    def cut_connections(self) -> None:
        """Close the connections that there are, as servers do with idle ones, and go on listening."""
        self._call(self._cut_connections())

    def close(self) -> None:
        """End everything."""
        self.go_down()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._reserved.close()

    # In the receiver's own thread -------------------------------------------------------------------------------------

    def connection_opened(self, connection: _Connection) -> None:
        self.connections += 1
        self._open.add(connection)

    def connection_lost(self, connection: _Connection) -> None:
        self._open.discard(connection)

    def take(self, request: Request) -> Answer:
        """Note *request* and give the answer to it."""
        with self._lock:
            self.requests.append(request)
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            script = self._script_for(request)
        return script(request) if callable(script) else script

    def answered(self) -> None:
        with self._lock:
            self.in_flight -= 1

    def _script_for(self, request: Request) -> Script:
        for rule in self._rules:
            if rule.times != 0 and rule.when(request):
                if rule.times is not None:
                    rule.times -= 1
                return rule.script
        return _DEFAULT

    async def _come_back(self) -> None:
        if self._server is None:
            self._server = await self._loop.create_server(
                lambda: _Connection(self), self.host, self.port, ssl=self._server_tls, reuse_port=True, backlog=1024
            )

    async def _go_down(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._cut_connections()

    async def _cut_connections(self) -> None:
        for connection in list(self._open):
            connection.cut()
            await connection.lost.wait()

    def _call(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=PATIENCE_SECONDS)

    def _run(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()


class _Connection(asyncio.Protocol):
    """One connection: a request, its answer, the next request."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._buffer = bytearray()
        self._answering: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._transport: asyncio.Transport
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._receiver.connection_opened(self)
        self._number = self._receiver.connections
        host, port = transport.get_extra_info("peername")[:2]
        self._peer = f"{host}:{port}"

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answering is not None:
            self._answering.cancel()
        self._writable.set()
        self.lost.set()
        self._receiver.connection_lost(self)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def cut(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._receiver.bytes_received += len(data)
        self._buffer += data
        if self._answering is None:
            self._next_request()

    def _next_request(self) -> None:
        while self._answering is None and (request := self._take_request()) is not None:
            answer = self._receiver.take(request)
            if answer.is_slow:
                self._answering = asyncio.get_running_loop().create_task(self._answer_slowly(answer))
            else:
                self._transport.write(answer.rendered())
                self._end(answer)

    def _take_request(self) -> Request | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        first, *lines = bytes(self._buffer[:end]).split(b"\r\n")
        headers = [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
        length = next((int(value) for name, value in headers if name.lower() == b"content-length"), 0)
        if len(self._buffer) < end + 4 + length:
            return None
        body = bytes(self._buffer[end + 4 : end + 4 + length])
        del self._buffer[: end + 4 + length]
        method, target, _ = first.decode("latin-1").split(" ", 2)
        return Request(
            method=method,
            target=target,
            raw_headers=headers,
            body=body,
            arrived_at=datetime.now(UTC),
            arrived_monotonic=time.monotonic(),
            connection=self._number,
            peer=self._peer,
        )

    async def _answer_slowly(self, answer: Answer) -> None:
        try:
            await asyncio.sleep(answer.delay_seconds)
            while answer.held_until and not answer.held_until.is_set():  # noqa: ASYNC110 - set by another thread
                await asyncio.sleep(_POLL_SECONDS)
            await self._write_slowly(answer)
            if answer.ending == "hang":
                await self.lost.wait()
        except asyncio.CancelledError:
            self._receiver.answered()
            raise
        self._answering = None
        self._end(answer)
        self._next_request()

    async def _write_slowly(self, answer: Answer) -> None:
        rendered = answer.rendered()
        if answer.drip_seconds is None:
            self._transport.write(rendered)
        else:
            self._transport.write(rendered[: answer.drip_after_bytes])
            for byte in rendered[answer.drip_after_bytes :]:
                await asyncio.sleep(answer.drip_seconds)
                self._transport.write(bytes([byte]))
        while answer.repeat and not self._transport.is_closing():
            self._transport.write(answer.repeat)
            await self._writable.wait()
            await asyncio.sleep(0)

    def _end(self, answer: Answer) -> None:
        self._receiver.answered()
        if answer.after is not None:
            answer.after()
        if answer.ending == "close":
            self._transport.close()
        elif answer.ending == "half-close":
            self._transport.write_eof()
        elif answer.ending == "reset":
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._transport.abort()


@contextmanager
def running_receiver(
    *, host: str = "127.0.0.1", tls_names: Sequence[str] = (), tls_expired: bool = False
) -> Generator[Receiver]:
    """A receiver that listens on a free port; with *tls_names* by https, with a self-signed certificate for them.

    `Receiver.client_tls` trusts that certificate.
    """
    receiver = Receiver(host=host, tls_names=tls_names, tls_expired=tls_expired)
    try:
        yield receiver
    finally:
        receiver.close()


_DEFAULT = Answer()


def _any(_: Request) -> bool:
    return True


def _reserve(host: str) -> socket.socket:
    reserved = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserved.bind((host, 0))
    return reserved
