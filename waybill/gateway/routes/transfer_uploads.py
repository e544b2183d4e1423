"""``/transfers/{id}/upload``: receive the bytes of an upload, in one request or in many.

Speaks tus 1.0.0, the IETF draft that tus-js-client knows, and `PUT` for `curl -T`. Owns the order of the checks: the
token first, then whether the transfer is open, then the protocol; no byte of a body is read, and "100 Continue" is not
sent, before all of them have passed.
"""

from __future__ import annotations

import re
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from blocks.errors import LinkExpired, TransferConflict, TransferLocked
from blocks.transfers import Transfer, require_open
from blocks.transfers.declaration import Declaration
from waybill.gateway.dependencies import GatewayResources
from waybill.gateway.errors import SAFE_HEADERS, HttpError, json_response
from waybill.gateway.http import tus
from waybill.gateway.openapi import ANY_CONTENT, errors
from waybill.gateway.resources import Resources
from waybill.gateway.routes.form_upload import upload_place
from waybill.gateway.routes.transfers import TransferEntry, TransferId
from waybill.gateway.routes.upload_requests import (
    admitted,
    declared,
    ended_just_now,
    progress_headers,
    receive,
    whole_offset,
)
from waybill.gateway.transfer_access import PresentedToken
from waybill.services.transfers import TRANSFERS_PATH, cancel_transfer, read_transfer

router = APIRouter(prefix=TRANSFERS_PATH, tags=["transfers"], route_class=tus.TusRoute)

_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})")

_WRITING = errors(400, 404, 408, 409, 410, 412, 413, 415, 423, tus.CHECKSUM_MISMATCH, 507)
_LOOKED: dict[int | str, dict[str, Any]] = {
    200: {"description": "Upload-Offset says how many bytes are here"},
    **errors(400, 404, 409, 410, 412, 423, 507),
}
_BODY: dict[str, Any] = {"requestBody": {"required": False, "content": ANY_CONTENT}}


@router.options("/{transfer_id}/upload", include_in_schema=False)
async def discover(resources: GatewayResources, transfer_id: TransferId) -> Response:
    """Say which versions, extensions and sizes are supported; nothing of the transfer."""
    del transfer_id
    return Response(status_code=204, headers=tus.discovery_headers(resources.incoming.max_bytes))


@router.post(
    "/{transfer_id}/upload",
    status_code=201,
    responses={204: {"description": "With X-HTTP-Method-Override: as that method answers"}, **_WRITING},
    openapi_extra=_BODY,
    response_class=Response,
)
async def create(
    request: Request, resources: GatewayResources, token: PresentedToken, transfer_id: TransferId
) -> Response:
    """Begin the upload of a transfer (tus: creation), with `Upload-Length`; a body is its first bytes.

    Begun again, the upload starts at byte 0.
    """
    meant = tus.overridden_method(request)
    if meant is not None:
        action = append if meant == "PATCH" else terminate
        return await action(request, resources, token, transfer_id)
    transfer, caller = await admitted(request, resources, token, transfer_id)
    tus.require_version(request)
    has_body = _has_body(request)
    if has_body and not tus.draft_of(request):
        _require_type(request, tus.TUS_TYPE)
    declared = tus.declaration(request)
    _require_room(resources, declared.size)
    checksum = tus.checksum(request)
    async with upload_place(resources, caller.namespace) as place:
        transfer = await resources.incoming.declare(transfer, declared)
        headers = _creation_headers(request, transfer, token)
        if has_body or transfer.size == 0 or tus.is_complete(request):
            headers |= await receive(request, resources, transfer, caller, place, 0, checksum)
    return Response(status_code=201, headers=headers)


@router.get("/{transfer_id}/upload", responses=_LOOKED, response_class=Response)
@router.head("/{transfer_id}/upload", responses=_LOOKED, response_class=Response, operation_id="look_head")
async def look(
    request: Request, resources: GatewayResources, token: PresentedToken, transfer_id: TransferId
) -> Response:
    """Return, as `Upload-Offset`, how many bytes are here, durably: where to go on.

    With an expired token 423 while the transfer is open: renew the token, and ask again.
    """
    try:
        transfer, caller = await admitted(request, resources, token, transfer_id, ended=True)
    except LinkExpired:
        require_open(await read_transfer(resources.custody.catalog, transfer_id))
        raise TransferLocked("the token has expired; ask for a new one, and then again") from None
    tus.require_version(request, strict=False)
    if await ended_just_now(resources, transfer):
        # The answer to the last bytes may have been lost: its client must learn that all is well.
        offset = transfer.size or 0
    elif require_open(transfer).size is None:
        raise HttpError(404, "NotBegun", "this upload has not begun; begin with POST")
    else:
        offset = await whole_offset(resources, transfer, caller)
    return Response(
        headers={
            **SAFE_HEADERS,
            **progress_headers(request, transfer, offset),
            "Upload-Length": str(transfer.size),
            "Upload-Metadata": tus.metadata_of(transfer),
            "Cache-Control": "no-store",
        }
    )


