"""Error responses: which error has which status, and the one shape of all of them.

The shape is ``{"error": {"code", "message", "detail"}}``, also for unknown paths and malformed requests. Internal
errors are logged; the client gets their kind, and nothing of paths, hosts or code.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import Scope

from blocks.errors import (
    AddressRefused,
    ArtifactGone,
    ArtifactHeld,
    ArtifactNotFound,
    ArtifactPinned,
    AssignmentLost,
    AssignmentNotFound,
    BlobMissing,
    CatalogFull,
    ContentMismatch,
    DeliveryNotFound,
    DeploymentMissing,
    DocumentInUse,
    DocumentNotFound,
    EmptyDocument,
    EncryptedDocument,
    EndpointNotFound,
    EnrolmentRefused,
    EventNotFound,
    ExportGone,
    ExportNotFound,
    InvalidKey,
    InvalidOptions,
    InvalidSettings,
    InvalidWebhookUrl,
    LinkExpired,
    LinkInvalid,
    NoMatchingIdentity,
    PlanExecuted,
    PlanNotFound,
    PrefectUnavailable,
    RunEnded,
    RunNotFound,
    RunUnreadable,
    SourceRefused,
    StorageFull,
    StorageKeyMissing,
    TransferConflict,
    TransferLocked,
    TransferNotFound,
    TransferOver,
    Transient,
    UnreadableDocument,
    UploadRefused,
    WatchNotFound,
    WaybillError,
    WorkerExists,
    WorkerNotFound,
    WorkerRefused,
)
from blocks.json_cleaning import without_surrogates

log = logging.getLogger("waybill.gateway")

SAFE_HEADERS = {
    # Anyone who has a signed link can read the file: no cache may keep the answer, and no other site may learn the URL.
    "Cache-Control": "private, no-store",
    "Referrer-Policy": "no-referrer",
    # Uploaded content is untrusted: a browser must not guess another type, nor run anything in it.
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}

# Long enough for a database to restart, short enough for a person.
RETRY_AFTER_SECONDS = 5
_TRY_AGAIN = frozenset({423, 429, 503})

# As nginx counts it: the client disconnected before the response began. No client ever sees this status.
CLIENT_DISCONNECTED = 499

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

DAMAGED = "the stored content of this file is damaged and cannot be served"

# Status and message for the client; None for the error's own message.
_RESPONSES: dict[type[WaybillError], tuple[int, str | None]] = {
    LinkInvalid: (403, None),
    LinkExpired: (410, None),
    ArtifactGone: (410, "this file has expired or was deleted"),
    ArtifactNotFound: (404, "there is no file with this id"),
    ArtifactHeld: (409, "this file is under a legal hold; an administrator lifts it"),
    ArtifactPinned: (409, "this file is pinned; unpin it first"),
    DocumentNotFound: (404, None),
    DocumentInUse: (409, None),
    PlanNotFound: (404, "there is no plan with this id, or it was removed from the history"),
    PlanExecuted: (409, "this plan was executed already; make another one with a dry run"),
    WatchNotFound: (404, "there is no watch with this id"),
    RunEnded: (409, None),
    RunNotFound: (404, "Prefect has no run of Waybill with this id"),
    RunUnreadable: (500, "Prefect has this run and cannot read it; delete the run there"),
    EventNotFound: (404, "there is no event with this id, or it was removed from the history"),
    EndpointNotFound: (404, "there is no webhook endpoint with this id, or it was removed"),
    DeliveryNotFound: (404, "there is no delivery with this id, or it was removed from the history"),
    ExportGone: (410, "the file of this export has expired or was deleted"),
    ExportNotFound: (404, "there is no export with this id, or it was removed from the history"),
    AssignmentNotFound: (404, None),
    AssignmentLost: (409, None),
    WorkerNotFound: (404, None),
    WorkerRefused: (403, None),
    WorkerExists: (409, None),
    EnrolmentRefused: (410, None),
    TransferOver: (410, None),
    TransferNotFound: (404, "there is no transfer with this id, or it was removed from the history"),
    UploadRefused: (422, None),
    TransferConflict: (409, None),
    TransferLocked: (423, None),
    InvalidOptions: (422, None),
    SourceRefused: (422, None),
    InvalidKey: (422, None),
    InvalidWebhookUrl: (422, None),
    # Without the address, which would reveal how names resolve inside this network.
    AddressRefused: (422, "this URL leads into a network that webhooks must not reach"),
    EmptyDocument: (422, None),
    EncryptedDocument: (422, None),
    UnreadableDocument: (422, None),
    StorageFull: (507, "the storage has no room left for this file"),
    CatalogFull: (507, "the database has no room left"),
    PrefectUnavailable: (503, "the Prefect server does not answer; try again in a moment"),
    DeploymentMissing: (
        503,
        "the deployment that this needs is not registered in Prefect; start 'waybill up' and try again",
    ),
    # The operator must act, and the same request succeeds afterwards.
    StorageKeyMissing: (503, "the storage key is missing, so nothing is stored; the gateway's log says more"),
    NoMatchingIdentity: (503, "the key that this file is encrypted for is not on the gateway's machine"),
    InvalidSettings: (503, "the gateway's settings do not fit its storage or its database; its log says more"),
    ContentMismatch: (500, DAMAGED),
    BlobMissing: (500, DAMAGED),
    Transient: (503, "the database or the storage does not answer; try again in a moment"),
    WaybillError: (500, "the gateway could not do this; its log says why"),
}


class HttpError(Exception):
    """An error response that is decided where it is raised."""

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
        self.response = error_response(status, code, message, detail=detail, headers=headers)


def json_response(body: Mapping[str, Any], status: int = 200, *, headers: Mapping[str, str] | None = None) -> Response:
    """Return *body* as a JSON response."""
    return JSONResponse(body, status_code=status, headers={**SAFE_HEADERS, **(headers or {})})


def error_response(
    status: int,
    code: str,
    message: str,
    *,
    detail: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return an error in the shape of all errors. *code* is for programs, *message* for people.

    A 423, a 429 and a 503 have `Retry-After`, by default `RETRY_AFTER_SECONDS`.
    """
    error = {"code": code, "message": message, "detail": dict(detail or {})}
    again = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status in _TRY_AGAIN else {}
    return json_response({"error": error}, status, headers={**again, **(headers or {})})


