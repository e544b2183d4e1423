"""The writes of this process that are under way: their `pending` rows show once a minute that their writer lives.

`blocks.custody.abandoned` removes rows that have not shown it for long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from uuid import UUID

import psycopg

from blocks.catalog import Catalog
from blocks.catalog.maintenance import renew_pending
from blocks.errors import WaybillError

# Most files are stored within it and cost no statement; a writer can miss many of these before its rows are removed.
_RENEW_SECONDS = 60.0


class OpenWrites:
    """Renews the rows of reserved files until they are filled or released. Costs nothing while there is none."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._file_ids: set[UUID] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._renewal: asyncio.Task[None] | None = None

    def add(self, file_ids: Iterable[UUID]) -> None:
        """Renew the rows of *file_ids* from now on; they have just been written."""
        self._file_ids.update(file_ids)
        self._start_timer()

    def remove(self, file_ids: Iterable[UUID]) -> None:
        """Renew them no longer. Idempotent."""
        self._file_ids.difference_update(file_ids)

    async def renew(self) -> None:
        """Renew the rows now. Raises `CatalogUnavailable`."""
        if self._file_ids:
            async with self._catalog.connection() as connection:
                await renew_pending(connection, list(self._file_ids))

    def _start_timer(self) -> None:
        # A process may use its custody in one event loop after another; the timer of a closed one never fires.
        loop = asyncio.get_running_loop()
        if self._timer is None or self._loop is not loop:
            self._loop, self._timer = loop, loop.call_later(_RENEW_SECONDS, self._start_renewal)

    def _start_renewal(self) -> None:
        self._timer = None
        if self._file_ids:
            self._renewal = asyncio.get_running_loop().create_task(self._try_to_renew())

    async def _try_to_renew(self) -> None:
        with suppress(WaybillError, psycopg.Error):  # the database may be back the next time
            await self.renew()
        self._start_timer()
