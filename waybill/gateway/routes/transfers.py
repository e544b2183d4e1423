"""``/transfers``: prepare hand-overs, send the bytes of downloads, watch, complete and cancel.

The other side of a transfer has its token and nothing else. To prepare one takes a key: `read` for a download, because
it discloses a file, `write` for an upload. The bytes of uploads are received in `transfer_uploads`.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Security
from fastapi.responses import Response
from fastapi.security import HTTPAuthorizationCredentials
from pydantic import BaseModel, ConfigDict, Field, RootModel

from blocks.access import READ, WRITE, Actor, parse_key
from blocks.catalog import Artifact
from blocks.errors import ArtifactNotFound, TransferOver
from blocks.transfers import Transfer, is_in_grace, require_open
from blocks.transfers.outgoing import download_headers
from blocks.transfers.prepare import new_upload, storage_recipient
from blocks.transfers.transfer import Direction, State
from waybill.gateway.access import Caller, bearer_of
from waybill.gateway.dependencies import Credentials, GatewayResources, KeyHolder, Reader
from waybill.gateway.errors import SAFE_HEADERS, HttpError, json_response
from waybill.gateway.http.bounded_json import BODY_STATUSES
from waybill.gateway.http.params import After, Duration, Limit, Text, duration
from waybill.gateway.http.requested_part import requested_part
from waybill.gateway.openapi import ANY_CONTENT, errors
from waybill.gateway.resources import Resources
from waybill.gateway.transfer_access import (
    TRANSFER_TOKEN,
    PresentedToken,
    TokenParameter,
    admit_token,
)
from waybill.gateway.transfer_page_route import PageRoute, asks_for_page, page_of
from waybill.gateway.transfer_response import TransferResponse
from waybill.gateway.worker_access import WORKER_SESSION, has_session
from waybill.services.transfers import (
    TRANSFERS_PATH,
    add_upload,
    cancel_transfer,
    fail_transfer,
    hand_over_file,
    read_transfer,
    read_transfers,
    report_download,
    with_token,
)

router = APIRouter(prefix=TRANSFERS_PATH, tags=["transfers"], route_class=PageRoute)

TransferId = Annotated[str, Path(max_length=40, description="Id of the transfer.", examples=["trf_0123456789abcdef"])]
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="64 hexadecimal digits")]
_Size = Annotated[int, Field(strict=True, ge=0, le=2**62, description="Bytes")]
_MediaType = Annotated[str, Field(pattern=r"^[\w!#$&^.+-]{1,100}/[\w!#$&^.+-]{1,100}$", examples=["application/pdf"])]
_SCOPES: dict[Direction, str] = {"download": READ, "upload": WRITE}


class NewDownload(BaseModel):
    """A file that another machine is to fetch, encrypted for an age recipient or for a worker.

    Without both it is what an upload with `sealed_for` unknown has left, as its sender has sealed it.
    """

    model_config = ConfigDict(extra="forbid")

    direction: Literal["download"]
    file_id: UUID
    recipient: Text | list[Text] | None = Field(
        default=None, description="The age recipient (age1...) that can open it, or several"
    )
    worker: Text | None = Field(default=None, max_length=63, description="Or the name of an enrolled worker")
    expires_in: Duration = "1h"


class NewUpload(BaseModel):
    """A file that another machine is to send."""

    model_config = ConfigDict(extra="forbid")

    direction: Literal["upload"]
    filename: Text = Field(min_length=1, max_length=1000, examples=["report.pdf"])
    media_type: _MediaType = "application/octet-stream"
    sealed_for: Literal["storage", "unknown"] = Field(
        default="storage", description="storage: encrypted for `recipient` of the answer; unknown: kept as it comes"
    )
    size: _Size | None = Field(default=None, description="Of the bytes that are sent")
    sha256: _Sha256 | None = Field(default=None, description="Of the bytes that are sent")
    content_size: _Size | None = Field(default=None, description="Of the plain content")
    content_sha256: _Sha256 | None = Field(default=None, description="Of the plain content")
    keep_for: Duration | None = Field(default=None, description="How long the file is kept; else as the settings say")
    expires_in: Duration = "1h"


class NewTransferBody(RootModel[Annotated[NewDownload | NewUpload, Field(discriminator="direction")]]):
    """A transfer to prepare."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"direction": "download", "file_id": "0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a", "recipient": "age1..."},
                {"direction": "upload", "filename": "report.pdf", "expires_in": "15m"},
            ]
        }
    )


