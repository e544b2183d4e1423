"""``/files``: a file's content for the browser that is signed in, links to share it, and pins."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import Response

from blocks.catalog import Artifact
from blocks.errors import InvalidOptions
from waybill.gateway.dependencies import GatewayResources
from waybill.gateway.pages.rendering import page, see_other
from waybill.gateway.pages.visitors import ReadingVisitor, SharingForm, WritingForm
from waybill.gateway.routes.downloads import send_file
from waybill.services.files import pin_file, share_file, unpin_file

router = APIRouter(include_in_schema=False)

# What the form offers; a link never outlasts its file.
LIFETIMES = {"1h": timedelta(hours=1), "1d": timedelta(days=1), "7d": timedelta(days=7), "30d": timedelta(days=30)}
_MOST_NOTE_CHARS = 500


@router.get("/files/{file_id:uuid}")
@router.head("/files/{file_id:uuid}")
async def download(request: Request, visitor: ReadingVisitor, resources: GatewayResources, file_id: UUID) -> Response:
    """Return the content of a file as an attachment."""
    return await send_file(request, resources, visitor.caller, file_id)


@router.post("/files/{file_id:uuid}/share")
async def share(request: Request, form: SharingForm, resources: GatewayResources, file_id: UUID) -> Response:
    """Make a link that downloads the file without a key, and show it."""
    lifetime = LIFETIMES.get(form.fields.get("lifetime", "1d"))
    if lifetime is None:
        raise InvalidOptions(f"a link of this page lasts for {', '.join(LIFETIMES)}")
    shared = await share_file(
        resources.custody,
        file_id,
        lambda artifact: resources.links.to_download(artifact, lifetime),
        by=form.visitor.caller,
    )
    return page(request, "shared.html", visitor=form.visitor, file=shared.artifact, link=shared.link)


@router.post("/files/{file_id:uuid}/pin")
async def pin(form: WritingForm, resources: GatewayResources, file_id: UUID) -> Response:
    """Keep a file past its expiry."""
    note = form.fields.get("note", "").strip()[:_MOST_NOTE_CHARS] or None
    artifact = await pin_file(resources.custody, file_id, note=note, by=form.visitor.caller)
    return _back(form, artifact)


@router.post("/files/{file_id:uuid}/unpin")
async def unpin(form: WritingForm, resources: GatewayResources, file_id: UUID) -> Response:
    """Let a file expire again."""
    artifact = await unpin_file(resources.custody, file_id, by=form.visitor.caller)
    return _back(form, artifact)


def _back(form: WritingForm, artifact: Artifact) -> Response:
    """Lead back to the page that shows the file."""
    if not form.visitor.may_read:
        return see_other("/")
    if artifact.kind == "export":
        return see_other("/exports")
    return see_other(
        "/retention" if form.fields.get("from") == "retention" else f"/documents/{artifact.document_sha256}"
    )
