"""A timer for rows that show once a minute that their process lives. Owns no rows, and costs nothing without them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sized
from contextlib import suppress

import psycopg

from blocks.errors import WaybillError

# Most files are stored and read within it and cost no statement. A lease of a reader outlasts several of these
# (`READING_LASTS`), and a writer can miss many of them before its rows are removed.
RENEW_SECONDS = 60.0


class Renewal:
    """Calls *renew* every `RENEW_SECONDS` while there are *open_rows*; an error is left to the next time."""

    def __init__(self, renew: Callable[[], Awaitable[None]], open_rows: Sized) -> None:
        self._renew = renew
        self._open = open_rows
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._renewal: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Renew from now on, until no row is open. Idempotent."""
        # A process may use its custody in one event loop after another; the timer of a closed one never fires.
        loop = asyncio.get_running_loop()
        if self._timer is None or self._loop is not loop:
            self._loop, self._timer = loop, loop.call_later(RENEW_SECONDS, self._fire)

    def _fire(self) -> None:
        self._timer = None
        if self._open:
            self._renewal = asyncio.get_running_loop().create_task(self._try())

    async def _try(self) -> None:
        with suppress(WaybillError, psycopg.Error):  # the database may be back the next time
            await self._renew()
        self.start()
