"""Send one webhook in one attempt, and return its result.

Owns the request's headers, its time limits and the error texts of the log. Never raises for what a receiver or a
network does. The status decides: after a 2xx, an error while reading the rest of the answer changes nothing.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from importlib.metadata import version as installed_version

import httpcore
import httpx

from blocks.errors import AddressRefused, HostUnresolved, InvalidWebhookUrl
from blocks.retry_after import parse_retry_after
from blocks.runtime.clock import Clock, utc_now
from blocks.webhooks.send.address import AddressGuard
from blocks.webhooks.send.answer import MAX_KEPT_BYTES, clean_line, kept_text
from blocks.webhooks.send.connection import (
    MAX_ANSWER_BYTES,
    AnswerTooLong,
    CannotConnect,
    Connect,
    Exchange,
    VettedBackend,
    connect_to_address,
    current_exchange,
)
from blocks.webhooks.send.transport import MAX_CONNECTIONS, VettedTransport, default_tls
from blocks.webhooks.signature import ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, signature_header

# Standard Webhooks recommends 15 to 30 s: long for a receiver that accepts an event, short for one that hangs.
TOTAL_TIMEOUT_SECONDS = 20.0

# Readable at a glance in a table.
_MAX_ERROR_CHARS = 300

# Errors before there is a connection, whose messages are fit for the log.
_WITH_MESSAGE = (AddressRefused, HostUnresolved, CannotConnect)

_PRODUCT = f"Waybill/{installed_version('waybill')}"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """The result of one attempt."""

    started_at: datetime
    milliseconds: float
    # None when no answer came.
    status: int | None
    # The address of the connection, such as 203.0.113.7:443; None if there was none.
    peer: str | None
    # One line for the log; None on success.
    error: str | None
    # The beginning of the answer's body as text, at most 4 KiB.
    answer: str | None = field(repr=False)
    # The pause that the receiver asked for, 24 h at most.
    retry_after: timedelta | None
    # Nothing can ever be sent to this URL: it is malformed, or its address is refused.
    hopeless: bool

    @property
    def succeeded(self) -> bool:
        """Whether the receiver has accepted the event."""
        return self.status is not None and 200 <= self.status < 300


@dataclass
class _Received:
    """What an attempt has received so far."""

    exchange: Exchange = field(default_factory=Exchange)
    status: int | None = None
    headers: httpx.Headers = field(default_factory=httpx.Headers)
    body: bytearray = field(default_factory=bytearray)


class EndpointClient:
    """Sends webhooks to one URL, over `MAX_CONNECTIONS` connections at most."""

    def __init__(
        self,
        url: str,
        *,
        guard: AddressGuard,
        tls: ssl.SSLContext | None = None,
        clock: Clock = utc_now,
        connect: Connect = connect_to_address,
        timeout_seconds: float = TOTAL_TIMEOUT_SECONDS,
    ) -> None:
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._transport = VettedTransport(VettedBackend(guard, connect), tls or default_tls())
        self._url, self._url_error = _usable(url, guard)

    async def send(
        self, *, event_id: str, body: bytes, keys: Sequence[bytes], may_begin: Callable[[], bool] = lambda: True
    ) -> Attempt:
        """Sign *body* and the time with *keys* (newest first), and send it if *may_begin* agrees once connected.

        Raises `InvalidKey` without keys, and `Withdrawn` when nothing was sent because *may_begin* returned False.
        """
        started_at, started = self._clock(), time.monotonic()
        received, error = _Received(), self._url_error
        if self._url is not None:
            request = self._request(self._url, event_id, body, keys, timestamp=int(started_at.timestamp()))
            error = await self._outcome(request, received, may_begin)
        milliseconds = (time.monotonic() - started) * 1000
        failed = error is not None
        return Attempt(
            started_at=started_at,
            milliseconds=milliseconds,
            status=received.status,
            peer=received.exchange.peer,
            error=clean_line(error, _MAX_ERROR_CHARS) if failed else None,
            answer=kept_text(bytes(received.body), received.headers.get("content-encoding", "")),
            # After a success there is nothing to wait for.
            retry_after=parse_retry_after(received.headers.get("retry-after"), now=self._clock()) if failed else None,
            hopeless=self._url is None,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    def _request(
        self, url: httpx.URL, event_id: str, body: bytes, keys: Sequence[bytes], *, timestamp: int
    ) -> httpx.Request:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": _PRODUCT,
            # A compressed answer would not be decompressed.
            "Accept-Encoding": "identity",
            ID_HEADER: event_id,
            TIMESTAMP_HEADER: str(timestamp),
            SIGNATURE_HEADER: signature_header(keys, event_id=event_id, timestamp=timestamp, body=body),
        }
        return httpx.Request("POST", url, headers=headers, content=body)

    async def _outcome(self, request: httpx.Request, received: _Received, may_begin: Callable[[], bool]) -> str | None:
        """Send within the time limit. Return the error text, or None for success."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._send(request, received, may_begin)
        except (httpcore.NetworkError, httpcore.ProtocolError, AnswerTooLong, OSError, *_WITH_MESSAGE) as exc:
            # A status that arrived decides; the rest of the answer is for the log only.
            if received.status is None:
                return self._error_text(exc, received.exchange)
        return _status_error(received.status)

    async def _send(self, request: httpx.Request, received: _Received, may_begin: Callable[[], bool]) -> None:
        """Send, and send again if the receiver had closed the connection before it read the request.

        A receiver may close an idle connection just when it is used again; that is no failure of the receiver. Whether
        it has read the request is uncertain. Repeating it is safe: the event id is the same, and receivers have to
        recognise ids. Not repeated: on a connection that was opened for the request, after the first byte of an answer,
        and after a time-out.
        """
        # Each idle connection can be stale once.
        for kept_connections in range(MAX_CONNECTIONS, -1, -1):
            received.exchange = exchange = Exchange(may_begin=may_begin)
            token = current_exchange.set(exchange)
            try:
                return await self._exchange(request, received)
            except (httpcore.ReadError, httpcore.WriteError, httpcore.RemoteProtocolError):
                if exchange.connected or exchange.answer_bytes or not kept_connections:
                    raise
            finally:
                current_exchange.reset(token)
        raise AssertionError("unreachable: the last round returns or raises")

    async def _exchange(self, request: httpx.Request, received: _Received) -> None:
        response = await self._transport.handle_async_request(request)
        try:
            received.status, received.headers = response.status_code, response.headers
            # Read to the end, beyond what the log keeps: then the connection can be reused, and a receiver that loses
            # its client while it answers may undo its work.
            async for piece in response.aiter_raw():
                received.body += piece[: MAX_KEPT_BYTES - len(received.body)]
        finally:
            await response.aclose()

    def _error_text(self, exc: BaseException, exchange: Exchange) -> str:
        """Return the log's text for an error before a status came."""
        if isinstance(exc, _WITH_MESSAGE):
            return str(exc)
        if isinstance(exc, AnswerTooLong):
            return f"the headers of the answer are longer than {MAX_ANSWER_BYTES // 1024} KiB"
        if isinstance(exc, TimeoutError):
            return f"no {'answer' if exchange.peer else 'connection'} within {self._timeout_seconds:g} s"
        if isinstance(exc, httpcore.RemoteProtocolError) and exchange.answer_bytes:
            return f"the answer is not HTTP/1.1: {exc}"
        return "the connection broke before an answer came"


def _usable(url: str, guard: AddressGuard) -> tuple[httpx.URL | None, str | None]:
    """Return the URL for httpx, or the reason why nothing can ever be sent to it."""
    try:
        guard.check_url(url)
        return httpx.URL(url), None
    except (InvalidWebhookUrl, AddressRefused) as exc:
        return None, exc.message
    except httpx.InvalidURL:
        # httpx's message may quote the query.
        return None, "no webhook can be sent to this URL: it is malformed"


def _status_error(status: int | None) -> str | None:
    if status is None or 200 <= status < 300:
        return None
    try:
        phrase = f" {HTTPStatus(status).phrase}"
    except ValueError:
        phrase = ""
    followed = "; redirects are not followed" if 300 <= status < 400 else ""
    return f"answered {status}{phrase}{followed}"
