"""The time of day, as an argument that tests replace, and how long this process runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Returns the time now, with its zone."""


def utc_now() -> datetime:
    """Return the time now, in UTC."""
    return datetime.now(UTC)


def seconds_since_start() -> float:
    """Return how long this process has been running, with the start of the interpreter: what a person has waited."""
    from psutil import Process

    return max(0.0, time.time() - Process().create_time())
