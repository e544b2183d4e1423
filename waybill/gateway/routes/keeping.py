"""``/files/{file_id}/pin``, ``unpin``, ``hold``, ``release`` and ``extend``: how long a file stays."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from blocks.access import ADMIN
from waybill.gateway.dependencies import Admin, GatewayResources, Writer
from waybill.gateway.errors import json_response
from waybill.gateway.http.bounded_json import BODY_STATUSES, JsonRoute
from waybill.gateway.http.params import Text
from waybill.gateway.openapi import errors
from waybill.gateway.routes.files import FileChanged, FileDetails, details, shown, shown_to
from waybill.services.files import extend_file, hold_file, pin_file, read_end, release_file, unpin_file

router = APIRouter(prefix="/api/v1/files", tags=["files"], route_class=JsonRoute)


class KeepOptions(BaseModel):
    """Why the file is kept."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"note": "until the audit is over"}]})

    note: Text | None = Field(default=None, max_length=500)


class ExtendOptions(BaseModel):
    """For how long from now, or until when, the file is to stay."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"for": "90d"}, {"until": "2027-01-31T00:00Z"}]}
    )

    keep_for: Text | None = Field(
        default=None, alias="for", max_length=20, description="A whole number and s, m, h or d"
    )
    until: Text | None = Field(
        default=None, max_length=40, description="ISO 8601; a day alone begins at midnight in UTC"
    )
    shorten: bool = Field(default=False, description="Whether the file may go earlier than it would")


@router.post(
    "/{file_id:uuid}/pin", responses=errors(*BODY_STATUSES, 404, 410), response_model=FileDetails | FileChanged
)
async def pin(
    caller: Writer, resources: GatewayResources, file_id: UUID, options: KeepOptions | None = None
) -> Response:
    """Keep a file beyond its expiry, until it is unpinned. A pinned file cannot be deleted."""
    note = options.note if options else None
    artifact = await pin_file(resources.custody, file_id, note=note, by=caller)
    return json_response(shown_to(caller, await details(resources, artifact)))


@router.post("/{file_id:uuid}/unpin", responses=errors(404, 410), response_model=FileDetails | FileChanged)
async def unpin(caller: Writer, resources: GatewayResources, file_id: UUID) -> Response:
    """Let a pinned file expire again. One whose expiry has passed stays for another day."""
    artifact = await unpin_file(resources.custody, file_id, by=caller)
    return json_response(shown_to(caller, await details(resources, artifact)))


@router.post("/{file_id:uuid}/hold", responses=errors(*BODY_STATUSES, 404, 410), response_model=FileDetails)
async def hold(
    caller: Admin, resources: GatewayResources, file_id: UUID, options: KeepOptions | None = None
) -> Response:
    """Put a file under a legal hold: readable and not deleted until it is released, whatever its pin and its expiry.

    Also a file that has expired, as long as its bytes are stored.
    """
    note = options.note if options else None
    artifact = await hold_file(resources.custody, file_id, note=note, by=caller)
    return json_response(shown(await details(resources, artifact)))


@router.post("/{file_id:uuid}/release", responses=errors(404, 410), response_model=FileDetails)
async def release(caller: Admin, resources: GatewayResources, file_id: UUID) -> Response:
    """Lift the legal hold of a file. One whose expiry has passed stays for another day."""
    artifact = await release_file(resources.custody, file_id, by=caller)
    return json_response(shown(await details(resources, artifact)))


@router.post(
    "/{file_id:uuid}/extend", responses=errors(*BODY_STATUSES, 404, 410), response_model=FileDetails | FileChanged
)
async def extend(caller: Writer, resources: GatewayResources, file_id: UUID, options: ExtendOptions) -> Response:
    """Let a file expire later; one that stays for longer already is left as it is.

    An expired file whose bytes are still stored is extended for a key with `admin` only.
    """
    artifact, _ = await extend_file(
        resources.custody,
        file_id,
        read_end(options.keep_for, options.until),
        shorten=options.shorten,
        even_expired=caller.allows(ADMIN),
        by=caller,
    )
    return json_response(shown_to(caller, await details(resources, artifact)))