def install_error_handlers(app: FastAPI) -> None:
    """Answer every error that leaves a route of *app* in the shape of all errors."""
    app.add_exception_handler(HttpError, _http_error)
    app.add_exception_handler(WaybillError, _waybill_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _framework_error)
    app.add_exception_handler(ClientDisconnect, _client_disconnected)


async def response_to(request: Request, error: Exception) -> Response:
    """Return the response to *error*, for a route that adds something to it. Raises *error* if nothing answers it."""
    handlers = cast("FastAPI", request.app).exception_handlers
    handler = next((handlers[kind] for kind in type(error).__mro__ if kind in handlers), None)
    if handler is None:
        raise error
    return await cast("Callable[[Request, Exception], Awaitable[Response]]", handler)(request, error)


async def _http_error(_: Request, error: Exception) -> Response:
    return cast("HttpError", error).response


async def _waybill_error(_: Request, error: Exception) -> Response:
    return waybill_error_response(cast("WaybillError", error))


def waybill_error_response(error: WaybillError) -> Response:
    """Return the response to *error*. What is the gateway's own trouble is logged."""
    status, message = next(_RESPONSES[kind] for kind in type(error).__mro__ if kind in _RESPONSES)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("%s: %s", type(error).__name__, error.message)
    return error_response(status, type(error).__name__, message or error.message)


async def _invalid_request(_: Request, error: Exception) -> Response:
    # Without the values that were sent: they may hold a token.
    problems = [
        {"where": without_surrogates(".".join(str(part) for part in problem["loc"])), "problem": problem["msg"]}
        for problem in cast("RequestValidationError", error).errors()
    ]
    return error_response(
        422, "InvalidRequest", "the request is not valid; detail.errors says what is wrong", detail={"errors": problems}
    )


async def _client_disconnected(_: Request, __: Exception) -> Response:
    # The client has gone: only the request log and the metrics see this.
    return Response(status_code=CLIENT_DISCONNECTED)


async def _framework_error(request: Request, error: Exception) -> Response:
    error = cast("HTTPException", error)
    headers = dict(error.headers or {})
    if request.method == "OPTIONS" and request.scope["path"] == "*":  # about the server: RFC 9110 section 9.3.7
        return Response(status_code=204, headers={**SAFE_HEADERS, "Allow": "GET, HEAD, POST, DELETE, OPTIONS"})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        # Starlette names the methods of the first route only; RFC 9110 section 15.5.6 wants all.
        allowed = {method for method in _METHODS if has_route(cast("FastAPI", request.app), request.scope, method)}
        if "GET" in allowed:
            allowed.add("HEAD")
        headers["Allow"] = ", ".join(method for method in _METHODS if method in allowed)
    phrase = HTTPStatus(error.status_code).phrase
    message = {
        # FastAPI raises 400 for JSON bodies only.
        400: "the request body is not valid JSON",
        404: "there is nothing at this path; /api/v1/openapi.json lists all paths",
        405: "this path does not support this method; the Allow header lists those that it does",
    }.get(error.status_code, phrase.lower())
    return error_response(error.status_code, phrase.title().replace(" ", ""), message, headers=headers)


def has_route(app: FastAPI, scope: Scope, method: str) -> bool:
    """Return whether *app* has a route for *method* at the path of *scope*."""
    return any(route.matches({**scope, "method": method})[0] is Match.FULL for route in app.routes)


def unexpected_error() -> Response:
    """Return the response to an error that nothing else answers."""
    return error_response(500, "InternalError", "an unexpected error; the gateway's log has the details")
