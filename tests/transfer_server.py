"""A server of transfers that fails as it is told: Range and If-Range down, tus 1.0 up, on threads of this process.

What the real gateway seldom does: connections that break in the middle, 5xx, 423 and 429, another file under the same
address, bodies that end too early, wrong hashes. `sent_bytes` and `received_bytes` are of bodies.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from itertools import chain, repeat
from threading import Lock

from tests.served_on_loopback import served_on_loopback

_PIECE_BYTES = 64 * 1024
TOKEN = "a-token"


@dataclass
class TransferServer:
    """One download (`content` sealed) and one upload (`uploaded`) at `url`, and how they fail."""

    url: str = ""
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    tokens: set[str] = field(default_factory=lambda: {TOKEN})
    expired_tokens: set[str] = field(default_factory=set[str])
    # Answers instead of the real ones, in order: status and headers.
    refusals: list[tuple[int, dict[str, str]]] = field(default_factory=list[tuple[int, dict[str, str]]])
    # After so many bytes of a body the connection ends; one for each request.
    breaks: list[int] = field(default_factory=list[int])
    # Called after so many bytes of the next body down.
    on_piece: Callable[[int], None] | None = None
    uploaded: bytearray = field(default_factory=bytearray)
    length: int | None = None
    metadata: str = ""
    over: bool = False
    # HEAD is of the download, not of the upload.
    head_is_get: bool = False
    verified: bool = True
    # Answers all of it, whatever range was asked for.
    ignores_ranges: bool = False
    # Bodies down go on after what was asked for, in chunks without end.
    is_endless: bool = False
    requests: list[str] = field(default_factory=list[str])
    ranges: list[str] = field(default_factory=list[str])
    completed: list[dict[str, object]] = field(default_factory=list[dict[str, object]])
    sent_bytes: int = 0
    received_bytes: int = 0
    lock: Lock = field(default_factory=Lock)
    writing: Lock = field(default_factory=Lock)

    @property
    def etag(self) -> str:
        return f'"{hashlib.sha256(self.content).hexdigest()}"'

    @property
    def download_url(self) -> str:
        return f"{self.url}/api/v1/transfers/trf_0123456789abcdef/download"

    @property
    def upload_url(self) -> str:
        return f"{self.url}/api/v1/transfers/trf_0123456789abcdef/upload"


@contextmanager
def running_transfer_server() -> Generator[TransferServer]:
    """A server on a free port of loopback."""
    with served_on_loopback(_Handler, TransferServer) as place:
        yield place


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def place(self) -> TransferServer:
        return self.server.place  # pyright: ignore[reportAttributeAccessIssue]

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            self.close_connection = True  # the client is gone

    def do_GET(self) -> None:
        if self._refused():
            return
        if self.path.endswith("/status"):
            self._json(200, {"state": "completed" if self.place.over else "in_progress", "file_id": "f"})
            return
        content, etag = self.place.content, self.place.etag
        asked = self.headers.get("Range")
        with self.place.lock:
            self.place.ranges.append(asked or "")
        first, last, status = 0, len(content) - 1, 200
        if asked and self.headers.get("If-Range", etag) == etag and not self.place.ignores_ranges:
            start, _, end = asked.removeprefix("bytes=").partition("-")
            first, last, status = int(start), min(int(end or last), last), 206
        self.send_response_only(status)
        headers = {"Content-Length": str(last + 1 - first), "ETag": etag, **self.place.headers}
        if status == 206:
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        if self.place.is_endless:
            del headers["Content-Length"]
            headers["Transfer-Encoding"] = "chunked"
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.place.is_endless:
            self._endless_body(content[first : last + 1])
        else:
            self._body(memoryview(content)[first : last + 1])

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self._refused():
            return
        if self.path.endswith("/complete"):
            self.place.completed.append(json.loads(body))
            if self.place.verified:
                self._json(200, {"state": "completed"})
            else:
                self._json(409, {"error": {"code": "ContentMismatch", "message": "other content", "detail": {}}})
            return
        declared = int(self.headers["Upload-Length"]), self.headers.get("Upload-Metadata", "")
        if self.place.length is not None and declared != (self.place.length, self.place.metadata):
            self._json(409, {"error": {"code": "TransferConflict", "message": "created otherwise", "detail": {}}})
            return
        # As the gateway does: declared again, an upload begins again.
        (self.place.length, self.place.metadata), self.place.uploaded = declared, bytearray()
        self._empty(201, {"Location": self.path, "Upload-Offset": "0"})

    def do_HEAD(self) -> None:
        if self._refused():
            return
        if self.place.head_is_get:
            self.send_response_only(200)
            for name, value in {"Content-Length": str(len(self.place.content)), **self.place.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            return
        if self.place.length is None:
            self._empty(404, {})
            return
        self._empty(200, {"Upload-Offset": str(len(self.place.uploaded)), "Upload-Length": str(self.place.length)})

    def do_PATCH(self) -> None:
        if self._refused():
            self.close_connection = True
            return
        # As the gateway does: a request of a client that has gone may still have bytes to add.
        if not self.place.writing.acquire(blocking=False):
            self.close_connection = True
            self._json(423, {"error": {"code": "TransferLocked", "message": "another writes", "detail": {}}})
            return
        try:
            self._append()
        finally:
            self.place.writing.release()

    def _append(self) -> None:
        if int(self.headers["Upload-Offset"]) != len(self.place.uploaded):
            self.close_connection = True
            self._json(409, {"error": {"code": "TransferConflict", "message": "wrong offset", "detail": {}}})
            return
        left = int(self.headers["Content-Length"])
        limit = self.place.breaks.pop(0) if self.place.breaks else None
        taken = 0
        while left and (data := self.rfile.read1(min(left, _PIECE_BYTES))):  # type: ignore[attr-defined]
            data = data if limit is None else data[: limit - taken]
            self.place.uploaded += data
            taken += len(data)
            left -= len(data)
            self.place.received_bytes += len(data)
            if self.place.on_piece is not None:
                self.place.on_piece(taken)
            if limit is not None and taken >= limit:
                self.close_connection = True
                self.connection.close()
                return
        if not left:
            self.place.over = len(self.place.uploaded) == self.place.length
            self._empty(204, {"Upload-Offset": str(len(self.place.uploaded))})

    def do_DELETE(self) -> None:
        if not self._refused():
            self._empty(204, {})

    def _body(self, content: memoryview) -> None:
        limit = self.place.breaks.pop(0) if self.place.breaks else None
        sent = 0
        while sent < len(content):
            piece = content[sent : sent + _PIECE_BYTES]
            piece = piece if limit is None else piece[: limit - sent]
            self.wfile.write(piece)
            sent += len(piece)
            with self.place.lock:
                self.place.sent_bytes += len(piece)
            if self.place.on_piece is not None:
                self.place.on_piece(sent)
            if limit is not None and sent >= limit:
                self.close_connection = True
                return

    def _endless_body(self, content: bytes) -> None:
        self.close_connection = True
        for piece in chain([content], repeat(bytes(_PIECE_BYTES))):
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")

    def _refused(self) -> bool:
        self.place.requests.append(f"{self.command} {self.path}")
        if self.place.refusals:
            status, headers = self.place.refusals.pop(0)
            self._empty(status, headers)
            return True
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token in self.place.expired_tokens:
            self._json(410, {"error": {"code": "LinkExpired", "message": "the link has expired", "detail": {}}})
            return True
        if token not in self.place.tokens:
            self._json(401, {"error": {"code": "LinkInvalid", "message": "no token", "detail": {}}})
            return True
        return False

    def _json(self, status: int, value: dict[str, object]) -> None:
        body = json.dumps(value).encode()
        self.send_response_only(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _empty(self, status: int, headers: dict[str, str]) -> None:
        self.send_response_only(status)
        for name, value in {**headers, **({} if status == 204 else {"Content-Length": "0"})}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class's name
        pass
