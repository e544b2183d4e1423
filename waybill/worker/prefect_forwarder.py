"""Prefect's API on loopback, for Prefect's worker on this machine: passed on to the gateway with the worker's session.

Owns who is answered here, and waiting for the gateway. Prefect's worker holds a random secret for this address alone,
so other accounts of the machine reach nothing by it. Websockets end here: Prefect sends its events by them and nothing
else needs them, so the heartbeats of flow runs are passed on as plain requests and everything else is dropped.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import logging
import secrets
import socket
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from typing import Protocol, Self, cast

import httpx
import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from blocks.errors import PrefectUnavailable, Transient, WaybillError
from blocks.runs.remote_stages import HEARTBEAT_EVENT, REMOTE_POOL
from blocks.runtime.background_tasks import end_tasks
from blocks.runtime.outage_log import OutageLog

log = logging.getLogger("waybill.worker")

_GATEWAY_PREFIX = "/api/v1/workers/prefect"
_USER = "worker"
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
# What the gateway takes.
_MOST_BODY_BYTES = 1024 * 1024
# Prefect's client repeats a request five times and then gives its flow run up. With the first header it goes on for as
# long as it takes: a gateway that is away for an hour costs no run.
_WAIT = {"Prefect-Maintenance": "true", "Retry-After": "2"}
_AWAY = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})
# A session that the gateway does not know, and one that has expired.
_NEW_SESSION = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.GONE})
# Prefect answers in milliseconds; the gateway waits for it for five seconds.
_ANSWER_SECONDS = 30.0
_SHUTDOWN_SECONDS = 3
_SCHEDULED_PATH = f"/api/work_pools/{REMOTE_POOL}/get_scheduled_flow_runs"
_RUN_RESOURCE = "prefect.flow-run."


class SessionToken(Protocol):
    """Gives the token of the worker's session with the gateway."""

    async def __call__(self, *, renewed: bool) -> str:
        """Return the token; with *renewed* a new one, since the gateway has refused the last. Raises `WaybillError`."""
        ...