class TransferEntry(BaseModel):
    """A transfer: what it is, and how far it is."""

    transfer_id: str = Field(examples=["trf_0123456789abcdef"])
    direction: Direction
    state: State
    worker: str | None = Field(description="The worker that it is for; null for any bearer of its token")
    file_id: UUID | None = Field(description="The file in custody; of an upload, once it has begun")
    filename: str = Field(examples=["report.pdf"])
    media_type: str = Field(examples=["application/pdf"])
    recipient: str | None = Field(description="Who can open the bytes: age recipients, or passphrase")
    size: int | None = Field(description="Bytes that pass over the network")
    content_size: int | None = Field(description="Bytes of the plain content")
    content_sha256: str | None
    bytes_done: int
    bytes_sent: int = Field(description="All bytes that were sent or received, repeated ones too")
    bytes_per_second: float | None = Field(description="Rate of the last seconds")
    seconds_left: float | None = Field(description="At this rate; null where it is not known")
    progress: float = Field(description="0 to 1")
    error: str | None
    requested_by: str = Field(examples=["key:0123456789ab"])
    run_id: UUID | None
    created_at: datetime
    started_at: datetime | None
    progress_at: datetime | None
    ended_at: datetime | None
    expires_at: datetime


class PreparedTransfer(TransferEntry):
    """A transfer, and what its other side needs. Keep the token secret: its bearer can fetch or send this one file."""

    url: str = Field(examples=["http://127.0.0.1:8000/api/v1/transfers/trf_0123456789abcdef/download"])
    token: str
    token_expires_at: datetime
    etag: str | None = Field(default=None, description="Strong entity tag of a download's bytes")


class TransferList(BaseModel):
    """One page of transfers, newest first."""

    transfers: list[TransferEntry]
    next: str | None = Field(examples=["MjAyNi0x..."], description="`after` of the next page; null on the last page")


class Received(BaseModel):
    """The plain content that the receiver of a download has, after it has decrypted the bytes."""

    model_config = ConfigDict(extra="forbid")

    sha256: _Sha256
    size: _Size


_BYTES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The whole age file", "content": ANY_CONTENT},
    206: {"description": "One range of it", "content": ANY_CONTENT},
    304: {"description": "If-None-Match names its ETag: the client has it already"},
    **errors(404, 410, 412, 416),
}


@router.post("", status_code=201, responses=errors(*BODY_STATUSES, 404, 410), response_model=PreparedTransfer)
async def prepare(
    request: Request, caller: KeyHolder, resources: GatewayResources, wanted: NewTransferBody
) -> Response:
    """Prepare a download of a file (needs `read`) or an upload (needs `write`), and return its URL and its token.

    The bytes of a download are an age file for its recipient, made without reading the content. The file stays at least
    as long as the transfer.
    """
    given = wanted.root
    await resources.gate.require(request, caller, _SCOPES[given.direction])
    lasts = duration(given.expires_in)
    if isinstance(given, NewDownload):
        recipients = [given.recipient] if isinstance(given.recipient, str) else given.recipient or []
        transfer = await hand_over_file(
            resources.custody, given.file_id, recipients=recipients, worker=given.worker, lasts=lasts, by=caller
        )
    else:
        transfer = await _upload(resources, given, caller)
    return await _prepared(resources, transfer, status=201)


@router.get("", responses=errors(), response_model=TransferList)
async def list_(
    _: Reader,
    resources: GatewayResources,
    state: Annotated[State | None, Query(description="Only transfers in this state.")] = None,
    direction: Annotated[Direction | None, Query(description="Only downloads, or only uploads.")] = None,
    worker: Annotated[Text | None, Query(max_length=63, description="Only those of this worker.")] = None,
    file_id: Annotated[UUID | None, Query(description="Only those of this file.")] = None,
    limit: Limit = 100,
    after: After = None,
) -> Response:
    """List transfers, newest first, also those that are over."""
    page = await read_transfers(
        resources.custody.catalog,
        state=state,
        direction=direction,
        worker=worker,
        file_id=file_id,
        limit=limit,
        after=after,
    )
    return json_response({"transfers": [one.as_json() for one in page.transfers], "next": page.next})


