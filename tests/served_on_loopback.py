"""A server of a test's own on loopback, whose handlers share an object with the test."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TypeVar

PlaceT = TypeVar("PlaceT")


@contextmanager
def served_on_loopback(handler: type[BaseHTTPRequestHandler], place_at: Callable[[str], PlaceT]) -> Generator[PlaceT]:
    """Serve on a free port; yield what *place_at* makes of the URL, which handlers find as ``self.server.place``."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        place = place_at(f"http://127.0.0.1:{server.server_port}")
        server.place = place  # pyright: ignore[reportAttributeAccessIssue]
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield place
        finally:
            server.shutdown()
            thread.join()
