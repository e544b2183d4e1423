"""JSON request bodies with a bound on their size and on the time they take to arrive.

FastAPI reads a body before it authenticates: unbounded, any client could fill the memory or hold a connection open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.types import Message

from waybill.gateway.errors import HttpError

# A URL, a note, a list of events: a kilobyte or two.
MAX_JSON_BYTES = 64 * 1024
# Bodies of this size arrive together with the head of the request.
_ARRIVAL_SECONDS = 10.0

BODY_STATUSES = (400, 408, 413, 415)
"""For a route's `errors(...)`: the statuses of a body that cannot be parsed."""


class JsonRoute(APIRoute):
    """A router's `route_class` that bounds the JSON bodies of its routes to `most_bytes`."""

    most_bytes = MAX_JSON_BYTES

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler, called with a body that has been received completely."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def bounded(request: Request) -> Response:
            body = await read_bounded(request, self.most_bytes)
            if body and not _is_json(request.headers.get("content-type", "")):
                raise HttpError(415, "UnsupportedMediaType", "send the body with 'Content-Type: application/json'")

            async def receive() -> Message:
                return {"type": "http.request", "body": body, "more_body": False}

            return await handle(Request(request.scope, receive))

        return bounded


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


async def read_bounded(request: Request, most_bytes: int) -> bytes:
    """Return the whole body of *request*. Raises `HttpError`: 413 for a larger one, 408 for one that comes slowly."""
    body = bytearray()
    try:
        async with asyncio.timeout(_ARRIVAL_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > most_bytes:
                    raise HttpError(413, "TooLarge", f"this request's body may have at most {most_bytes} bytes")
    except TimeoutError:
        raise HttpError(408, "TooSlow", "the body of this request did not arrive in time; send it again") from None
    return bytes(body)
