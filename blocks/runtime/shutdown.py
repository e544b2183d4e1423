"""Process-wide shutdown deadline. Once shutdown is requested, calls to remote services get at most `GRACE_SECONDS`."""

from __future__ import annotations

import math
import time

# A process ends within 5 s of being asked: this for calls under way, the rest for undoing what is half done and for
# stopping the servers that it started.
GRACE_SECONDS = 1.5

_deadline = math.inf


def request_shutdown() -> None:
    """Set the deadline to `GRACE_SECONDS` from now. Later requests do not move it."""
    global _deadline  # noqa: PLW0603 - a process shuts down once
    _deadline = min(_deadline, time.monotonic() + GRACE_SECONDS)


def shutdown_deadline() -> float:
    """Return the deadline on the monotonic clock in seconds; infinity before `request_shutdown`."""
    return _deadline
