"""Intake of the documents of a shard: examine them, accept or refuse each, store them as uploads.

Owns that the same content of the same source is stored once, and that a shard costs few statements: one finds the
uploads that are known, one records their use, one reserves the others, which become available in groups. Start at
`take_in`; `tasks.examination` has identity, type and limits, which are checked before anything is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from blocks.catalog import Artifact, Draft, Reservation
from blocks.custody.sealing import WHOLE_BYTES, Filled, Sealing, fill_whole
from blocks.errors import CatalogRefused, ContentMismatch, SourceNotFound, WaybillError
from blocks.runtime.threads import StopCheck, in_thread
from blocks.storage import Expected
from tasks.contract import SOURCE, DocumentInfo
from tasks.document import Deliverable, Document
from tasks.examination import Examined, changed_meanwhile, copy_examined, download, examine, write_copy
from tasks.run_context import RunContext

# Local files are read by this many threads: enough to wait for a slow disk, and few hand-overs for small files.
_READING_THREADS = 4
# Small files are stored by this many: a disk writes once for all that wait for it at the same time, and more would wait
# for the interpreter.
_STORING_THREADS = 4
# Sources that the limit for S3 and its like is for.
_LIMITED_SCHEMES = ("s3://", "s3a://", "gs://", "gcs://", "az://", "abfs://", "abfss://")
# Small files are stored, and worked on, from what was read to examine them: of a shard, this much in all.
_KEPT_BYTES = 16 * 2**20

Failures = dict[Document, WaybillError]


async def take_in(documents: Sequence[Document], context: RunContext) -> Failures:
    """Set `info` and `upload` of *documents*. Return the errors of those that were refused, or could not be stored.

    The same content from the same source is not stored twice. Errors are `SourceNotFound`, `EmptyDocument`, `TooLarge`,
    `UnsupportedType` and other refusals before anything is stored, and what `Custody.take` raises.
    """
    failures: Failures = {one: one.source.error for one in documents if one.source.error is not None}
    named = [one for one in documents if one not in failures and one.source.file_id is not None]
    files = [one for one in documents if one not in failures and one.source.file_id is None]
    stored: dict[Document, Artifact] = {}
    try:
        with _failing(named, failures):
            stored |= await _find_named(named, context, failures)
        examined = await _examine(files, context, failures)
        with _failing(examined, failures):
            stored |= await _find_known(examined, context)
        with _failing(stored, failures):
            await _deliver(stored, context)
        new = {one: found for one, found in examined.items() if one not in stored and one not in failures}
        with _failing(new, failures):
            await _store(new, context, failures)
        await _each([one for one in examined if one not in failures], failures, _keep_source(examined, context))
    finally:
        for document in files:
            if document.source.remote is not None:
                _local_path(document, context).unlink(missing_ok=True)  # it is in custody, or refused
    return failures


@contextmanager
def _failing(documents: Collection[Document], failures: Failures) -> Generator[None]:
    """Take an error of the block for that of each of *documents*."""
    try:
        yield
    except WaybillError as error:
        failures.update(dict.fromkeys(documents, error))


async def _each(
    documents: Collection[Document], failures: Failures, work: Callable[[Document], Awaitable[None]]
) -> None:
    """Do *work* for each document concurrently; an error is that of its document."""

    async def one(document: Document) -> None:
        try:
            await work(document)
        except WaybillError as error:
            failures[document] = error

    await asyncio.gather(*map(one, documents))


async def _find_named(
    documents: Collection[Document], context: RunContext, failures: Failures
) -> dict[Document, Artifact]:
    """Return the files in custody that documents name by their ids."""
    ids = {document: document.source.file_id for document in documents if document.source.file_id is not None}
    if not ids:
        return {}
    catalog = context.custody.catalog
    async with catalog.connection() as connection:
        found = await catalog.find_readable(connection, list(ids.values()))

    async def say_why(document: Document) -> None:
        found[ids[document]] = await context.custody.get(ids[document])

    await _each([document for document, file_id in ids.items() if file_id not in found], failures, say_why)
    artifacts = {document: found[file_id] for document, file_id in ids.items() if file_id in found}
    for document, artifact in artifacts.items():
        document.label = artifact.filename
        document.info = DocumentInfo(
            name=artifact.filename,
            sha256=artifact.sha256,
            size_bytes=artifact.size,
            media_type=artifact.media_type,
            source=artifact.source_file,
        )
    return artifacts


def _local_path(document: Document, context: RunContext) -> Path:
    return document.source.path or context.scratch / f"{document.index}-download"


async def _examine(documents: Sequence[Document], context: RunContext, failures: Failures) -> dict[Document, Examined]:
    """Read local files, a few threads one after the other; each remote file is downloaded in a thread of its own."""
    examined: dict[Document, Examined] = {}
    keep_bytes = min(WHOLE_BYTES, _KEPT_BYTES // max(1, len(documents)))
    local = [document for document in documents if document.source.remote is None]
    waiting = iter(local)  # shared by the threads

    def read_local() -> None:
        for document in waiting:
            try:
                examined[document] = _examine_one(document, context, keep_bytes)
            except WaybillError as error:
                failures[document] = error

    async def fetch(document: Document) -> None:
        await document.pause_before_retry()
        limited = document.source.text.startswith(_LIMITED_SCHEMES)
        async with context.limits.storage.slots() if limited else nullcontext():
            examined[document] = await asyncio.to_thread(_fetch_and_examine, document, context, keep_bytes)

    readers = (asyncio.to_thread(read_local) for _ in local[:_READING_THREADS])
    remote = [document for document in documents if document.source.remote is not None]
    await asyncio.gather(*readers, _each(remote, failures, fetch))
    for document, found in examined.items():
        document.info = found.info
    return examined


def _examine_one(document: Document, context: RunContext, keep_bytes: int) -> Examined:
    source, path = document.source, _local_path(document, context)
    if source.remote is not None:  # this run's own copy
        return examine(path, source.text, context.max_file_bytes, name=source.name, keep_bytes=keep_bytes)
    return examine(
        path,
        source.text,
        context.max_file_bytes,
        name=source.name,
        access=context.sources.access,
        within=source.within,
        keep_bytes=keep_bytes,
    )


def _fetch_and_examine(document: Document, context: RunContext, keep_bytes: int) -> Examined:
    source = document.source
    if source.remote is not None:
        download(source, source.remote, _local_path(document, context), context.sources, context.max_file_bytes)
    return _examine_one(document, context, keep_bytes)


async def _find_known(examined: Mapping[Document, Examined], context: RunContext) -> dict[Document, Artifact]:
    """Return the uploads that have the content of a document under its source already, and serve as a new one would."""
    if not examined:
        return {}
    pairs = {document: (found.info.source, found.info.sha256) for document, found in examined.items()}
    catalog = context.custody.catalog
    async with catalog.connection() as connection:
        known = await catalog.find_uploads(connection, list(set(pairs.values())))
    return {
        document: known[pair]
        for document, pair in pairs.items()
        if pair in known and context.custody.can_reuse(known[pair])
    }


async def _deliver(stored: Mapping[Document, Artifact], context: RunContext) -> None:
    """Record that the run delivers files that are stored already."""
    if not stored:
        return
    now = await context.custody.catalog.now()
    events = [event for document in stored for event in context.events.taken(document, now)]
    await context.deliver_stored([(file, document.taken.source) for document, file in stored.items()], events)
    for document, artifact in stored.items():
        document.stored(Deliverable(artifact=artifact, reused=True, seconds=0.0))


async def _store(new: Mapping[Document, Examined], context: RunContext, failures: Failures) -> None:
    """Store files that are new. Raises what no single one of them is the reason of."""
    if not new:
        return
    drafts = {document: _draft(found.info, context) for document, found in new.items()}
    reserved: dict[Document, Reservation] = {}
    # If the catalogue refuses one of them, each reserves its own and passes or fails by itself.
    with suppress(CatalogRefused):
        reserved = dict(zip(drafts, await context.custody.reserve(list(drafts.values())), strict=True))

    small: dict[Document, Reservation] = {}
    try:
        sealing = context.custody.sealing
        # The folder of a storage elsewhere is written by its own program, one file at a time.
        is_local = sealing.root is not None
        small |= {one: reserved.pop(one) for one in list(reserved) if is_local and new[one].content is not None}
        filled = await _fill_small(small, new, sealing, context)

        async def store(document: Document) -> None:
            if document in small:
                artifact = await _keep_filled(document, small.pop(document), filled[document], context)
            else:
                if document in reserved:
                    reservation = reserved.pop(document)
                else:
                    (reservation,) = await context.custody.reserve([drafts[document]])
                artifact = await _fill(document, new[document], reservation, context)
            document.stored(Deliverable(artifact=artifact, reused=False, seconds=0.0))

        await _each(new, failures, store)
    finally:
        await context.custody.release(list(reserved.values()))
        undoing = [context.custody.undo(one.file_id, one.location) for one in small.values()]
        await asyncio.gather(*undoing, return_exceptions=True)


async def _fill_small(
    small: Mapping[Document, Reservation], new: Mapping[Document, Examined], sealing: Sealing, context: RunContext
) -> dict[Document, Filled | WaybillError]:
    """Seal and write small contents, a few threads one after the other; return each one's outcome.

    Their owner undoes them, also after any other error or a cancellation, when no thread works any more.
    """
    filled: dict[Document, Filled | WaybillError] = {}
    waiting = iter(small.items())  # shared by the threads

    def work(check: StopCheck) -> None:
        for document, reservation in waiting:
            check()
            order = context.custody.order(reservation, reservation.draft, context.scratch / f"{document.index}.sealed")
            content = new[document].content or b""
            try:
                # Its folder is synced with those of the others that become available together.
                filled[document] = fill_whole(sealing, order, content)
            except WaybillError as error:
                filled[document] = error
                continue
            # For the first stage, here and not in a thread of its own. What fails is met again by `source_file`.
            copy = _source_copy(document, context)
            with suppress(WaybillError):
                write_copy(content, copy, document.taken)
                document.files[SOURCE] = copy

    threads = [in_thread(work, context.custody.executor) for _ in range(min(_STORING_THREADS, len(small)))]
    for problem in await asyncio.gather(*threads, return_exceptions=True):
        if problem is not None:
            raise problem
    return filled


async def _keep_filled(
    document: Document, reservation: Reservation, filled: Filled | WaybillError, context: RunContext
) -> Artifact:
    custody = context.custody
    try:
        if isinstance(filled, WaybillError):
            raise filled
        artifact = await custody.finish(filled)
        return await context.keep(artifact, context.events.taken(document, artifact.created_at))
    except BaseException:
        await custody.undo(reservation.file_id, reservation.location)
        raise
    finally:
        custody.open_writes.remove([reservation.file_id])


async def _fill(document: Document, found: Examined, reservation: Reservation, context: RunContext) -> Artifact:
    custody, content = context.custody, found.content

    async def make_available(artifact: Artifact) -> Artifact:
        return await context.keep(artifact, context.events.taken(document, artifact.created_at))

    if content is not None:
        return await custody.fill(reservation, content, make_available=make_available)
    # With the expected hash, a file that changes while it is being read fails instead of getting a wrong identity.
    expected = Expected(size=found.info.size_bytes, sha256=found.info.sha256)
    try:
        return await custody.fill(reservation, found.path, expected=expected, make_available=make_available)
    except ContentMismatch as exc:
        raise changed_meanwhile(found.info) from exc


def _draft(info: DocumentInfo, context: RunContext) -> Draft:
    return Draft(
        kind="upload",
        filename=info.name,
        source_file=info.source,
        document_sha256=info.sha256,
        media_type=info.media_type,
        keep_for=context.upload_period,
        run_id=context.run_id,
        metadata={"modified_at": info.modified_at.isoformat() if info.modified_at else None},
    )


def _keep_source(examined: Mapping[Document, Examined], context: RunContext) -> Callable[[Document], Awaitable[None]]:
    async def keep(document: Document) -> None:
        """Let the stages have the content from here: at once where custody cannot give it, else when they need it."""
        found = examined[document]
        if SOURCE in document.files:
            return
        if document.upload is None or context.custody.can_read(document.upload.artifact):
            document.content = found.content
            return
        # With the public key alone nothing can be read from custody, so the stages get a copy of what was stored.
        copy = _source_copy(document, context)
        await asyncio.to_thread(copy_examined, found, copy)
        document.files[SOURCE] = copy

    return keep


def _source_copy(document: Document, context: RunContext) -> Path:
    return context.scratch / f"{document.index}-source"


async def source_file(document: Document, context: RunContext) -> Path:
    """Return a local copy of the document's content: of what intake read, or fetched and verified once per run."""
    if SOURCE not in document.files:
        if document.upload is None:
            raise SourceNotFound(f"{document.label} was never taken into custody")
        target = _source_copy(document, context)
        if document.content is not None:
            await asyncio.to_thread(write_copy, document.content, target, document.taken)
        else:
            await context.custody.fetch(document.upload.artifact, target)
        document.files[SOURCE] = target
    return document.files[SOURCE]


def forget_files(document: Document) -> None:
    """Remove the document's local copies; the files themselves are in custody."""
    document.content = None
    for path in document.files.values():
        with suppress(FileNotFoundError):
            path.unlink()
    document.files.clear()
