"""A webhook receiver for tryouts: verifies and reports each webhook, and answers with a chosen status.

Not for production: it stores nothing. Answers 204 or the given status, and 401 when a signature does not match.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import SimpleQueue
from socketserver import TCPServer
from typing import Any, cast

from blocks.errors import InvalidSettings, SignatureInvalid
from blocks.webhooks.send.answer import clean_line
from blocks.webhooks.signature import ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, verify

# Fifty times what Waybill sends; other senders may be tried out too.
_MAX_BODY_BYTES = 1024 * 1024
# A sender gives up after twenty.
_READ_TIMEOUT_SECONDS = 30
# How often the listener checks for its shutdown.
_POLL_SECONDS = 0.1

# Wide enough for file names, narrow enough for a terminal.
_MAX_COLUMN_CHARS = 100
# The longest type, so that the ids are aligned.
_EVENT_TYPE_CHARS = len("stage_chain_completed")


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A received webhook. `verified` is None when there is no secret to verify with."""

    received_at: datetime
    event_id: str
    verified: bool | None
    problem: str | None
    answered: int
    body: Any

    def field(self, name: str) -> str | None:
        """Return a field of the body; None if it is missing or not text."""
        if not isinstance(cast("object", self.body), dict):
            return None
        value = cast("dict[str, Any]", self.body).get(name)
        return value if isinstance(value, str) else None

    def as_json_line(self) -> str:
        """Return the line that ``--json`` prints. ASCII, so that every terminal and pipe takes it."""
        shown: dict[str, Any] = {
            "received_at": self.received_at.isoformat(),
            "event_id": self.event_id,
            "event_type": self.field("event_type"),
            "task_id": self.field("task_id"),
            "source_file": self.field("source_file"),
            "verified": self.verified,
            "problem": self.problem,
            "answered": self.answered,
            "body": self.body,
        }
        try:
            return json.dumps(shown)
        except RecursionError:
            # JSON that could be read may be nested too deeply to be written.
            return json.dumps({**shown, "body": None})

    def as_line(self) -> str:
        """Return the line for people; received texts are cleaned, since terminals act on control characters."""
        outcome = {True: "verified", False: f"NOT VERIFIED: {self.problem}", None: "not verified"}[self.verified]
        if self.answered not in {HTTPStatus.NO_CONTENT, HTTPStatus.UNAUTHORIZED}:
            outcome += f", answered {self.answered}"
        task_id = self.field("task_id")
        columns = (
            self.received_at.astimezone().strftime("%H:%M:%S"),
            self.field("event_type") or "(no event type)",
            self.event_id or "(no id)",
            f"task {task_id}" if task_id else "no task",
            self.field("source_file") or "-",
            outcome,
        )
        cleaned = [clean_line(column, _MAX_COLUMN_CHARS) for column in columns]
        cleaned[1] = cleaned[1].ljust(_EVENT_TYPE_CHARS)
        return "  ".join(cleaned)


class WebhookListener(ThreadingHTTPServer):
    """Listens on *host* and *port* (0 for any free one). Raises `InvalidSettings` where that is not possible.

    Closing it answers what has been received, and waits for that; idle connections are closed.
    """

    daemon_threads = False
    request_queue_size = 128

    def __init__(self, host: str, port: int, *, keys: Sequence[bytes], status: int) -> None:
        self.keys = keys
        self.status = status
        self.arrivals: SimpleQueue[Arrival] = SimpleQueue()
        self._connections: set[socket.socket] = set()
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except (OSError, UnicodeError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else "not a host"
            raise InvalidSettings(
                f"cannot listen on {host} port {port}: {reason}; give others with --host and --port"
            ) from exc

    def server_bind(self) -> None:
        """Bind without the look-up of `http.server`, which asks DNS for its own name; that can take long."""
        TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Handle a connection in a thread of its own."""
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection whose sender is done with it."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Stop reading from all connections, then wait until those that are being answered are done."""
        for connection in tuple(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RD)
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a sender that closes its connection early."""

    @property
    def url(self) -> str:
        """The address for senders on this machine."""
        host, port = str(self.server_address[0]), int(self.server_address[1])
        return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"

    def receive(self, headers: dict[str, str], body: bytes) -> Arrival:
        """Verify a webhook if there is a secret, and choose the answer."""
        problem: str | None = None
        try:
            if self.keys:
                verify(self.keys, headers, body, now=time.time())
        except SignatureInvalid as exc:
            problem = exc.message
        return Arrival(
            received_at=datetime.now(UTC),
            event_id=headers.get(ID_HEADER, ""),
            verified=(problem is None) if self.keys else None,
            problem=problem,
            answered=self.status if problem is None else HTTPStatus.UNAUTHORIZED,
            body=_parsed(body),
        )


class _Handler(BaseHTTPRequestHandler):
    """One connection of a sender."""

    protocol_version = "HTTP/1.1"
    timeout = _READ_TIMEOUT_SECONDS
    server: WebhookListener  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_POST(self) -> None:
        """Receive one webhook."""
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            self._answer(HTTPStatus.LENGTH_REQUIRED, "send a Content-Length", close=True)
        elif len(length) > len(str(_MAX_BODY_BYTES)) or int(length) > _MAX_BODY_BYTES:
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {_MAX_BODY_BYTES} bytes", close=True)
        else:
            body = self.rfile.read(int(length))
            if len(body) < int(length):
                self.close_connection = True
                return
            names = (ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER)
            arrival = self.server.receive({name: self.headers.get(name, "") for name in names}, body)
            self.server.arrivals.put(arrival)
            self._answer(arrival.answered, arrival.problem or "")

    def do_GET(self) -> None:
        """Answer a browser."""
        self._answer(HTTPStatus.METHOD_NOT_ALLOWED, "This listens for webhooks: send a POST.")

    def _answer(self, status: int, text: str, *, close: bool = False) -> None:
        body = f"{text}\n".encode() if text else b""
        self.send_response(status)
        if status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
        if close:
            self.send_header("Connection", "close")
        self.end_headers()
        if status not in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}:
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that http.server has
        """Print nothing: the command reports arrivals."""


@contextmanager
def listening(host: str, port: int, *, keys: Sequence[bytes], status: int) -> Generator[WebhookListener]:
    """Run a listener in its own threads; received webhooks are in its queue `arrivals`, complete once it is closed."""
    with WebhookListener(host, port, keys=keys, status=status) as listener:
        serving = threading.Thread(target=listener.serve_forever, args=(_POLL_SECONDS,), daemon=True)
        serving.start()
        try:
            yield listener
        finally:
            listener.shutdown()
            serving.join()


def _parsed(body: bytes) -> Any:
    """Return the body as JSON, or as text if it is not JSON. NaN, which JSON lacks, becomes null."""
    try:
        return json.loads(body, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")
