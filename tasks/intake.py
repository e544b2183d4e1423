"""Intake of a document: examine it, accept or refuse it, store it as an upload.

Owns the identity of a document (sha256 of its content), its type (by content, not by name) and the limits that are
checked before anything is stored. Start at `take_in`.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from blocks.catalog import Artifact, Draft
from blocks.errors import ContentMismatch, EmptyDocument, SourceNotFound, StorageUnavailable, TooLarge
from blocks.filetype import sniff
from blocks.naming import clean_display_name
from blocks.runtime.atomic_file import atomic_file
from blocks.runtime.write_errors import write_errors
from blocks.storage import Digest, Expected
from tasks.contract import SOURCE, DocumentInfo
from tasks.document import Deliverable, Document
from tasks.run_context import RunContext
from tasks.sources import RemoteFile, Source, SourceAccess, display_name, open_file, read_file


async def take_in(document: Document, context: RunContext) -> None:
    """Set `info` and `upload` of *document*; the same content from the same source is not stored twice.

    Raises `SourceNotFound`, `EmptyDocument`, `TooLarge`, `UnsupportedType` and other refusals before anything is
    stored, and what `Custody.take` raises.
    """
    source = document.source
    if source.error is not None:
        raise source.error
    await document.pause_before_retry()
    if source.file_id is not None:
        await _take_from_custody(document, await context.custody.get(source.file_id), context)
        return
    path = source.path or context.scratch / f"{document.index}-download"
    try:
        if source.remote is not None:
            await asyncio.to_thread(_download, source, source.remote, path, context)
        await _take_local(document, path, context)
    finally:
        if source.remote is not None:
            path.unlink(missing_ok=True)  # it is in custody, or refused


async def _take_local(document: Document, path: Path, context: RunContext) -> None:
    source = document.source
    bounds: dict[str, Any] = {}
    if source.remote is None:  # else it is this run's own copy
        bounds = {"access": context.sources.access, "within": source.within}
    info = await asyncio.to_thread(examine, path, source.text, context.max_file_bytes, name=source.name, **bounds)
    draft = Draft(
        kind="upload",
        filename=info.name,
        source_file=info.source,
        document_sha256=info.sha256,
        media_type=info.media_type,
        keep_for=context.upload_period,
        run_id=context.run_id,
        metadata={"modified_at": info.modified_at.isoformat() if info.modified_at else None},
    )
    document.info = info
    upload = await _store_once(document, draft, path, info, context)
    document.stored(upload)
    if not context.custody.can_read(upload.artifact):
        # With the public key alone nothing can be read from custody, so the stages get a copy of what was stored.
        copy = context.scratch / f"{document.index}-source"
        await asyncio.to_thread(_copy, path, copy, info)
        document.files[SOURCE] = copy


async def _store_once(
    document: Document, draft: Draft, path: Path, info: DocumentInfo, context: RunContext
) -> Deliverable:
    catalog = context.custody.catalog
    async with catalog.connection() as connection:
        known = (await catalog.find_uploads(connection, [(info.source, info.sha256)])).get((info.source, info.sha256))
    if known is not None and context.custody.can_reuse(known):
        return await _reused(document, known, info.source, context)

    async def make_available(artifact: Artifact) -> Artifact:
        return await context.keep(artifact, context.events.taken(document, artifact.created_at))

    # With the expected hash, a file that changes while it is being read fails instead of getting a wrong identity.
    expected = Expected(size=info.size_bytes, sha256=info.sha256)
    try:
        artifact = await context.custody.take(draft, path, expected=expected, make_available=make_available)
    except ContentMismatch as exc:
        raise StorageUnavailable(f"{info.name} changed while it was read; is it still being written?") from exc
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
    document.stored(await _reused(document, artifact, artifact.source_file, context))


def examine(
    path: Path,
    source: str,
    max_file_bytes: int,
    *,
    name: str = "",
    access: SourceAccess | None = None,
    within: str | None = None,
) -> DocumentInfo:
    """Return the identity and type of a local file within the limits. *source*, a path or URL, is how it is shown.

    Raises what `tasks.sources.open_file` and `read_file` raise, for the place (*access*, *within*) and the reading.
    """
    name = clean_display_name(name) if name else display_name(source)
    stream, found = open_file(path, source, access, within)
    with stream:
        if found.st_size > max_file_bytes:
            raise _too_large(name, max_file_bytes)
        digest, size = hashlib.sha256(), 0
        for chunk in read_file(stream, found, source):
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


def _copy(path: Path, target: Path, info: DocumentInfo) -> None:
    """Copy a source that was examined. Raises `StorageUnavailable` when it has changed since."""
    digest = Digest(Expected(size=info.size_bytes, sha256=info.sha256))
    stream, opened = open_file(path, info.name)
    try:
        with write_errors(f"a copy of {info.name} in {target.parent}"), atomic_file(target) as copy, stream:
            for piece in digest.through(read_file(stream, opened, info.name)):
                copy.write(piece)
    except ContentMismatch as exc:
        raise StorageUnavailable(f"{info.name} changed while it was read; is it still being written?") from exc


def _download(source: Source, remote: RemoteFile, target: Path, context: RunContext) -> None:
    """Copy a remote source to the scratch folder, refusing it as soon as it is over the limit."""
    size = 0
    # Errors of the source are translated already.
    with write_errors(f"a copy of {source.name} in {target.parent}"), atomic_file(target) as local:
        for chunk in context.sources.read(remote):
            size += len(chunk)
            if size > context.max_file_bytes:
                raise _too_large(source.name, context.max_file_bytes)
            local.write(chunk)


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
