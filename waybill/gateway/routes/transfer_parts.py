"""``/transfers/{id}/upload/parts``: the client of an upload puts parts into S3 itself, and says when it has.

The bytes do not pass through the gateway before the end, when it reads and verifies them.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from blocks.storage import SentPart
from blocks.transfers.declaration import Declaration
from waybill.gateway.dependencies import GatewayResources
from waybill.gateway.errors import json_response
from waybill.gateway.http.bounded_json import BODY_STATUSES, JsonRoute
from waybill.gateway.openapi import errors
from waybill.gateway.routes.transfers import TransferEntry, TransferId
from waybill.gateway.routes.upload_requests import admitted, declared
from waybill.gateway.transfer_access import PresentedToken
from waybill.services.transfers import TRANSFERS_PATH, read_transfer

router = APIRouter(prefix=TRANSFERS_PATH, tags=["transfers"], route_class=JsonRoute)

# Of a link to S3; one part takes minutes.
_PART_LIFETIME = timedelta(hours=1)
_MOST_NUMBERS = 1000
# More do not fit into a JSON body.
_MOST_ETAGS = 500


class WantedParts(BaseModel):
    """Parts that a client is to put into the storage itself."""

    model_config = ConfigDict(extra="forbid")

    numbers: list[Annotated[int, Field(strict=True, ge=1, le=10_000)]] = Field(
        min_length=1, max_length=_MOST_NUMBERS, description="From 1", examples=[[1, 2, 3]]
    )
    size: Annotated[int, Field(strict=True, ge=0, le=2**62)] | None = Field(
        default=None, description="Bytes of the whole upload, where they were not declared before"
    )


class PartLink(BaseModel):
    """Where to `PUT` one part: *size* bytes of the upload, from *offset* on. The answer has an `ETag`."""

    number: int
    url: str
    offset: int
    size: int


class PartLinks(BaseModel):
    """Links to parts. All together are `part_count` parts; report their ETags at the end."""

    part_count: int
    parts: list[PartLink]


class EndedPart(BaseModel):
    """A part that was sent, with the ETag that S3 answered."""

    model_config = ConfigDict(extra="forbid")

    number: Annotated[int, Field(strict=True, ge=1, le=10_000)]
    etag: str = Field(min_length=1, max_length=200)


class EndedParts(BaseModel):
    """Parts of an upload, all of which are in S3."""

    model_config = ConfigDict(extra="forbid")

    parts: list[EndedPart] = Field(max_length=_MOST_ETAGS, description="Those whose ETags are to be compared")


@router.post(
    "/{transfer_id}/upload/parts", responses=errors(*BODY_STATUSES, 404, 409, 410, 423), response_model=PartLinks
)
async def link_parts(
    request: Request, resources: GatewayResources, token: PresentedToken, transfer_id: TransferId, wanted: WantedParts
) -> Response:
    """Return links by which parts of the upload are put into S3 directly. 409 where the storage is not S3."""
    transfer, _ = await admitted(request, resources, token, transfer_id)
    if wanted.size is not None and transfer.file_id is None:
        transfer = await resources.incoming.declare(transfer, Declaration(size=wanted.size))
    transfer = await declared(resources, transfer)
    lifetime = min(_PART_LIFETIME, transfer.expires_at - await resources.custody.catalog.now())
    count, parts = await resources.incoming.presigned_parts(transfer, wanted.numbers, expires_in=lifetime)
    return json_response({"part_count": count, "parts": [vars(part) for part in parts]})


@router.post(
    "/{transfer_id}/upload/complete",
    responses=errors(*BODY_STATUSES, 404, 409, 410, 423),
    response_model=TransferEntry,
)
async def complete_parts(
    request: Request, resources: GatewayResources, token: PresentedToken, transfer_id: TransferId, ended: EndedParts
) -> Response:
    """Complete an upload whose parts are in S3. Sizes of all parts and the ETags given are compared, the file is
    verified."""
    transfer, caller = await admitted(request, resources, token, transfer_id)
    transfer = await declared(resources, transfer)
    await resources.incoming.check_parts(transfer, [SentPart(**vars(part)) for part in ended.parts])
    await resources.incoming.finish_interrupted(transfer, by=caller)
    completed = await read_transfer(resources.custody.catalog, transfer_id)
    return json_response(completed.as_json())
