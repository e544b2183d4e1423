"""A proxy before the S3 server that makes chosen requests fail: refused, cut short, held up, or with their answer lost.

The signature of an S3 request covers its Host header, so the request is passed on exactly as it came.
"""

from __future__ import annotations

import http.client
import re
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar, Protocol
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

from tests.stack_driver import PATIENCE_SECONDS

_PIECE_BYTES = 64 * 1024

_REFUSAL = """<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>{code}</Code><Message>on purpose</Message><RequestId>0</RequestId></Error>"""


@dataclass(frozen=True)
class Request:
    """What a client asked for. `operation` is S3's name for it."""

    method: str
    key: str
    query: dict[str, list[str]]
    headers: dict[str, str]

    @property
    def operation(self) -> str:
        upload = "uploadId" in self.query
        if "uploads" in self.query:
            return "CreateMultipartUpload" if self.method == "POST" else "ListMultipartUploads"
        if "list-type" in self.query:
            return "ListObjectsV2"
        if "delete" in self.query:
            return "DeleteObjects"
        names = {
            ("PUT", True): "UploadPart",
            ("POST", True): "CompleteMultipartUpload",
            ("DELETE", True): "AbortMultipartUpload",
            ("GET", True): "ListParts",
            ("PUT", False): "PutObject",
            ("GET", False): "GetObject",
            ("HEAD", False): "HeadObject",
            ("DELETE", False): "DeleteObject",
        }
        return names.get((self.method, upload), self.method)

    @property
    def part(self) -> int:
        return int(self.query.get("partNumber", ["0"])[0])


