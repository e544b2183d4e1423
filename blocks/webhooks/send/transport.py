"""An httpx transport that connects to checked addresses only: one endpoint, HTTP/1.1, persistent connections.

Webhooks are sent through it directly and not through an `httpx.AsyncClient`, which would keep the cookies of receivers
and send them back, log whole URLs with the secrets in their queries, and take half as long again.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterable, AsyncIterator
from functools import lru_cache
from typing import cast

import certifi
import httpcore
import httpx

from blocks.webhooks.send.connection import VettedBackend

# An endpoint has to handle this many requests at a time, and a slow one can occupy no more.
MAX_CONNECTIONS = 4
# Longer than the pauses of a busy endpoint, shorter than load balancers keep idle connections (60 s).
_KEEP_ALIVE_SECONDS = 30.0
# For the TCP connection, and as long again for TLS.
CONNECT_TIMEOUT_SECONDS = 5.0

# The client limits the time of the whole attempt: a limit on each read does not stop a receiver that sends slowly.
_TIMEOUTS = {"connect": CONNECT_TIMEOUT_SECONDS, "read": None, "write": None, "pool": None}


class VettedTransport(httpx.AsyncBaseTransport):
    """Sends requests, and follows no redirects. Raises httpcore's errors and those of the address guard."""

    def __init__(self, backend: VettedBackend, tls: ssl.SSLContext) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=MAX_CONNECTIONS,
            keepalive_expiry=_KEEP_ALIVE_SECONDS,
            network_backend=backend,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the status and headers; the body is still unread. Closing it early closes its connection."""
        url = request.url
        answer = await self._pool.handle_async_request(
            httpcore.Request(
                method=request.method,
                url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=request.headers.raw,
                content=cast("AsyncIterable[bytes]", request.stream),
                extensions={"timeout": _TIMEOUTS},
            )
        )
        return httpx.Response(answer.status, headers=answer.headers, stream=_AnswerStream(answer))

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.aclose()


class _AnswerStream(httpx.AsyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._answer.aiter_stream():
            yield piece

    async def aclose(self) -> None:
        await self._answer.aclose()


@lru_cache(maxsize=1)
def default_tls() -> ssl.SSLContext:
    """Return a context that trusts this machine's authorities (``SSL_CERT_FILE`` included) and those of browsers.

    One for all endpoints: reading the certificates takes 20 ms. Small containers have none of their own.
    """
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
