"""``POST /files/upload``: a file into custody, without processing it."""

from __future__ import annotations

from dataclasses import replace

from fastapi import APIRouter, Request
from fastapi.responses import Response

from blocks.catalog import Artifact
from blocks.errors import InvalidOptions
from waybill.gateway.access import Caller
from waybill.gateway.dependencies import Waybill, Writer
from waybill.gateway.errors import json_answer
from waybill.gateway.http.form_parsing import upload_metadata
from waybill.gateway.http.form_upload import ReceivedForm, content_type, received_form, upload_draft
from waybill.gateway.openapi import errors, form
from waybill.gateway.resources import Resources
from waybill.gateway.routes.file_models import FileEntry
from waybill.services.files import Also, taken_in

router = APIRouter(prefix="/api/v1/files", tags=["files"])

_FIELDS = {"metadata": '{"customer": 7}', "source_type": "mail"}


@router.post(
    "/upload",
    status_code=201,
    response_model=FileEntry,
    responses=errors(400, 408, 413, 415, 507),
    openapi_extra=form(file_required=True, **_FIELDS),
)
async def upload(request: Request, caller: Writer, resources: Waybill) -> Response:
    """Take a file into custody; process it later with `POST /ingest/file` and its `file_id`."""
    settings = resources.settings

    def check(name: str, value: str) -> None:
        upload_metadata({name: value})

    async with received_form(
        request, resources, fields=_FIELDS, max_bytes=settings.max_upload_mib * 2**20, check_field=check
    ) as received:
        artifact = await keep(received, resources, caller, convertible=False)
    location = f"{resources.links.base_url}/api/v1/files/metadata/{artifact.file_id}"
    return json_answer(artifact.listing(), status=201, headers={"Location": location})


async def keep(
    received: ReceivedForm, resources: Resources, caller: Caller, *, convertible: bool, also: Also | None = None
) -> Artifact:
    """Make what came in available, and note who brought it. *also* writes more on the same connection, or raises.

    Raises `InvalidOptions` without a file, `HttpError` and refusals of documents.
    """
    incoming, content = received.incoming, received.content
    if incoming is None or content is None:
        raise InvalidOptions("the form has no file; send one: curl -F 'file=@report.pdf'")
    draft = replace(
        upload_draft(received.filename, resources.settings),
        document_sha256=content.sha256,
        media_type=await content_type(received, resources.settings, convertible=convertible),
        metadata=upload_metadata(received.fields),
    )

    make_available = taken_in(resources.custody, also=also, by=caller)
    return await incoming.keep(draft, make_available=make_available)