@router.get("/{transfer_id}/download", responses=_BYTES, response_class=Response)
@router.head("/{transfer_id}/download", responses=_BYTES, response_class=Response, operation_id="fetch_head")
async def fetch(
    request: Request,
    resources: GatewayResources,
    token: PresentedToken,
    transfer_id: TransferId,
    download: Annotated[bool, Query(description="The bytes, for browsers too.")] = False,
) -> Response:
    """Return the bytes of a download, whole or one range of them: an age file for its recipient.

    A browser (`Accept: text/html`) gets a page with name, size and commands instead, and begins no transfer.
    """
    transfer, caller = await admit_token(request, resources, token, transfer_id, "download")
    await _require_bytes(resources, transfer)
    if asks_for_page(request):
        link = f"{resources.links.base_url}{TRANSFERS_PATH}/{transfer_id}/download?token={token}"
        return page_of(transfer, link)
    artifact = await _artifact(resources, transfer)
    headers = {**SAFE_HEADERS, **download_headers(transfer)}
    part = requested_part(request, transfer.size or 0, headers["ETag"])
    if isinstance(part, Response):
        return part
    if request.method == "HEAD":
        return Response(headers={**headers, "Content-Length": str(transfer.size)})
    detail = {"transfer_id": transfer_id, **({"from": part.start, "to": part.stop} if part else {})}
    await resources.lookups.record(caller.entry("download", file_id=transfer.file_id, detail=detail))
    return TransferResponse(resources, transfer, artifact, part, headers=headers, holder=caller.namespace)


@router.post("/{transfer_id}/complete", responses=errors(*BODY_STATUSES, 404, 409, 410), response_model=TransferEntry)
async def complete(
    request: Request, resources: GatewayResources, token: PresentedToken, transfer_id: TransferId, received: Received
) -> Response:
    """Report the plain content that the receiver of a download has. Content that was not sent fails the transfer (409).

    Afterwards its token opens nothing. May be repeated.
    """
    _, caller = await admit_token(request, resources, token, transfer_id, None)
    await resources.transfer_progress.flush(transfer_id)
    transfer = await report_download(
        resources.custody.catalog,
        resources.event_links,
        transfer_id,
        sha256=received.sha256,
        size=received.size,
        by=caller,
    )
    return json_response(transfer.as_json())


@router.get("/{transfer_id}/status", responses=errors(404, 410), response_model=TransferEntry)
async def status(
    request: Request,
    resources: GatewayResources,
    _key: Credentials,
    _token: Annotated[HTTPAuthorizationCredentials | None, Security(TRANSFER_TOKEN)],
    _session: Annotated[HTTPAuthorizationCredentials | None, Security(WORKER_SESSION)],
    transfer_id: TransferId,
    token: TokenParameter = None,
) -> Response:
    """Return how far a transfer is. Needs a key with `read`, its token, or the session of its worker."""
    presented = token or bearer_of(request)
    if token is None and has_session(request):
        transfer = await _of_session(request, resources, transfer_id)
    elif presented is not None and parse_key(presented) is None:
        transfer, _ = await admit_token(request, resources, presented, transfer_id, None)
    else:
        await resources.gate.admit(request, READ)
        transfer = await read_transfer(resources.custody.catalog, transfer_id)
    return json_response(transfer.as_json())


@router.post("/{transfer_id}/token", responses=errors(404, 410), response_model=PreparedTransfer)
async def renew_token(
    request: Request,
    resources: GatewayResources,
    _key: Credentials,
    _session: Annotated[HTTPAuthorizationCredentials | None, Security(WORKER_SESSION)],
    transfer_id: TransferId,
) -> Response:
    """Return a new token of an open transfer. Needs a key as for preparing it, or the session of its worker."""
    if has_session(request):
        transfer = await _of_session(request, resources, transfer_id)
        by = Actor(actor=f"worker:{transfer.worker}")
    else:
        by, transfer = await _of_key(request, resources, transfer_id)
    entry = by.entry("transfer_token", file_id=transfer.file_id, detail={"transfer_id": transfer_id})
    answer = await _prepared(resources, transfer, status=200)
    await resources.lookups.record(entry)
    return answer


