"""Prepare transfers. A download costs one small read: the file's header is wrapped again for its recipient, and the
payload is served as it lies.

What is stored unencrypted is sealed first, into a file of the kind `transfer` that expires with the download.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import BinaryIO
from uuid import UUID

from blocks.age import Recipient, ScryptRecipient, read_header, rewrap, scrypt, seal
from blocks.catalog import Artifact, Connection, Draft
from blocks.catalog.keeping import extend
from blocks.custody import Custody
from blocks.custody.read import as_content_mismatch, content_pieces, header_pieces, require_key
from blocks.durations import format_duration
from blocks.errors import ArtifactGone, ContentMismatch, InvalidOptions, NoMatchingIdentity, TransferNotFound
from blocks.naming import clean_display_name
from blocks.postgres import fetch_optional
from blocks.runtime.threads import in_thread
from blocks.transfers import queries
from blocks.transfers.outgoing import SEALED_TYPE, require_size, sealed_name
from blocks.transfers.rows import NewTransfer, create_transfer, get_transfer
from blocks.transfers.transfer import DEFAULT_LIFETIME, MAX_LIFETIME, SealedFor, Transfer

PASSPHRASE = "passphrase"  # noqa: S105 - not one, but the word for any
"""What a transfer has as its recipient when it is sealed with a passphrase."""


@dataclass(frozen=True, kw_only=True)
class For:
    """Who gets a file, for how long, and who has asked: what the downloads of several files may share.

    Without a *worker* any bearer of the token may fetch it. Recipients are age keys, or one passphrase alone.
    """

    recipients: Sequence[Recipient]
    requested_by: str
    lasts: timedelta = DEFAULT_LIFETIME
    worker: str | None = None
    assignment_id: str | None = None
    run_id: UUID | None = None


async def prepare_download(custody: Custody, artifact: Artifact, receiver: For) -> NewTransfer:
    """Return the download of a file, ready for `record_download`. Reads the header of the stored bytes, no more.

    A file that is stored unencrypted is copied, sealed: that takes as long as reading it. Raises `ContentMismatch` and
    `BlobMissing` for a damaged file, `NoMatchingIdentity` without the key for it, `InvalidKey` for recipients that
    cannot be combined, `InvalidOptions` for a lifetime that is too long, `StorageUnavailable`.
    """
    check_lifetime(receiver.lasts)
    if artifact.damage is not None:
        raise ContentMismatch(
            f"file {artifact.file_id} is damaged: {artifact.damage}; restore it, then run 'waybill files verify'",
            file_id=artifact.file_id,
        )
    if artifact.encrypted_for is not None:
        return await _rewrapped(custody, artifact, artifact, receiver)
    copy = await _sealed_copy(custody, artifact, receiver)
    if copy.encrypted_for is not None:
        return await _rewrapped(custody, copy, artifact, receiver)
    # An empty header: the stored bytes begin with that of the recipient.
    return _download(copy, artifact, receiver, header=b"", replaced_bytes=0)


async def prepare_as_sealed(custody: Custody, artifact: Artifact, receiver: For) -> NewTransfer:
    """Return the download of a file that its sender has sealed, as it is: nothing of it can be opened here.

    *receiver* has no recipients. Raises `InvalidOptions` for any other file, and like `prepare_download`.
    """
    check_lifetime(receiver.lasts)
    upload = await _upload_of(custody, artifact)

    def recipient(found: Artifact, stream: BinaryIO) -> str | None:
        with as_content_mismatch(found):
            require_size(found, stream)
            stream.seek(0)
            header, _ = read_header(stream)
        return PASSPHRASE if any(stanza.type == scrypt.TYPE for stanza in header.stanzas) else None

    async with custody.open_stored(artifact) as (found, stream):
        sealed_with = await in_thread(lambda _: recipient(found, stream))
    new = _download(found, artifact, receiver, header=b"", replaced_bytes=0)
    return replace(
        new,
        sealed_for="unknown",
        filename=upload.filename,
        media_type=upload.media_type,
        recipient=sealed_with,
        content_size=upload.content_size,
        content_sha256=upload.content_sha256,
    )


async def record_download(connection: Connection, new: NewTransfer) -> Transfer:
    """Record a prepared download, and let its file stay for as long. Raises `ArtifactGone`.

    In the caller's transaction, with its entry in the audit log or whatever else is to become true with it.
    """
    transfer = await create_transfer(connection, new)
    if new.file_id is not None and not await _stays(connection, new.file_id, new.lasts):
        raise ArtifactGone(f"file {new.file_id} has been removed", file_id=new.file_id)
    return transfer


def new_upload(
    *,
    filename: str,
    requested_by: str,
    media_type: str = "application/octet-stream",
    sealed_for: SealedFor = "storage",
    recipient: str | None = None,
    size: int | None = None,
    sha256: str | None = None,
    content_size: int | None = None,
    content_sha256: str | None = None,
    keep_for: timedelta | None = None,
    lasts: timedelta = DEFAULT_LIFETIME,
    worker: str | None = None,
    assignment_id: str | None = None,
    run_id: UUID | None = None,
) -> NewTransfer:
    """Return an upload, ready for `create_transfer`. *recipient* is the storage's, for which its sender encrypts.

    Raises `InvalidOptions`.
    """
    check_lifetime(lasts)
    return NewTransfer(
        direction="upload",
        filename=clean_display_name(filename),
        media_type=media_type,
        sealed_for=sealed_for,
        recipient=recipient if sealed_for == "storage" else None,
        size=size,
        sha256=sha256,
        content_size=content_size,
        content_sha256=content_sha256,
        keep_for=keep_for,
        lasts=lasts,
        requested_by=requested_by,
        worker=worker,
        assignment_id=assignment_id,
        run_id=run_id,
    )


def storage_recipient(custody: Custody) -> str:
    """Return the public key that senders encrypt for. Raises `StorageKeyMissing`, and `InvalidOptions` without one."""
    recipient = custody.keys.recipient_to_store_for()
    if recipient is None:
        raise InvalidOptions(
            "encryption is off (WAYBILL_ENCRYPT=false), so there is no storage key to seal an upload for; ask for one "
            "with sealed_for unknown"
        )
    return recipient.text


def check_lifetime(lasts: timedelta) -> None:
    """Raise `InvalidOptions` unless a transfer may last that long."""
    if not timedelta(0) < lasts <= MAX_LIFETIME:
        raise InvalidOptions(f"a transfer lasts for {format_duration(MAX_LIFETIME)} at most")


def recipient_text(recipients: Iterable[Recipient]) -> str:
    """Return public keys with blanks between them, or `PASSPHRASE`."""
    return " ".join(
        PASSPHRASE if isinstance(one, ScryptRecipient) else str(getattr(one, "text", "")) for one in recipients
    )


async def _upload_of(custody: Custody, artifact: Artifact) -> Transfer:
    """Return the upload whose sender has sealed this file. Raises `InvalidOptions` where there is none."""
    transfer_id = artifact.metadata.get("transfer_id")
    if artifact.kind == "transfer" and isinstance(transfer_id, str) and artifact.encrypted_for is None:
        with suppress(TransferNotFound, InvalidOptions):
            async with custody.catalog.connection() as connection:
                upload = await get_transfer(connection, transfer_id)
            if upload.file_id == artifact.file_id and upload.sealed_for == "unknown":
                return upload
    raise InvalidOptions(
        f"file {artifact.file_id} was not sealed by a sender: name the age recipients that it is for (age1...)"
    )


async def _stays(connection: Connection, file_id: UUID, lasts: timedelta) -> bool:
    """Let a file stay for as long as *lasts*; False when it is going already."""
    if await extend(connection, file_id, lasts) is not None:
        return True
    return await fetch_optional(connection, queries.HOLD_FILE, {"file_id": file_id}) is not None


async def _rewrapped(custody: Custody, stored: Artifact, artifact: Artifact, receiver: For) -> NewTransfer:
    """Return the download of *stored*, whose content is that of *artifact*, with a header for the receiver."""

    def rewrapped(found: Artifact, stream: BinaryIO) -> tuple[bytes, int]:
        require_key(custody.keys, found)
        with as_content_mismatch(found):
            (old,) = header_pieces(stream, found)
            require_size(found, stream)
            return rewrap(old, custody.keys.identities, receiver.recipients), len(old)

    async with custody.open_stored(stored, briefly=True) as (found, stream):
        header, replaced_bytes = await in_thread(lambda _: rewrapped(found, stream))
    return _download(found, artifact, receiver, header=header, replaced_bytes=replaced_bytes)


async def _sealed_copy(custody: Custody, artifact: Artifact, receiver: For) -> Artifact:
    """Store a copy of an unencrypted file: sealed for the storage, or where encryption is off for the receiver."""
    recipient = custody.keys.recipient_to_store_for()
    if not custody.keys.opens(recipient.text if recipient else None):
        raise NoMatchingIdentity(
            f"file {artifact.file_id} is stored unencrypted, and its sealed copy could not be handed over: this "
            "machine has no identity for the storage's recipient",
            file_id=artifact.file_id,
        )
    draft = Draft(
        kind="transfer",
        filename=sealed_name(artifact.filename) if recipient is None else artifact.filename,
        source_file=artifact.source_file,
        document_sha256=artifact.document_sha256,
        media_type=SEALED_TYPE if recipient is None else artifact.media_type,
        keep_for=receiver.lasts,
        metadata={"file_id": str(artifact.file_id)},
    )

    def pieces(stored: Artifact) -> Iterator[bytes]:
        plain = content_pieces(custody.backend, custody.keys, stored, lambda: None)
        return plain if recipient is not None else seal(plain, receiver.recipients)

    async with custody.open_stored(artifact) as (found, _):
        (reservation,) = await custody.reserve([draft])
        return await custody.fill(reservation, pieces(found))


def _download(
    stored: Artifact, artifact: Artifact, receiver: For, *, header: bytes, replaced_bytes: int
) -> NewTransfer:
    return NewTransfer(
        direction="download",
        filename=artifact.filename,
        media_type=artifact.media_type,
        sealed_for="recipient",
        recipient=recipient_text(receiver.recipients),
        lasts=receiver.lasts,
        requested_by=receiver.requested_by,
        worker=receiver.worker,
        assignment_id=receiver.assignment_id,
        run_id=receiver.run_id,
        file_id=stored.file_id,
        header=header,
        replaced_bytes=replaced_bytes,
        size=len(header) + stored.stored_size - replaced_bytes,
        content_size=artifact.size,
        content_sha256=artifact.sha256,
    )
