"""Connections for webhooks: to checked addresses only, with a limit on what is read.

Implements httpcore's public interface for network backends. The host name is looked up once for each connection and all
its addresses are checked; the connection then goes to one of these addresses, never to the name again, so that a second
DNS answer cannot differ. The Host header and TLS still use the name.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Any, cast

import httpcore

from blocks.webhooks.send.address import AddressGuard
from blocks.webhooks.send.networks import IPAddress

# The status is in an answer's first line, and this is enough for any headers and a page of text.
MAX_ANSWER_BYTES = 64 * 1024

# The time to connect is divided among the addresses; with more, each part would be too short for a slow network.
_MAX_ADDRESSES = 4

Connect = Callable[[IPAddress, int, float], Awaitable[httpcore.AsyncNetworkStream]]
"""Opens a TCP connection to an address and port within so many seconds. Raises httpcore's connect errors."""


class CannotConnect(Exception):
    """No connection could be opened; the message is fit for the log."""


class Withdrawn(Exception):
    """The request must not be sent any more; nothing of it was sent."""


class AnswerTooLong(Exception):
    """The answer is longer than `MAX_ANSWER_BYTES`; the rest is not read."""


@dataclass
class Exchange:
    """The state of one request on its connection."""

    # The address of its connection; None as long as there is none.
    peer: str | None = None
    # Whether that connection was opened for this request.
    connected: bool = False
    # Asked before the first byte; False withdraws the request. Looking up a name and connecting take seconds.
    may_begin: Callable[[], bool] = lambda: True
    begun: bool = False
    answer_bytes: int = 0


# httpcore does not pass the request to its network backend; the request's task knows it.
current_exchange: ContextVar[Exchange] = ContextVar("current_exchange")


class VettedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections through an `AddressGuard`."""

    def __init__(self, guard: AddressGuard, connect: Connect) -> None:
        self._guard = guard
        self._connect = connect

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of *host* that answers, in the resolver's order, in *timeout* seconds in all.

        Raises `AddressRefused`, `HostUnresolved` and `CannotConnect`.
        """
        if timeout is None or local_address is not None or socket_options is not None:
            raise AssertionError("unreachable: the transport passes a timeout and nothing else")
        addresses = (await self._guard.addresses(host))[:_MAX_ADDRESSES]
        deadline = time.monotonic() + timeout
        failures: list[str] = []
        for address in addresses:
            # An address that does not answer must not use up the time of the next one.
            share = (deadline - time.monotonic()) / (len(addresses) - len(failures))
            peer = peer_name(address, port)
            try:
                stream = await self._connect(address, port, share)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as exc:
                failures.append(f"{peer}: {_reason(exc) or 'failed'}")
            else:
                exchange = current_exchange.get()
                exchange.peer, exchange.connected = peer, True
                return MeteredStream(stream, peer)
        raise CannotConnect(f"cannot connect to {'; '.join(failures)}")


class MeteredStream(httpcore.AsyncNetworkStream):
    """A connection that reads at most `MAX_ANSWER_BYTES` for each request, and counts them."""

    def __init__(self, stream: httpcore.AsyncNetworkStream, peer: str) -> None:
        self._stream = stream
        self._peer = peer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        """Read some bytes. Raises `AnswerTooLong` when the answer exceeds its limit."""
        exchange = current_exchange.get()
        room = MAX_ANSWER_BYTES - exchange.answer_bytes
        if room <= 0:
            raise AnswerTooLong
        data = await self._stream.read(min(max_bytes, room), timeout)
        exchange.answer_bytes += len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Write some bytes. Raises `Withdrawn` when the request has not begun and must not begin any more."""
        exchange = current_exchange.get()
        exchange.peer = self._peer
        if not exchange.begun and not exchange.may_begin():
            raise Withdrawn
        exchange.begun = True
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        try:
            encrypted = await self._stream.start_tls(ssl_context, server_hostname, timeout)
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as exc:
            why = _reason(exc) or "the connection was closed"
            raise CannotConnect(f"cannot speak TLS with {self._peer}: {why}") from exc
        except asyncio.CancelledError:
            # httpcore does not know this connection yet, and would not close it.
            await self._stream.aclose()
            raise
        return MeteredStream(encrypted, self._peer)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


async def connect_to_address(address: IPAddress, port: int, seconds: float) -> httpcore.AsyncNetworkStream:
    """Open a TCP connection to *address* itself: there is no name to look up again."""
    # Type checkers see the placeholder that httpcore defines when anyio is missing.
    backend = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())
    return await backend.connect_tcp(str(address), port, timeout=seconds)


def _reason(exc: BaseException) -> str:
    """Return the operating system's message for the error that httpcore and anyio have wrapped, or an empty text."""
    if isinstance(exc, httpcore.TimeoutException):
        return "no answer in time"
    while exc.__cause__ is not None:
        exc = exc.__cause__
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted, {exc.verify_message}"
    if isinstance(exc, ssl.SSLError):
        return (exc.reason or "").replace("_", " ").lower()
    # asyncio replaces strerror by a text of its own.
    return os.strerror(exc.errno).lower() if isinstance(exc, OSError) and exc.errno else ""


def peer_name(address: IPAddress, port: int) -> str:
    """Return ``203.0.113.7:443`` or ``[2001:db8::1]:443``."""
    return f"[{address}]:{port}" if isinstance(address, IPv6Address) else f"{address}:{port}"