class PrefectForwarder:
    """A server on a free port of loopback; use `running`."""

    def __init__(
        self, gateway: httpx.AsyncClient, token: SessionToken, port: int, on_refused: Callable[[], None] = lambda: None
    ) -> None:
        self._gateway = gateway
        self._token = token
        self._secret = secrets.token_urlsafe(32)
        self._on_refused = on_refused
        self._gives_runs = True
        self._outage = OutageLog(log, "Prefect's worker")
        self.api_url = f"http://127.0.0.1:{port}/api"
        """The value of `PREFECT_API_URL` for Prefect's worker."""

    @property
    def credential(self) -> str:
        """The value of `PREFECT_API_AUTH_STRING` for Prefect's worker, which sends it with websockets too."""
        return f"{_USER}:{self._secret}"

    @classmethod
    @asynccontextmanager
    async def running(
        cls, gateway: httpx.AsyncClient, token: SessionToken, on_refused: Callable[[], None] = lambda: None
    ) -> AsyncGenerator[Self]:
        """Answer for the length of the block. The base URL of *gateway* is the gateway's address.

        *on_refused* is called when the gateway refuses this worker, or gives out no runs for its labels.
        """
        with socket.create_server(("127.0.0.1", 0)) as listener:
            forwarder = cls(gateway, token, int(listener.getsockname()[1]), on_refused)
            config = uvicorn.Config(
                forwarder.app(),
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                # The default one is deprecated by the library that it is made of.
                ws="websockets-sansio",
                timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
            )
            server = _Server(config)
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            try:
                yield forwarder
            finally:
                server.should_exit = True
                try:
                    async with asyncio.timeout(2 * _SHUTDOWN_SECONDS):
                        await serving
                except TimeoutError:
                    await end_tasks([serving])

    def app(self) -> Starlette:
        """Return the application."""
        return Starlette(
            routes=[
                Route("/api/{path:path}", self._forward, methods=_METHODS),
                WebSocketRoute("/api/events/in", self._take_events),
            ]
        )

    def give_no_more_runs(self) -> None:
        """From now on answer that no run is scheduled, so that the worker begins none while it is ended."""
        self._gives_runs = False

    async def _forward(self, request: Request) -> Response:
        if not self._is_ours(request):
            return _problem(HTTPStatus.UNAUTHORIZED, "this address is for the Prefect worker that was started with it")
        path = cast("bytes", request.scope["raw_path"]).partition(b"?")[0]
        if not self._gives_runs and path == _SCHEDULED_PATH.encode():
            return JSONResponse([])
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > _MOST_BODY_BYTES:
                return _problem(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body may have at most {_MOST_BODY_BYTES} bytes"
                )
        try:
            answer = await self._ask(request.method, path, bytes(body))
        except (httpx.TransportError, Transient) as error:
            self._outage.failed(error)
            return _problem(HTTPStatus.SERVICE_UNAVAILABLE, "the gateway does not answer", _WAIT)
        except WaybillError as error:
            log.error("the gateway opens no session for this worker: %s", error.message)
            return _problem(HTTPStatus.FORBIDDEN, error.message)
        if answer.status_code in _AWAY:
            await answer.aclose()
            self._outage.failed(PrefectUnavailable("the gateway or its Prefect server is away"))
            return _problem(HTTPStatus.SERVICE_UNAVAILABLE, "the gateway or its Prefect server is away", _WAIT)
        self._outage.succeeded()
        if answer.status_code == HTTPStatus.FORBIDDEN and (waiting := await self._while_refused(path, answer)):
            return waiting
        kept = {name: answer.headers[name] for name in ("content-type", "retry-after") if name in answer.headers}
        return StreamingResponse(
            answer.aiter_bytes(), answer.status_code, headers=kept, background=BackgroundTask(answer.aclose)
        )

    async def _while_refused(self, path: bytes, answer: httpx.Response) -> Response | None:
        """Return what Prefect's worker waits by when this worker is revoked or has other labels, else None.

        By its own, it would end with a traceback before the heartbeat shows which of the two it is.
        """
        content = await answer.aread()
        is_revoked = b'"WorkerRefused"' in content
        if not is_revoked and path != _SCHEDULED_PATH.encode():
            return None
        self._on_refused()
        return (
            _problem(HTTPStatus.SERVICE_UNAVAILABLE, "this worker is refused", _WAIT)
            if is_revoked
            else JSONResponse([])
        )

    async def _ask(self, method: str, path: bytes, body: bytes) -> httpx.Response:
        """Return the gateway's response, unread. Asks again once with a new token if it does not accept the last."""
        answer = await self._ask_once(method, path, body, await self._token(renewed=False))
        if answer.status_code not in _NEW_SESSION:
            return answer
        await answer.aclose()
        return await self._ask_once(method, path, body, await self._token(renewed=True))

    async def _ask_once(self, method: str, path: bytes, body: bytes, token: str) -> httpx.Response:
        base = self._gateway.base_url
        # As it was sent: what the path means is for the gateway to judge, and httpx would tidy it.
        url = base.copy_with(raw_path=base.raw_path.rstrip(b"/") + _GATEWAY_PREFIX.encode() + path)
        headers = {"Authorization": f"Bearer {token}"} | ({"Content-Type": "application/json"} if body else {})
        asked = httpx.Request(method, url, headers=headers, content=body)
        asked.extensions = {"timeout": httpx.Timeout(_ANSWER_SECONDS).as_dict()}
        return await self._gateway.send(asked, stream=True, follow_redirects=False)

    async def _take_events(self, websocket: WebSocket) -> None:
        if not self._is_ours(websocket):
            await websocket.close()  # before it is accepted: the client sees status 403
            return
        await websocket.accept(subprotocol="prefect")
        with contextlib.suppress(WebSocketDisconnect):
            await websocket.receive_text()  # the credential once more
            await websocket.send_text('{"type": "auth_success"}')
            while True:
                if (run_id := _run_of_heartbeat(await websocket.receive_text())) is not None:
                    await self._pass_on_heartbeat(run_id)

    async def _pass_on_heartbeat(self, run_id: str) -> None:
        event = [{"event": HEARTBEAT_EVENT, "flow_run_id": run_id}]
        try:
            answer = await self._ask("POST", b"/api/events", orjson.dumps(event))
            await answer.aclose()
        except (httpx.TransportError, WaybillError) as error:
            log.debug("a heartbeat is lost (%s); the next one comes in half a minute", type(error).__name__)

    def _is_ours(self, connection: HTTPConnection) -> bool:
        scheme, _, sent = connection.headers.get("authorization", "").partition(" ")
        expected = base64.b64encode(self.credential.encode())
        return scheme.lower() == "basic" and hmac.compare_digest(sent.strip().encode(), expected)


class _Server(uvicorn.Server):
    """One server of several parts of a process: the signals are for the process."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave them alone."""
        yield


def _problem(status: HTTPStatus, message: str, headers: dict[str, str] | None = None) -> Response:
    # In the shape of Prefect's own server, whose client shows it.
    return JSONResponse({"exception_message": message}, status_code=status, headers=headers)


def _run_of_heartbeat(message: str) -> str | None:
    """Return the id of the flow run whose heartbeat *message* is; None for any other event."""
    try:
        event = orjson.loads(message)
        resource = str(event["resource"]["prefect.resource.id"])
        is_heartbeat = event["event"] == HEARTBEAT_EVENT
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return resource.removeprefix(_RUN_RESOURCE) if is_heartbeat and resource.startswith(_RUN_RESOURCE) else None