@router.delete("/{transfer_id}", responses=errors(404, 410), response_model=TransferEntry)
async def cancel(request: Request, resources: GatewayResources, _: Credentials, transfer_id: TransferId) -> Response:
    """Cancel a transfer that is open, and remove what has arrived of an upload. Needs a key as for preparing it."""
    caller, _transfer = await _of_key(request, resources, transfer_id)
    transfer = await cancel_transfer(resources.custody, resources.event_links, transfer_id, by=caller)
    resources.transfer_progress.stop(transfer_id)
    return json_response(transfer.as_json())


async def _upload(resources: Resources, given: NewUpload, caller: Caller) -> Transfer:
    most = resources.settings.max_upload_mib * 2**20
    if max(given.size or 0, given.content_size or 0) > most:
        raise HttpError(413, "TooLarge", f"an upload may have at most {most} bytes (WAYBILL_MAX_UPLOAD_MIB)")
    new = new_upload(
        filename=given.filename,
        media_type=given.media_type,
        sealed_for=given.sealed_for,
        recipient=storage_recipient(resources.custody) if given.sealed_for == "storage" else None,
        size=given.size,
        sha256=given.sha256,
        content_size=given.content_size,
        content_sha256=given.content_sha256,
        keep_for=None if given.keep_for is None else duration(given.keep_for),
        lasts=duration(given.expires_in),
        requested_by=caller.actor,
    )
    return await add_upload(resources.custody.catalog, new, by=caller)


async def _prepared(resources: Resources, transfer: Transfer, *, status: int) -> Response:
    made = await asyncio.to_thread(with_token, resources.transfer_tokens, resources.links.base_url, transfer)
    return json_response(made.as_json(), status=status, headers={"Location": made.url} if status == 201 else None)


async def _require_bytes(resources: Resources, transfer: Transfer) -> None:
    """Raise `TransferOver` unless its bytes may be sent, perhaps once more after the last one was."""
    if not transfer.is_open:
        if transfer.state == "completed" and transfer.header is not None:
            async with resources.custody.catalog.connection() as connection:
                if await is_in_grace(connection, transfer.transfer_id):
                    return
        require_open(transfer)


async def _artifact(resources: Resources, transfer: Transfer) -> Artifact:
    """Return the file of a download. Without it the transfer has failed, and this raises `TransferOver`."""
    try:
        if transfer.file_id is None:
            raise ArtifactNotFound("its file is gone")
        return await resources.lookups.file(transfer.file_id)
    except ArtifactNotFound as exc:
        await fail_transfer(
            resources.custody.catalog, resources.event_links, transfer.transfer_id, "its file was deleted"
        )
        raise TransferOver(
            f"the file of transfer {transfer.transfer_id} was deleted", transfer_id=transfer.transfer_id
        ) from exc


async def _of_key(request: Request, resources: Resources, transfer_id: str) -> tuple[Caller, Transfer]:
    """Return the caller, whose key may prepare such a transfer, and the transfer."""
    caller = await resources.gate.admit(request)
    if not caller.allows(READ) and not caller.allows(WRITE):
        await resources.gate.require(request, caller, READ)
    transfer = await read_transfer(resources.custody.catalog, transfer_id)
    await resources.gate.require(request, caller, _SCOPES[transfer.direction])
    return caller, transfer


async def _of_session(request: Request, resources: Resources, transfer_id: str) -> Transfer:
    """Return the transfer, which is for the worker whose session the request has."""
    worker = await resources.worker_gate.admit(request)
    transfer = await read_transfer(resources.custody.catalog, transfer_id)
    if transfer.worker != worker.name:
        raise HttpError(403, "WorkerRefused", "this transfer is not for this worker")
    return transfer
