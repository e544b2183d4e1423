"""``/files``: upload, lists, metadata, share, delete. Content is served by `downloads`; `keeping` decides what stays.

Responses are those of ``waybill files ... --json``, without the location of the stored bytes.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from blocks.access import READ
from blocks.access.idempotency import Answered, Claim, record_answer
from blocks.catalog import Artifact, Connection, Kind
from blocks.errors import InvalidOptions, InvalidSettings
from waybill.gateway.access import Caller
from waybill.gateway.dependencies import GatewayResources, Reader, Sharer, Writer
from waybill.gateway.errors import DAMAGED, json_response, log
from waybill.gateway.http.bounded_json import BODY_STATUSES, JsonRoute
from waybill.gateway.http.form_parsing import check_upload_field
from waybill.gateway.http.idempotency import (
    IdempotencyKey,
    NoIdempotencyKey,
    idempotent,
    note_stored,
    require_same,
    stored_answer,
)
from waybill.gateway.http.params import After, Duration, Limit, Text, duration
from waybill.gateway.openapi import errors, form
from waybill.gateway.resources import Resources
from waybill.gateway.routes.form_upload import keep, upload_form
from waybill.services.files import delete_file, share_file
from waybill.services.retention import outlook

router = APIRouter(prefix="/api/v1/files", tags=["files"], route_class=JsonRoute)

_UPLOAD_FIELDS = {"metadata": '{"customer": 7}', "source_type": "mail", "keep_for": "90d"}
# Linux opens paths of up to 4 kB, and signed URLs have some kB.
_MAX_SOURCE_CHARS = 8192
# The largest smallint, which is the column's type.
_MAX_STAGE = 32767
_RECIPIENT = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
_LINK = "http://127.0.0.1:8000/api/v1/files/download/07ea5ac1-3125-4ba3-85c9-4db3d2bb8b56?token=eyJ..."

Source = Annotated[
    Text,
    Query(
        min_length=1,
        max_length=_MAX_SOURCE_CHARS,
        description="The path or URL of the source, or its last part.",
        examples=["visitor-guide.html"],
    ),
]
Stage = Annotated[int, Query(ge=1, le=_MAX_STAGE, description="The number of the stage.", examples=[3])]


class FileEntry(BaseModel):
    """A file in custody, as lists show it."""

    file_id: UUID
    filename: str = Field(examples=["report.chunks.json"])
    kind: str = Field(examples=["stage_output"], description="stage_output, upload, transfer or export")
    stage: int | None = Field(examples=[3])
    stage_name: str | None = Field(examples=["chunker"])
    size: int = Field(examples=[34909], description="Bytes of content")
    sha256: str = Field(examples=["ed22d6" + "0" * 58], description="SHA-256 of the content")
    media_type: str = Field(examples=["application/json"])
    created_at: datetime
    expires_at: datetime
    source_file: str = Field(examples=["report.pdf"], description="Path, URL or name of the source document")
    run_id: UUID | None
    metadata: dict[str, Any] = Field(examples=[{"chunks": 12}])
    damaged: str | None = Field(description="What is wrong with the stored bytes, if a check found something")
    pinned: bool
    held: bool = Field(default=False, description="Whether a legal hold keeps the file")


class FileDetails(FileEntry):
    """Everything in the catalogue about a file, except where its bytes are stored."""

    document_sha256: str = Field(examples=["16fa6c" + "0" * 58], description="SHA-256 of the source document")
    stage_key: str | None = Field(
        examples=["2ebb22" + "0" * 58], description="Identifies the work: the same document, stage, version and options"
    )
    stored_size: int = Field(examples=[35109], description="Bytes in the storage")
    stored_sha256: str = Field(examples=["90b0a1" + "0" * 58], description="SHA-256 of the bytes in the storage")
    encrypted_for: str | None = Field(examples=[_RECIPIENT], description="Recipient; null if stored unencrypted")
    verified_at: datetime | None
    damaged_at: datetime | None
    pinned_at: datetime | None
    pin_note: str | None = Field(examples=["until the audit is over"])
    held_at: datetime | None = Field(description="Since when a legal hold keeps the file")
    hold_note: str | None = Field(examples=["case 2026/114"])
    goes_at: datetime | None = Field(description="When it goes, as far as it is known now; null while a rule keeps it")
    goes_because: str | None = Field(examples=["expired"], description="The rule by which it goes then")
    kept_because: str | None = Field(examples=["not_due"], description="The rule that keeps it: pinned, newest, ...")
    because: str = Field(examples=["its time is over then"], description="The rule that decides, as a sentence")


class StageReport(BaseModel):
    """Report of the stage that wrote a file. Further fields depend on the stage."""

    model_config = ConfigDict(extra="allow")

    file_id: UUID
    filename: str = Field(examples=["report.chunks.json"])
    stage: int = Field(examples=[3])
    stage_name: str = Field(examples=["chunker"])
    run_id: UUID | None
    stage_version: str | None = Field(default=None, examples=["1"])
    seconds: float | None = Field(default=None, examples=[0.095])
    warnings: list[str] = Field(
        default=[],
        examples=[["2 comments left out", "1 chart without values"]],
        description="What could not be carried over, and what may not be exact",
    )


class FileList(BaseModel):
    """One page of files, newest first."""

    files: list[FileEntry]
    next: str | None = Field(examples=["MjAyNi0x..."], description="`after` of the next page; null on the last page")


class FileRemoved(FileEntry):
    """A file that was deleted."""

    state: Literal["removed"]


class FileChanged(BaseModel):
    """What a key without the scope `read` learns of a file that it changed."""

    model_config = ConfigDict(extra="forbid")

    file_id: UUID
    pinned: bool


class FileRemovedUnread(FileChanged):
    """What a key without the scope `read` learns of a file that it deleted."""

    state: Literal["removed"]


class ShareOptions(BaseModel):
    """How long the link works."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"expires_in": "15m"}, {"expires_in": 900}]}
    )

    expires_in: Duration = "1h"


