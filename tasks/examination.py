"""Examine a file: its identity (sha256 of its content), its type (by content, not by name), and the limits.

All of it blocks, and stores nothing. Start at `examine`.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from blocks.errors import ContentMismatch, EmptyDocument, StorageUnavailable, TooLarge
from blocks.filetype import sniff, sniff_content
from blocks.naming import clean_display_name
from blocks.runtime.atomic_file import atomic_file
from blocks.runtime.write_errors import write_errors
from blocks.storage import Digest, Expected
from tasks.contract import DocumentInfo
from tasks.sources import RemoteFile, Source, SourceAccess, SourceReader, display_name, open_file, read_file


@dataclass(frozen=True, kw_only=True)
class Examined:
    """A file that was read from *path*: *content* is what was read, None where that was too much to keep."""

    info: DocumentInfo
    path: Path
    content: bytes | None


def examine(
    path: Path,
    source: str,
    max_file_bytes: int,
    *,
    name: str = "",
    access: SourceAccess | None = None,
    within: str | None = None,
    keep_bytes: int = 0,
) -> Examined:
    """Return the identity and type of a local file within the limits. *source*, a path or URL, is how it is shown.

    A content of at most *keep_bytes* comes with it, so that what is stored is what was examined. Raises what
    `tasks.sources.open_file` and `read_file` raise, for the place (*access*, *within*) and the reading.
    """
    name = clean_display_name(name) if name else display_name(source)
    stream, found = open_file(path, source, access, within)
    with stream:
        if found.st_size > max_file_bytes:
            raise too_large(name, max_file_bytes)
        digest, size = hashlib.sha256(), 0
        kept: list[bytes] = []
        for chunk in read_file(stream, found, source):
            digest.update(chunk)
            size += len(chunk)
            if size <= keep_bytes:
                kept.append(chunk)
    if size == 0:
        raise EmptyDocument(f"{name} is empty")
    content = b"".join(kept) if size <= keep_bytes else None
    kind = sniff(path, name) if content is None else sniff_content(io.BytesIO(content), name)
    info = DocumentInfo(
        name=name,
        sha256=digest.hexdigest(),
        size_bytes=size,
        media_type=kind.media_type,
        source=source,
        modified_at=datetime.fromtimestamp(int(found.st_mtime), UTC),
    )
    return Examined(info=info, path=path, content=content)


def copy_examined(examined: Examined, target: Path) -> None:
    """Copy what was examined. Raises `StorageUnavailable` when the file has changed since."""
    info = examined.info
    where = f"a copy of {info.name} in {target.parent}"
    if examined.content is not None:
        write_copy(examined.content, target, info)
        return
    digest = Digest(Expected(size=info.size_bytes, sha256=info.sha256))
    stream, opened = open_file(examined.path, info.name)
    try:
        with write_errors(where), atomic_file(target) as copy, stream:
            for piece in digest.through(read_file(stream, opened, info.name)):
                copy.write(piece)
    except ContentMismatch as exc:
        raise changed_meanwhile(info) from exc


def write_copy(content: bytes, target: Path, info: DocumentInfo) -> None:
    """Write the content of a document as *target*, whole or not at all."""
    with write_errors(f"a copy of {info.name} in {target.parent}"), atomic_file(target) as copy:
        copy.write(content)


def download(source: Source, remote: RemoteFile, target: Path, reader: SourceReader, max_file_bytes: int) -> None:
    """Copy a remote source to *target*, refusing it as soon as it is over the limit."""
    size = 0
    # Errors of the source are translated already.
    with write_errors(f"a copy of {source.name} in {target.parent}"), atomic_file(target) as local:
        for chunk in reader.read(remote):
            size += len(chunk)
            if size > max_file_bytes:
                raise too_large(source.name, max_file_bytes)
            local.write(chunk)


def too_large(name: str, max_file_bytes: int) -> TooLarge:
    """Return the error for a file above the limit."""
    return TooLarge(f"{name} is larger than {max_file_bytes // 2**20} MiB; raise WAYBILL_MAX_FILE_MIB to allow it")


def changed_meanwhile(info: DocumentInfo) -> StorageUnavailable:
    """Return the error for a file that was not the same when it was read again."""
    return StorageUnavailable(f"{info.name} changed while it was read; is it still being written?")
