"""`HEAD` wherever `GET` works (RFC 9110 section 9.1): answered like `GET`, without the content."""

from __future__ import annotations

from typing import cast

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from waybill.gateway.errors import has_route
from waybill.gateway.file_ranges import FILE_RANGE

_MARK = "waybill.head_as_get"


def is_head(scope: Scope) -> bool:
    """Return whether the client asked with `HEAD`, also where the application sees `GET`."""
    return scope["method"] == "HEAD" or _MARK in scope


class HeadAsGet:
    """Middleware that passes `HEAD` to the application as `GET`, unless the path has a route of its own for it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        is_one = scope["type"] == "http" and scope["method"] == "HEAD"
        if not is_one or has_route(cast("FastAPI", scope["app"]), scope, "HEAD"):
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] in {"http.response.body", FILE_RANGE}:
                message = {"type": "http.response.body", "body": b"", "more_body": message.get("more_body", False)}
            await send(message)

        # A copy: the server must still know that no body follows.
        as_get = {**scope, "method": "GET", _MARK: True}
        try:
            await self._app(as_get, receive, send_head)
        finally:
            scope["route"] = as_get.get("route")
