"""Whether a client keeps up; pure."""

from __future__ import annotations


class MinimumThroughput:
    """Watches one direction of a connection while the client owes something: bytes to send, or bytes to take.

    Too slow is who is silent for *silence_seconds*, or moves fewer than *least_bytes* in *window_seconds* of waiting.
    The first finds who is gone; the second who sends a byte now and then to stay.
    """

    def __init__(self, *, silence_seconds: float, window_seconds: float, least_bytes: int) -> None:
        self._silence_seconds = silence_seconds
        self._window_seconds = window_seconds
        self._least_bytes = least_bytes
        self._looked_at: float | None = None
        self._silent_seconds = 0.0
        self._waited_seconds = 0.0
        self._total_bytes = 0
        self._window_began_at_bytes = 0

    def is_too_slow(self, now: float, total_bytes: int, *, owed: bool) -> bool:
        """Whether to give the client up, of which *total_bytes* were seen until *now*. To be asked again and again."""
        elapsed = now - self._looked_at if self._looked_at is not None else 0.0
        moved = total_bytes != self._total_bytes
        self._looked_at, self._total_bytes = now, total_bytes
        if not owed:  # it has done what was asked of it: what comes next is measured anew
            self._silent_seconds, self._waited_seconds, self._window_began_at_bytes = 0.0, 0.0, total_bytes
            return False
        self._silent_seconds = 0.0 if moved else self._silent_seconds + elapsed
        self._waited_seconds += elapsed
        if self._silent_seconds >= self._silence_seconds:
            return True
        if self._waited_seconds < self._window_seconds:
            return False
        is_slow = total_bytes - self._window_began_at_bytes < self._least_bytes
        self._waited_seconds, self._window_began_at_bytes = 0.0, total_bytes
        return is_slow
