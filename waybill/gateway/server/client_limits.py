"""How slow a client may be, and how many there may be; pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TransportLimits:
    """Limits of one server's connections."""

    # Each takes a file descriptor or two, and a thousand are far more than the gateway can serve at the same time.
    connections: int = 1000
    # From the first byte of a request, or the start of the connection. A head is one packet or two.
    head_seconds: float = 10.0
    # Until the next request on a connection.
    idle_seconds: int = 30
    # Mobile networks hand over, and satellites are shadowed, for some seconds.
    body_silence_seconds: float = 30.0
    reader_silence_seconds: float = 60.0
    # 1 KiB/s in both directions: an old telephone line is five times as fast.
    pace_window_seconds: float = 60.0
    pace_bytes: int = 60 * 1024
    # For a refused client that still sends to read the response; what it sends is discarded.
    linger_seconds: float = 2.0


class MinimumThroughput:
    """Watches one direction of a connection while the client has to send, or to read.

    It is too slow when nothing moves for *silence_seconds*, which finds clients that are gone, or when fewer than
    *least_bytes* move in *window_seconds*, which finds clients that send a byte now and then to hold the connection.
    """

    def __init__(self, *, silence_seconds: float, window_seconds: float, least_bytes: int) -> None:
        self._silence_seconds = silence_seconds
        self._window_seconds = window_seconds
        self._least_bytes = least_bytes
        self._checked_at: float | None = None
        self._silent_seconds = 0.0
        self._window_passed_seconds = 0.0
        self._total_bytes = 0
        self._window_start_bytes = 0

    def is_too_slow(self, now: float, total_bytes: int, *, owed: bool) -> bool:
        """Return whether to give up the client, after *total_bytes*. Call it regularly.

        Only time counts in which it is the client's turn (*owed*).
        """
        elapsed = now - self._checked_at if self._checked_at is not None else 0.0
        has_moved = total_bytes != self._total_bytes
        self._checked_at, self._total_bytes = now, total_bytes
        if not owed:
            self._silent_seconds, self._window_passed_seconds, self._window_start_bytes = 0.0, 0.0, total_bytes
            return False
        self._silent_seconds = 0.0 if has_moved else self._silent_seconds + elapsed
        self._window_passed_seconds += elapsed
        if self._silent_seconds >= self._silence_seconds:
            return True
        if self._window_passed_seconds < self._window_seconds:
            return False
        is_slow = total_bytes - self._window_start_bytes < self._least_bytes
        self._window_passed_seconds, self._window_start_bytes = 0.0, total_bytes
        return is_slow
