"""``/workers``: invite, enrol, list, label and revoke remote workers; their sessions and heartbeats.

Responses are those of ``waybill worker ... --json``. Enrolment and sessions need no key: the first has a one-time code,
and the answer of the second can be opened by the worker alone.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.convertors import StringConvertor, register_url_convertor

from blocks.access import Actor
from blocks.assignments import assignments_of_worker
from blocks.errors import EnrolmentRefused
from blocks.runs.remote_stages import REMOTE_POOL
from blocks.workers import (
    MAX_LABELS,
    MAX_VERSION_CHARS,
    NAME_PATTERN,
    RESERVED_NAMES,
    get_worker,
    list_workers,
    touch_worker,
)
from waybill.gateway.access import client_address
from waybill.gateway.dependencies import Admin, GatewayResources
from waybill.gateway.errors import SAFE_HEADERS, json_response
from waybill.gateway.http.bounded_json import BODY_STATUSES, JsonRoute
from waybill.gateway.http.idempotency import NoIdempotencyKey
from waybill.gateway.http.params import Duration, Text, duration
from waybill.gateway.openapi import errors
from waybill.gateway.request_log import request_id
from waybill.gateway.worker_access import SessionWorker
from waybill.services.workers import enroll_worker, invite_worker, label_worker, revoke_worker


class _WorkerName(StringConvertor):
    """A part of a path, but for the fixed ones: those would take the methods of a worker's path too."""

    regex = rf"(?!(?:{'|'.join(RESERVED_NAMES)})(?:/|$))[^/]+"


register_url_convertor("worker", _WorkerName())

router = APIRouter(prefix="/api/v1/workers", tags=["workers"], route_class=JsonRoute)

_SEALED = "application/octet-stream"
# Far more than a worker runs at once.
_MOST_RUNNING = 100

Name = Annotated[str, Field(pattern=NAME_PATTERN, examples=["gpu-1"])]
WorkerName = Annotated[str, Path(pattern=NAME_PATTERN, description="The worker's name.")]
Labels = Annotated[
    list[Name],
    Field(max_length=MAX_LABELS, description="What it may take: work queues of the pool", examples=[["gpu-pool"]]),
]
Version = Annotated[Text, Field(max_length=MAX_VERSION_CHARS, examples=["0.1.0"])]


class Invitation(BaseModel):
    """What a new worker will be."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"name": "gpu-1", "labels": ["gpu-pool"], "expires_in": "1h"}]}
    )

    name: Name | None = Field(default=None, description="Its name; the worker says one if left out")
    labels: Labels = []
    expires_in: Duration = "1h"


class InvitedWorker(BaseModel):
    """A one-time code, which is shown only once."""

    code: str = Field(examples=["wbw_" + "0" * 40])
    name: str | None
    labels: list[str]
    expires_at: datetime


class Enrolment(BaseModel):
    """A worker that enrols itself: the code, and its public key."""

    model_config = ConfigDict(extra="forbid")

    code: str = Field(max_length=100, examples=["wbw_" + "0" * 40])
    name: Name | None = Field(default=None, description="Its name; may be left out where the code has one")
    recipient: Text = Field(max_length=100, examples=["age1..."], description="Its public key, of the X25519 kind")
    version: Version | None = None


class EnrolledWorker(BaseModel):
    """What a new worker needs to know."""

    name: str
    labels: list[str]
    storage_recipient: str | None = Field(
        description="The key that stored files are encrypted for; null where they are not encrypted"
    )
    pool: str = Field(examples=[REMOTE_POOL], description="The Prefect work pool of remote workers")


class Worker(BaseModel):
    """A remote worker."""

    name: str = Field(examples=["gpu-1"])
    state: str = Field(examples=["active"], description="active or revoked")
    labels: list[str] = Field(examples=[["gpu-pool"]])
    recipient: str = Field(examples=["age1..."], description="Its public key")
    version: str | None
    address: str | None = Field(examples=["192.0.2.7"], description="The address that it was last seen at")
    running: int = Field(description="Assignments that it holds now")
    enrolled_by: str = Field(examples=["cli:operator"], description="Who made the code that it enrolled with")
    enrolled_at: datetime
    last_seen_at: datetime | None = Field(description="Written at most once in 15 seconds")
    revoked_at: datetime | None


class WorkerList(BaseModel):
    """All workers by name, revoked ones last."""

    workers: list[Worker]


class RevokedWorker(Worker):
    """A revoked worker, and what this request has taken from it."""

    cancelled_transfers: list[str] = Field(description="Ids of transfers that were open")
    returned_assignments: list[str] = Field(description="Ids of assignments that wait for another worker now")


class NewLabels(BaseModel):
    """The labels that a worker has from now on."""

    model_config = ConfigDict(extra="forbid")

    labels: Labels


class Beat(BaseModel):
    """What a worker reports of itself."""

    model_config = ConfigDict(extra="forbid")

    version: Version
    running: list[Annotated[str, Field(pattern="^asg_[0-9a-f]{16}$")]] = Field(
        default=[], max_length=_MOST_RUNNING, description="Assignments that it works on"
    )


class BeatAnswer(BaseModel):
    """What a worker should know."""

    name: str
    labels: list[str]
    lost: list[str] = Field(description="Assignments of `running` that it does not hold any more")


@router.post("/codes", status_code=201, responses=errors(*BODY_STATUSES, 409), response_model=InvitedWorker)
async def invite(caller: Admin, _: NoIdempotencyKey, resources: GatewayResources, wanted: Invitation) -> Response:
    """Create a one-time code that enrols one worker. Only its hash is stored."""
    async with resources.custody.catalog.transaction() as connection:
        made = await invite_worker(
            connection, name=wanted.name, labels=wanted.labels, lasts=duration(wanted.expires_in), by=caller
        )
    return json_response(made.as_json(), status=201)


@router.post("/enroll", status_code=201, responses=errors(*BODY_STATUSES, 409, 410), response_model=EnrolledWorker)
async def enroll(request: Request, _: NoIdempotencyKey, resources: GatewayResources, given: Enrolment) -> Response:
    """Enrol a worker with a one-time code; no key is needed. Every code that is not valid is answered 410."""
    resources.worker_gate.limit_enrolments(request)
    client = Actor(actor="anonymous", client=client_address(request), request_id=request_id.get())
    try:
        async with resources.custody.catalog.transaction() as connection:
            made = await enroll_worker(
                connection,
                given.code,
                name=given.name,
                recipient=given.recipient,
                version=given.version,
                client=client,
            )
    except EnrolmentRefused as exc:
        await resources.worker_gate.record_refusal(client, f"enrolment: {type(exc).__name__}")
        raise
    request.state.actor = f"worker:{made.name}"
    found = {
        "name": made.name,
        "labels": list(made.labels),
        "storage_recipient": resources.custody.keys.encrypted_for,
        "pool": REMOTE_POOL,
    }
    return json_response(found, status=201)


@router.post(
    "/{name:worker}/session",
    response_class=Response,
    responses={
        200: {
            "description": "An age file for the worker's key; its content is the session, a JWT for 15 minutes",
            "content": {_SEALED: {"schema": {"type": "string", "format": "binary"}}},
        },
        **errors(404),
    },
)
async def session(request: Request, resources: GatewayResources, name: WorkerName) -> Response:
    """Make a session of a worker. Needs no key: only the holder of the worker's key can open the response."""
    sealed = await resources.worker_gate.sealed_session(request, name)
    return Response(sealed, media_type=_SEALED, headers=SAFE_HEADERS)


