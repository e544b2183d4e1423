"""Seal a small content in one step, with its manifest in the header where there is one and it fits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from blocks.age import seal_whole
from blocks.catalog import Artifact, Draft, Reservation, Stored
from blocks.custody.inline_manifest import WHOLE_BYTES, inline_manifest
from blocks.custody.manifest import write_manifest
from blocks.errors import SourceNotFound
from blocks.keys import StorageRecipient
from blocks.storage import Digest, Expected


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A file that is ready to be stored as `sealed`. `manifest` goes next to them, None where it is in them."""

    artifact: Artifact
    sealed: bytes
    manifest: bytes | None


def read_whole(source: Path) -> bytes | None:
    """Return the content of *source*, None when it has more than `WHOLE_BYTES`. Raises `SourceNotFound`."""
    try:
        if source.stat().st_size > WHOLE_BYTES:
            return None
        with source.open("rb", buffering=0) as stream:
            content = stream.read(WHOLE_BYTES + 1)
            # A read may return less; and the file may have grown since.
            while content and len(content) <= WHOLE_BYTES and (more := stream.read(WHOLE_BYTES + 1 - len(content))):
                content += more
    except OSError as exc:
        raise SourceNotFound(f"cannot read {source.name}: {exc.strerror}") from exc
    return content if len(content) <= WHOLE_BYTES else None


def seal_file(
    reservation: Reservation,
    draft: Draft,
    content: bytes,
    *,
    created_at: datetime,
    recipient: StorageRecipient | None,
    expected: Expected | None = None,
) -> Whole:
    """Return the file that *reservation* becomes with *content*, encrypted for *recipient* if there is one.

    Raises `ContentMismatch`, and `CatalogRefused` for metadata that the catalogue would refuse.
    """
    digest = Digest(expected)
    for _ in digest.through((content,)):
        pass
    plain = digest.blob
    stored = Stored(size=plain.size, sha256=plain.sha256, stored_size=plain.size, stored_sha256=plain.sha256)
    artifact = reservation.filled(draft, stored, created_at)
    if recipient is None:
        return Whole(artifact=artifact, sealed=content, manifest=write_manifest(artifact, None))
    artifact = replace(artifact, encrypted_for=recipient.text)
    # The header of a transfer may be its sender's: only what we seal says what it is (`read_inline_manifest`).
    attachment = None if draft.kind == "transfer" else inline_manifest(artifact)
    header, payload = seal_whole(content, [recipient], attachment)
    sealed = header + payload
    artifact = replace(
        artifact,
        stored_size=len(sealed),
        stored_sha256=hashlib.sha256(sealed).hexdigest(),
        header_sha256=hashlib.sha256(header).hexdigest(),
        manifest="separate" if attachment is None else "inline",
    )
    manifest = write_manifest(artifact, recipient) if attachment is None else None
    return Whole(artifact=artifact, sealed=sealed, manifest=manifest)
