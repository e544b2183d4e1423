"""One client connection: uvicorn's HTTP/1.1 protocol with limits for slow and malformed clients.

Owns the time limits, the number of connections, and how a connection is closed. A head or a body that does not arrive
in time is 408; a response that the client does not read is aborted; a client that is refused while it still sends can
read the response. The application sees a disconnect each time. What is well-formed is decided in `request_head`.

There is no limit per address: behind a reverse proxy all clients share one. When all connections are in use, those
that wait for a request are closed first, so that idle connections never keep a new client out.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Executor
from http import HTTPStatus
from typing import Any, cast

import h11
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from blocks.runtime.near_hosts import bound_buffers
from waybill.gateway.errors import CLIENT_DISCONNECTED, error_response
from waybill.gateway.file_ranges import FILE_RANGE, ClientGone
from waybill.gateway.server.client_limits import MinimumThroughput, TransportLimits
from waybill.gateway.server.file_sending import FileRangeSending, descriptor_of, unacknowledged_bytes
from waybill.gateway.server.request_head import RequestRefused, StrictConnection, as_refusal

log = logging.getLogger("waybill.gateway.access")

# Connections end quickly: most requests take milliseconds.
_RETRY_AFTER_SECONDS = 2


class GatewayProtocol(H11Protocol):
    """uvicorn's protocol with *limits*, by the server's *clock*. The server calls `check_limits` ten times a second.

    Offers applications `http.response.zerocopysend`, with the server's *threads*.

    Overrides and reads parts of uvicorn that are not its public interface, so uvicorn is pinned: `H11Protocol.conn`,
    `app`, `cycle`, `flow`, `connections`, `send_400_response`, `_should_upgrade`, `_unset_keepalive_if_required`.
    """

    conn: StrictConnection

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: TransportLimits,
        clock: Callable[[], float],
        threads: Executor,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        # uvicorn's access log contains query strings, and so tokens. Its setting is lost when logging is set up later.
        self.access_log = False
        self.conn = StrictConnection()
        self._limits = limits
        self._clock = clock
        self._threads = threads
        self._file_sending: FileRangeSending | None = None
        # uvicorn has types of its own for applications.
        self._application: ASGIApp = cast("Any", config).loaded_app
        cast("Any", self).app = self._run_app
        self._bytes_in = 0
        self._waiting_since = time.monotonic()
        self._head_began_at: float | None = None
        self._linger_until: float | None = None
        self._is_refused = False
        self._measured: RequestResponseCycle | None = None
        self._sending = self._throughput(limits.body_silence_seconds)
        self._reading = self._throughput(limits.reader_silence_seconds)

    # Beginning and end -----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - as uvicorn's
        """Accept the client, closing the connection that has waited longest for a request if there are too many."""
        has_room = self._make_room()
        # The application waits until what it sent is with the kernel: a client that does not read then holds one piece.
        transport.set_write_buffer_limits(high=0)
        bound_buffers(transport.get_extra_info("socket"), socket.SO_RCVBUF)
        super().connection_made(cast("asyncio.Transport", _LingeringTransport(transport, self)))
        if not has_room:
            busy = RequestRefused(503, "TooManyConnections", "all connections are in use; try again in a moment")
            self._refuse(busy, {"Retry-After": str(_RETRY_AFTER_SECONDS)})

    def _make_room(self) -> bool:
        while len(self.connections) >= self._limits.connections:
            ours = [one for one in self.connections if isinstance(one, GatewayProtocol)]
            waiting = [one for one in ours if one._linger_until or one.conn.their_state is h11.IDLE]
            if not waiting:
                return False
            oldest = min(waiting, key=lambda one: 0.0 if one._linger_until else one._waiting_since)
            oldest.transport.abort()
            self.connections.discard(oldest)  # now, because `connection_lost` is called only later
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Like uvicorn's, which leaves the keep-alive timer, and so this object, for half a minute after an error."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        if self._file_sending is not None:
            self._file_sending.stop()
        cast("Any", self).app = self._application  # not a method of this object, which is then freed immediately

    def shutdown(self) -> None:
        """Close the connection after the current response, or immediately if it was refused."""
        if self._linger_until is not None:
            self.transport.abort()
        else:
            super().shutdown()

    def data_received(self, data: bytes) -> None:
        """Process what a client sends; discard it if the client was refused."""
        if self._linger_until is None:
            self._bytes_in += len(data)
            super().data_received(data)

    def on_response_complete(self) -> None:
        """Like uvicorn's; the connection now waits for its next request."""
        self._waiting_since = time.monotonic()
        super().on_response_complete()

    @property
    def _exchange(self) -> RequestResponseCycle | None:
        return self.cycle  # None until the first request, against uvicorn's annotation

    def _should_upgrade(self) -> bool:
        return False  # uvicorn would log a warning for each request that offers an upgrade

    # File ranges ------------------------------------------------------------------------------------------------------

    async def _run_app(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = self.cycle
        scope["extensions"] = {FILE_RANGE: {}}

        async def send_any(message: Message) -> None:
            await (self._send_file(exchange, message) if message["type"] == FILE_RANGE else send(message))

        await self._application(scope, receive, send_any)

    async def _send_file(self, exchange: RequestResponseCycle, message: Message) -> None:
        """Send a range of a file as part of the body; return when the kernel has all of it.

        Raises `ClientGone`, unlike a message with bytes, which is then discarded: only so the application learns how
        much was sent. Closes the connection when not all was sent, whatever the reason: the client sees too few bytes.
        """
        more_body = message.get("more_body", False)
        # Waits until what was sent before is with the kernel, and raises if the response is not at its body.
        await exchange.send({"type": "http.response.body", "body": b"", "more_body": True})
        if exchange.disconnected:
            raise ClientGone
        count = message["count"]
        if count and exchange.scope["method"] != "HEAD":
            before, after = self.conn.frame_file(count)
            try:
                self.transport.write(before)
                await self._send_range(exchange, message)
            except BaseException:
                exchange.disconnected = True  # now, because `connection_lost` is called only later
                self.transport.abort()
                raise
            self.transport.write(after)
        if not more_body:
            await exchange.send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_range(self, exchange: RequestResponseCycle, message: Message) -> None:
        await self.flow.drain()
        if exchange.disconnected:
            raise ClientGone
        file, on_sent = descriptor_of(message["file"]), message.get("on_sent", _ignore)
        # Its own descriptor: the transport may close the other one, whose number may then be another client's.
        with self.transport.get_extra_info("socket").dup() as sock:
            self._file_sending = sending = FileRangeSending(sock, file, message["offset"], message["count"], on_sent)
            try:
                await sending.run(self._threads)
            finally:
                self._file_sending = None
                self.conn.bytes_out += sending.sent_bytes

    # Time limits ------------------------------------------------------------------------------------------------------

    def check_limits(self) -> None:
        """Close the connection if its client exceeds a time limit."""
        now = self._clock()
        if self._linger_until is not None:
            if now >= self._linger_until:
                self.transport.abort()
            return
        if self._measured is not self._exchange:  # a new request has begun
            self._measured, self._head_began_at = self._exchange, None
            self._sending = self._throughput(self._limits.body_silence_seconds)
        if self._is_slow_reader(now):
            self._log(CLIENT_DISCONNECTED, "the client does not read the response")
            self.transport.abort()
        elif self._is_late_head(now):
            self._refuse(RequestRefused(408, "RequestTimeout", "the head of the request did not arrive in time"))
        elif self._is_slow_sender(now):
            self._refuse(
                RequestRefused(408, "RequestTimeout", "the body of the request stopped, or arrived too slowly")
            )

    def _is_slow_reader(self, now: float) -> bool:
        unsent = self.transport.get_write_buffer_size()
        # What the client has acknowledged. The kernel takes more only when a third of its buffer is free, which may
        # be a MiB: by that, a slow client would seem to have stopped.
        unacknowledged = unacknowledged_bytes(self.transport.get_extra_info("socket"))
        sent, owed = self.conn.bytes_out - unsent - unacknowledged, unsent > 0
        if (sending := self._file_sending) is not None:
            sent, owed = sent + sending.sent_bytes, sending.is_clients_turn
        return self._reading.is_too_slow(now, sent, owed=owed)

    def _is_late_head(self, now: float) -> bool:
        # A new connection owes a head from its start, an idle one from the first byte.
        is_head = self.conn.their_state is h11.IDLE and (self._exchange is None or bool(self.conn.trailing_data[0]))
        self._head_began_at = (self._head_began_at or now) if is_head else None
        return self._head_began_at is not None and now - self._head_began_at >= self._limits.head_seconds

    def _is_slow_sender(self, now: float) -> bool:
        cycle = self._exchange
        # It is not the client's turn while the application does not read.
        owed = (
            cycle is not None
            and cycle.more_body
            and not cycle.response_complete
            and not cycle.waiting_for_100_continue
            and not self.flow.read_paused
        )
        return self._sending.is_too_slow(now, self._bytes_in, owed=owed)

    def _throughput(self, silence_seconds: float) -> MinimumThroughput:
        return MinimumThroughput(
            silence_seconds=silence_seconds,
            window_seconds=self._limits.pace_window_seconds,
            least_bytes=self._limits.pace_bytes,
        )

    # Refusing ---------------------------------------------------------------------------------------------------------

    def send_400_response(self, msg: str) -> None:
        """Answer a malformed request in the shape of all errors. uvicorn calls it while it handles the exception."""
        del msg
        self._refuse(as_refusal(sys.exception()))

    def _refuse(self, refused: RequestRefused, headers: dict[str, str] | None = None) -> None:
        self._is_refused = True
        self._unset_keepalive_if_required()
        self._log(refused.status, refused.message)
        exchange = self._exchange
        if exchange is not None and not exchange.response_complete:
            # The application may be waiting for the rest of the body, or for room to write.
            exchange.disconnected = True
            exchange.message_event.set()
            self.flow.resume_writing()
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:  # another response has begun
            self.transport.abort()
            return
        request_id = {"X-Request-ID": uuid.uuid4().hex}
        answer = error_response(
            refused.status, refused.code, refused.message, headers={**(headers or {}), **request_id}
        )
        response = h11.Response(
            status_code=refused.status,
            headers=[*self.server_state.default_headers, *answer.raw_headers, (b"connection", b"close")],
            reason=HTTPStatus(refused.status).phrase.encode(),
        )
        for event in (response, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def linger(self) -> bool:
        """Begin to discard what the client still sends, before the connection is closed; return False if it is done.

        Closing a connection with unread bytes resets it, and the client loses the response.
        """
        is_read = self.conn.their_state is not h11.SEND_BODY and not self.conn.trailing_data[0]
        if is_read and not self._is_refused:
            return False
        self._linger_until = self._clock() + self._limits.linger_seconds
        return True

    def _log(self, status: int, why: str) -> None:
        log.info("refused", extra={"status": status, "why": why, "client": self.client[0] if self.client else None})


def is_not_duplicate(record: logging.LogRecord) -> bool:
    """Log filter that drops uvicorn's message about a malformed request, which is logged as "refused" already."""
    return record.msg != "Invalid HTTP request received."


def _ignore(_: int) -> None:
    pass


class _LingeringTransport:
    """A transport whose `close` lets a client that still sends read the response first."""

    def __init__(self, transport: asyncio.Transport, protocol: GatewayProtocol) -> None:
        self._transport = transport
        self._protocol = protocol
        self._is_closing = False
        self.write = transport.write  # called for every response: without `__getattr__`

    def is_closing(self) -> bool:
        return self._is_closing or self._transport.is_closing()

    def close(self) -> None:
        if self.is_closing():
            return
        self._is_closing = True
        if not self._protocol.linger():
            self._transport.close()
            return
        try:
            self._transport.resume_reading()
            self._transport.write_eof()
        except OSError:  # the client has reset the connection, which the event loop has not noticed yet
            self._transport.abort()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
