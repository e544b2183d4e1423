"""The bytes of a download as one seekable whole: the header for its recipient, then the payload as it is stored.

Nothing is decrypted on the way, so a change of the payload shows only at the receiver; what shows here without reading
it, a missing, shortened or exchanged file, is found before the first byte and recorded as damage. A rotation of the
storage key replaces the stored header alone, so a download goes on.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import BinaryIO

from blocks.catalog import Artifact
from blocks.content_disposition import content_disposition
from blocks.custody import Custody
from blocks.custody.read import as_content_mismatch, header_pieces
from blocks.errors import ContentMismatch, TransferOver
from blocks.runtime.threads import in_thread
from blocks.transfers.transfer import Transfer

SEALED_TYPE = "application/age"
"""Media type of the bytes of every download."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A range of a download: *leading* bytes, then *count* bytes of the stored ones from *offset*."""

    leading: bytes
    offset: int
    count: int


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """An open download. *stream* has the stored bytes; it is for one thread at a time."""

    artifact: Artifact
    stream: BinaryIO
    header: bytes
    payload_offset: int
    size: int

    def part(self, start: int, stop: int) -> Part:
        """Return the bytes from *start* up to *stop*; 0 <= start <= stop <= size."""
        leading = self.header[start:stop]
        begin = max(0, start - len(self.header))
        end = max(begin, stop - len(self.header))
        return Part(leading=leading, offset=self.payload_offset + begin, count=end - begin)

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from *start* up to *stop*. Blocks. Raises `ContentMismatch`, `StorageUnavailable`."""
        part = self.part(start, stop)
        with as_content_mismatch(self.artifact):
            self.stream.seek(part.offset)
            found = self.stream.read(part.count) if part.count else b""
        if len(found) != part.count:
            raise _ends_early(self.artifact, part.offset + len(found))
        return part.leading + found


@asynccontextmanager
async def open_outgoing(custody: Custody, transfer: Transfer, artifact: Artifact) -> AsyncGenerator[Outgoing]:
    """Open the bytes of a download for the length of the block, and let no run of the retention remove the file.

    A caller that finds damage raises `ContentMismatch` in the block, and it is recorded. Raises `TransferOver` when the
    download has no bytes any more, `ArtifactGone`, `ContentMismatch`, `BlobMissing`, `StorageUnavailable`.
    """
    header, size = transfer.header, transfer.size
    if header is None or size is None:
        raise TransferOver(f"transfer {transfer.transfer_id} is over", transfer_id=transfer.transfer_id)

    async with custody.open_stored(artifact) as (found, stream):
        offset = await in_thread(lambda _: _payload_offset(found, stream))
        if len(header) + found.stored_size - offset != size or (found.encrypted_for is None) != (not header):
            raise TransferOver(
                f"the stored bytes of file {found.file_id} are others than when transfer {transfer.transfer_id} was "
                "prepared; ask for a new one",
                transfer_id=transfer.transfer_id,
            )
        yield Outgoing(artifact=found, stream=stream, header=header, payload_offset=offset, size=size)


def entity_tag(transfer: Transfer) -> str:
    """Return the strong entity tag of a download's bytes: equal for equal bytes alone, also after a rotation."""
    digest = hashlib.sha256()
    for part in (transfer.transfer_id, str(transfer.size), transfer.content_sha256 or ""):
        digest.update(part.encode() + b"\0")
    digest.update(transfer.header or b"")
    return f'"{digest.hexdigest()}"'


def download_headers(transfer: Transfer) -> dict[str, str]:
    """Return the response headers that describe a download, apart from its length and range."""
    known = {"Waybill-Content-SHA256": transfer.content_sha256, "Waybill-Content-Size": transfer.content_size}
    return {
        "Accept-Ranges": "bytes",
        "Content-Disposition": content_disposition(sealed_name(transfer.filename)),
        "Content-Type": SEALED_TYPE,
        "ETag": entity_tag(transfer),
        **{name: str(value) for name, value in known.items() if value is not None},
    }


def sealed_name(filename: str) -> str:
    """Return the name of the sealed file with the content *filename*."""
    return f"{filename}.age"


def require_size(artifact: Artifact, stream: BinaryIO) -> None:
    """Raise `ContentMismatch` unless the stored bytes are as many as were stored. Moves the stream's position."""
    size = stream.seek(0, os.SEEK_END)
    if size != artifact.stored_size:
        raise _ends_early(artifact, size)


def _payload_offset(artifact: Artifact, stream: BinaryIO) -> int:
    """Return where the payload begins, after a look at the header and at the size."""
    with as_content_mismatch(artifact):
        offset = sum(map(len, header_pieces(stream, artifact)))
        require_size(artifact, stream)
    return offset


def _ends_early(artifact: Artifact, size: int) -> ContentMismatch:
    return ContentMismatch(f"expected {artifact.stored_size} stored bytes and found {size}", file_id=artifact.file_id)
