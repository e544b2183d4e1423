"""Connections of webhooks: to vetted addresses only, and with a bound on what is read.

Implements httpcore's public interface for network backends. The host name is looked up once for each connection and all
its addresses are judged; what is connected to is one of these addresses, never the name again, so DNS cannot change its
mind in between. The name stays what the Host header and TLS say.
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

# Whatever a receiver says: the status is in its first line, and this is enough for any headers and a page of text.
MAX_ANSWER_BYTES = 64 * 1024

# Each address gets its share of the time to connect; with more, the shares would be too short for a slow network.
_MAX_ADDRESSES = 4

Connect = Callable[[IPAddress, int, float], Awaitable[httpcore.AsyncNetworkStream]]
"""Opens a TCP connection to an address and port within so many seconds. Raises httpcore's connect errors."""


class CannotConnect(Exception):
    """There is no connection; why, in words for the log."""


class AnswerTooLong(Exception):
    """The answer goes on after `MAX_ANSWER_BYTES`; the rest is left unread."""


@dataclass
class Exchange:
    """What the connection knows of the request that it carries at the moment."""

    # Where the connection that carries it leads to; None as long as there is none.
    peer: str | None = None
    # Whether that connection was opened for it.
    connected: bool = False
    answer_bytes: int = 0


# A network backend is not told which request it works for; the request's task knows.
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
            raise AssertionError("unreachable: the transport asks for a time and for nothing else")
        addresses = (await self._guard.addresses(host))[:_MAX_ADDRESSES]
        deadline = time.monotonic() + timeout
        failures: list[str] = []
        for address in addresses:
            # One that does not answer must not use up the time of the next one.
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
    """A connection that gives `MAX_ANSWER_BYTES` for each request, and notes what it carries."""

    def __init__(self, stream: httpcore.AsyncNetworkStream, peer: str) -> None:
        self._stream = stream
        self._peer = peer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        """Raises `AnswerTooLong` once the answer of this exchange has used up what it may be long."""
        exchange = current_exchange.get()
        room = MAX_ANSWER_BYTES - exchange.answer_bytes
        if room <= 0:
            raise AnswerTooLong
        data = await self._stream.read(min(max_bytes, room), timeout)
        exchange.answer_bytes += len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        current_exchange.get().peer = self._peer
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
            # httpcore does not know this connection yet, and would leave it open.
            await self._stream.aclose()
            raise
        return MeteredStream(encrypted, self._peer)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


async def connect_to_address(address: IPAddress, port: int, seconds: float) -> httpcore.AsyncNetworkStream:
    """A TCP connection to *address* itself: there is no name that could be looked up."""
    # For type checkers it is the stand-in that httpcore has where anyio is missing.
    backend = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())
    return await backend.connect_tcp(str(address), port, timeout=seconds)


def _reason(exc: BaseException) -> str:
    """What httpcore and anyio have wrapped, in the system's words; empty where it has none."""
    if isinstance(exc, httpcore.TimeoutException):
        return "no answer in time"
    while exc.__cause__ is not None:
        exc = exc.__cause__
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted, {exc.verify_message}"
    if isinstance(exc, ssl.SSLError):
        return (exc.reason or "").replace("_", " ").lower()
    # asyncio writes its own text into strerror.
    return os.strerror(exc.errno).lower() if isinstance(exc, OSError) and exc.errno else ""


def peer_name(address: IPAddress, port: int) -> str:
    """``203.0.113.7:443``, ``[2001:db8::1]:443``."""
    return f"[{address}]:{port}" if isinstance(address, IPv6Address) else f"{address}:{port}"
