"""A database that is away, told once when it goes and once when it is back."""

from __future__ import annotations

import logging

_LOG = logging.getLogger("waybill.delivery")


class Outage:
    """What one kind of *work* knows of it."""

    def __init__(self, work: str) -> None:
        self._work = work
        self._is_away = False

    def began(self, why: BaseException) -> None:
        """Note a failure."""
        if not self._is_away:
            # What libpq says has several lines.
            _LOG.warning("%s waits because=%s", self._work, (str(why) or type(why).__name__).splitlines()[0])
        self._is_away = True

    def ended(self) -> None:
        """Note a success."""
        if self._is_away:
            _LOG.info("%s goes on", self._work)
        self._is_away = False
