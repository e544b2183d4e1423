"""What a browser sees where a path of the page refuses something: the status and reason that programs get, as a page.

Paths of the API answer JSON to every client, browsers included.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, cast
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.types import Scope

from waybill.gateway.errors import unexpected_error
from waybill.gateway.pages.rendering import page, see_other
from waybill.gateway.pages.visitors import SignInNeeded, Visitor, visitor_if_any
from waybill.gateway.transfer_page import wants_page

_API = ("/api/", "/health", "/ready", "/metrics")
_KEPT_HEADERS = frozenset({"retry-after", "allow"})
_HEADINGS = {
    401: "Sign in first",
    403: "This is not allowed",
    404: "There is nothing here",
    405: "This does not work here",
    409: "This cannot be done now",
    410: "This has gone",
    413: "This is too large",
    415: "This type is not taken here",
    422: "Something in the form is not right",
    429: "Too many requests",
    500: "Something went wrong here",
    503: "A part of Waybill does not answer",
    507: "There is no room left",
}

Handler = Callable[[Request, Exception], Awaitable[Response]]


def install_error_pages(app: FastAPI) -> None:
    """Show browsers a page for every error that a path of the page answers; call it after `install_error_handlers`."""
    for kind, handler in list(app.exception_handlers.items()):
        app.add_exception_handler(kind, _shown(cast("Handler", handler)))
    app.add_exception_handler(SignInNeeded, _sign_in)


def is_page_path(path: str) -> bool:
    """Return whether *path* belongs to the page, and not to the API."""
    return not path.startswith(_API)


async def unexpected_answer(scope: Scope) -> Response:
    """Return the response to an error that nothing else answers."""
    request = Request(scope)
    if not _wants_page(request):
        return unexpected_error()
    return _page(request, None, 500, "an unexpected error; the gateway's log has the details", {})


def _shown(handler: Handler) -> Handler:
    async def answer(request: Request, error: Exception) -> Response:
        response = await handler(request, error)
        if not _wants_page(request) or not response.body:
            return response
        found = cast("dict[str, Any]", json.loads(bytes(response.body)))["error"]
        kept = {name: value for name, value in response.headers.items() if name in _KEPT_HEADERS}
        return _page(request, await visitor_if_any(request), response.status_code, str(found["message"]), kept)

    return answer


async def _sign_in(request: Request, error: Exception) -> Response:
    needed = cast("SignInNeeded", error)
    then = needed.then.removesuffix("/progress")
    path = "/sign-in" if then == "/" else f"/sign-in?next={quote(then, safe='')}"
    if "hx-request" in request.headers:  # a redirect would put the sign-in page into a part of this one
        return Response(status_code=401, headers={"HX-Redirect": path, "Cache-Control": "no-store"})
    return see_other(path)


def _wants_page(request: Request) -> bool:
    accepted = ",".join(request.headers.getlist("accept"))
    return is_page_path(request.scope["path"]) and ("hx-request" in request.headers or wants_page(accepted))


def _page(request: Request, visitor: Visitor | None, status: int, message: str, headers: dict[str, str]) -> Response:
    heading = _HEADINGS.get(status, "This did not work")
    said = f"{message[:1].upper()}{message[1:]}".rstrip(".") + "."
    return page(request, "error.html", visitor=visitor, status=status, headers=headers, heading=heading, message=said)
