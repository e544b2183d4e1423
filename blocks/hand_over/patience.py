"""How long a client waits for the other side: pauses that grow while nothing moves, and an end."""

from __future__ import annotations

import random
import time
from threading import Event

from blocks.errors import GatewayUnavailable
from blocks.runtime.threads import WorkStopped

# A gateway that is started again, or a link that is down for minutes, must not end a transfer of hours.
DEFAULT_PATIENCE_SECONDS = 300.0
# Between attempts: a gateway that restarts is back in a second, and one that stays away is not asked all the time.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 5.0


class Patience:
    """Waits between attempts. What moves bytes calls `progressed`, which starts the time over. For one thread."""

    def __init__(self, seconds: float, stopped: Event) -> None:
        self._seconds = seconds
        self._stopped = stopped
        self._failing_since: float | None = None
        self._pause_seconds = FIRST_PAUSE_SECONDS

    def progressed(self) -> None:
        """Forget earlier failures."""
        self._failing_since, self._pause_seconds = None, FIRST_PAUSE_SECONDS

    def wait(self, reason: BaseException | str, *, asked_seconds: float | None = None) -> None:
        """Wait for the next attempt, for as long as the gateway *asked* if it did.

        Raises `GatewayUnavailable` when the time is over, or would be after what was asked, and `WorkStopped`.
        """
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        left = self._failing_since + self._seconds - now
        # Spread out: clients that lost the same gateway must not come back all at once.
        pause = asked_seconds if asked_seconds is not None else self._pause_seconds * random.uniform(0.5, 1)  # noqa: S311
        self._pause_seconds = min(2 * self._pause_seconds, LONGEST_PAUSE_SECONDS)
        if left <= 0 or pause > max(left, LONGEST_PAUSE_SECONDS):
            what = str(reason) or type(reason).__name__
            asks = f" and asks for a pause of {asked_seconds:.0f} s" if asked_seconds is not None else ""
            error = GatewayUnavailable(
                f"the gateway has not served the transfer for {now - self._failing_since:.0f} s ({what}){asks}; "
                "run the same again later to continue"
            )
            raise error from (reason if isinstance(reason, BaseException) else None)
        if self._stopped.wait(pause):
            raise WorkStopped