@router.patch(
    "/{transfer_id}/upload",
    status_code=204,
    responses={204: {"description": "Stored; Upload-Offset says how many bytes are here"}, **_WRITING},
    openapi_extra=_BODY,
    response_class=Response,
)
async def append(
    request: Request, resources: GatewayResources, token: PresentedToken, transfer_id: TransferId
) -> Response:
    """Add the body at `Upload-Offset`, which is where the bytes here end. What has arrived stays if it breaks off."""
    transfer, caller = await admitted(request, resources, token, transfer_id, ended=True)
    tus.require_version(request)
    draft = tus.draft_of(request)
    if draft is None:
        _require_type(request, tus.TUS_TYPE)
    elif draft != "5":  # draft 03 had no type of its own
        _require_type(request, tus.DRAFT_TYPE)
    offset = tus.number(request, "Upload-Offset")
    if offset is None:
        raise HttpError(400, "InvalidOptions", "Upload-Offset is missing: where do these bytes belong?")
    if not transfer.is_open:
        if offset == transfer.size and not _has_body(request) and await ended_just_now(resources, transfer):
            return Response(status_code=204, headers=progress_headers(request, transfer, offset))
        require_open(transfer)
    transfer = await declared(resources, transfer)
    length = tus.number(request, "Content-Length")
    if length is not None and offset + length > (transfer.size or 0):
        raise HttpError(413, "TooLarge", f"the upload was declared with {transfer.size} bytes")
    if draft and length is not None and tus.is_complete(request) and offset + length != transfer.size:
        raise HttpError(400, "InvalidOptions", f"this would end an upload of {transfer.size} bytes too early")
    checksum = tus.checksum(request)
    async with upload_place(resources, caller.namespace) as place:
        headers = await receive(request, resources, transfer, caller, place, offset, checksum)
    return Response(status_code=204, headers=headers)


@router.put(
    "/{transfer_id}/upload",
    status_code=201,
    responses={201: {"model": TransferEntry}, **errors(400, 404, 408, 409, 410, 411, 413, 423, 507)},
    openapi_extra=_BODY,
)
async def put(
    request: Request, resources: GatewayResources, token: PresentedToken, transfer_id: TransferId
) -> Response:
    """Upload the whole file, as `curl -T` does; with `Content-Range` the rest of it, from where the bytes here end."""
    transfer, caller = await admitted(request, resources, token, transfer_id)
    length = tus.number(request, "Content-Length")
    if length is None:
        raise HttpError(411, "LengthRequired", "send the file with its Content-Length, or by the tus protocol")
    start, size = _content_range(request, length)
    _require_room(resources, size)
    async with upload_place(resources, caller.namespace) as place:
        if start == 0:
            transfer = await resources.incoming.declare(transfer, Declaration(size=size))
        transfer = await declared(resources, transfer)
        if transfer.size != size:
            raise TransferConflict(f"the upload was declared with {transfer.size} bytes, not {size}")
        await receive(request, resources, transfer, caller, place, start)
    ended = await read_transfer(resources.custody.catalog, transfer_id)
    return json_response(ended.as_json(), status=201)


@router.delete(
    "/{transfer_id}/upload",
    status_code=204,
    responses={204: {"description": "Cancelled; the bytes are gone"}, **errors(400, 404, 410, 412)},
    response_class=Response,
)
async def terminate(
    request: Request, resources: GatewayResources, token: PresentedToken, transfer_id: TransferId
) -> Response:
    """Give up the upload (tus: termination): the transfer is cancelled, and what has arrived is removed."""
    _, caller = await admitted(request, resources, token, transfer_id)
    tus.require_version(request, strict=False)
    ended = await cancel_transfer(resources.custody, resources.event_links, transfer_id, by=caller)
    resources.transfer_progress.stop(transfer_id)
    await resources.incoming.give_up(ended)
    return Response(status_code=204)


def _creation_headers(request: Request, transfer: Transfer, token: str) -> dict[str, str]:
    # A client that sends its token in the URL sends it there again.
    query = f"?token={token}" if request.query_params.get("token") else ""
    return {
        **progress_headers(request, transfer, 0),
        "Location": f"{TRANSFERS_PATH}/{transfer.transfer_id}/upload{query}",
    }


def _has_body(request: Request) -> bool:
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers


def _require_type(request: Request, wanted: str) -> None:
    if tus.media_type(request) != wanted:
        raise HttpError(415, "UnsupportedMediaType", f"send the bytes with 'Content-Type: {wanted}'")


def _require_room(resources: Resources, size: int) -> None:
    most = resources.incoming.max_bytes
    if size > most:
        raise HttpError(413, "TooLarge", f"an upload may have at most {most} bytes (WAYBILL_MAX_UPLOAD_MIB)")


def _content_range(request: Request, length: int) -> tuple[int, int]:
    """Return first byte and size of the whole of what a PUT sends."""
    header = request.headers.get("content-range")
    if header is None:
        return 0, length
    found = _CONTENT_RANGE.fullmatch(header.strip())
    first, last, size = map(int, found.groups()) if found else (0, 0, 0)
    if found is None or last - first + 1 != length or last + 1 != size:
        raise HttpError(400, "InvalidOptions", "Content-Range is 'bytes FIRST-LAST/SIZE' and ends with the last byte")
    return first, size