@router.post("/heartbeat", responses=errors(*BODY_STATUSES, 410), response_model=BeatAnswer)
async def heartbeat(worker: SessionWorker, resources: GatewayResources, beat: Beat) -> Response:
    """Report that a worker lives. The response has its labels, and the assignments that it has lost."""
    async with resources.custody.catalog.transaction() as connection:
        await touch_worker(connection, worker.name, address=worker.client, version=beat.version)
        held = {one.assignment_id for one in await assignments_of_worker(connection, worker.name)}
    lost = sorted(set(beat.running) - held)
    return json_response({"name": worker.name, "labels": list(worker.labels), "lost": lost})


@router.get("", responses=errors(), response_model=WorkerList)
async def workers(_: Admin, resources: GatewayResources) -> Response:
    """List all workers: what they may take, when they were last seen, and whether they are revoked."""
    async with resources.custody.catalog.connection() as connection:
        found = await list_workers(connection)
    return json_response({"workers": [one.as_json() for one in found]})


@router.get("/{name:worker}", responses=errors(404), response_model=Worker)
async def worker(_: Admin, resources: GatewayResources, name: WorkerName) -> Response:
    """Return one worker."""
    async with resources.custody.catalog.connection() as connection:
        found = await get_worker(connection, name)
    return json_response(found.as_json())


@router.patch("/{name:worker}", responses=errors(*BODY_STATUSES, 404), response_model=Worker)
async def label(caller: Admin, resources: GatewayResources, name: WorkerName, wanted: NewLabels) -> Response:
    """Replace the labels of a worker. What it works on, it finishes. 403 for a revoked worker."""
    async with resources.custody.catalog.transaction() as connection:
        changed = await label_worker(connection, name, wanted.labels, by=caller)
    return json_response(changed.as_json())


@router.delete("/{name:worker}", responses=errors(404), response_model=RevokedWorker)
async def revoke(caller: Admin, resources: GatewayResources, name: WorkerName) -> Response:
    """Revoke a worker: it is refused from its next request on, and what it holds is taken back. Idempotent."""
    async with resources.custody.catalog.transaction() as connection:
        revoked = await revoke_worker(connection, name, by=caller)
    for transfer_id in revoked.cancelled_transfers:
        resources.transfer_progress.stop(transfer_id)
    return json_response(revoked.as_json())
