"""What the requests of an upload share: who may send them, how their bytes are received, and what is answered."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from fastapi import Request

from blocks.errors import ContentMismatch, TooLarge, TransferOver
from blocks.transfers import RESUME_GRACE, Transfer, require_open
from blocks.transfers.declaration import Checksum, Declaration
from waybill.gateway.access import Caller
from waybill.gateway.errors import HttpError
from waybill.gateway.fair_places import Place
from waybill.gateway.http import tus
from waybill.gateway.resources import Resources
from waybill.gateway.routes.form_upload import while_receiving
from waybill.gateway.silent_senders import SenderReplaced
from waybill.gateway.transfer_access import admit_token
from waybill.services.transfers import read_transfer


async def admitted(
    request: Request, resources: Resources, token: str, transfer_id: str, *, ended: bool = False
) -> tuple[Transfer, Caller]:
    """Return the transfer and the caller, whose token is for this upload; *ended* admits one that is over."""
    try:
        transfer, caller = await admit_token(request, resources, token, transfer_id, "upload")
    except HttpError as error:
        if error.response.status_code == 429:  # clients of tus give up at a 429, and wait at a 503
            raise HttpError(503, "TooManyRequests", "too many requests; try again in a moment") from None
        raise
    resources.senders.end_silent(transfer_id)
    return (transfer if ended else require_open(transfer)), caller


async def declared(resources: Resources, transfer: Transfer) -> Transfer:
    """Return an upload that has begun; one whose size was agreed with the transfer begins by itself."""
    if transfer.file_id is None and transfer.size is not None:
        return await resources.incoming.declare(transfer, Declaration(size=transfer.size))
    return transfer


async def receive(
    request: Request,
    resources: Resources,
    transfer: Transfer,
    caller: Caller,
    place: Place,
    offset: int,
    checksum: Checksum | None = None,
) -> dict[str, str]:
    """Add the body at *offset*, complete the upload with its last byte, and return headers that say how far it is."""

    async def pieces() -> AsyncGenerator[bytes]:
        async for piece in request.stream():
            place.moved(len(piece))
            sender.moved()
            yield piece

    incoming = resources.incoming
    async with incoming.writing(transfer) as writer:
        if writer.offset != offset:
            raise HttpError(
                409,
                "WrongOffset",
                f"the next byte is number {writer.offset}, not {offset}",
                detail={"offset": writer.offset},
                headers=progress_headers(request, transfer, writer.offset),
            )
        async with while_receiving(place):
            try:
                async with resources.senders.receiving(transfer.transfer_id) as sender:
                    if checksum is not None:
                        await incoming.receive_checked(writer, pieces(), checksum)
                    else:
                        await incoming.receive(writer, pieces())
            except SenderReplaced:
                message = "nothing came on this connection for a while, and the sender has come back on another one"
                raise HttpError(503, "SenderReplaced", message) from None
            except ContentMismatch as error:
                raise HttpError(tus.CHECKSUM_MISMATCH, "ChecksumMismatch", error.message) from error
            except TooLarge as error:
                raise HttpError(413, "TooLarge", error.message) from error
        if writer.is_full:
            await incoming.complete(writer, by=caller)
        return progress_headers(request, transfer, writer.offset)


async def whole_offset(resources: Resources, transfer: Transfer, caller: Caller) -> int:
    """Return how many bytes of an open upload are here; one that has all of them is completed first."""
    offset = await resources.incoming.offset(transfer)
    if offset == transfer.size and transfer.file_id is not None:
        try:
            await resources.incoming.finish_interrupted(transfer, by=caller)
        except TransferOver:  # the request that sent the last byte has just completed it
            if not await ended_just_now(
                resources, await read_transfer(resources.custody.catalog, transfer.transfer_id)
            ):
                raise
    return offset


async def ended_just_now(resources: Resources, transfer: Transfer) -> bool:
    """Return whether an upload was completed so lately that its client may not know."""
    if transfer.state != "completed" or transfer.ended_at is None:
        return False
    return await resources.custody.catalog.now() < transfer.ended_at + RESUME_GRACE


def progress_headers(request: Request, transfer: Transfer, offset: int) -> dict[str, str]:
    headers = {
        "Upload-Offset": str(offset),
        "Upload-Expires": tus.http_date(transfer.expires_at),
    }
    return headers | ({"Upload-Complete": f"?{int(offset == transfer.size)}"} if tus.draft_of(request) else {})
