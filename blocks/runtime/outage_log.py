"""Log a problem when it begins, when its reason changes and when it is over, not every time it is met."""

from __future__ import annotations

import logging
from collections.abc import Collection, Hashable


class Problems:
    """The problems that are known at the moment, one a subject."""

    def __init__(self) -> None:
        self._reasons: dict[Hashable, str] = {}

    def is_new(self, subject: Hashable, reason: str = "") -> bool:
        """Record the problem of *subject*; return whether it was unknown, or known for another reason."""
        before, self._reasons[subject] = self._reasons.get(subject), reason
        return before != reason

    def is_over(self, subject: Hashable) -> bool:
        """Forget the problem of *subject*; return whether there was one."""
        return self._reasons.pop(subject, None) is not None

    def keep(self, subjects: Collection[Hashable]) -> None:
        """Forget the problems of all other subjects."""
        self._reasons = {subject: reason for subject, reason in self._reasons.items() if subject in subjects}


class OutageLog:
    """Logs the start and the end of the outage that stops one kind of *work*, once each, whatever its reasons."""

    def __init__(self, log: logging.Logger, work: str) -> None:
        self._log = log
        self._work = work
        self._is_out = False

    def failed(self, why: BaseException) -> None:
        """Record that the work failed because of *why*."""
        if not self._is_out:
            # libpq's messages have several lines.
            self._log.warning("%s waits because=%s", self._work, (str(why) or type(why).__name__).splitlines()[0])
        self._is_out = True

    def succeeded(self) -> None:
        """Record that the work was done."""
        if self._is_out:
            self._log.info("%s goes on", self._work)
        self._is_out = False
