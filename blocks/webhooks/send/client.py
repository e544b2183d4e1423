"""One attempt to send one webhook, and what came of it.

Owns the request's headers, its time limits and the words for what went wrong. Decides nothing about another attempt:
the dispatcher does. Never raises for what a receiver or a network does; follows no redirect, keeps no cookie, unpacks
nothing. The status decides: whatever follows a 2xx changes nothing any more.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from importlib.metadata import version as installed_version

import httpcore
import httpx

from blocks.errors import AddressRefused, HostUnresolved, InvalidWebhookUrl
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
from blocks.webhooks.send.retry_after import parse_retry_after
from blocks.webhooks.send.transport import MAX_CONNECTIONS, VettedTransport, default_tls
from blocks.webhooks.signature import ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, signature_header

# What Standard Webhooks recommends (15 to 30 s): long for a receiver that takes an event, short for one that hangs.
TOTAL_TIMEOUT_SECONDS = 20.0

# What can be read at a glance in a table.
_MAX_ERROR_CHARS = 300

# Raised on the way to a connection, with words for the log.
_TOLD_BY_THEMSELVES = (AddressRefused, HostUnresolved, CannotConnect)

_PRODUCT = f"Waybill/{installed_version('waybill')}"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What became of one attempt."""

    started_at: datetime
    milliseconds: float
    # None: no answer came.
    status: int | None
    # The address that the connection went to, such as 203.0.113.7:443; None if there was no connection.
    peer: str | None
    # One line for the log; None on success.
    error: str | None
    # The beginning of the answer's body as text, at most 4 KiB.
    answer: str | None = field(repr=False)
    # How long the receiver wants to be left alone, 24 h at most.
    retry_after: timedelta | None
    # The URL is one that nothing can ever be sent to: malformed, or an address that is refused.
    hopeless: bool

    @property
    def succeeded(self) -> bool:
        """Whether the receiver has taken the event."""
        return self.status is not None and 200 <= self.status < 300


@dataclass
class _Heard:
    """What is known of an attempt while it goes on."""

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
        product: str = _PRODUCT,
        connect: Connect = connect_to_address,
        timeout_seconds: float = TOTAL_TIMEOUT_SECONDS,
    ) -> None:
        self._clock = clock
        self._product = product
        self._timeout_seconds = timeout_seconds
        self._transport = VettedTransport(VettedBackend(guard, connect), tls or default_tls())
        self._url, self._hopeless = _usable(url, guard)

    async def send(self, *, event_id: str, body: bytes, keys: Sequence[bytes]) -> Attempt:
        """Sign *body* with *keys* (newest first) and the time of now, and send it. Raises `InvalidKey` without keys."""
        started_at, started = self._clock(), time.monotonic()
        heard, error = _Heard(), self._hopeless
        if self._url is not None:
            request = self._request(self._url, event_id, body, keys, timestamp=int(started_at.timestamp()))
            error = await self._outcome(request, heard)
        milliseconds = (time.monotonic() - started) * 1000
        failed = error is not None
        return Attempt(
            started_at=started_at,
            milliseconds=milliseconds,
            status=heard.status,
            peer=heard.exchange.peer,
            error=clean_line(error, _MAX_ERROR_CHARS) if failed else None,
            answer=kept_text(bytes(heard.body), heard.headers.get("content-encoding", "")),
            # Who has taken the event has nothing to ask patience for.
            retry_after=parse_retry_after(heard.headers.get("retry-after"), now=self._clock()) if failed else None,
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
            "User-Agent": self._product,
            # A compressed answer would not be unpacked.
            "Accept-Encoding": "identity",
            ID_HEADER: event_id,
            TIMESTAMP_HEADER: str(timestamp),
            SIGNATURE_HEADER: signature_header(keys, event_id=event_id, timestamp=timestamp, body=body),
        }
        return httpx.Request("POST", url, headers=headers, content=body)

    async def _outcome(self, request: httpx.Request, heard: _Heard) -> str | None:
        """Send within the time there is; what went wrong, None for success."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._send(request, heard)
        except (httpcore.NetworkError, httpcore.ProtocolError, AnswerTooLong, OSError, *_TOLD_BY_THEMSELVES) as exc:
            # Where a status came, it has decided; what is left of the answer is for the log only.
            if heard.status is None:
                return self._words(exc, heard.exchange)
        return _words_for_status(heard.status)

    async def _send(self, request: httpx.Request, heard: _Heard) -> None:
        """Send, and send again if the receiver had closed the connection before it saw the request.

        A connection that was idle may be closed by the receiver just when it is used again; that is no failure of the
        receiver. Whether it has seen the request cannot be told for certain. To repeat it is safe all the same: the id
        is the same, and a consumer has to know ids that it has seen. Not repeated: on a connection that was opened for
        it, after the first byte of an answer, and after a time-out.
        """
        # Each connection that was kept can be stale once.
        for kept_connections in range(MAX_CONNECTIONS, -1, -1):
            heard.exchange = exchange = Exchange()
            within = current_exchange.set(exchange)
            try:
                return await self._exchange(request, heard)
            except (httpcore.ReadError, httpcore.WriteError, httpcore.RemoteProtocolError):
                if exchange.connected or exchange.answer_bytes or not kept_connections:
                    raise
            finally:
                current_exchange.reset(within)
        raise AssertionError("unreachable: the last round returns or raises")

    async def _exchange(self, request: httpx.Request, heard: _Heard) -> None:
        response = await self._transport.handle_async_request(request)
        try:
            heard.status, heard.headers = response.status_code, response.headers
            # To its end and not only for the log: the connection can be used again then, and receivers that are left
            # while they answer may take back what they have done.
            async for piece in response.aiter_raw():
                heard.body += piece[: MAX_KEPT_BYTES - len(heard.body)]
        finally:
            await response.aclose()

    def _words(self, exc: BaseException, exchange: Exchange) -> str:
        """What went wrong, before a status came."""
        if isinstance(exc, _TOLD_BY_THEMSELVES):
            return str(exc)
        if isinstance(exc, AnswerTooLong):
            return f"the headers of the answer are longer than {MAX_ANSWER_BYTES // 1024} KiB"
        if isinstance(exc, TimeoutError):
            return f"no {'answer' if exchange.peer else 'connection'} within {self._timeout_seconds:g} s"
        if isinstance(exc, httpcore.RemoteProtocolError) and exchange.answer_bytes:
            return f"the answer is not HTTP/1.1: {exc}"
        return "the connection broke before an answer came"


def _usable(url: str, guard: AddressGuard) -> tuple[httpx.URL | None, str | None]:
    """The URL for httpx, or why nothing can ever be sent to it."""
    try:
        guard.check_url(url)
        return httpx.URL(url), None
    except (InvalidWebhookUrl, AddressRefused) as exc:
        return None, exc.message
    except httpx.InvalidURL:
        # Whose words may quote the query.
        return None, "no webhook can be sent to this URL: it is malformed"


def _words_for_status(status: int | None) -> str | None:
    if status is None or 200 <= status < 300:
        return None
    try:
        phrase = f" {HTTPStatus(status).phrase}"
    except ValueError:
        phrase = ""
    followed = "; redirects are not followed" if 300 <= status < 400 else ""
    return f"answered {status}{phrase}{followed}"
