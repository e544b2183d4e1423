"""Intake of a document: examine it, accept or refuse it, store it as an upload.

Owns the identity of a document (sha256 of its content), its type (by content, not by name) and the limits that are
checked before anything is stored. Start at `take_in`.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast
from urllib.parse import unquote, urlsplit

import fsspec  # pyright: ignore[reportMissingTypeStubs]

from blocks.catalog import Artifact, Connection, Draft
from blocks.errors import EmptyDocument, SourceNotFound, StorageFull, StorageUnavailable, TooLarge
from blocks.filetype import sniff
from blocks.naming import clean_display_name
from blocks.redaction import without_password
from blocks.runtime.atomic_file import atomic_file
from blocks.storage import Digest, Expected, read_chunks
from blocks.webhooks.outbox import Event
from tasks.contract import SOURCE, DocumentInfo
from tasks.document import Deliverable, Document
from tasks.run_context import RunContext


async def take_in(document: Document, context: RunContext) -> None:
    """Set `info` and `upload` of *document*; the same content from the same source is not stored twice.

    Raises `SourceNotFound`, `EmptyDocument`, `TooLarge`, `UnsupportedType` and other refusals before anything is
    stored, and what `Custody.take` raises.
    """
    source = document.source
    if source.file_id is not None:
        await _take_from_custody(document, await context.custody.get(source.file_id), context)
        return
    path = source.path or context.scratch / f"{document.index}-download"
    try:
        if source.url is not None:
            await asyncio.to_thread(_download, source.url, path, context.max_file_bytes)
        await _take_local(document, path, context)
    finally:
        if source.url is not None:
            path.unlink(missing_ok=True)  # it is in custody, or refused


async def _take_local(document: Document, path: Path, context: RunContext) -> None:
    source = document.source
    info = await asyncio.to_thread(examine, path, source.text, context.max_file_bytes)
    draft = Draft(
        kind="upload",
        filename=info.name,
        source_file=info.source,
        document_sha256=info.sha256,
        media_type=info.media_type,
        keep_for=context.keep_for,
        run_id=context.run_id,
        metadata={"modified_at": info.modified_at.isoformat() if info.modified_at else None},
    )
    document.info = info
    document.upload = await _store_once(document, draft, path, info, context)
    if not context.custody.can_read(document.upload.artifact):
        # With the public key alone nothing can be read from custody, so the stages get a copy of what was stored.
        copy = context.scratch / f"{document.index}-source"
        await asyncio.to_thread(_copy, path, copy, info)
        document.files[SOURCE] = copy


async def _store_once(
    document: Document, draft: Draft, path: Path, info: DocumentInfo, context: RunContext
) -> Deliverable:
    catalog = context.custody.catalog
    async with catalog.connection() as connection:
        known = await catalog.find_upload(connection, source_file=info.source, sha256=info.sha256)
    if known is not None:
        return await _reused(document, known, info.source, context)
    events: list[Event] = []

    async def make_available(connection: Connection, artifact: Artifact) -> Artifact:
        events.extend(context.events.taken(document, artifact.created_at))
        return await context.make_available_with_events(connection, artifact, events)

    # With the expected hash, a file that changes while it is being read fails instead of getting a wrong identity.
    expected = Expected(size=info.size_bytes, sha256=info.sha256)
    artifact = await context.custody.take(draft, path, expected=expected, make_available=make_available)
    context.events.confirm(events)
    return Deliverable(artifact=artifact, reused=False, seconds=0.0)


async def _reused(document: Document, artifact: Artifact, source: str, context: RunContext) -> Deliverable:
    """Deliver, for *source*, a file that is stored already."""
    upload = Deliverable(artifact=artifact, reused=True, seconds=0.0)
    events = context.events.taken(document, await context.custody.catalog.now())
    await context.deliver_stored(upload, source, events)
    return upload


async def _take_from_custody(document: Document, artifact: Artifact, context: RunContext) -> None:
    document.info = DocumentInfo(
        name=artifact.filename,
        sha256=artifact.sha256,
        size_bytes=artifact.size,
        media_type=artifact.media_type,
        source=artifact.source_file,
    )
    document.label = artifact.filename
    document.upload = await _reused(document, artifact, artifact.source_file, context)


def examine(path: Path, source: str, max_file_bytes: int) -> DocumentInfo:
    """Return the identity and type of a local file within the limits. *source*, a path or URL, is how it is shown."""
    name = display_name(source)
    with _regular_file(path, name) as stream:
        found = os.fstat(stream.fileno())
        if found.st_size > max_file_bytes:
            raise _too_large(name, max_file_bytes)
        digest, size = hashlib.sha256(), 0
        for chunk in read_chunks(stream):
            digest.update(chunk)
            size += len(chunk)
    if size == 0:
        raise EmptyDocument(f"{name} is empty")
    kind = sniff(path, name)
    return DocumentInfo(
        name=name,
        sha256=digest.hexdigest(),
        size_bytes=size,
        media_type=kind.media_type,
        source=source,
        modified_at=datetime.fromtimestamp(int(found.st_mtime), UTC),
    )


def display_name(source: str) -> str:
    """Return the name to show for a source: the last part of its path, cleaned, without a URL's query."""
    last = unquote(urlsplit(source).path) if "://" in source else source
    return clean_display_name(PurePosixPath(last).name or source)


