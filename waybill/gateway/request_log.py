"""An id and a log line for each request.

Owns the request id, which is in the response (`X-Request-ID`), in every log line written while the request is
processed, and in the audit log; and the line that says how a request ended. Lines are JSON objects. Query strings and
bodies, which hold links and content, and the `Authorization` header are never logged.
"""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from waybill.gateway.errors import CLIENT_DISCONNECTED
from waybill.gateway.file_ranges import FILE_RANGE

log = logging.getLogger("waybill.gateway.access")

# A client's own id is used if it is harmless in a log.
_ACCEPTED_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


class Observer(Protocol):
    """Called at the end of each request, for metrics."""

    def __call__(self, *, method: str, route: str, status: int, seconds: float, bytes_sent: int) -> None: ...


Unexpected = Callable[[Scope], Awaitable[ASGIApp]]
"""Returns the response to an error that nothing else answers."""


class RequestLog:
    """The outermost middleware, which also sees requests that break off, and answers unexpected errors."""

    def __init__(self, app: ASGIApp, *, unexpected: Unexpected, observe: Observer | None = None) -> None:
        self._app = app
        self._unexpected = unexpected
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        this_id = _id_of(scope)
        reset = request_id.set(this_id)
        response = _Response(send, this_id)
        started = time.perf_counter()
        try:
            await self._app(scope, receive, response.send)
        except Exception:
            # Answered here, so that this response has its id too. The server logs the error, with its traceback.
            if response.status is None:
                await (await self._unexpected(scope))(scope, receive, response.send)
            raise
        finally:
            self._log(scope, response, time.perf_counter() - started)
            request_id.reset(reset)

    def _log(self, scope: Scope, response: _Response, seconds: float) -> None:
        # The path template, /files/{file_id} without the id; one word for all unknown paths.
        route = str(getattr(scope.get("route"), "path", "unknown"))
        status = response.status or CLIENT_DISCONNECTED
        log.info(
            "request",
            extra={
                "method": scope["method"],
                "route": route,
                "status": status,
                "milliseconds": round(1000 * seconds, 1),
                "bytes_sent": response.bytes_sent,
                "complete": response.complete,
                "client": scope["client"][0] if scope.get("client") else None,
                "actor": scope.get("state", {}).get("actor"),
            },
        )
        if self._observe is not None:
            self._observe(
                method=scope["method"], route=route, status=status, seconds=seconds, bytes_sent=response.bytes_sent
            )


class _Response:
    """Adds the id to the response and counts the bytes of its body."""

    def __init__(self, send: Send, this_id: str) -> None:
        self._send = send
        self._id = this_id
        self.status: int | None = None
        self.bytes_sent = 0
        self.complete = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            message = {**message, "headers": [*message["headers"], (b"x-request-id", self._id.encode())]}
        elif message["type"] == "http.response.body":
            await self._send(message)  # first: it may be cancelled while it waits for the client to read
            self.bytes_sent += len(message.get("body", b""))
            self.complete = not message.get("more_body", False)
            return
        elif message["type"] == FILE_RANGE:
            await self._send_file(message)
            return
        await self._send(message)

    async def _send_file(self, message: Message) -> None:
        before, report = self.bytes_sent, message.get("on_sent")

        def count(sent: int) -> None:
            self.bytes_sent = before + sent
            if report is not None:
                report(sent)

        await self._send({**message, "on_sent": count})
        self.complete = not message.get("more_body", False)


def write_json_lines() -> None:
    """Log everything of this process to stderr, one JSON object a line.

    Removes the handlers of libraries that were imported before. Prefect installs its own on import, which write another
    format and drop what is below WARNING.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in list(logging.root.manager.loggerDict):
        logger = logging.getLogger(name)
        if logger.handlers:
            logger.handlers.clear()
            logger.propagate = True
    # It logs one line for every outgoing request.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # It logs its start and stop at INFO, which the command reports already.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


class JsonLines(logging.Formatter):
    """Formats a log record as one line of JSON, with the id of the current request."""

    _PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (this_id := request_id.get()) is not None:
            line["request_id"] = this_id
        line |= {name: value for name, value in vars(record).items() if name not in self._PLAIN}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def _id_of(scope: Scope) -> str:
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    return given.decode() if _ACCEPTED_ID.fullmatch(given) else uuid.uuid4().hex
