"""Read stored files: the half of `Custody` that changes no file, only what is recorded of damage."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar
from uuid import UUID

from blocks.catalog import Artifact, Catalog
from blocks.catalog.maintenance import mark_damaged, mark_verified
from blocks.custody.open_reads import OpenReads
from blocks.custody.read import Content, content_pieces, require_key, verify_stored
from blocks.errors import BlobMissing, ContentMismatch, WaybillError
from blocks.keys import StorageKeys
from blocks.runtime.atomic_file import atomic_file
from blocks.runtime.threads import StopCheck, in_thread
from blocks.runtime.write_errors import write_error
from blocks.storage import Backend

T = TypeVar("T")


class Reading:
    """The files of one catalogue and one storage, for reading, with the keys that open them."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        backend: Backend,
        keys: StorageKeys,
        reload_keys: Callable[[], StorageKeys] | None = None,
    ) -> None:
        self.catalog = catalog
        self.backend = backend
        self.keys = keys
        self.open_reads = OpenReads(catalog)
        # Its own: the loop's default threads are few, and all of them may wait for a disk. Made when needed.
        self.executor = ThreadPoolExecutor(backend.threads, thread_name_prefix="storage")
        # Waits until this process may use the storage once more, where that is limited.
        self.slots: Callable[[], AbstractAsyncContextManager[object]] = nullcontext
        self._reload_keys = reload_keys
        self._keys_read_at = time.monotonic()

    async def in_storage(self, work: Callable[[StopCheck], T], executor: Executor | None = None) -> T:
        """Return the result of *work*, which reads or writes whole files, in a thread of the storage's or *executor*.

        Where use of the storage is limited (`slots`), it waits for its turn.
        """
        async with self.slots():
            return await in_thread(work, executor or self.executor)

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
            await self.in_storage(lambda check: self._fetch(found, target, check))

        await self._reading(artifact, copy)

    async def read(self, artifact: Artifact) -> bytes:
        """Return the whole content, verified; for small files only. Raises like `fetch`."""

        async def join(found: Artifact) -> bytes:
            pieces = partial(content_pieces, self.backend, self.keys, found)
            return await self.in_storage(lambda check: b"".join(pieces(check)))

        return await self._reading(artifact, join)

    async def read_part(self, artifact: Artifact, start: int, stop: int) -> bytes:
        """Return the bytes from *start* up to *stop* in one call of a thread; for small parts. Raises like `fetch`."""

        def read(found: Artifact) -> bytes:
            with closing(Content.open(self.backend, self.keys, found)) as content:
                return b"".join(content.read_range(start, stop))

        async def read_in_thread(found: Artifact) -> bytes:
            require_key(self.keys, found)
            return await self.in_storage(lambda _: read(found))

        return await self._reading(artifact, read_in_thread)

    @asynccontextmanager
    async def open_content(self, artifact: Artifact) -> AsyncGenerator[Content]:
        """Open the content for reading in ranges, for the length of the block. Raises like `fetch`."""

        async def opened(found: Artifact) -> Content:
            require_key(self.keys, found)
            return await in_thread(lambda _: Content.open(self.backend, self.keys, found), self.executor)

        async with self.open_reads.reading(artifact):
            content = await self._reading(artifact, opened)
            try:
                yield content
            except (ContentMismatch, BlobMissing) as damage:
                await self.mark_damaged(content.artifact, damage)
                raise
            finally:
                await asyncio.get_running_loop().run_in_executor(self.executor, content.close)

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
            return found, await in_thread(lambda _: self.backend.open(found.location), self.executor)

        async with nullcontext() if briefly else self.open_reads.reading(artifact):
            found, stream = await self._reading(artifact, opened, briefly=briefly)
            try:
                yield found, stream
            except (ContentMismatch, BlobMissing) as damage:
                await self.mark_damaged(found, damage)
                raise
            finally:
                await asyncio.get_running_loop().run_in_executor(self.executor, stream.close)

    async def verify(self, artifact: Artifact) -> bool:
        """Read all stored bytes, compare hashes and tags, and record the result in the catalogue.

        Return whether the content was checked too: without the key for it only the stored bytes can be. Raises
        `ContentMismatch`, `BlobMissing` or `StorageUnavailable`.
        """

        async def compare(found: Artifact) -> bool:
            complete = await self.in_storage(lambda check: verify_stored(self.backend, self.keys, found, check))
            async with self.catalog.connection() as connection:
                await mark_verified(connection, found)
            return complete

        return await self._reading(artifact, compare)

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

    def _fetch(self, artifact: Artifact, target: Path, check: StopCheck) -> None:
        try:
            with atomic_file(target) as stream:
                for piece in content_pieces(self.backend, self.keys, artifact, check):
                    stream.write(piece)
        except OSError as exc:  # from the target: errors of the storage have been translated
            raise write_error(target, exc) from exc