def _copy(path: Path, target: Path, info: DocumentInfo) -> None:
    """Copy a source that was examined; raises `ContentMismatch` when it has changed since."""
    digest = Digest(Expected(size=info.size_bytes, sha256=info.sha256))
    try:
        with atomic_file(target) as copy, _regular_file(path, info.name) as stream:
            for piece in digest.through(read_chunks(stream)):
                copy.write(piece)
    except OSError as exc:
        raise StorageFull(f"cannot keep a copy of {info.name} in {target.parent}: {exc.strerror}") from exc


@contextmanager
def _regular_file(path: Path, name: str) -> Generator[BinaryIO]:
    """Open a regular file for reading. O_NONBLOCK: a FIFO without a writer must not hang the run."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        raise SourceNotFound(f"cannot open {name}: {exc.strerror}") from exc
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise SourceNotFound(f"{name} is not a regular file")
    with os.fdopen(descriptor, "rb") as stream:
        yield stream


def _download(url: str, target: Path, max_file_bytes: int) -> None:
    """Copy a remote source to the scratch folder, refusing it as soon as it is over the limit."""
    size = 0
    try:
        with atomic_file(target) as local:
            for chunk in _remote_chunks(url):
                size += len(chunk)
                if size > max_file_bytes:
                    raise _too_large(display_name(url), max_file_bytes)
                local.write(chunk)
    except OSError as exc:  # of the scratch folder: those of the source are translated already
        raise StorageFull(f"cannot keep a copy of {display_name(url)} in {target.parent}: {exc.strerror}") from exc


def _remote_chunks(url: str) -> Iterator[bytes]:
    """Yield the bytes behind *url*. Drivers may raise any exception, so each is translated here."""
    shown = without_password(url)
    try:
        filesystem, path = cast("tuple[Any, str]", fsspec.url_to_fs(url))  # pyright: ignore[reportUnknownMemberType]
        with cast("BinaryIO", filesystem.open(path, "rb")) as stream:
            yield from read_chunks(stream)
    except FileNotFoundError as exc:
        raise SourceNotFound(f"there is nothing at {shown}") from exc
    except (ValueError, ImportError) as exc:
        raise SourceNotFound(f"no driver reads {shown} ({type(exc).__name__})") from exc
    except Exception as exc:
        reason = getattr(exc, "strerror", None) or type(exc).__name__
        raise StorageUnavailable(f"cannot read {shown}: {reason}") from exc


def _too_large(name: str, max_file_bytes: int) -> TooLarge:
    return TooLarge(f"{name} is larger than {max_file_bytes // 2**20} MiB; raise WAYBILL_MAX_FILE_MIB to allow it")


async def source_file(document: Document, context: RunContext) -> Path:
    """Return a local, verified copy of the document's content; fetched from custody once per run."""
    if SOURCE not in document.files:
        if document.upload is None:
            raise SourceNotFound(f"{document.label} was never taken into custody")
        target = context.scratch / f"{document.index}-source"
        await context.custody.fetch(document.upload.artifact, target)
        document.files[SOURCE] = target
    return document.files[SOURCE]


def forget_files(document: Document) -> None:
    """Remove the document's local copies; the files themselves are in custody."""
    for path in document.files.values():
        with suppress(FileNotFoundError):
            path.unlink()
    document.files.clear()
