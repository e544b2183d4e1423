"""A real HTTP server in this process whose answers a test writes: for what reads documents over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from tests.served_on_loopback import served_on_loopback


@dataclass(frozen=True)
class Answer:
    """Status, headers and body as they are sent: nothing is added, and the connection is closed afterwards."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])
    sized: bool = True


class DocumentServer:
    """Answers by path, in order; the last one stays. `requests` are the request lines and headers received."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.requests: list[tuple[str, dict[str, str]]] = []
        self._answers: dict[str, list[Answer | Callable[[], Answer]]] = {}

    def answer(self, path: str, *answers: Answer | Callable[[], Answer]) -> str:
        """Answer requests for *path* with these, one after the other. Return its URL."""
        self._answers[path] = list(answers)
        return self.address + path

    def next_answer(self, method: str, path: str, headers: dict[str, str]) -> Answer:
        self.requests.append((f"{method} {path}", headers))
        waiting = self._answers.get(path.partition("?")[0], [Answer(status=404)])
        chosen = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return chosen() if callable(chosen) else chosen


@contextmanager
def running_document_server() -> Generator[DocumentServer]:
    """A server on a free port of loopback."""
    with served_on_loopback(_Handler, DocumentServer) as place:
        yield place


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        place: DocumentServer = self.server.place  # pyright: ignore[reportAttributeAccessIssue]
        answer = place.next_answer(
            self.command, self.path, {name.lower(): value for name, value in self.headers.items()}
        )
        self.send_response_only(answer.status)
        sized = {"Content-Length": str(len(answer.body))} if answer.sized else {}
        for name, value in {**sized, "Connection": "close", **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)
        self.close_connection = True

    do_HEAD = do_GET  # noqa: N815 -- the name that http.server looks for

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class's name
        pass
