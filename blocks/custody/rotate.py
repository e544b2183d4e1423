"""Rotate the storage key: move stored files to the current recipient, with a new header and the same payload.

A file's payload is encrypted with a key of its own, which the header wraps for the recipient. So a rotation writes a
new header and copies the payload unchanged, to another blob path: readers use the old bytes until the new ones are
whole; then the old ones, which the old identity opens, are deleted. Each move is announced in the file's row
(`spare_location`), so that an interrupted one leaves no unknown blob. Unencrypted files are encrypted in the same way.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
from uuid import UUID, uuid4

from blocks.age import rewrap
from blocks.catalog import Artifact, OutputLocks, Stored
from blocks.catalog.maintenance import (
    begin_move,
    end_move,
    hold_location,
    interrupted_moves,
    not_encrypted_for,
    switch_move,
)
from blocks.catalog.skipped_records import report_skipped
from blocks.custody.custody import Custody
from blocks.custody.inline_manifest import inline_manifest
from blocks.custody.read import as_content_mismatch, header_pieces, require_key, stored_pieces
from blocks.custody.write import store_pieces
from blocks.errors import (
    ArtifactNotFound,
    BlobMissing,
    ContentMismatch,
    InvalidOptions,
    Permanent,
    RotationUnderWay,
    WaybillError,
)
from blocks.keys import StorageRecipient
from blocks.runtime.concurrency import bounded_map
from blocks.runtime.prefetch import prefetch
from blocks.runtime.threads import StopCheck, in_thread, to_its_end
from blocks.storage import Digest, Expected

_LOCK = "waybill:rotate-storage"

# Small files mostly wait for the storage and the catalogue; large ones keep the disk busy by themselves.
CONCURRENT_FILES = 4


@dataclass(frozen=True, kw_only=True)
class Moved:
    """The outcome for one file: `error` is None when it is now encrypted for the current recipient."""

    artifact: Artifact
    error: WaybillError | None = None


@asynccontextmanager
async def rotation_lock(locks: OutputLocks) -> AsyncGenerator[None]:
    """Hold the rotation lock for the block; create the new key inside it. Re-entrant. Raises `RotationUnderWay` and
    `CatalogUnavailable`."""
    if not await locks.try_acquire({_LOCK}, required=True):
        raise RotationUnderWay("another process is rotating the storage of this catalogue; let it finish")
    try:
        yield
    finally:
        await locks.release({_LOCK})


async def rotate(custody: Custody, locks: OutputLocks, *, on_moved: Callable[[Moved], None]) -> None:
    """Move every stored file that is encrypted for another recipient, or not at all; a failure stops no other file.

    May be interrupted at any point and called again. Raises `InvalidOptions` when encryption is off and
    `RotationUnderWay` while another process rotates.
    """
    recipient = custody.keys.recipient_to_store_for()
    if recipient is None:
        raise InvalidOptions("encryption is off (WAYBILL_ENCRYPT), so there is no key to move the files to")
    async with rotation_lock(locks):
        await _clear_interrupted(custody)
        artifacts = not_encrypted_for(custody.catalog, recipient.text)
        moves = bounded_map(CONCURRENT_FILES, artifacts, partial(_moved, custody, recipient))
        async with aclosing(moves):
            async for moved in moves:
                if moved is not None:
                    on_moved(moved)


async def _moved(custody: Custody, recipient: StorageRecipient, artifact: Artifact) -> Moved | None:
    """Move one file; return None when it is being deleted meanwhile."""
    try:
        return Moved(artifact=artifact) if await _move(custody, artifact, recipient) else None
    except WaybillError as error:
        # A concurrent deletion also removes the bytes that the move has written.
        return None if await _is_gone(custody, artifact) else Moved(artifact=artifact, error=error)


async def _is_gone(custody: Custody, artifact: Artifact) -> bool:
    try:
        await custody.get(artifact.file_id, even_expired=True)
    except ArtifactNotFound:
        return True
    except WaybillError:
        pass  # the catalogue does not answer; the caller reports the first error
    return False


async def _clear_interrupted(custody: Custody) -> None:
    """Remove leftovers of interrupted moves: half-written new bytes, or old ones that are no longer needed."""
    async with custody.catalog.connection() as connection:
        spares = await interrupted_moves(connection)
    for file_id, spare_location in spares:
        try:
            await to_its_end(_remove_unused(custody, file_id, spare_location))
        except Permanent as error:
            # A folder in the place of its bytes, say: the other files are moved all the same.
            async with custody.catalog.connection() as connection:
                await report_skipped(connection, "file", {str(file_id): error.message})


async def _move(custody: Custody, artifact: Artifact, recipient: StorageRecipient) -> bool:
    """Store the file under a new path and delete the old bytes. False when the file is being deleted meanwhile."""
    require_key(custody.keys, artifact)
    target = custody.new_path(artifact.kind, uuid4())
    try:
        async with custody.catalog.connection() as connection:
            if not await begin_move(connection, artifact, target):
                return False
        copy = partial(_store_copy, custody, artifact, target, recipient)
        stored = await in_thread(copy, custody.executor)
        if stored.manifest == "separate":
            moved = replace(artifact, location=target, **asdict(stored))
            await in_thread(lambda _: custody.publish_manifest(moved), custody.executor)
        async with custody.catalog.connection() as connection:
            switched = await switch_move(connection, artifact.file_id, target, stored)
    except BaseException as error:
        # Readers still use the old bytes. The next rotation undoes what cannot be undone now.
        with suppress(WaybillError):
            await to_its_end(_remove_unused(custody, artifact.file_id, target, instead=artifact.location))
        if isinstance(error, (ContentMismatch, BlobMissing)):
            await custody.mark_damaged(artifact, error)
        raise
    await to_its_end(_remove_unused(custody, artifact.file_id, target, instead=artifact.location))
    return switched


async def _remove_unused(custody: Custody, file_id: UUID, spare_location: str, *, instead: str | None = None) -> None:
    """Delete the bytes that readers do not use, and clear the row's `spare_location`. Where the readers' location is
    *spare_location*, the unused bytes are those at *instead*, if given.

    The row stays locked meanwhile: the switch of a move whose answer was lost, or of a rotation that lost its lock with
    its connection, has either happened before or can no longer happen.
    """
    async with custody.catalog.transaction() as connection:
        in_use = await hold_location(connection, file_id)
        unused = instead if in_use == spare_location else spare_location
        if unused is not None:
            await custody.delete_stored(unused, file_id)
            await end_move(connection, file_id, unused)


def _store_copy(
    custody: Custody, artifact: Artifact, target: str, recipient: StorageRecipient, check: StopCheck
) -> Stored:
    """Store the file's bytes under *target*, encrypted for *recipient*; compare the old bytes with their hash."""
    backend = custody.backend
    old = Digest(Expected(size=artifact.stored_size, sha256=artifact.stored_sha256))
    with as_content_mismatch(artifact), backend.open(artifact.location) as stream:
        if artifact.encrypted_for is None:
            pieces = old.through(stored_pieces(stream, artifact, check))
            return store_pieces(backend, target, pieces, recipient=recipient, expected=None)
        (old_header,) = header_pieces(stream, artifact)
        # One that is inline is written anew: place and recipient have changed.
        attachment = (
            inline_manifest(replace(artifact, location=target, encrypted_for=recipient.text))
            if artifact.manifest == "inline"
            else None
        )
        header = rewrap(old_header, custody.keys.identities, [recipient], attachment)
        old_bytes = old.through(chain([old_header], stored_pieces(stream, artifact, check)))
        next(old_bytes)  # the old header is hashed, but not copied
        blob = backend.publish(target, prefetch(chain([header], old_bytes)))
    return Stored(
        size=artifact.size,
        sha256=artifact.sha256,
        stored_size=blob.size,
        stored_sha256=blob.sha256,
        encrypted_for=recipient.text,
        header_sha256=hashlib.sha256(header).hexdigest(),
        manifest="separate" if attachment is None else "inline",
    )
