"""A multipart form with a file, streamed into custody.

Owns the limits of an upload: size (announced and counted), type (by content) and its place among all uploads. An
upload that is refused, breaks off or loses its place is undone. Nothing is held in memory or in a temporary file.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, Protocol

import orjson
from starlette.requests import Request

from blocks.catalog import Artifact, Draft, Stored
from blocks.custody.upload import StreamingUpload, streaming_upload
from blocks.errors import InvalidOptions, TooLarge, UnsupportedType, WaybillError
from blocks.filetype import HEAD_BYTES, by_extension, sniff_content
from blocks.naming import clean_display_name
from blocks.settings import Settings
from blocks.storage import Blob
from waybill.gateway.access import Caller
from waybill.gateway.errors import HttpError
from waybill.gateway.fair_places import NoPlace, Place, PlaceLost
from waybill.gateway.http.form_parsing import read_keep_for, upload_metadata
from waybill.gateway.http.multipart import (
    MAX_AROUND_BYTES,
    FileBegins,
    FileContent,
    FormEvent,
    FormField,
    form_events,
)
from waybill.gateway.resources import Resources
from waybill.services.files import RowWriter, recorded_upload

_ANY_TYPE = "application/octet-stream"
# Long enough for a burst of small files to pass.
_SLOT_WAIT_SECONDS = 5.0
# Replaced when the content has been received.
_UNKNOWN_SHA256 = "0" * 64


class HashOnly:
    """Only hashes the content: it is in custody already."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._size = 0

    async def write(self, piece: bytes) -> None:
        self._hash.update(piece)
        self._size += len(piece)

    async def finish(self) -> Blob:
        return Blob(size=self._size, sha256=self._hash.hexdigest())


class ContentSink(Protocol):
    """Takes the content of a file."""

    async def write(self, content: bytes, /) -> None: ...
    async def finish(self) -> Stored | Blob: ...


class _Checked:
    def __init__(self, sink: ContentSink, check_piece: Callable[[bytes], object]) -> None:
        self._sink = sink
        self._check_piece = check_piece

    async def write(self, content: bytes, /) -> None:
        self._check_piece(content)
        await self._sink.write(content)

    async def finish(self) -> Stored | Blob:
        return await self._sink.finish()


def checking(sink: ContentSink, check_piece: Callable[[bytes], object] | None) -> ContentSink:
    """Return *sink*, with *check_piece* called before it takes a piece."""
    return sink if check_piece is None else _Checked(sink, check_piece)


@dataclass
class UploadForm:
    """The fields of a form and its file; *content* is None if it has no file."""

    fields: dict[str, str] = field(default_factory=dict[str, str])
    filename: str = ""
    head: bytes = b""
    content: Stored | Blob | None = None
    upload: StreamingUpload | None = None

    def fingerprint(self, path: str | None = None) -> str:
        """Return a hash that only the same form has, and, with *path*, only on the same path."""
        content: dict[str, Any] = {
            "fields": dict(sorted(self.fields.items())),
            "filename": self.filename,
            "sha256": self.content.sha256 if self.content else None,
        }
        if path is not None:
            content["path"] = path
        return hashlib.sha256(orjson.dumps(content)).hexdigest()


@asynccontextmanager
async def upload_form(
    request: Request,
    resources: Resources,
    holder: str,
    *,
    fields: Collection[str],
    max_bytes: int,
    check_field: Callable[[str, str], object],
    check_piece: Callable[[bytes], object] | None = None,
    store: bool = True,
) -> AsyncGenerator[UploadForm]:
    """Receive the form of *request* from *holder* and yield it. A file that the block does not `keep` is deleted.

    *check_field* is called with the name and value of each field as it arrives, so that a wrong field in front of the
    file is refused before the file is sent, and *check_piece* with each piece of the file. Without *store* the file is
    only hashed. Raises `HttpError`, `InvalidOptions` and what custody raises.
    """
    _refuse_by_length(request, max_bytes)
    form = UploadForm()
    async with AsyncExitStack() as until_done:

        async def begin() -> ContentSink:
            if not store:
                return checking(HashOnly(), check_piece)
            draft = new_upload(form.filename, resources.settings)
            form.upload = await until_done.enter_async_context(streaming_upload(resources.custody, draft))
            return checking(form.upload, check_piece)

        events = form_events(request, fields=fields, files=("file",))
        if store:  # a place before the first read of the body, which sends "100 Continue"
            place = await until_done.enter_async_context(upload_place(resources, holder))
            async with while_receiving(place):
                await _receive(form, events, begin, check_field, max_bytes, place)
        else:
            await _receive(form, events, begin, check_field, max_bytes, None)
        yield form


