"""The form of the start page: any number of files, each streamed into custody, and choices for the run on them.

Each file is checked as an upload over the API is: its size, its type by content. A file that is refused costs only
itself; the others are kept, and the page names both. When the form breaks off, nothing of it is kept.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from fastapi import Request

from blocks.catalog import Artifact
from blocks.custody.upload import streaming_upload
from blocks.errors import WaybillError
from blocks.filetype import HEAD_BYTES
from blocks.naming import clean_display_name
from waybill.gateway.access import Caller
from waybill.gateway.errors import HttpError, waybill_error_response
from waybill.gateway.fair_places import Place
from waybill.gateway.http.form_parsing import (
    check_upload_field,
    read_keep_for,
    read_run_stages,
    read_webhook_url,
)
from waybill.gateway.http.multipart import FileBegins, FileContent, FileEnds, FormField, form_events
from waybill.gateway.pages.sessions import Session
from waybill.gateway.pages.visitors import FORM_TOKEN, require_token
from waybill.gateway.resources import Resources
from waybill.gateway.routes.form_upload import (
    UploadForm,
    keep,
    new_upload,
    too_large,
    upload_place,
    while_receiving,
)
from waybill.services.files import delete_file

FILES_FIELD = "files"
# More than a person selects, and a run of them begins within seconds.
MOST_FILES = 500
_FIELDS = (FORM_TOKEN, "stages", "keep_for", "webhook_url")


@dataclass(frozen=True)
class RefusedFile:
    """A file that was not taken, and why."""

    name: str
    why: str


@dataclass
class ReceivedFiles:
    """What a form held: files that are in custody now, others that were refused, and the *parameters* of a run."""

    kept: list[Artifact] = field(default_factory=list[Artifact])
    refused: list[RefusedFile] = field(default_factory=list[RefusedFile])
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])


async def receive_files(request: Request, resources: Resources, session: Session, caller: Caller) -> ReceivedFiles:
    """Receive the form of *request*. Raises `HttpError`, `InvalidOptions`, and what custody raises.

    The token of the session has to come before the first file.
    """
    receiver = _Receiver(resources, session, caller)
    try:
        async with upload_place(resources, caller.namespace) as place, while_receiving(place):
            await receiver.receive(request, place)
    except Exception:
        for artifact in receiver.received.kept:
            with suppress(WaybillError):
                await delete_file(resources.custody, artifact.file_id, by=caller)
        raise
    return receiver.received


class _Receiver:
    def __init__(self, resources: Resources, session: Session, caller: Caller) -> None:
        self._resources = resources
        self._session = session
        self._caller = caller
        self._max_bytes = resources.settings.max_file_mib * 2**20
        self._is_from_here = False
        self._fields: dict[str, str] = {}
        self.received = ReceivedFiles()

    async def receive(self, request: Request, place: Place) -> None:
        async with AsyncExitStack() as until_done:
            current: _File | None = None
            async for event in form_events(request, fields=_FIELDS, files=(FILES_FIELD,), most_files=MOST_FILES):
                if isinstance(event, FormField):
                    self._take_field(event)
                elif isinstance(event, FileBegins):
                    self._require_token()
                    # A browser sends one nameless file where none was chosen.
                    current = _File(clean_display_name(event.filename)) if event.filename else None
                    if current is not None:
                        with place.keep_for_now():
                            await current.begin(self._resources, until_done)
                elif current is not None and isinstance(event, FileContent):
                    place.moved(len(event.piece))
                    await current.write(event.piece, self._max_bytes)
                elif current is not None and isinstance(event, FileEnds):
                    with place.keep_for_now():
                        await self._keep(current)
                    current = None
            self._require_token()

    def _require_token(self) -> None:
        if not self._is_from_here:
            require_token(self._session, "")

    def _take_field(self, event: FormField) -> None:
        if event.name == FORM_TOKEN:
            require_token(self._session, event.value)
            self._is_from_here = True
            return
        value, parameters = event.value.strip(), self.received.parameters
        if not value:
            return
        if event.name == "stages":
            parameters["stages"] = read_run_stages(value)
        elif event.name == "webhook_url":
            parameters["webhook_url"] = read_webhook_url(value, self._resources.guard)
        elif event.name == "keep_for":
            check_upload_field(event.name, value)
            if read_keep_for(value) is not None:
                parameters["keep_for"] = self._fields["keep_for"] = value

    async def _keep(self, file: _File) -> None:
        try:
            artifact = await file.keep(self._resources, self._caller, self._fields)
        except HttpError as error:
            if error.response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
            self.received.refused.append(RefusedFile(file.form.filename, str(error)))
        except WaybillError as error:
            if waybill_error_response(error).status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
            self.received.refused.append(RefusedFile(file.form.filename, error.message))
        else:
            self.received.kept.append(artifact)


class _File:
    """One file of the form, on its way into custody."""

    def __init__(self, name: str) -> None:
        self.form = UploadForm(filename=name)
        self._size = 0
        self._refusal: HttpError | None = None

    async def begin(self, resources: Resources, until_done: AsyncExitStack) -> None:
        draft = new_upload(self.form.filename, resources.settings)
        self.form.upload = await until_done.enter_async_context(streaming_upload(resources.custody, draft))

    async def write(self, piece: bytes, max_bytes: int) -> None:
        """Store the next piece; of a file that is too large the rest is only read."""
        self._size += len(piece)
        if self._size > max_bytes and self._refusal is None:
            self._refusal = too_large(max_bytes)
            if self.form.upload is not None:
                await self.form.upload.discard()
        if self._refusal is not None or self.form.upload is None:
            return
        if len(self.form.head) < HEAD_BYTES:
            self.form.head = (self.form.head + piece)[:HEAD_BYTES]
        await self.form.upload.write(piece)

    async def keep(self, resources: Resources, caller: Caller, fields: dict[str, str]) -> Artifact:
        """Make the file available. Raises `HttpError` and the errors of documents that are refused."""
        if self._refusal is not None:
            raise self._refusal
        if self.form.upload is not None:
            self.form.content = await self.form.upload.finish()
        self.form.fields = dict(fields)
        return await keep(self.form, resources, caller, convertible=True)