When = Callable[[Request], bool]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What happens to a request. The request is passed on unless it is refused, answered, cut or held up for ever."""

    refuse_with: tuple[int, str] | None = None  # status and code, once the body has been read
    answer_with: str | None = None  # the XML of an answer 200, once the body has been read
    answer_by: Callable[[bytes], str] | None = None  # makes that answer of the body
    cut_request_after_bytes: int | None = None  # of the body; the connection is closed
    cut_answer_after_bytes: int | None = None  # of the body; the connection is closed
    flip_byte_of_request: bool = False  # the first of the body
    lose_answer: bool = False  # the server does what it is asked to; nobody hears of it
    hold_up_seconds: float = 0.0  # before the request is passed on
    then: Callable[[], None] | None = None  # called first


SERVICE_UNAVAILABLE = Fault(refuse_with=(503, "ServiceUnavailable"))
BLACK_HOLE = Fault(hold_up_seconds=3600)


def keys_of_deletion(body: bytes) -> list[str]:
    """Return the object keys that the body of a DeleteObjects names."""
    return [unescape(key) for key in re.findall(r"<Key>(.*?)</Key>", body.decode())]


def errors_of_keys(codes: dict[str, str]) -> str:
    """Return the answer to DeleteObjects in quiet mode that reports an error code for each of these object keys."""
    errors = (
        f"<Error><Key>{escape(key)}</Key><Code>{code}</Code><Message>on purpose</Message></Error>"
        for key, code in codes.items()
    )
    return f'<?xml version="1.0" encoding="UTF-8"?><DeleteResult>{"".join(errors)}</DeleteResult>'


@dataclass
class _Rule:
    when: When
    fault: Fault
    times: int | None


class FaultProxy:
    """Rules, first match first, and a record of what was asked."""

    def __init__(self, target: str) -> None:
        self.target = urlsplit(target).netloc
        self.address = ""
        self.requests: list[Request] = []
        self.closing = threading.Event()
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()

    def inject(self, when: When | str, fault: Fault, *, times: int | None = None) -> None:
        """Let *fault* happen to the next *times* requests (None: all) that *when* chooses or names by operation."""
        chosen: When = (lambda request: request.operation == when) if isinstance(when, str) else when
        with self._lock:
            self._rules.append(_Rule(chosen, fault, times))

    def heal(self) -> None:
        """Forget all rules."""
        with self._lock:
            self._rules.clear()

    def count(self, operation: str) -> int:
        with self._lock:
            return sum(request.operation == operation for request in self.requests)

    def fault_for(self, request: Request) -> Fault:
        with self._lock:
            self.requests.append(request)
            for rule in self._rules:
                if rule.times != 0 and rule.when(request):
                    if rule.times is not None:
                        rule.times -= 1
                    return rule.fault
        return Fault()


@contextmanager
def running_fault_proxy(target: str, *, host: str = "127.0.0.1") -> Generator[FaultProxy]:
    """A proxy for the server at *target*, on a free port of *host*."""
    proxy = FaultProxy(target)
    handler = type("Handler", (_Handler,), {"proxy": proxy})
    server = ThreadingHTTPServer((host, 0), handler)
    server.daemon_threads = True
    server.block_on_close = False
    proxy.address = f"http://{host}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Cut(Exception):
    """The connection to the client is to be closed without another byte."""


class _Handler(BaseHTTPRequestHandler):
    proxy: ClassVar[FaultProxy]
    protocol_version = "HTTP/1.1"
    # An answer leaves in two pieces, and the second must not wait for the client's acknowledgement of the first.
    disable_nagle_algorithm = True

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (_Cut, OSError, http.client.HTTPException):
            self.close_connection = True

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        _, _, key = unquote(parts.path).lstrip("/").partition("/")
        request = Request(self.command, key, parse_qs(parts.query, keep_blank_values=True), dict(self.headers.items()))
        fault = self.proxy.fault_for(request)
        if fault.then is not None:
            fault.then()
        if fault.hold_up_seconds:
            self.proxy.closing.wait(fault.hold_up_seconds)
        if self.proxy.closing.is_set():
            raise _Cut
        if fault.cut_request_after_bytes is not None:
            self.rfile.read(fault.cut_request_after_bytes)
            raise _Cut
        if fault.refuse_with is not None:
            status, code = fault.refuse_with
            self._answer(status, _REFUSAL.format(code=code))
        elif fault.answer_with is not None:
            self._answer(200, fault.answer_with)
        elif fault.answer_by is not None:
            self._answer(200, fault.answer_by(b"".join(self._body())), is_read=True)
        else:
            self._pass_on(fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815 -- the base class's names

    def _answer(self, status: int, document: str, *, is_read: bool = False) -> None:
        for _ in () if is_read else self._body():
            pass
        content = b"" if self.command == "HEAD" else document.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _body(self) -> Iterator[bytes]:
        yield from _pieces(self.rfile, int(self.headers.get("Content-Length") or 0))

    def _pass_on(self, fault: Fault) -> None:
        server = http.client.HTTPConnection(self.proxy.target, timeout=PATIENCE_SECONDS)
        try:
            server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in {"expect", "connection"}:
                    server.putheader(name, value)
            server.putheader("Connection", "close")
            server.endheaders()
            self._send_body(server, fault)
            answer = server.getresponse()
            if fault.lose_answer:
                answer.read()
                raise _Cut
            self._hand_back(answer, fault)
        finally:
            server.close()

    def _send_body(self, server: http.client.HTTPConnection, fault: Fault) -> None:
        refused = False
        for number, piece in enumerate(self._body()):
            flipped = fault.flip_byte_of_request and not number
            try:
                if not refused:
                    server.send(bytes([piece[0] ^ 1]) + piece[1:] if flipped else piece)
            except OSError:
                refused = True  # it has answered without reading on; the client is to get that answer

    def _hand_back(self, answer: http.client.HTTPResponse, fault: Fault) -> None:
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in {"connection", "transfer-encoding"}:
                self.send_header(name, value)
        # An answer without a length ends where its connection does.
        self.close_connection = answer.length is None
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        passed = 0
        while piece := answer.read(_PIECE_BYTES):
            if fault.cut_answer_after_bytes is not None and passed + len(piece) > fault.cut_answer_after_bytes:
                self.wfile.write(piece[: fault.cut_answer_after_bytes - passed])
                self.connection.shutdown(socket.SHUT_RDWR)
                raise _Cut
            self.wfile.write(piece)
            passed += len(piece)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class's name
        """Nothing is printed."""


def _pieces(stream: _Readable, length: int) -> Iterator[bytes]:
    while length:
        piece = stream.read(min(length, _PIECE_BYTES))
        if not piece:
            raise _Cut
        length -= len(piece)
        yield piece


def wait_until(condition: Callable[[], bool], *, seconds: float = PATIENCE_SECONDS) -> None:
    """Poll *condition*; fails when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