class SharedLink(BaseModel):
    """A link that downloads one file without an API key. Anyone who has it can read the file."""

    file_id: UUID
    url: str = Field(examples=[_LINK])
    expires_at: datetime
    direct: bool = Field(description="Whether it leads directly to the storage; never over HTTP")
    capped: bool = Field(description="Whether it expires earlier than requested, because the file does")


@router.post(
    "/upload",
    status_code=201,
    response_model=FileEntry,
    responses=errors(400, 408, 409, 410, 413, 415, 507),
    openapi_extra=form(file_required=True, **_UPLOAD_FIELDS),
)
async def upload(
    request: Request, caller: Writer, resources: GatewayResources, idempotency_key: IdempotencyKey = None
) -> Response:
    """Store a file without processing it. To process it later, use `POST /ingest/file` with its `file_id`."""
    catalog = resources.custody.catalog
    async with idempotent(catalog, caller.namespace, idempotency_key) as outcome:
        held = outcome if isinstance(outcome, Claim) else None
        stored_before = held.file_id if held is not None else None
        async with upload_form(
            request,
            resources,
            caller.namespace,
            fields=_UPLOAD_FIELDS,
            max_bytes=resources.settings.max_upload_mib * 2**20,
            check_field=check_upload_field,
            store=not isinstance(outcome, Answered) and stored_before is None,
        ) as received:
            fingerprint = received.fingerprint("/files/upload")

            async def note(connection: Connection, artifact: Artifact) -> None:
                await note_stored(connection, held, fingerprint, artifact)

            if isinstance(outcome, Answered):
                known = await stored_answer(resources.custody.catalog, outcome, fingerprint, FileEntry)
                return _uploaded(resources, known, replayed=True)
            if held is not None and stored_before is not None:
                require_same(held.fingerprint, fingerprint)
                artifact = await resources.custody.get(stored_before)
            else:
                artifact = await keep(received, resources, caller, convertible=False, also=note)
        if held is not None:
            async with catalog.connection() as connection:
                await record_answer(connection, held, fingerprint, artifact.listing())
    return _uploaded(resources, artifact.listing(), replayed=False)


@router.get("/metadata/{file_id}", responses=errors(404, 410), response_model=FileDetails | StageReport)
async def metadata(
    _: Reader, resources: GatewayResources, file_id: UUID, view: Literal["meta", "report"] = "meta"
) -> Response:
    """Return a file's catalogue entry or, with `view=report`, the report of its stage (stage outputs only)."""
    artifact = await resources.custody.get(file_id)
    if view == "meta":
        return json_response(shown(await details(resources, artifact)))
    if artifact.stage is None:
        raise InvalidOptions("only stage outputs have a report; use view=meta")
    return json_response(artifact.report_view())


