"""That this process has been asked to end: whoever waits for another machine gives it little time from then on.

Noted by whoever receives the request (of a signal, as a rule), read in any thread. Ends nothing itself.
"""

from __future__ import annotations

import math
import time

# A process ends within 5 s of being asked: this for what is under way, the rest for taking back what was half done and
# for stopping the servers that it has started.
GRACE_SECONDS = 1.5

_ends_at = math.inf


def request_shutdown() -> None:
    """The process has been asked to end, now; the first time counts."""
    global _ends_at  # noqa: PLW0603 - a process ends once
    _ends_at = min(_ends_at, time.monotonic() + GRACE_SECONDS)


def shutdown_deadline() -> float:
    """Until when, on the monotonic clock, something may still be waited for; infinity while nobody has asked."""
    return _ends_at
