"""The time of day, as an argument that tests replace, and how long this process runs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

Clock = Callable[[], datetime]
"""Returns the time now, with its zone."""

# Of what follows the name in /proc/PID/stat (proc(5), "starttime").
_START_FIELD = 19


def utc_now() -> datetime:
    """Return the time now, in UTC."""
    return datetime.now(UTC)


def seconds_since_start() -> float:
    """Return how long this process has been running, with the start of the interpreter: what a person has waited."""
    try:
        # By ticks since the start of the machine: the time of day of that start is rounded to a second.
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        began = int(fields[_START_FIELD]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - began)
    except (OSError, AttributeError):  # no Linux
        from psutil import Process

        return max(0.0, time.time() - Process().create_time())
