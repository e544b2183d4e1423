"""The statements that nearly every request needs, batched: its API key or worker, its file, its audit entry.

Sent one by one, they take more time than the download of a small file.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from blocks.access import ApiKey, AuditEntry, find_keys, record
from blocks.catalog import Artifact, Catalog
from blocks.workers import Worker, find_workers
from waybill.gateway.batching import Batcher


class Lookups:
    """Each call reads or writes the catalogue after it was made. All raise `CatalogUnavailable`."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._keys = Batcher(self._find_keys)
        self._workers = Batcher(self._find_workers)
        self._files = Batcher(self._find_files)
        self._entries = Batcher(self._record)

    async def key(self, key_id: str) -> ApiKey | None:
        """Return the API key with this id, usable or not."""
        return await self._keys.ask(key_id)

    async def worker(self, name: str) -> Worker | None:
        """Return the worker of this name, revoked or not."""
        return await self._workers.ask(name)

    async def file(self, file_id: UUID) -> Artifact:
        """Return the artifact like `Catalog.get`. Raises `ArtifactNotFound`, `ArtifactGone`."""
        found = await self._files.ask(file_id)
        if found is not None:
            return found
        async with self._catalog.connection() as connection:
            return await self._catalog.get(connection, file_id)  # raises the error that says why there is none

    async def record(self, entry: AuditEntry) -> None:
        """Write *entry* to the audit log; return once it is committed."""
        await self._entries.ask(entry)

    async def _find_keys(self, key_ids: Sequence[str]) -> list[ApiKey | None]:
        async with self._catalog.connection() as connection:
            found = await find_keys(connection, key_ids)
        return [found.get(key_id) for key_id in key_ids]

    async def _find_workers(self, names: Sequence[str]) -> list[Worker | None]:
        async with self._catalog.connection() as connection:
            found = await find_workers(connection, names)
        return [found.get(name) for name in names]

    async def _find_files(self, file_ids: Sequence[UUID]) -> list[Artifact | None]:
        async with self._catalog.connection() as connection:
            found = await self._catalog.find_readable(connection, file_ids)
        return [found.get(file_id) for file_id in file_ids]

    async def _record(self, entries: Sequence[AuditEntry]) -> list[None]:
        async with self._catalog.connection() as connection:
            await record(connection, *entries)
        return [None] * len(entries)
