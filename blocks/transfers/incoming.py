"""Uploads from other machines: from the declaration, through any number of requests, to a file in custody.

The declaration reserves a file; its bytes arrive at the place where they will lie, in as many pieces and requests as it
takes; `Verification` follows them. With the last byte the file becomes available, the transfer is completed and its
event is recorded, in one transaction. Bytes that are wrong go, and the transfer has failed. What has arrived survives
a kill of this process at any moment; a transfer that is complete but for that transaction is completed by the next look
at it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import SpooledTemporaryFile

from blocks.access import Actor, record
from blocks.catalog import Artifact, Draft, Reservation, Stored
from blocks.custody import Custody
from blocks.custody.adopt import adopt
from blocks.custody.deletion import delete_stored
from blocks.errors import (
    ArtifactNotFound,
    AuthenticationFailed,
    BlobMissing,
    ContentMismatch,
    KeyExists,
    MalformedAgeFile,
    NoMatchingIdentity,
    TransferConflict,
    TransferOver,
    UploadRefused,
    WaybillError,
)
from blocks.naming import clean_display_name
from blocks.runtime.outage_log import OutageLog
from blocks.runtime.threads import in_thread, to_its_end
from blocks.runtime.write_errors import write_errors
from blocks.storage import CHUNK_BYTES, PartialBlob, PresignedPart, SentInParts, SentPart, new_blob_path
from blocks.storage.partial_spooled import scratch_name
from blocks.transfers.declaration import Checksum, Declaration, check_declaration
from blocks.transfers.ending import end_with_event
from blocks.transfers.incoming_writer import IncomingWriter, Resting
from blocks.transfers.locks import TransferLocks
from blocks.transfers.progress import ProgressWriter
from blocks.transfers.rows import declare_upload, get_transfer, open_upload_files, record_progress, require_open
from blocks.transfers.transfer import Transfer
from blocks.webhooks.event_links import EventLinks

_LOG = logging.getLogger("waybill.transfers")

# Requests that write at the same time in one process; each has a thread while bytes are written.
_THREADS = 32
# How often the scratch folder is looked through, and how old a file must be: an upload may just have been declared.
_CLEAR_SECONDS, _YOUNG_SECONDS = 600.0, 600.0
# Replaced when the content has been verified.
_UNKNOWN_SHA256 = "0" * 64
# What is wrong with the bytes that were sent; everything else is a failure of ours, and the sender tries again.
_WRONG = (ContentMismatch, MalformedAgeFile, NoMatchingIdentity, AuthenticationFailed, KeyExists)


class IncomingUploads:
    """The uploads of one process. *scratch* is a folder for what a storage cannot take yet."""

    def __init__(
        self,
        custody: Custody,
        links: EventLinks,
        progress: ProgressWriter,
        locks: TransferLocks,
        *,
        scratch: Path,
        keep_for: timedelta,
        max_bytes: int,
    ) -> None:
        self._custody, self._links, self._progress, self._locks = custody, links, progress, locks
        self._scratch, self._keep_for = scratch, keep_for
        self.max_bytes = max_bytes
        self._resting = Resting()
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="incoming")

    def close(self) -> None:
        """End all threads. What has arrived stays."""
        self._resting.close()
        self._executor.shutdown(wait=False)

    async def clear_scratch(self) -> None:
        """Remove what waits in the scratch folder for uploads that are over: another process has ended them."""
        async with self._custody.catalog.connection() as connection:
            wanted = await open_upload_files(connection)
        keep = {scratch_name(new_blob_path("transfer", file_id)) for file_id in wanted}

        def clear() -> None:
            for path in self._scratch.glob("*.*"):
                with suppress(FileNotFoundError):
                    if path.name.partition(".")[0] not in keep and time.time() - path.stat().st_mtime > _YOUNG_SECONDS:
                        path.unlink()

        await in_thread(lambda _: clear(), self._executor)

    async def clear_scratch_forever(self) -> None:
        """`clear_scratch` now and every ten minutes, until cancelled; an outage is waited for and logged once."""
        outage = OutageLog(_LOG, "the removal of what has arrived of uploads that are over")
        while True:
            try:
                await self.clear_scratch()
            except Exception as error:  # noqa: BLE001 - it must not end the gateway
                outage.failed(error)
            else:
                outage.succeeded()
            await asyncio.sleep(_CLEAR_SECONDS)

    async def declare(self, transfer: Transfer, declared: Declaration) -> Transfer:
        """Reserve the file of an upload, and return the transfer. Declared again, the upload begins again at byte 0.

        Raises `TransferConflict` for a declaration that is not the first one's or not what was agreed, `TooLarge`,
        `TransferOver`, `TransferLocked`, `InvalidOptions`, and what `Custody.reserve` raises.
        """
        require_open(transfer)
        self._check(transfer, declared)
        if transfer.file_id is None:
            draft = self._draft(transfer, declared)
            (reservation,) = await self._custody.reserve([draft])
            # Not renewed by this process: it rests for as long as the transfer is open.
            self._custody.open_writes.remove([reservation.file_id])
            async with self._custody.catalog.transaction() as connection:
                is_first = await declare_upload(
                    connection,
                    transfer.transfer_id,
                    file_id=reservation.file_id,
                    size=declared.size,
                    sha256=declared.sha256,
                    content_size=declared.content_size,
                    content_sha256=declared.content_sha256,
                    filename=draft.filename,
                    media_type=draft.media_type,
                )
                transfer = require_open(await get_transfer(connection, transfer.transfer_id))
            if is_first:
                return transfer
            await self._custody.release([reservation])
            self._check(transfer, declared)
        async with self.writing(transfer) as writer:
            await writer.restart()
        return transfer

    @asynccontextmanager
    async def writing(self, transfer: Transfer) -> AsyncGenerator[IncomingWriter]:
        """Write to a declared upload for the block; what has arrived at its end stays.

        Raises `TransferLocked` while another request writes, `TransferOver`, `CatalogUnavailable`,
        `StorageUnavailable`.
        """
        async with self._locks.hold(transfer.transfer_id):
            transfer = require_open(await self._reload(transfer))
            partial = self._partial(transfer)
            try:
                async with self._progress.following(transfer) as meter:
                    writer = IncomingWriter(
                        transfer,
                        partial,
                        keys=self._custody.keys,
                        meter=meter,
                        executor=self._executor,
                        resting=self._resting,
                    )
                    try:
                        await writer.open()
                        yield writer
                    except WaybillError as error:
                        if not isinstance(error, UploadRefused) and await self._is_over(transfer):
                            await writer.discard()
                            raise _over(transfer) from error
                        raise
                    finally:
                        await writer.close()
            except TransferOver:
                # Who ended it has removed the bytes; what the writer had in hand came after that.
                await to_its_end(self.give_up(transfer))
                raise

    async def offset(self, transfer: Transfer) -> int:
        """Return how many bytes of an open upload are here, durably; 0 before its declaration.

        Raises `StorageUnavailable`.
        """
        if transfer.file_id is None:
            return 0
        partial = self._partial(transfer)
        return await in_thread(lambda _: partial.offset(), self._executor)

    async def receive(self, writer: IncomingWriter, pieces: AsyncIterable[bytes]) -> int:
        """Write *pieces* in the block of *writer*; return how many bytes of the upload are here, durably.

        What came before an error stays. Raises what *pieces* raise, and what `IncomingWriter.write` does. Bytes that
        are found wrong already fail the upload: `UploadRefused`.
        """
        async for piece in pieces:
            if isinstance(error := writer.found_wrong, _WRONG):
                raise await self._fail(writer, error) from error
            await writer.write(piece)
        return await writer.flush()

    async def receive_checked(self, writer: IncomingWriter, pieces: AsyncIterable[bytes], checksum: Checksum) -> int:
        """Like `receive`, if all *pieces* together have the *checksum*; else none of them is kept.

        They wait in a temporary file for as long. Raises `ContentMismatch`.
        """
        await in_thread(lambda _: self._scratch.mkdir(0o700, parents=True, exist_ok=True))
        with SpooledTemporaryFile(CHUNK_BYTES, dir=str(self._scratch)) as spool:
            digest, room = hashlib.new(checksum.algorithm, usedforsecurity=False), writer.room
            async for piece in pieces:
                room -= len(piece)
                if room < 0:
                    raise writer.too_large()
                digest.update(piece)
                with write_errors(self._scratch):
                    await in_thread(lambda _, piece=piece: spool.write(piece), self._executor)
            if digest.digest() != checksum.digest:
                raise ContentMismatch(f"the {checksum.algorithm} of what was sent is not that of Upload-Checksum")
            spool.seek(0)

            async def again() -> AsyncGenerator[bytes]:
                while piece := await in_thread(lambda _: spool.read(CHUNK_BYTES), self._executor):
                    yield piece

            return await self.receive(writer, again())

    async def complete(self, writer: IncomingWriter, *, by: Actor) -> Artifact:
        """Make a file of an upload all of whose bytes are here, in the block of its *writer*; complete the transfer.

        Raises `UploadRefused` when the bytes are wrong: then the upload has failed and they are gone. Also
        `TransferOver`, `StorageUnavailable`, `CatalogUnavailable`; after the latter two, call again.
        """
        transfer = writer.transfer
        try:
            stored = await writer.verified(lambda: self._custody.backend.open(self._location(transfer)))
            return await self._adopt(transfer, stored, by)
        except _WRONG as error:
            raise await self._fail(writer, error) from error
        except (TransferOver, ArtifactNotFound, BlobMissing) as error:  # cancelled or expired, and cleared away
            await self._clear(transfer)
            raise _over(transfer) from error

    async def finish_interrupted(self, transfer: Transfer, *, by: Actor) -> Artifact:
        """Complete an upload all of whose bytes are here: the process that had the last of them was killed.

        Raises like `writing` and `complete`.
        """
        async with self.writing(transfer) as writer:
            return await self.complete(writer, by=by)

    async def presigned_parts(
        self, transfer: Transfer, numbers: Sequence[int], *, expires_in: timedelta
    ) -> tuple[int, list[PresignedPart]]:
        """Return how many parts a declared upload has, and where its sender puts those named itself.

        Raises `TransferConflict` where the storage has no such thing.
        """
        parts = self._in_parts(transfer)
        links = await in_thread(lambda _: parts.presigned(numbers, expires_in=expires_in), self._executor)
        if links is None:
            raise _no_parts()
        return parts.part_count(), links

    async def check_parts(self, transfer: Transfer, sent: Sequence[SentPart]) -> None:
        """Raise `TransferConflict` unless the storage has all parts of an upload, with the ETags *sent*."""
        parts = self._in_parts(transfer)
        await in_thread(lambda _: parts.check_parts(sent), self._executor)

    async def give_up(self, transfer: Transfer) -> None:
        """Remove what has arrived of an upload that is over and has become no file. Idempotent."""
        if transfer.file_id is not None and transfer.size is not None:
            partial = self._partial(transfer)
            await self._custody.give_up_pending(transfer.file_id)
            await in_thread(lambda _: partial.discard(), self._executor)

    # ------------------------------------------------------------------------------------------------------------------

    async def _adopt(self, transfer: Transfer, stored: Stored, by: Actor) -> Artifact:
        draft = replace(self._draft(transfer), document_sha256=stored.sha256)

        async def make_available(artifact: Artifact) -> Artifact:
            async with self._custody.catalog.transaction() as connection:
                made = await self._custody.catalog.make_available(connection, artifact)
                detail = {"filename": made.filename, "size": made.size, "transfer_id": transfer.transfer_id}
                await record(connection, by.entry("upload", file_id=made.file_id, detail=detail))
                # What a process that was killed had not written of its progress.
                await record_progress(
                    connection,
                    transfer.transfer_id,
                    [(0, transfer.size or 0)],
                    sent_bytes=0,
                    bytes_per_second=None,
                )
                ended = await end_with_event(connection, transfer.transfer_id, "completed", self._links, artifact=made)
                if ended is None:
                    raise _over(transfer)
                return made

        await self._progress.flush(transfer.transfer_id)
        return await adopt(
            self._custody, self._reservation(transfer, draft), stored, draft=draft, make_available=make_available
        )

    async def _fail(self, writer: IncomingWriter, error: Exception) -> UploadRefused:
        transfer = writer.transfer
        message = f"the upload of {transfer.filename} is refused: {getattr(error, 'message', error)}"
        async with self._custody.catalog.transaction() as connection:
            await end_with_event(connection, transfer.transfer_id, "failed", self._links, error=message)
        await writer.discard()
        await self.give_up(transfer)
        return UploadRefused(message, transfer_id=transfer.transfer_id)

    async def _clear(self, transfer: Transfer) -> None:
        """Remove bytes that were put in place after the row that knows of them had gone."""
        location, file_id = self._location(transfer), transfer.file_id
        assert file_id is not None  # noqa: S101 - it has a location
        async with self._custody.catalog.transaction() as connection:
            if await self._custody.catalog.lock_state(connection, file_id) is None:
                await in_thread(lambda _: delete_stored(self._custody.backend, location, file_id=file_id))

    def _check(self, transfer: Transfer, declared: Declaration) -> None:
        keys = self._custody.keys
        can_read = transfer.sealed_for != "storage" or keys.opens(keys.encrypted_for)
        check_declaration(transfer, declared, max_bytes=self.max_bytes, can_read=can_read)

    def _draft(self, transfer: Transfer, declared: Declaration | None = None) -> Draft:
        given = declared.filename if declared else None
        filename = clean_display_name(given) if given else transfer.filename
        return Draft(
            kind="transfer",
            filename=filename,
            source_file=filename,
            document_sha256=_UNKNOWN_SHA256,
            media_type=(declared.media_type if declared else None) or transfer.media_type,
            keep_for=transfer.keep_for or self._keep_for,
            metadata={**transfer.metadata, "transfer_id": transfer.transfer_id},
        )

    def _location(self, transfer: Transfer) -> str:
        assert transfer.file_id is not None  # noqa: S101 - it has been declared
        return new_blob_path("transfer", transfer.file_id)

    def _reservation(self, transfer: Transfer, draft: Draft) -> Reservation:
        assert transfer.file_id is not None  # noqa: S101 - it has been declared
        return Reservation(file_id=transfer.file_id, location=self._location(transfer), draft=draft)

    def _partial(self, transfer: Transfer) -> PartialBlob:
        if transfer.file_id is None or transfer.size is None:
            raise TransferConflict(
                f"the upload of transfer {transfer.transfer_id} has not been declared; begin with POST",
                transfer_id=transfer.transfer_id,
            )
        return self._custody.backend.partial(self._location(transfer), scratch=self._scratch, size=transfer.size)

    def _in_parts(self, transfer: Transfer) -> SentInParts:
        partial = self._partial(transfer)
        if not isinstance(partial, SentInParts):
            raise _no_parts()
        return partial

    async def _is_over(self, transfer: Transfer) -> bool:
        with suppress(WaybillError):
            return not (await self._reload(transfer)).is_open
        return False

    async def _reload(self, transfer: Transfer) -> Transfer:
        async with self._custody.catalog.connection() as connection:
            return await get_transfer(connection, transfer.transfer_id)


def _over(transfer: Transfer) -> TransferOver:
    return TransferOver(
        f"transfer {transfer.transfer_id} was cancelled or has expired; ask for a new one",
        transfer_id=transfer.transfer_id,
    )


def _no_parts() -> TransferConflict:
    return TransferConflict(
        "only a storage on S3 takes parts directly; send the file here, with PUT or the tus protocol"
    )