async def _receive(
    form: UploadForm,
    events: AsyncIterator[FormEvent],
    begin: Callable[[], Awaitable[ContentSink]],
    check_field: Callable[[str, str], object],
    max_bytes: int,
    place: Place | None,
) -> None:
    """Put the fields of the *events* into *form*, and the file into what *begin* returns at its start."""
    sink, size = None, 0
    async for event in events:
        if isinstance(event, FormField):
            check_field(event.name, event.value)
            form.fields[event.name] = event.value
        elif isinstance(event, FileBegins):
            form.filename = clean_display_name(event.filename)
            with place.keep_for_now() if place is not None else nullcontext():
                sink = await begin()
        elif sink is not None and isinstance(event, FileContent):
            size += len(event.piece)
            if size > max_bytes:
                raise too_large(max_bytes)
            if len(form.head) < HEAD_BYTES:
                form.head = (form.head + event.piece)[:HEAD_BYTES]
            if place is not None:
                place.moved(len(event.piece))
            await sink.write(event.piece)
        elif sink is not None:
            with place.keep_for_now() if place is not None else nullcontext():
                form.content = await sink.finish()


async def keep(
    form: UploadForm, resources: Resources, caller: Caller, *, convertible: bool, also: RowWriter | None = None
) -> Artifact:
    """Make the form's file available and record who uploaded it. *also* writes more in the same transaction, or raises.

    With *convertible* only types that a converter reads are accepted. Raises `InvalidOptions` without a file,
    `HttpError` (415), and the errors of empty, encrypted and unreadable documents.
    """
    if form.upload is None or form.content is None:
        raise InvalidOptions("the form has no file; send one, as 'curl -F file=@report.pdf' does")
    draft = replace(
        new_upload(form.filename, resources.settings),
        document_sha256=form.content.sha256,
        media_type=await _media_type(form, resources.settings, convertible=convertible),
        metadata=upload_metadata(form.fields),
    )
    keep_for = read_keep_for(form.fields.get("keep_for", ""))
    if keep_for is not None:
        draft = replace(draft, keep_for=keep_for)
    return await form.upload.keep(draft, make_available=recorded_upload(resources.custody, also=also, by=caller))


async def _media_type(form: UploadForm, settings: Settings, *, convertible: bool) -> str:
    """Return the media type by content. Raises `HttpError` (415), and what `sniff_content` raises if *convertible*."""
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
            415,
            "TypeNotAllowed",
            f"files of the type {plain} are not allowed here; detail.allowed lists those that are",
            detail={"allowed": list(allowed)},
        )
    return found


def new_upload(filename: str, settings: Settings) -> Draft:
    """Return what is known of an upload before its first byte."""
    return Draft(
        kind="upload",
        filename=filename,
        source_file=filename,
        document_sha256=_UNKNOWN_SHA256,
        media_type=_ANY_TYPE,
        keep_for=settings.retention.period("upload"),
    )


@asynccontextmanager
async def upload_place(resources: Resources, holder: str) -> AsyncGenerator[Place]:
    """Hold one of the `MOST_UPLOADS` places; raise `HttpError` (503) when there is none within `_SLOT_WAIT_SECONDS`."""
    try:
        async with resources.uploads.place(holder, wait_seconds=_SLOT_WAIT_SECONDS) as place:
            yield place
    except NoPlace:
        raise HttpError(503, "TooManyUploads", "too many uploads are in progress; try again in a moment") from None


@asynccontextmanager
async def while_receiving(place: Place) -> AsyncGenerator[None]:
    """Answer 503 if the place is given to another API key within the block."""
    try:
        async with place.revocable():
            yield
    except PlaceLost:
        message = "this sender has more uploads in progress than its share, and others wait; this one was the slowest"
        raise HttpError(503, "UploadDisplaced", f"{message}: try again in a moment") from None


async def _sniffed(form: UploadForm) -> str:
    def sniff(content: Any) -> str:
        return sniff_content(content, form.filename).media_type

    if form.upload is not None:
        found = await form.upload.inspect(sniff)
        if found is not None:
            return found
    # A gateway with the public key alone cannot read the file back: go by its first bytes, and its name.
    if form.content is not None and form.content.size > len(form.head):
        known = by_extension(form.filename.rpartition(".")[2].lower())
        if known is not None and form.head.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
            return known.media_type
    return sniff(io.BytesIO(form.head))


def _refuse_by_length(request: Request, max_bytes: int) -> None:
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > max_bytes + MAX_AROUND_BYTES:
        raise too_large(max_bytes)


def too_large(max_bytes: int) -> HttpError:
    return HttpError(
        413, TooLarge.__name__, f"a file may have at most {max_bytes} bytes here", detail={"max_bytes": max_bytes}
    )