@router.get("/list", responses=errors(), response_model=FileList)
async def list_files(
    _: Reader,
    resources: GatewayResources,
    source_file: Source | None = None,
    stage: Stage | None = None,
    run_id: UUID | None = None,
    kind: Kind | None = None,
    limit: Limit = 100,
    after: After = None,
) -> Response:
    """List files in custody, newest first. All given filters apply."""
    return await _page(resources, source=source_file, stage=stage, run_id=run_id, kind=kind, limit=limit, after=after)


@router.get("/list/by-source", responses=errors(), response_model=FileList)
async def list_by_source(
    _: Reader, resources: GatewayResources, source_file: Source, limit: Limit = 100, after: After = None
) -> Response:
    """List the files of one source, newest first: its upload and its stage outputs."""
    return await _page(resources, source=source_file, limit=limit, after=after)


@router.get("/list/by-stage", responses=errors(), response_model=FileList)
async def list_by_stage(
    _: Reader, resources: GatewayResources, stage: Stage, limit: Limit = 100, after: After = None
) -> Response:
    """List the outputs of one stage, newest first."""
    return await _page(resources, stage=stage, limit=limit, after=after)


@router.delete("/{file_id:uuid}", responses=errors(404, 409, 410), response_model=FileRemoved | FileRemovedUnread)
async def delete(caller: Writer, resources: GatewayResources, file_id: UUID) -> Response:
    """Delete a file permanently. The catalogue keeps its record. A pinned or held file is refused (409)."""
    artifact = await delete_file(resources.custody, file_id, by=caller)
    return json_response({**shown_to(caller, artifact.listing()), "state": "removed"})


@router.post(
    "/{file_id:uuid}/share",
    responses=errors(*BODY_STATUSES, 404, 410),
    response_model=SharedLink,
)
async def share(
    caller: Sharer,
    _: NoIdempotencyKey,
    resources: GatewayResources,
    file_id: UUID,
    options: ShareOptions | None = None,
) -> Response:
    """Create a link that downloads the file without an API key, for a key that may read and write.

    It expires with the file at the latest.
    """
    lifetime = duration((options or ShareOptions()).expires_in)
    shared = await share_file(
        resources.custody, file_id, lambda artifact: resources.links.to_download(artifact, lifetime), by=caller
    )
    return json_response(shared.as_json())


def _uploaded(resources: Resources, answer: dict[str, Any], *, replayed: bool) -> Response:
    location = f"{resources.links.base_url}/api/v1/files/metadata/{answer['file_id']}"
    headers = {"Location": location, **({"Idempotency-Replayed": "true"} if replayed else {})}
    # The fields in a fixed order, also when they come from the database; one that an earlier version stored lacks some.
    entry = {name: answer.get(name, known.default) for name, known in FileEntry.model_fields.items()}
    return json_response(entry, status=201, headers=headers)


async def _page(resources: Resources, **filters: Any) -> Response:
    catalog = resources.custody.catalog
    async with catalog.connection() as connection:
        page = await catalog.list_artifacts(connection, **filters)
    return json_response({"files": [shown(artifact.listing()) for artifact in page.artifacts], "next": page.next})


async def details(resources: Resources, artifact: Artifact) -> dict[str, Any]:
    """Return everything in the catalogue about a file, and when it goes by the rules of the settings."""
    try:
        found = await outlook(resources.custody.catalog, resources.settings, artifact)
    except InvalidSettings as error:  # no clean-up runs either, so the row alone decides
        log.error("cannot say when files go: %s", error)
        found = artifact.outlook()
    return {**artifact.metadata_view(), **found.as_json()}


def shown_to(caller: Caller, view: dict[str, Any]) -> dict[str, Any]:
    """Return of a *view* of a file what *caller* may read."""
    # `write` does not include `read`: names, hashes and metadata of other callers' files are not for such a key.
    return shown(view) if caller.allows(READ) else {name: view[name] for name in FileChanged.model_fields}


def shown(view: dict[str, Any]) -> dict[str, Any]:
    """Return a *view* of a file for clients."""
    # The recorded reason names paths and hosts of the storage.
    return {**view, "damaged": DAMAGED} if view["damaged"] else view
