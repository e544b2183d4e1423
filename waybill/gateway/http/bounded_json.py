"""Routes that take a small JSON body: how much of it is read, and for how long.

The framework reads the whole body before it asks for a key, so the bound is what keeps a stranger from filling the
memory or holding a connection for ever. Files do not come this way.
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
# Bodies of this size arrive with the head of the request.
_ARRIVAL_SECONDS = 10.0

BODY_STATUSES = (400, 408, 413, 415)
"""For a route's `errors(...)`: what can be wrong with a body before it is looked into."""


class JsonRoute(APIRoute):
    """For a router's `route_class`: bodies of its routes are bounded in size and time."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The framework's own handler, given a body that has arrived already."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def bounded(request: Request) -> Response:
            body = await _read(request)
            if body and not _is_json(request.headers.get("content-type", "")):
                raise HttpError(415, "UnsupportedMediaType", "send the body with 'Content-Type: application/json'")

            async def receive() -> Message:
                return {"type": "http.request", "body": body, "more_body": False}

            return await handle(Request(request.scope, receive))

        return bounded


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


async def _read(request: Request) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(_ARRIVAL_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > MAX_JSON_BYTES:
                    raise HttpError(
                        413, "TooLarge", f"the body of this request may have {MAX_JSON_BYTES} bytes at most"
                    )
    except TimeoutError:
        raise HttpError(408, "TooSlow", "the body of this request did not arrive in time") from None
    return bytes(body)
