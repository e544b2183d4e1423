"""Custody: the one way in and out for files.

Storage and catalogue as one operation, row first and row last: a `pending` row, then the blob, then `available`;
tombstone, then the blob goes, then `deleted`. A crash leaves an orphan blob that a row announces, never a row that
points at nothing and never a readable half-file. `recover_run` clears up after a run that is known to be dead.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import UUID, uuid4

from blocks.catalog import Artifact, Catalog, Draft, Reservation
from blocks.errors import (
    CatalogRefused,
    ContentMismatch,
    KeyExists,
    SourceNotFound,
    StorageFull,
    StorageUnavailable,
    TargetUnwritable,
    WaybillError,
)
from blocks.storage import Backend, Blob, Digest, Expected, new_key, read_chunks
from blocks.threads import StopCheck, in_thread, to_its_end


class Custody:
    """Files in custody: one catalogue and one storage.

    Does not decide what to keep or for how long; the caller says so in the `Draft`.
    """

    def __init__(self, *, catalog: Catalog, backend: Backend, new_id: Callable[[], UUID] = uuid4) -> None:
        self.catalog = catalog
        self._backend = backend
        self._new_id = new_id

    async def take(self, draft: Draft, content: Path | bytes, *, expected: Expected | None = None) -> Artifact:
        """Store *content* and return its artifact; when this returns, both the bytes and the row are durable.

        Raises `ContentMismatch` when the content is not what was declared, `SourceNotFound` when it cannot be read,
        `StorageFull`, `StorageUnavailable`, `CatalogUnavailable`, `CatalogRefused`. After an error, also when the
        caller is cancelled, nothing is readable and, unless the catalogue is gone, no row and no blob remain.
        """
        (reservation,) = await self.reserve([draft])
        return await self.fill(reservation, content, expected=expected)

    async def reserve(self, drafts: Sequence[Draft]) -> list[Reservation]:
        """Announce files: all rows or none. Each reservation is then filled or released.

        A process that dies in between leaves `pending` rows for `recover_run`. Raises `CatalogUnavailable` and
        `CatalogRefused`; then nothing is reserved, also when only the answer to the commit was lost.
        """
        ids = [self._new_id() for _ in drafts]
        reservations = [
            Reservation(file_id=file_id, location=new_key(draft.kind, file_id), draft=draft)
            for file_id, draft in zip(ids, drafts, strict=True)
        ]
        announced = False
        try:
            async with self.catalog.connection() as connection:
                announced = True
                await self.catalog.reserve(connection, reservations)
        except CatalogRefused:
            raise  # there is no row, or it is not ours
        except BaseException:
            if announced:
                with suppress(WaybillError):
                    await to_its_end(self.release(reservations))
            raise
        return reservations

    async def fill(
        self,
        reservation: Reservation,
        content: Path | bytes,
        *,
        expected: Expected | None = None,
        draft: Draft | None = None,
    ) -> Artifact:
        """Store the content of a reserved file; *draft* adds what was not known before (metadata, report).

        Raises like `take`; after an error the reservation is gone.
        """
        file_id, key = reservation.file_id, reservation.location
        try:
            blob = await in_thread(lambda check: self._publish(key, content, expected, check))
            return await self._make_available(file_id, draft or reservation.draft, blob)
        except BaseException as error:
            # The first error is the one to tell; what cannot be undone now, `recover_run` undoes later. A blob that
            # another writer has put under the key is not ours to remove.
            with suppress(WaybillError):
                await to_its_end(self._give_up(file_id, key, written=not isinstance(error, KeyExists)))
            raise

    async def release(self, reservations: Sequence[Reservation]) -> None:
        """Give back reservations that nobody has begun to fill; one that was filled is left alone. Idempotent."""
        if reservations:
            async with self.catalog.connection() as connection:
                await self.catalog.forget_pending(connection, *(one.file_id for one in reservations))

    async def get(self, file_id: UUID, *, even_expired: bool = False) -> Artifact:
        """The artifact. Raises `ArtifactNotFound`, also for an expired one unless *even_expired*."""
        async with self.catalog.connection() as connection:
            return await self.catalog.get(connection, file_id, even_expired=even_expired)

    async def fetch(self, artifact: Artifact, target: Path) -> None:
        """Copy the content to *target*, verified. The file appears whole or not at all, with mode 0600.

        Raises `ContentMismatch` when the stored bytes are not those that were stored, `BlobMissing`,
        `StorageUnavailable`, `StorageFull` when there is no room for the copy, `TargetUnwritable`.
        """
        await in_thread(lambda check: self._fetch(artifact, target, check))

    async def read(self, artifact: Artifact) -> bytes:
        """The whole content, verified; for small files only. Raises like `fetch`."""
        return await in_thread(lambda check: b"".join(self._verified(artifact, check)))

    async def verify(self, artifact: Artifact) -> None:
        """Read the stored bytes and compare. Raises `ContentMismatch`, `BlobMissing` or `StorageUnavailable`."""
        await in_thread(lambda check: _exhaust(self._verified(artifact, check)))

    async def remove(self, file_id: UUID) -> None:
        """Delete the file: tombstone, blob, `deleted`. Idempotent until done; raises `ArtifactNotFound` after."""
        async with self.catalog.transaction() as connection:
            key = await self.catalog.begin_deletion(connection, file_id)
        await self._finish_removal(file_id, key)

    async def recover_run(self, run_id: UUID) -> int:
        """Clear up what a dead run left between two states; returns how many rows. The run must no longer live."""
        async with self.catalog.transaction() as connection:
            unfinished = await self.catalog.unfinished_of_run(connection, run_id)
        for row in unfinished:
            if row.state == "deleting":
                await self._finish_removal(row.file_id, row.location)
            else:
                await self._give_up(row.file_id, row.location)
        return len(unfinished)

    def locate(self, artifact: Artifact) -> str:
        """Where the stored bytes lie: a path or a URL."""
        return self._backend.locate(artifact.location)

    async def _make_available(self, file_id: UUID, draft: Draft, blob: Blob) -> Artifact:
        async with self.catalog.connection() as connection:
            return await self.catalog.make_available(
                connection,
                file_id=file_id,
                size=blob.size,
                sha256=blob.sha256,
                stored_size=blob.size,
                stored_sha256=blob.sha256,
                keep_for=draft.keep_for,
                metadata=draft.metadata,
                report=draft.report,
            )

    async def _give_up(self, file_id: UUID, key: str, *, written: bool = True) -> None:
        """Undo a reservation: first the blob (if *written* by us), then the row that knows where it lies.

        The blob is kept when the row has become available after all: a commit whose answer was lost has happened. The
        row stays locked meanwhile, so such a commit cannot come in between.
        """
        async with self.catalog.transaction() as connection:
            if await self.catalog.lock_state(connection, file_id) not in {None, "pending"}:
                return
            if written:
                await asyncio.to_thread(self._backend.delete, key, interrupted=True)
            await self.catalog.forget_pending(connection, file_id)

    async def _finish_removal(self, file_id: UUID, key: str) -> None:
        # A blob that is missing already is what we want: another sweep, or the same one before it was killed.
        await asyncio.to_thread(self._backend.delete, key, interrupted=True)
        async with self.catalog.transaction() as connection:
            await self.catalog.finish_deletion(connection, file_id)

    def _publish(self, key: str, content: Path | bytes, expected: Expected | None, check: StopCheck) -> Blob:
        if isinstance(content, bytes):
            return self._backend.publish(key, [content], expected=expected)
        try:
            stream = content.open("rb")
        except OSError as exc:
            raise SourceNotFound(f"cannot open {content.name}: {exc.strerror}") from exc
        with stream:
            return self._backend.publish(key, _source_chunks(stream, content, check), expected=expected)

    def _verified(self, artifact: Artifact, check: StopCheck) -> Iterable[bytes]:
        digest = Digest(Expected(size=artifact.size, sha256=artifact.sha256))
        with self._backend.open(artifact.location) as stream:
            try:
                yield from digest.through(_stored_chunks(stream, artifact, check))
            except ContentMismatch as exc:
                raise ContentMismatch(
                    f"the stored bytes of file {artifact.file_id} have changed: {exc}; restore {artifact.location} "
                    "from a backup, or remove the file and process its source again",
                    file_id=artifact.file_id,
                ) from exc

    def _fetch(self, artifact: Artifact, target: Path, check: StopCheck) -> None:
        try:
            with whole_file(target) as stream:
                for chunk in self._verified(artifact, check):
                    stream.write(chunk)
        except OSError as exc:  # the target's: those of the storage are errors of ours by now
            if exc.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
                raise StorageFull(f"cannot write {target}: {exc.strerror}; free some space and start again") from exc
            raise TargetUnwritable(f"cannot write {target}: {exc.strerror}") from exc


@contextmanager
def whole_file(target: Path) -> Generator[BinaryIO]:
    """Write a local file (0600) that appears whole or not at all; an error leaves what was there before.

    For copies of what is in custody: nothing waits for the disk, so a power cut may lose the file. Raises `OSError`.
    """
    # A name that nobody can foresee: in a shared folder somebody might have put a link there.
    partial = target.with_name(f".{secrets.token_hex(8)}.partial")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as stream:
            yield stream
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _source_chunks(stream: BinaryIO, path: Path, check: StopCheck) -> Iterator[bytes]:
    try:
        for chunk in read_chunks(stream):
            check()
            yield chunk
    except OSError as exc:
        raise SourceNotFound(f"cannot read {path.name} to its end: {exc.strerror}") from exc


def _stored_chunks(stream: BinaryIO, artifact: Artifact, check: StopCheck) -> Iterator[bytes]:
    try:
        for chunk in read_chunks(stream):
            check()
            yield chunk
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
        raise StorageUnavailable(f"cannot read the stored bytes of file {artifact.file_id}: {reason}") from exc


def _exhaust(chunks: Iterable[bytes]) -> None:
    for _ in chunks:
        pass
