"""``/workers/prefect/api``: Prefect's API as far as remote workers may call it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response

from waybill.gateway import worker_prefect_rules as rules
from waybill.gateway.errors import SAFE_HEADERS, HttpError
from waybill.gateway.http.bounded_json import read_bounded
from waybill.gateway.worker_prefect import DoorWorker, PrefectDoor

PREFIX = "/api/v1/workers/prefect/api"
# Prefect's worker sends a batch of log lines at a time, and `waybill worker start` sets how long that may be.
MAX_BODY_BYTES = 1024 * 1024
# Every method: what is not allowed is answered by the door, in its own words.
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def router_for(door: PrefectDoor, admit: Callable[[Request], Awaitable[DoorWorker]]) -> APIRouter:
    """Return the routes of *door*. *admit* authenticates the worker of a request, as `WorkerGate.admit` does."""
    router = APIRouter()

    @router.api_route(f"{PREFIX}/{{path:path}}", methods=_METHODS, include_in_schema=False)
    async def prefect(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction] - FastAPI calls it
        worker = await admit(request)
        try:
            asked = rules.request_of(request.method, _path_of(request))
            answer = await door.pass_on(asked, await _body_of(request), worker)
        except rules.Refused as refused:
            raise HttpError(403, "NotForWorkers", str(refused)) from None
        if answer.body is None:
            return Response(status_code=answer.status, headers=SAFE_HEADERS)
        return Response(
            orjson.dumps(answer.body), status_code=answer.status, media_type="application/json", headers=SAFE_HEADERS
        )

    return router


def _path_of(request: Request) -> str:
    """Return the path as it was sent: decoded once more further on, an encoded slash or dot would be another path."""
    sent: bytes = request.scope["raw_path"]
    path = sent.partition(b"?")[0].decode("ascii", errors="replace")
    return path.removeprefix(PREFIX)


async def _body_of(request: Request) -> object:
    body = await read_bounded(request, MAX_BODY_BYTES)
    if not body:
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise HttpError(400, "BadRequest", "the request body is not valid JSON") from None
