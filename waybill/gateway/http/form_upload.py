"""A form with a file in it, on its way into custody.

Owns the limits on what comes in (size, before and while it is read; type, by content), and what a file is said to be.
What is refused is undone; nothing is kept in memory or in a temporary file.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any, Protocol

from starlette.requests import Request

from blocks.catalog import Draft, Stored
from blocks.custody.upload import StreamingUpload, streaming_upload
from blocks.errors import TooLarge, UnsupportedType, WaybillError
from blocks.filetype import HEAD_BYTES, by_extension, sniff_content
from blocks.naming import clean_display_name
from blocks.settings import Settings
from blocks.storage import Blob
from waybill.gateway.errors import HttpError
from waybill.gateway.http.multipart import MAX_AROUND_BYTES, FileBegins, FileContent, FormField, form_events
from waybill.gateway.resources import Resources

_ANY_TYPE = "application/octet-stream"
# A burst of small files is over by then; large ones are not.
_IN_LINE_SECONDS = 5.0
# Until the content is known.
_UNKNOWN_SHA256 = "0" * 64


class Sink(Protocol):
    """Where a file's content goes."""

    async def write(self, piece: bytes) -> None: ...

    async def finish(self) -> Stored | Blob: ...


class HashOnly:
    """Takes the hash of content that is in custody already."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._size = 0

    async def write(self, piece: bytes) -> None:
        self._hash.update(piece)
        self._size += len(piece)

    async def finish(self) -> Blob:
        return Blob(size=self._size, sha256=self._hash.hexdigest())


@dataclass
class ReceivedForm:
    """What came in. `content` is None without a file."""

    fields: dict[str, str] = field(default_factory=dict[str, str])
    filename: str = ""
    head: bytes = b""
    content: Stored | Blob | None = None
    incoming: StreamingUpload | None = None


@asynccontextmanager
async def received_form(
    request: Request,
    resources: Resources,
    *,
    fields: Collection[str],
    max_bytes: int,
    check_field: Callable[[str, str], object],
    store: bool = True,
) -> AsyncGenerator[ReceivedForm]:
    """Read the form of *request*, its file into custody; what is not kept within the block is undone at its end.

    *check_field* is called with each field's name and value as it comes, so that a wrong one ahead of the file is
    refused before the file is read. Without *store* only the file's hash is taken. Raises `HttpError`, `InvalidOptions`
    and what custody raises.
    """
    _refuse_by_length(request, max_bytes)
    async with AsyncExitStack() as until_done:
        if store:  # before the body is asked for
            await until_done.enter_async_context(_a_place(resources))
        form, sink, size = ReceivedForm(), None, 0
        async for event in form_events(request, fields=fields, files=("file",)):
            if isinstance(event, FormField):
                check_field(event.name, event.value)
                form.fields[event.name] = event.value
            elif isinstance(event, FileBegins):
                form.filename = clean_display_name(event.filename)
                sink = await _sink(form, resources, until_done) if store else HashOnly()
            elif sink is not None and isinstance(event, FileContent):
                size += len(event.piece)
                if size > max_bytes:
                    raise _too_large(max_bytes)
                if len(form.head) < HEAD_BYTES:
                    form.head = (form.head + event.piece)[:HEAD_BYTES]
                await sink.write(event.piece)
            elif sink is not None:
                form.content = await sink.finish()
        yield form


async def content_type(form: ReceivedForm, settings: Settings, *, convertible: bool) -> str:
    """The media type of what came in, by its content. *convertible*: only what a converter reads will do.

    Raises `HttpError` (415) for a type that is not allowed, and what `sniff` raises for one that is not convertible.
    """
    found = _ANY_TYPE
    try:
        found = await _sniffed(form)
    except WaybillError as error:
        if convertible:
            if isinstance(error, UnsupportedType):
                raise HttpError(415, "UnsupportedType", error.message) from error
            raise
    allowed = settings.allowed_types
    plain = found.partition(";")[0].strip().lower()
    if allowed and not any(fnmatchcase(plain, pattern.lower()) for pattern in allowed):
        raise HttpError(
            415, "TypeNotAllowed", f"files of the type {plain} are not taken in here", detail={"allowed": list(allowed)}
        )
    return found


def upload_draft(filename: str, settings: Settings) -> Draft:
    """What is known of an upload before its first byte."""
    return Draft(
        kind="upload",
        filename=filename,
        source_file=filename,
        document_sha256=_UNKNOWN_SHA256,
        media_type=_ANY_TYPE,
        keep_for=timedelta(days=settings.retention_days),
    )


@asynccontextmanager
async def _a_place(resources: Resources) -> AsyncGenerator[None]:
    """One of the places for uploads, waited for in line; raises `HttpError` (503) when none becomes free."""
    try:
        async with asyncio.timeout(_IN_LINE_SECONDS):
            await resources.uploads.acquire()
    except TimeoutError:
        raise HttpError(
            503,
            "TooManyUploads",
            "too many files are being taken in; try again in a moment",
            headers={"Retry-After": "5"},
        ) from None
    try:
        yield
    finally:
        resources.uploads.release()


async def _sink(form: ReceivedForm, resources: Resources, until_done: AsyncExitStack) -> Sink:
    draft = upload_draft(form.filename, resources.settings)
    form.incoming = await until_done.enter_async_context(streaming_upload(resources.custody, draft))
    return form.incoming


async def _sniffed(form: ReceivedForm) -> str:
    def sniff(content: Any) -> str:
        return sniff_content(content, form.filename).media_type

    if form.incoming is not None:
        found = await form.incoming.inspect(sniff)
        if found is not None:
            return found
    # Nothing can be read back with the public key alone: what can be told from the beginning, and from the name.
    if form.content is not None and form.content.size > len(form.head):
        known = by_extension(form.filename.rpartition(".")[2].lower())
        if known is not None and form.head.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
            return known.media_type
    return sniff(io.BytesIO(form.head))


def _refuse_by_length(request: Request, max_bytes: int) -> None:
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > max_bytes + MAX_AROUND_BYTES:
        raise _too_large(max_bytes)


def _too_large(max_bytes: int) -> HttpError:
    return HttpError(413, TooLarge.__name__, f"a file may have {max_bytes} bytes here", detail={"max_bytes": max_bytes})
