"""One id and one line of log for each request.

Owns the request id, which is in the answer (`X-Request-ID`), in every log line that is written meanwhile and in the
audit log; and the line that says how a request ended. Lines are JSON objects. Never logged: queries and bodies, which
hold links and content, and the `Authorization` header.
"""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from collections.abc import MutableMapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("waybill.gateway.access")

# A client's own id is taken over where it can do no harm in a log.
_ACCEPTED_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


class Watcher(Protocol):
    """Is told of each request's end: for metrics."""

    def __call__(self, *, method: str, route: str, status: int, seconds: float, bytes_sent: int) -> None: ...


class RequestLog:
    """Middleware, outermost: sees also what was broken off."""

    def __init__(self, app: ASGIApp, *, watch: Watcher | None = None) -> None:
        self._app = app
        self._watch = watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        this_id = _id_of(scope)
        reset = request_id.set(this_id)
        answer = _Answer(send, this_id)
        started = time.perf_counter()
        try:
            await self._app(scope, receive, answer.send)
        finally:
            self._tell(scope, answer, time.perf_counter() - started)
            request_id.reset(reset)

    def _tell(self, scope: Scope, answer: _Answer, seconds: float) -> None:
        route = route_of(scope)
        # 499 as other servers count it: nobody was there any more, or the answer was broken off before it began.
        status = answer.status or 499
        log.info(
            "request",
            extra={
                "method": scope["method"],
                "route": route,
                "status": status,
                "milliseconds": round(1000 * seconds, 1),
                "bytes_sent": answer.bytes_sent,
                "complete": answer.complete,
                "client": scope["client"][0] if scope.get("client") else None,
                "actor": scope.get("state", {}).get("actor"),
            },
        )
        if self._watch is not None:
            self._watch(
                method=scope["method"], route=route, status=status, seconds=seconds, bytes_sent=answer.bytes_sent
            )


class _Answer:
    """Puts the id on the answer and counts what goes out."""

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
            self.bytes_sent += len(message.get("body", b""))
            self.complete = not message.get("more_body", False)
        await self._send(message)


def write_json_lines() -> None:
    """From now on everything that this process logs goes to stderr, one JSON object per line.

    Libraries that were imported before may have set up logging of their own, as Prefect does when it is imported: lines
    in another form, and none below WARNING. They lose it.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in list(logging.root.manager.loggerDict):
        logger = logging.getLogger(name)
        if logger.handlers:
            logger.handlers.clear()
            logger.propagate = True
    # One line per request of ours to others would drown the lines of requests to us.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # It announces starts and ends; what it has to say is from WARNING on.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


class JsonLines(logging.Formatter):
    """A log record as one JSON object per line, with the id of the request it was written in."""

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


def route_of(scope: MutableMapping[str, Any]) -> str:
    """The path as the API names it, ``/files/{file_id}`` and not the id itself; one word for all that is not there."""
    route = scope.get("route")
    return str(getattr(route, "path", "unknown"))


def _id_of(scope: Scope) -> str:
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    return given.decode() if _ACCEPTED_ID.fullmatch(given) else uuid.uuid4().hex
