"""The writes of this process that are under way: their `pending` rows show once a minute that their writer lives.

`blocks.custody.abandoned` removes rows that have not shown it for long.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from blocks.catalog import Catalog
from blocks.catalog.maintenance import renew_pending
from blocks.custody.renewal import Renewal


class OpenWrites:
    """Renews the rows of reserved files until they are filled or released. Costs nothing while there is none."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._file_ids: set[UUID] = set()
        self._renewal = Renewal(self.renew, self._file_ids)

    def __len__(self) -> int:
        """Return how many files are being written."""
        return len(self._file_ids)

    def add(self, file_ids: Iterable[UUID]) -> None:
        """Renew the rows of *file_ids* from now on; they have just been written."""
        self._file_ids.update(file_ids)
        self._renewal.start()

    def remove(self, file_ids: Iterable[UUID]) -> None:
        """Renew them no longer. Idempotent."""
        self._file_ids.difference_update(file_ids)

    async def renew(self) -> None:
        """Renew the rows now. Raises `CatalogUnavailable`."""
        if self._file_ids:
            async with self._catalog.connection() as connection:
                await renew_pending(connection, list(self._file_ids))
