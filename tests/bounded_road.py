"""A way to a server of this machine that lets back no more bytes than a test allows: there the client stops."""

from __future__ import annotations

import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Condition, Thread

_PIECE_BYTES = 64 * 1024
# What the server has sent and nobody has read lies in the kernel: as little as on a connection without this between.
_BUFFER_BYTES = 256 * 1024


class BoundedRoad:
    """Carries connections to *port*. Nothing comes back until `allow` says how much may."""

    def __init__(self, port: int) -> None:
        self.to = port
        self.port = 0
        self._left: float = 0
        self._changed = Condition()

    def allow(self, count: float) -> None:
        """Let *count* bytes more come back, on all connections together."""
        with self._changed:
            self._left += count
            self._changed.notify_all()

    def take(self, open_: list[bool]) -> int:
        """Wait until something may come back; how many bytes, at most a piece. 0 once *open_* is empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._left >= 1 or not open_)
            count = min(_PIECE_BYTES, self._left) if open_ else 0
            self._left -= count
            return int(count)

    def close(self, open_: list[bool]) -> None:
        """End a connection that *open_* stands for."""
        with self._changed:
            open_.clear()
            self._changed.notify_all()


class _Carry(BaseRequestHandler):
    def handle(self) -> None:
        road: BoundedRoad = self.server.road  # pyright: ignore[reportAttributeAccessIssue]
        open_ = [True]
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
            server.connect(("127.0.0.1", road.to))
            there = Thread(target=self._carry_there, args=(server, road, open_))
            there.start()
            with suppress(OSError):
                while count := road.take(open_):
                    piece = server.recv(count)
                    road.allow(count - len(piece))
                    if not piece:
                        break
                    self.request.sendall(piece)
            for end in (server, self.request):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            there.join()

    def _carry_there(self, server: socket.socket, road: BoundedRoad, open_: list[bool]) -> None:
        with suppress(OSError):
            while piece := self.request.recv(_PIECE_BYTES):
                server.sendall(piece)
        # The client is gone: the server learns of it at once, whatever is still on the way.
        road.close(open_)
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)


@contextmanager
def bounded_road(port: int) -> Generator[BoundedRoad]:
    """A road to *port* of this machine, for the length of the block."""
    road = BoundedRoad(port)
    with ThreadingTCPServer(("127.0.0.1", 0), _Carry) as server:
        server.road = road  # pyright: ignore[reportAttributeAccessIssue]
        road.port = server.server_address[1]
        serving = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            yield road
        finally:
            server.shutdown()
            serving.join()
