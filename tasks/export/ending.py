"""When a statement has to end, and who ends it: its time is over, or the caller has gone.

A database may give no row for hours, so a check between rows is not enough: a thread looks, and interrupts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from blocks.errors import ExportRefused
from blocks.runtime.threads import StopCheck

TIME_IS_OVER = "the query took longer than its time limit; narrow it down, or raise the limit"

# A person who cancels does not notice; the thread takes no time that counts.
_LOOK_SECONDS = 0.1
# Until a statement that was interrupted, and has not ended, is interrupted again.
_AGAIN_SECONDS = 5.0


class Ending:
    """Whether a statement has to end: *time_limit* is over, or *check* raises. `reason` is why."""

    def __init__(self, time_limit: timedelta | None, check: StopCheck) -> None:
        self._until = None if time_limit is None else time.monotonic() + time_limit.total_seconds()
        self._check = check
        self.reason: Exception | None = None

    def __call__(self) -> bool:
        """Return whether it has to end. Any thread may ask."""
        try:
            self._check()
        except Exception as exc:  # noqa: BLE001 - kept for the caller: the driver would replace it by its own
            self.reason = exc
        else:
            if self._until is not None and time.monotonic() > self._until:
                self.reason = ExportRefused(TIME_IS_OVER)
        return self.reason is not None


class Watch:
    """Calls *interrupt* from a thread of its own when *ending* says so, and again until `stop` is called.

    What *interrupt* raises is ignored: the next call tries again.
    """

    def __init__(self, ending: Ending, interrupt: Callable[[], None]) -> None:
        self._ending, self._interrupt = ending, interrupt
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="export-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread. Idempotent."""
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        pause = _LOOK_SECONDS
        while not self._over.wait(pause):
            if self._ending():
                with suppress(Exception):
                    self._interrupt()
                pause = _AGAIN_SECONDS
