"""How the gateway says no: one shape for every error, and headers that every answer carries.

Owns which condition is which status. What went wrong inside is logged; a client learns its kind and nothing of paths,
hosts or code. The shape is ``{"error": {"code", "message", "detail"}}``, also for unknown paths and malformed requests.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from blocks.errors import (
    AddressRefused,
    ArtifactGone,
    ArtifactNotFound,
    ArtifactPinned,
    BlobMissing,
    ContentMismatch,
    DeliveryNotFound,
    DeploymentMissing,
    EmptyDocument,
    EncryptedDocument,
    EndpointNotFound,
    EventNotFound,
    InvalidOptions,
    InvalidWebhookUrl,
    LinkExpired,
    LinkInvalid,
    PrefectUnavailable,
    RunNotFound,
    StorageFull,
    Transient,
    UnreadableDocument,
    WaybillError,
)
from blocks.json_cleaning import without_surrogates

log = logging.getLogger("waybill.gateway")

SAFE_HEADERS = {
    # The URL is the right to read: no cache may keep the answer, and no other site may learn the URL.
    "Cache-Control": "private, no-store",
    "Referrer-Policy": "no-referrer",
    # Whatever was uploaded, a browser neither guesses another type nor runs anything in it.
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}

# What a client may try again: long enough for a restart of a database, short enough for a person.
_RETRY_AFTER_SECONDS = "5"

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

_DAMAGED = "what is stored of this file is damaged, so it cannot be given out"

# Status, and what the client is told; None for the error's own words.
_ANSWERS: dict[type[WaybillError], tuple[int, str | None]] = {
    LinkInvalid: (403, None),
    LinkExpired: (410, None),
    ArtifactGone: (410, "this file has expired or was deleted"),
    ArtifactNotFound: (404, "there is no such file"),
    ArtifactPinned: (409, "this file is pinned; unpin it first"),
    RunNotFound: (404, "Prefect knows no such run of Waybill"),
    EventNotFound: (404, "there is no such event, or its history has been trimmed"),
    EndpointNotFound: (404, "there is no such endpoint, or it was removed"),
    DeliveryNotFound: (404, "there is no such delivery, or its history has been trimmed"),
    InvalidOptions: (422, None),
    InvalidWebhookUrl: (422, None),
    # Without the address: it would tell what names mean inside of this network.
    AddressRefused: (422, "this URL leads into a network that webhooks must not reach"),
    EmptyDocument: (422, None),
    EncryptedDocument: (422, None),
    UnreadableDocument: (422, None),
    StorageFull: (507, "there is no room left for the file"),
    PrefectUnavailable: (503, "the Prefect server does not answer; try again in a moment"),
    DeploymentMissing: (503, "Prefect does not know the deployment that processes documents; is 'waybill up' running?"),
    ContentMismatch: (500, _DAMAGED),
    BlobMissing: (500, _DAMAGED),
    Transient: (503, "storage or catalogue do not answer; try again in a moment"),
    WaybillError: (500, "the gateway cannot do this; its log says why"),
}


class HttpError(Exception):
    """An answer that is known at this place already."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        detail: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.answer = error_answer(status, code, message, detail=detail, headers=headers)


def link_required(whence: str) -> HttpError:
    """The answer to whoever comes without a link. *whence* says where links come from."""
    return HttpError(
        401,
        "NotAuthenticated",
        f"this path wants a link that was made for it; {whence}",
        headers={"WWW-Authenticate": "Bearer"},  # RFC 9110 section 15.5.2 asks for a challenge
    )


def json_answer(body: Mapping[str, Any], status: int = 200, *, headers: Mapping[str, str] | None = None) -> Response:
    """An answer that is no error: *body* as JSON."""
    return JSONResponse(body, status_code=status, headers={**SAFE_HEADERS, **(headers or {})})


def error_answer(
    status: int,
    code: str,
    message: str,
    *,
    detail: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An error in the one shape. *code* is for programs, *message* for people."""
    body = {"error": {"code": code, "message": message, "detail": dict(detail or {})}}
    return JSONResponse(body, status_code=status, headers={**SAFE_HEADERS, **(headers or {})})


def answer_errors(app: FastAPI) -> None:
    """Have every error that leaves a route of *app* answered in the one shape."""
    app.add_exception_handler(HttpError, _refusal)
    app.add_exception_handler(WaybillError, _waybill_error)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _unforeseen)


async def _refusal(_: Request, error: Exception) -> Response:
    return cast("HttpError", error).answer


async def _waybill_error(_: Request, error: Exception) -> Response:
    error = cast("WaybillError", error)
    status, told = next(_ANSWERS[kind] for kind in type(error).__mro__ if kind in _ANSWERS)
    headers: dict[str, str] = {}
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("%s: %s", type(error).__name__, error.message)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = _RETRY_AFTER_SECONDS
    return error_answer(status, type(error).__name__, told or error.message, headers=headers)


async def _malformed(_: Request, error: Exception) -> Response:
    # Without what was sent: it may hold a token.
    problems = [
        {"where": without_surrogates(".".join(str(part) for part in problem["loc"])), "problem": problem["msg"]}
        for problem in cast("RequestValidationError", error).errors()
    ]
    return error_answer(422, "InvalidRequest", "the request does not have the right form", detail={"errors": problems})


async def _gone(_: Request, __: Exception) -> Response:
    # Nobody reads it.
    return Response(status_code=HTTPStatus.BAD_REQUEST)


async def _http(request: Request, error: Exception) -> Response:
    error = cast("HTTPException", error)
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        # The framework names those of the first route alone (RFC 9110 section 15.5.6 wants all).
        headers["Allow"] = ", ".join(method for method in _METHODS if _takes(request, method))
    phrase = HTTPStatus(error.status_code).phrase
    message = {
        # The framework says this of bodies alone.
        400: "the body is not JSON that can be read",
        404: "there is nothing at this path",
        405: "this path does not take this method",
    }
    return error_answer(
        error.status_code,
        phrase.title().replace(" ", ""),
        message.get(error.status_code, phrase.lower()),
        headers=headers,
    )


def _takes(request: Request, method: str) -> bool:
    app = cast("FastAPI", request.app)
    return any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in app.routes)


async def _unforeseen(_: Request, __: Exception) -> Response:
    # The server logs it, with its traceback, after this answer.
    return error_answer(500, "InternalError", "something unforeseen went wrong; the gateway's log says what")
