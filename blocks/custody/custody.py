"""Store, read and delete files: storage, encryption and catalogue as one operation, row first and row last.

Storing: a `pending` row, then the blob, then its manifest, then `available`. Deleting: the row becomes a tombstone,
then the blob goes, then its manifest, then `deleted`. `recover_run` cleans up after a run that is known to be dead,
`blocks.custody.abandoned` after any other process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager, closing, nullcontext, suppress
from pathlib import Path
from typing import BinaryIO, TypeVar
from uuid import UUID, uuid4

from blocks.catalog import Artifact, Catalog, Connection, Draft, Reservation, Stored
from blocks.catalog.maintenance import hold_location, mark_damaged, mark_verified
from blocks.custody.deletion import delete_stored
from blocks.custody.manifest import manifest_path, write_manifest
from blocks.custody.open_reads import OpenReads
from blocks.custody.open_writes import OpenWrites
from blocks.custody.read import Content, content_pieces, require_key, verify_stored
from blocks.custody.sealing import Filled, KeepOrder, Sealing
from blocks.custody.write import store
from blocks.errors import (
    BlobMissing,
    CatalogRefused,
    ContentMismatch,
    KeyExists,
    SourceNotFound,
    UnsafeKey,
    WaybillError,
)
from blocks.keys import StorageKeys
from blocks.runtime.atomic_file import atomic_file
from blocks.runtime.threads import StopCheck, in_thread, to_its_end
from blocks.runtime.write_errors import write_error
from blocks.storage import Backend, Expected, new_blob_path
from blocks.storage.local import LocalBackend

T = TypeVar("T")

# How long a process stores files for keys that it has read: a rotation, or a lost file, is noticed this soon.
KEYS_FRESH_SECONDS = 5.0

Describe = Callable[[Stored], Awaitable[Draft]]
"""Returns the description of a file whose content is stored; an exception undoes the write."""

MakeAvailable = Callable[[Connection, Artifact], Awaitable[Artifact]]
"""Makes a file available in one statement, as `Catalog.make_available` does; one that does more does all or nothing."""


class Custody:
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
    ) -> None:
        self.catalog = catalog
        self.backend = backend
        self.keys = keys
        self.keeps_index = keeps_index
        self.open_writes = OpenWrites(catalog)
        self.open_reads = OpenReads(catalog)
        self._reload_keys = reload_keys
        self._keys_read_at = time.monotonic()
        self._new_id = new_id

    async def check_keys(self) -> None:
        """Read the keys again. Raises `InvalidSettings` when they are gone or cannot be used; the former ones stay."""
        if self._reload_keys is not None:
            found = await asyncio.to_thread(self._reload_keys)
            found.recipient_to_store_for()
            self.keys, self._keys_read_at = found, time.monotonic()

    async def look_for_new_keys(self) -> None:
        """Read the keys again: a missing one may have been made since. If all are gone, the former ones stay."""
        if self._reload_keys is not None:
            found = await asyncio.to_thread(self._reload_keys)
            self.keys = self.keys if found.missing else found

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
        # Files that are stored for a key whose file is gone, or was replaced, could not be read after a restart.
        if time.monotonic() - self._keys_read_at >= KEYS_FRESH_SECONDS:
            await self.check_keys()
        self.keys.recipient_to_store_for()  # a missing key is reported before anything is written
        ids = [self._new_id() for _ in drafts]
        reservations = [
            Reservation(file_id=file_id, location=new_blob_path(draft.kind, file_id), draft=draft)
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
            stored = await in_thread(
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
                await in_thread(lambda _: self._publish_spooled(artifact, spooled))
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
        self.publish_manifest(artifact)
        spooled.unlink(missing_ok=True)

    async def release(self, reservations: Sequence[Reservation]) -> None:
        """Remove the rows of unused reservations; one that was filled is left alone. Idempotent."""
        self.open_writes.remove(one.file_id for one in reservations)
        if reservations:
            async with self.catalog.connection() as connection:
                await self.catalog.forget_pending(connection, *(one.file_id for one in reservations))

    async def get(self, file_id: UUID, *, even_expired: bool = False) -> Artifact:
        """Return the artifact. Raises `ArtifactNotFound`, also for an expired one unless *even_expired*."""
        async with self.catalog.connection() as connection:
            return await self.catalog.get(connection, file_id, even_expired=even_expired)

    def can_read(self, artifact: Artifact) -> bool:
        """Return whether this process has the key for the content; an intake machine has the public key only."""
        return self.keys.opens(artifact.encrypted_for)

    def can_reuse(self, artifact: Artifact) -> bool:
        """Return whether the file serves as one that is stored now: its key is here, or is the one to store for.

        A file that is encrypted for a lost key would be delivered, and nothing could read it.
        """
        return self.can_read(artifact) or artifact.encrypted_for == self.keys.encrypted_for

    async def fetch(self, artifact: Artifact, target: Path) -> None:
        """Copy the content to *target*, verified. The file appears whole or not at all, with mode 0600.

        Raises `ContentMismatch` when the stored bytes have changed, `BlobMissing`, `NoMatchingIdentity` without the key
        for them, `StorageUnavailable`, `StorageFull` when there is no room for the copy, `TargetUnwritable`.
        """

        async def copy(found: Artifact) -> None:
            await in_thread(lambda check: self._fetch(found, target, check))

        await self._reading(artifact, copy)

    async def read(self, artifact: Artifact) -> bytes:
        """Return the whole content, verified; for small files only. Raises like `fetch`."""

        async def join(found: Artifact) -> bytes:
            return await in_thread(lambda check: b"".join(content_pieces(self.backend, self.keys, found, check)))

        return await self._reading(artifact, join)

    async def read_part(self, artifact: Artifact, start: int, stop: int) -> bytes:
        """Return the bytes from *start* up to *stop* in one call of a thread; for small parts. Raises like `fetch`."""

        def read(found: Artifact) -> bytes:
            with closing(Content.open(self.backend, self.keys, found)) as content:
                return b"".join(content.read_range(start, stop))

        async def read_in_thread(found: Artifact) -> bytes:
            require_key(self.keys, found)
            return await in_thread(lambda _: read(found))

        return await self._reading(artifact, read_in_thread)

    @asynccontextmanager
    async def open_content(self, artifact: Artifact) -> AsyncGenerator[Content]:
        """Open the content for reading in ranges, for the length of the block. Raises like `fetch`."""

        async def opened(found: Artifact) -> Content:
            require_key(self.keys, found)
            return await in_thread(lambda _: Content.open(self.backend, self.keys, found))

        async with self.open_reads.reading(artifact):
            content = await self._reading(artifact, opened)
            try:
                yield content
            except (ContentMismatch, BlobMissing) as damage:
                await self.mark_damaged(content.artifact, damage)
                raise
            finally:
                await asyncio.to_thread(content.close)

    @asynccontextmanager
    async def open_stored(
        self, artifact: Artifact, *, briefly: bool = False
    ) -> AsyncGenerator[tuple[Artifact, BinaryIO]]:
        """Open the stored bytes as they lie, for the length of the block; needs no key for them.

        The artifact is that of the catalogue now, which may have moved. For one small read (*briefly*) no lease is
        written. A caller that finds damage raises it in the block. Raises `BlobMissing`, `ArtifactGone`,
        `ContentMismatch`, `StorageUnavailable`.
        """

        async def opened(found: Artifact) -> tuple[Artifact, BinaryIO]:
            return found, await in_thread(lambda _: self.backend.open(found.location))

        async with nullcontext() if briefly else self.open_reads.reading(artifact):
            found, stream = await self._reading(artifact, opened, briefly=briefly)
            try:
                yield found, stream
            except (ContentMismatch, BlobMissing) as damage:
                await self.mark_damaged(found, damage)
                raise
            finally:
                await asyncio.to_thread(stream.close)

    async def verify(self, artifact: Artifact) -> bool:
        """Read all stored bytes, compare hashes and tags, and record the result in the catalogue.

        Return whether the content was checked too: without the key for it only the stored bytes can be. Raises
        `ContentMismatch`, `BlobMissing` or `StorageUnavailable`.
        """

        async def compare(found: Artifact) -> bool:
            complete = await in_thread(lambda check: verify_stored(self.backend, self.keys, found, check))
            async with self.catalog.connection() as connection:
                await mark_verified(connection, found)
            return complete

        return await self._reading(artifact, compare)

    async def remove(self, file_id: UUID) -> None:
        """Delete the file: tombstone, blob, `deleted`. Idempotent until done; raises `ArtifactNotFound` after."""
        async with self.catalog.transaction() as connection:
            paths = await self.catalog.begin_deletion(connection, file_id)
        await self._finish_removal(file_id, paths)

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
                await self._finish_removal(row.file_id, row.locations)
            else:
                await self._give_up(row.file_id, *row.locations)
        return len(unfinished)

    def locate(self, artifact: Artifact) -> str:
        """Return the path or URL of the stored bytes."""
        return self.backend.locate(artifact.location)

    async def _reading(
        self, artifact: Artifact, act: Callable[[Artifact], Awaitable[T]], *, briefly: bool = False
    ) -> T:
        """Read stored bytes with *act*, and let no run of the retention remove them; record damage in the catalogue.

        Missing bytes may just have moved: then retry at the location that the catalogue has now.
        """
        if not self.keys.opens(artifact.encrypted_for):
            await self.look_for_new_keys()
        try:
            async with nullcontext() if briefly else self.open_reads.reading(artifact):
                try:
                    return await act(artifact)
                except BlobMissing:
                    current = await self.get(artifact.file_id, even_expired=True)
                    if current.location == artifact.location:
                        raise
                    artifact = current
                    return await act(artifact)
        except (ContentMismatch, BlobMissing) as damage:
            await self.mark_damaged(artifact, damage)
            raise

    async def mark_damaged(self, artifact: Artifact, damage: WaybillError) -> None:
        """Record in the catalogue that the stored bytes are damaged. Without a catalogue the next reader does."""
        with suppress(WaybillError):
            async with self.catalog.connection() as connection:
                await mark_damaged(connection, artifact, damage.message)

    async def _make_available(
        self, reservation: Reservation, draft: Draft, stored: Stored, make_available: MakeAvailable | None
    ) -> Artifact:
        artifact = reservation.filled(draft, stored, await self.catalog.now())
        await in_thread(lambda _: self.publish_manifest(artifact))
        async with self.catalog.connection() as connection:
            return await (make_available or self.catalog.make_available)(connection, artifact)

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
                await asyncio.to_thread(delete_stored, self.backend, path, file_id=file_id)
            await self.catalog.forget_pending(connection, file_id)

    async def _finish_removal(self, file_id: UUID, paths: Sequence[str]) -> None:
        # A missing blob is fine: another removal, or an interrupted earlier one, has deleted it.
        for path in paths:
            await asyncio.to_thread(delete_stored, self.backend, path, file_id=file_id)
        async with self.catalog.transaction() as connection:
            await self.catalog.finish_deletion(connection, file_id, keeps_index=self.keeps_index)

    def _fetch(self, artifact: Artifact, target: Path, check: StopCheck) -> None:
        try:
            with atomic_file(target) as stream:
                for piece in content_pieces(self.backend, self.keys, artifact, check):
                    stream.write(piece)
        except OSError as exc:  # from the target: errors of the storage have been translated
            raise write_error(target, exc) from exc
