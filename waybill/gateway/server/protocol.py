"""One connection to a client: uvicorn's HTTP/1.1, with an end to everything that a client may drag out.

Owns the times and the number of connections, and how a connection ends: a head that does not come whole is 408, so is a
body that stops or drips; an answer that nobody takes is broken off; a client that is refused while it still sends gets
to read the answer. An application learns of each as a disconnect. Refuses what `request_head` refuses. No limit per
address: behind a proxy or a company's network many honest clients have one. When all connections are taken, those that
wait for a request give way, so that holding connections open keeps nobody out.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from waybill.gateway.errors import error_response
from waybill.gateway.server.request_head import RequestRefused, StrictConnection
from waybill.gateway.server.throughput import MinimumThroughput

log = logging.getLogger("waybill.gateway.access")

_RETRY_AFTER_SECONDS = "2"


@dataclass(frozen=True, kw_only=True)
class TransportLimits:
    """How long a client may take, and how many there may be."""

    # Each holds a file descriptor or two; a thousand are far from what the gateway can serve at once anyway.
    connections: int = 1000
    # From the first byte of a request, or the beginning of a connection. A head is one packet or two.
    head_seconds: float = 10.0
    # For the next request on a connection.
    idle_seconds: int = 30
    # Mobile networks hand over and satellites are shadowed for some seconds.
    body_silence_seconds: float = 30.0
    reader_silence_seconds: float = 60.0
    # 1 KiB/s, both ways: an old telephone line is five times as fast.
    pace_window_seconds: float = 60.0
    pace_bytes: int = 60 * 1024
    # To read why it was refused, for a client that is sending; what it sends meanwhile is thrown away.
    linger_seconds: float = 2.0


class GatewayProtocol(H11Protocol):
    """See the module. `check_limits` is to be called some times a second."""

    conn: StrictConnection

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: TransportLimits,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        # uvicorn's own switch sets the logger up, once, and whatever configures logging after that may undo it: its
        # lines would hold tokens.
        self.access_log = False
        self.conn = StrictConnection()
        self._limits = limits
        self._bytes_in = 0
        # Since when nothing but a request is waited for, and since when one is on its way; None while one is answered.
        self._waiting_since: float | None = time.monotonic()
        self._head_began_at: float | None = time.monotonic()
        self._lingers_until: float | None = None
        self._paced: object = None
        self._coming = self._new_pace(limits.body_silence_seconds)
        self._going = self._new_pace(limits.reader_silence_seconds)
        self._is_refused = False

    # Beginning and end -----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - as uvicorn's
        """Take the client in; the one that has waited longest gives way if there are too many."""
        has_room = self._make_room()
        super().connection_made(cast("asyncio.Transport", _HearingOut(transport, self)))
        if not has_room:
            self._refuse(
                RequestRefused(503, "TooManyConnections", "all connections are in use; try again in a moment"),
                {"Retry-After": _RETRY_AFTER_SECONDS},
            )

    def _make_room(self) -> bool:
        while len(self.connections) >= self._limits.connections:
            others = (one for one in self.connections if isinstance(one, GatewayProtocol))
            waiting = [one for one in others if one._waiting_since is not None]
            if not waiting:
                return False
            gives_way = min(waiting, key=lambda one: cast("float", one._waiting_since))
            gives_way.transport.abort()
            self.connections.discard(gives_way)  # now: more may be on their way in, before it has noticed
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """As uvicorn's; frees the room at once."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def shutdown(self) -> None:
        """End as soon as the answer under way has gone out."""
        if self._lingers_until is not None:
            self.transport.abort()
        else:
            super().shutdown()

    # Bytes -----------------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take in what a client sends, unless it was refused already."""
        if self._lingers_until is not None:
            return
        self._bytes_in += len(data)
        if self._head_began_at is None and self.conn.their_state is h11.IDLE:
            self._head_began_at = time.monotonic()
        super().data_received(data)
        self._note_request()

    def eof_received(self) -> None:
        """The client sends no more. Who was refused has read why, or does not want to."""
        if self._lingers_until is not None:
            self.transport.abort()

    def on_response_complete(self) -> None:
        """As uvicorn's: what lies here already is the next request."""
        super().on_response_complete()
        if self.conn.their_state is h11.IDLE:
            self._waiting_since = time.monotonic()
            self._head_began_at = self._waiting_since if self.conn.trailing_data[0] else None
        self._note_request()

    def _note_request(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._waiting_since = self._head_began_at = None

    @property
    def _exchange(self) -> RequestResponseCycle | None:
        return self.cycle  # which is None until the first request, whatever its type says

    def _should_upgrade(self) -> bool:
        return False  # to nothing; and uvicorn would log advice to install something, once a request

    # Time ------------------------------------------------------------------------------------------------------------

    def check_limits(self, now: float) -> None:
        """End the connection if its client takes too long."""
        if self._lingers_until is not None:
            if now >= self._lingers_until:
                self.transport.abort()
        elif self._is_slow_reader(now):
            self._log(499, "the client does not take the answer")
            self.transport.abort()
        elif self._head_began_at is not None and now - self._head_began_at >= self._limits.head_seconds:
            self._refuse(_timeout("the head of a request did not come whole in time"))
        elif self._is_slow_sender(now):
            self._refuse(_timeout("the body of the request stopped coming, or came too slowly"))

    def _is_slow_reader(self, now: float) -> bool:
        waiting = self.transport.get_write_buffer_size()
        return self._going.is_too_slow(now, self.conn.bytes_out - waiting, owed=waiting > 0)

    def _is_slow_sender(self, now: float) -> bool:
        cycle = self._exchange
        if self._paced is not cycle:
            self._paced, self._coming = cycle, self._new_pace(self._limits.body_silence_seconds)
        # While nothing is read, because the application is busy or has not asked for the body, nothing can come.
        owed = (
            cycle is not None
            and cycle.more_body
            and not cycle.response_complete
            and not cycle.waiting_for_100_continue
            and not self.flow.read_paused
        )
        return self._coming.is_too_slow(now, self._bytes_in, owed=owed)

    def _new_pace(self, silence_seconds: float) -> MinimumThroughput:
        return MinimumThroughput(
            silence_seconds=silence_seconds,
            window_seconds=self._limits.pace_window_seconds,
            least_bytes=self._limits.pace_bytes,
        )

    # Refusing --------------------------------------------------------------------------------------------------------

    def send_400_response(self, msg: str) -> None:
        """Answer what `StrictConnection` has refused, in the shape of all errors."""
        del msg
        self._refuse(self.conn.refusal or RequestRefused(400, "MalformedRequest", "the request is not well formed"))

    def _refuse(self, why: RequestRefused, headers: dict[str, str] | None = None) -> None:
        self._is_refused = True
        self._unset_keepalive_if_required()
        self._log(why.status, why.message)
        exchange = self._exchange
        if exchange is not None and not exchange.response_complete:
            # The application may be in the middle of the body.
            exchange.disconnected = True
            exchange.message_event.set()
            self.flow.resume_writing()
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:  # another answer has begun
            self.transport.abort()
            return
        answer = error_response(
            why.status, why.code, why.message, headers={**(headers or {}), "X-Request-ID": uuid.uuid4().hex}
        )
        fields = [*self.server_state.default_headers, *answer.raw_headers]
        for event in (
            h11.Response(status_code=why.status, headers=fields, reason=_phrase(why.status)),
            h11.Data(data=bytes(answer.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def linger(self) -> bool:
        """Whether the client is to be heard out before the connection is closed: it may still be sending.

        A connection that is closed on unread bytes is reset, and the answer is lost with it.
        """
        has_all_been_read = self.conn.their_state is not h11.SEND_BODY and not self.conn.trailing_data[0]
        if has_all_been_read and not self._is_refused:
            return False
        self._lingers_until = time.monotonic() + self._limits.linger_seconds
        self._waiting_since, self._head_began_at = 0.0, None  # the first to give way
        return True

    def _log(self, status: int, why: str) -> None:
        log.info("refused", extra={"status": status, "why": why, "client": self.client[0] if self.client else None})


def told_once(record: logging.LogRecord) -> bool:
    """A log filter for uvicorn's words on a request that was refused: they are the second line for it."""
    return record.msg != "Invalid HTTP request received."


class _HearingOut:
    """A transport whose `close` lets a client that still sends read the answer before the connection is gone."""

    def __init__(self, transport: asyncio.Transport, protocol: GatewayProtocol) -> None:
        self._transport = transport
        self._protocol = protocol
        self._closing = False
        # What every answer needs, without a detour.
        self.write = transport.write
        self.get_write_buffer_size = transport.get_write_buffer_size

    def is_closing(self) -> bool:
        return self._closing or self._transport.is_closing()

    def close(self) -> None:
        if self.is_closing():
            return
        self._closing = True
        if self._protocol.linger() and self._transport.can_write_eof():
            self._transport.resume_reading()
            self._transport.write_eof()
        else:
            self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def _timeout(why: str) -> RequestRefused:
    return RequestRefused(408, "RequestTimeout", why)


def _phrase(status: int) -> bytes:
    return HTTPStatus(status).phrase.encode()
