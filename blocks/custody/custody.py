"""Store, read and delete files: storage, encryption and catalogue as one operation, row first and row last.

Storing: a `pending` row, then the blob, then its manifest, then `available`. Deleting: the row becomes a tombstone,
then the blob goes, then its manifest, then `deleted`. `recover_run` cleans up after a run that is known to be dead,
`blocks.custody.abandoned` after any other process. Reading is in `blocks.custody.reading`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

from blocks.catalog import Artifact, Catalog, Draft, ManifestPlace, Reservation, Stored
from blocks.catalog.catalog import Unfinished
from blocks.catalog.maintenance import hold_location
from blocks.custody import deletion
from blocks.custody.manifest import manifest_path, write_manifest
from blocks.custody.open_writes import OpenWrites
from blocks.custody.reading import Reading
from blocks.custody.sealing import WHOLE_BYTES, Filled, KeepOrder, Sealing
from blocks.custody.whole import Whole, read_whole, seal_file
from blocks.custody.write import store
from blocks.errors import (
    CatalogRefused,
    KeyExists,
    SourceNotFound,
    UnsafeKey,
    WaybillError,
)
from blocks.keys import StorageKeys, StorageRecipient
from blocks.runtime.threads import StopCheck, to_its_end
from blocks.storage import Backend, BlobPaths, Expected
from blocks.storage.local import LocalBackend

# How long a process stores files for keys that it has read: a rotation, or a lost file, is noticed this soon.
KEYS_FRESH_SECONDS = 5.0

Describe = Callable[[Stored], Awaitable[Draft]]
"""Returns the description of a file whose content is stored; an exception undoes the write."""

MakeAvailable = Callable[[Artifact], Awaitable[Artifact]]
"""Makes a file available in a transaction, as `Custody.make_available` does; one that does more does all or nothing."""


class Custody(Reading):
    """The files of one catalogue and one storage, with the storage's keys.

    A document whose last file is removed leaves the search index, unless it *keeps_index*.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        backend: Backend,
        keys: StorageKeys,
        reload_keys: Callable[[], StorageKeys] | None = None,
        keeps_index: bool = False,
        new_id: Callable[[], UUID] = uuid4,
        new_path: Callable[[str, UUID], str] | None = None,
    ) -> None:
        super().__init__(catalog=catalog, backend=backend, keys=keys, reload_keys=reload_keys)
        self.keeps_index = keeps_index
        self.open_writes = OpenWrites(catalog)
        # Called before files are reserved: raises where this process may not store any more.
        self.confirm: Callable[[], Awaitable[None]] | None = None
        self._new_id = new_id
        self.new_path = new_path or BlobPaths().new

    async def take(
        self,
        draft: Draft,
        content: Path | bytes,
        *,
        expected: Expected | None = None,
        make_available: MakeAvailable | None = None,
    ) -> Artifact:
        """Store *content* and return its artifact; on return, the bytes and the row are durable.

        *make_available* writes what has to become true together with the row.
        Raises `ContentMismatch` when the content is not as declared, `SourceNotFound` when it cannot be read,
        `StorageFull`, `StorageUnavailable`, `CatalogUnavailable`, `CatalogRefused`. After an error or a cancellation
        nothing is readable and, unless the catalogue or the storage is gone, no row and no blob remain.
        """
        (reservation,) = await self.reserve([draft])
        return await self.fill(reservation, content, expected=expected, make_available=make_available)

    async def reserve(self, drafts: Sequence[Draft]) -> list[Reservation]:
        """Write the `pending` rows of files: all or none. Fill or release each reservation afterwards.

        What a process that dies in between leaves is removed by others. Raises `CatalogUnavailable`, `CatalogRefused`,
        and `InvalidSettings` when the storage key is missing; then nothing is reserved, even if only the answer to the
        commit was lost.
        """
        if self.confirm is not None:
            await self.confirm()
        # Files that are stored for a key whose file is gone, or was replaced, could not be read after a restart.
        if time.monotonic() - self._keys_read_at >= KEYS_FRESH_SECONDS:
            await self.check_keys()
        self.keys.recipient_to_store_for()  # a missing key is reported before anything is written
        ids = [self._new_id() for _ in drafts]
        reservations = [
            Reservation(file_id=file_id, location=self.new_path(draft.kind, file_id), draft=draft)
            for file_id, draft in zip(ids, drafts, strict=True)
        ]
        announced = False
        try:
            async with self.catalog.connection() as connection:
                announced = True
                await self.catalog.reserve(connection, reservations)
        except CatalogRefused:
            raise  # no row exists, or it is not ours
        except BaseException:
            if announced:
                with suppress(WaybillError):
                    await to_its_end(self.release(reservations))
            raise
        self.open_writes.add(ids)
        return reservations

    async def fill(
        self,
        reservation: Reservation,
        content: Path | bytes | Iterable[bytes],
        *,
        expected: Expected | None = None,
        draft: Draft | Describe | None = None,
        make_available: MakeAvailable | None = None,
        executor: Executor | None = None,
    ) -> Artifact:
        """Store the content of a reserved file; *draft* replaces the reserved description (type, metadata, report).

        *make_available* as with `take`. A thread of *executor* reads content in pieces, to its end or its error, also
        when the caller is cancelled. Raises like `take`; after an error the reservation is gone.
        """
        path = reservation.location
        stored: Stored | None = None
        try:
            recipient = self.keys.recipient_to_store_for()
            if not callable(draft) and isinstance(content, Path | bytes):
                whole = await self._store_whole(reservation, draft or reservation.draft, content, recipient, expected)
                if whole is not None:
                    stored = whole.artifact.stored
                    return await self._announce(whole, make_available)
            stored = await self.in_storage(
                lambda check: store(self.backend, path, content, recipient=recipient, expected=expected, check=check),
                executor,
            )
            described = await draft(stored) if callable(draft) else draft
            return await self._make_available(reservation, described or reservation.draft, stored, make_available)
        except BaseException as error:
            # Report the first error; others undo later what cannot be undone now. A blob that another writer
            # has put under the path is not ours to remove, nor is a foreign file in its place.
            ours = stored is not None or not isinstance(error, (KeyExists, UnsafeKey))
            with suppress(WaybillError):
                await to_its_end(self._give_up(reservation.file_id, path, written=ours))
            raise
        finally:
            self.open_writes.remove([reservation.file_id])

    @property
    def sealing(self) -> Sealing:
        """What another process of this machine needs for `fill_whole`. Raises `StorageKeyMissing`."""
        # A subclass may do more than the folder shows: it stores what others have sealed.
        root = self.backend.root if type(self.backend) is LocalBackend else None
        return Sealing(recipient=self.keys.recipient_to_store_for(), root=root)

    def order(self, reservation: Reservation, draft: Draft, spool: Path) -> KeepOrder:
        """Return what `fill_whole` needs to fill *reservation*, described by *draft*. Raises `StorageKeyMissing`."""
        recipient = self.keys.recipient_to_store_for()
        return KeepOrder(
            reservation=reservation,
            draft=draft,
            now=self.catalog.clock,
            spool=spool,
            encrypted_for=recipient.text if recipient else None,
        )

    async def finish(self, filled: Filled) -> Artifact:
        """Publish what `fill_whole` has left in a spool; the file can then be made available.

        Its row stays pending, and is renewed until `open_writes.remove`. Raises what `Backend.publish` raises; after an
        error the reservation is gone.
        """
        artifact = filled.artifact
        try:
            if filled.spooled is not None:
                spooled = filled.spooled
                await self.in_storage(lambda _: self._publish_spooled(artifact, spooled))
        except BaseException as error:
            await self.undo(artifact.file_id, artifact.location, written=not isinstance(error, (KeyExists, UnsafeKey)))
            raise
        return artifact

    async def undo(self, file_id: UUID, location: str, *, written: bool = True) -> None:
        """Remove a reservation with what is stored of it (if *written* by its owner), unless it is available.

        To its end, also when the caller is cancelled. What cannot be undone now, others undo later.
        """
        try:
            with suppress(WaybillError):
                await to_its_end(self._give_up(file_id, location, written=written))
        finally:
            self.open_writes.remove([file_id])

    def _publish_spooled(self, artifact: Artifact, spooled: Path) -> None:
        expected = Expected(size=artifact.stored_size, sha256=artifact.stored_sha256)
        try:
            self.backend.publish(artifact.location, [spooled.read_bytes()], expected=expected, sync_folder=False)
        except OSError as exc:
            raise SourceNotFound(f"cannot read the sealed bytes of {artifact.filename}: {exc.strerror}") from exc
        if artifact.manifest == "separate":
            self.publish_manifest(artifact)
        spooled.unlink(missing_ok=True)

    async def release(self, reservations: Sequence[Reservation]) -> None:
        """Remove the rows of unused reservations; one that was filled is left alone. Idempotent."""
        self.open_writes.remove(one.file_id for one in reservations)
        if reservations:
            async with self.catalog.connection() as connection:
                await self.catalog.forget_pending(connection, *(one.file_id for one in reservations))

    async def remove(self, file_id: UUID) -> None:
        """Delete the file: tombstone, blob, `deleted`. Idempotent until done; raises `ArtifactNotFound` after."""
        async with self.catalog.transaction() as connection:
            row = await self.catalog.begin_deletion(connection, file_id)
        await self._finish_removal(row)

    async def give_up_pending(self, file_id: UUID) -> bool:
        """Remove a `pending` file with what is stored of it, also that of another process. False when there is none."""
        async with self.catalog.transaction() as connection:
            if await self.catalog.lock_state(connection, file_id) != "pending":
                return False
            location = await hold_location(connection, file_id)
        await to_its_end(self._give_up(file_id, str(location)))
        return True

    async def recover_run(self, run_id: UUID) -> int:
        """Clean up the rows that a dead run left between two states; return how many. The run must no longer live."""
        async with self.catalog.transaction() as connection:
            unfinished = await self.catalog.unfinished_of_run(connection, run_id)
        for row in unfinished:
            if row.state == "deleting":
                await self._finish_removal(row)
            else:
                await self._give_up(row.file_id, *row.locations)
        return len(unfinished)

    async def _make_available(
        self, reservation: Reservation, draft: Draft, stored: Stored, make_available: MakeAvailable | None
    ) -> Artifact:
        artifact = reservation.filled(draft, stored, await self.catalog.now())
        await self.in_storage(lambda _: self.publish_manifest(artifact))
        return await (make_available or self.make_available)(artifact)

    async def _store_whole(
        self,
        reservation: Reservation,
        draft: Draft,
        content: Path | bytes,
        recipient: StorageRecipient | None,
        expected: Expected | None,
    ) -> Whole | None:
        """Store a small content in one piece, in one call of a thread. None when it is not small."""
        now = await self.catalog.now()

        def work(check: StopCheck) -> Whole | None:
            found = read_whole(content) if isinstance(content, Path) else content
            if found is None or len(found) > WHOLE_BYTES:
                return None
            check()
            whole = seal_file(reservation, draft, found, created_at=now, recipient=recipient, expected=expected)
            self.backend.publish(reservation.location, (whole.sealed,), expected=Expected(size=len(whole.sealed)))
            return whole

        return await self.in_storage(work)

    async def _announce(self, whole: Whole, make_available: MakeAvailable | None) -> Artifact:
        artifact, manifest = whole.artifact, whole.manifest
        if manifest is not None:
            path = manifest_path(artifact.location)
            await self.in_storage(lambda _: self.backend.publish(path, (manifest,)))
        return await (make_available or self.make_available)(artifact)

    async def make_available(self, artifact: Artifact) -> Artifact:
        """Turn the row of a reserved file whose bytes are stored into *artifact*. Raises `ArtifactNotFound`."""
        async with self.catalog.connection() as connection:
            return await self.catalog.make_available(connection, artifact)

    def publish_manifest(self, artifact: Artifact, *, replace: bool = False) -> None:
        """Write the manifest next to the blob. Blocks. Raises what `Backend.publish` raises."""
        content = write_manifest(artifact, self.keys.recipient)
        self.backend.publish(manifest_path(artifact.location), [content], replace=replace)

    async def _give_up(self, file_id: UUID, path: str, *, written: bool = True) -> None:
        """Undo a reservation: first the blob (if *written* by us), then the row that knows its path.

        Keep both when the row has become available after all, by a commit whose answer was lost. The row stays locked
        meanwhile, so that such a commit cannot come in between.
        """
        async with self.catalog.transaction() as connection:
            if await self.catalog.lock_state(connection, file_id) not in {None, "pending"}:
                return
            if written:
                await self.delete_stored(path, file_id)
            await self.catalog.forget_pending(connection, file_id)

    async def _finish_removal(self, row: Unfinished) -> None:
        # A missing blob is fine: another removal, or an interrupted earlier one, has deleted it.
        for path in row.locations:
            await self.delete_stored(path, row.file_id, row.manifest)
        async with self.catalog.transaction() as connection:
            await self.catalog.finish_deletion(connection, row.file_id, keeps_index=self.keeps_index)

    async def delete_stored(self, path: str, file_id: UUID, manifest: ManifestPlace = "separate") -> None:
        """See `deletion.delete_stored`; in a thread of the storage. The caller awaits it to its end."""
        work = partial(deletion.delete_stored, self.backend, path, file_id=file_id, manifest=manifest)
        await asyncio.get_running_loop().run_in_executor(self.executor, work)
