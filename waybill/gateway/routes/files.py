"""Files over HTTP: what there is, what is known of one, sharing, pinning, deleting. Content is `downloads`' business.

Answers are those of ``waybill files ... --json``, but for where the stored bytes lie, which is nobody's business here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import Response

from blocks.catalog.artifact import Kind
from blocks.errors import InvalidOptions
from waybill.gateway.dependencies import Reader, Waybill, Writer
from waybill.gateway.errors import json_answer
from waybill.gateway.http.bounded_json import BODY_STATUSES, JsonRoute
from waybill.gateway.http.params import After, Limit, Text, duration
from waybill.gateway.openapi import errors
from waybill.gateway.resources import Resources
from waybill.gateway.routes.file_models import (
    FileDetails,
    FileList,
    FileRemoved,
    PinOptions,
    SharedLink,
    ShareOptions,
    StageReport,
)
from waybill.services.files import delete_file, pin_file, share_file, unpin_file

router = APIRouter(prefix="/api/v1/files", tags=["files"], route_class=JsonRoute)

# Paths of 4 kB, which is the most that Linux opens, and URLs with a signature in them.
_MAX_SOURCE_CHARS = 8192
# A smallint in the catalogue.
_MAX_STAGE = 32767

Source = Annotated[
    Text,
    Query(
        min_length=1,
        max_length=_MAX_SOURCE_CHARS,
        description="The path or URL that files were made from, or its last part alone.",
        examples=["visitor-guide.html"],
    ),
]
Stage = Annotated[int, Query(ge=1, le=_MAX_STAGE, description="The number of the stage that made them.", examples=[3])]


@router.get("/metadata/{file_id}", responses=errors(404, 410), response_model=FileDetails | StageReport)
async def metadata(_: Reader, resources: Waybill, file_id: UUID, view: Literal["meta", "report"] = "meta") -> Response:
    """Everything known of a file; with `view=report` how its stage went, which only stage outputs have."""
    artifact = await resources.custody.get(file_id)
    if view == "meta":
        return json_answer(_told(artifact.metadata_view()))
    if artifact.stage is None:
        raise InvalidOptions("only stage outputs have a report")
    return json_answer(artifact.report_view())


@router.get("/list", responses=errors(), response_model=FileList)
async def list_files(
    _: Reader,
    resources: Waybill,
    source_file: Source | None = None,
    stage: Stage | None = None,
    run_id: UUID | None = None,
    kind: Kind | None = None,
    limit: Limit = 100,
    after: After = None,
) -> Response:
    """What is in custody, newest first. Filters combine."""
    return await _listing(
        resources, source=source_file, stage=stage, run_id=run_id, kind=kind, limit=limit, after=after
    )


@router.get("/list/by-source", responses=errors(), response_model=FileList)
async def list_by_source(
    _: Reader, resources: Waybill, source_file: Source, limit: Limit = 100, after: After = None
) -> Response:
    """What was made from one source, newest first, with what was taken in of it."""
    return await _listing(resources, source=source_file, limit=limit, after=after)


@router.get("/list/by-stage", responses=errors(), response_model=FileList)
async def list_by_stage(
    _: Reader, resources: Waybill, stage: Stage, limit: Limit = 100, after: After = None
) -> Response:
    """What one stage has made, newest first."""
    return await _listing(resources, stage=stage, limit=limit, after=after)


@router.delete("/{file_id:uuid}", responses=errors(404, 409, 410), response_model=FileRemoved)
async def delete(caller: Writer, resources: Waybill, file_id: UUID) -> Response:
    """Delete a file for good: its bytes go, the catalogue keeps that it was there. A pinned one stays."""
    artifact = await delete_file(resources.custody, file_id, by=caller)
    return json_answer({**_told(artifact.listing()), "state": "removed"})


@router.post("/{file_id:uuid}/share", responses=errors(*BODY_STATUSES, 404, 410), response_model=SharedLink)
async def share(caller: Writer, resources: Waybill, file_id: UUID, options: ShareOptions | None = None) -> Response:
    """Make a link that downloads the file without an account, until it expires; never longer than the file stays."""
    lifetime = duration((options or ShareOptions()).expires_in)
    shared = await share_file(
        resources.custody, file_id, lambda artifact: resources.links.to_download(artifact, lifetime), by=caller
    )
    return json_answer(shared.as_json())


@router.post("/{file_id:uuid}/pin", responses=errors(*BODY_STATUSES, 404, 410), response_model=FileDetails)
async def pin(caller: Writer, resources: Waybill, file_id: UUID, options: PinOptions | None = None) -> Response:
    """Keep the file whatever its time, until it is unpinned; nobody can delete it meanwhile."""
    note = options.note if options else None
    return json_answer(_told((await pin_file(resources.custody, file_id, note=note, by=caller)).metadata_view()))


@router.post("/{file_id:uuid}/unpin", responses=errors(404, 410), response_model=FileDetails)
async def unpin(caller: Writer, resources: Waybill, file_id: UUID) -> Response:
    """Let the file go at its time again; one whose time is over stays for another day."""
    return json_answer(_told((await unpin_file(resources.custody, file_id, by=caller)).metadata_view()))


async def _listing(resources: Resources, **filters: Any) -> Response:
    catalog = resources.custody.catalog
    async with catalog.connection() as connection:
        page = await catalog.list_artifacts(connection, **filters)
    return json_answer({"files": [_told(artifact.listing()) for artifact in page.artifacts], "next": page.next})


def _told(view: dict[str, Any]) -> dict[str, Any]:
    # What exactly is wrong names keys and folders of the storage.
    return {**view, "damaged": "what is stored of this file is damaged"} if view["damaged"] else view
