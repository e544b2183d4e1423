"""The files that this process reads, and that could be removed meanwhile: each has a lease in the catalogue.

A run of the retention removes no file with a lease. A lease is renewed once a minute and ends with the reading; that of
a killed process ends by itself. Small files that stay for long are read without one, so they cost no statement.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID, uuid4

from blocks.catalog import Artifact, Catalog
from blocks.catalog.keeping import begin_reading, end_reading, renew_reading
from blocks.custody.renewal import Renewal
from blocks.errors import ArtifactGone, CatalogUnavailable, WaybillError
from blocks.runtime.threads import to_its_end

# A slow client takes minutes for more than this, and a fast disk needs long enough that one statement is nothing.
_LARGE_BYTES = 8 * 2**20
# A file of any size that ends sooner may expire while it is read, or while it waits for its turn.
_ENDS_SOON = timedelta(hours=1)


@dataclass(eq=False)
class _Lease:
    """The lease of one file, shared by all who read it in this process. *written*: the catalogue has it."""

    file_id: UUID
    reader_id: UUID = field(default_factory=uuid4)
    readers: int = 0
    written: bool = False


class OpenReads:
    """Holds the leases of this process and renews them. Costs nothing while there is none."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._leases: dict[UUID, _Lease] = {}
        self._renewal = Renewal(self.renew, self._leases)

    @asynccontextmanager
    async def reading(self, artifact: Artifact) -> AsyncGenerator[None]:
        """Keep the file from being removed for the length of the block, if that could happen meanwhile.

        Enter it before the stored bytes are opened. Raises `ArtifactGone` when the file is being removed already.
        Without the catalogue nothing can be removed either: then the lease is written when it is back.
        """
        if not await self._could_be_removed(artifact):
            yield
            return
        lease = self._leases.setdefault(artifact.file_id, _Lease(artifact.file_id))
        lease.readers += 1
        self._renewal.start()
        try:
            if not lease.written:
                await self._begin(lease)
            yield
        finally:
            lease.readers -= 1
            if lease.readers == 0:
                del self._leases[artifact.file_id]  # the next reader writes another one, with an id of its own
                with suppress(WaybillError):  # it ends by itself
                    await to_its_end(self._end(lease))

    async def renew(self) -> None:
        """Renew the leases now. Raises `CatalogUnavailable`."""
        if self._leases:
            async with self._catalog.connection() as connection:
                await renew_reading(connection, [(one.file_id, one.reader_id) for one in self._leases.values()])

    async def _could_be_removed(self, artifact: Artifact) -> bool:
        if artifact.file_id in self._leases or artifact.stored_size >= _LARGE_BYTES:
            return True
        if artifact.kept:
            return False
        try:
            return artifact.expires_at - await self._catalog.now() < _ENDS_SOON
        except CatalogUnavailable:
            return True

    async def _begin(self, lease: _Lease) -> None:
        with suppress(CatalogUnavailable):
            async with self._catalog.connection() as connection:
                if not await begin_reading(connection, lease.file_id, lease.reader_id):
                    raise ArtifactGone(f"file {lease.file_id} is being removed", file_id=lease.file_id)
            lease.written = True

    async def _end(self, lease: _Lease) -> None:
        async with self._catalog.connection() as connection:
            await end_reading(connection, lease.file_id, lease.reader_id)
