"""``/webhooks``: endpoints and their secrets, the log of deliveries, replay, a test event, and long event bodies.

Responses are those of ``waybill webhooks ... --json``. Dispatchers send, in other processes that Postgres notifies.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from blocks.access import READ
from blocks.access.idempotency import Answered, Claim, record_answer
from blocks.catalog import Connection
from blocks.links import EVENT_PATH
from blocks.webhooks.endpoints import EndpointState, Origin, list_endpoints
from blocks.webhooks.event_types import EVENT_TYPES
from blocks.webhooks.outbox import DeliveryState, list_deliveries, whole_body
from blocks.webhooks.send.address import MAX_URL_CHARS
from waybill.gateway.access import Caller, link_required
from waybill.gateway.dependencies import Admin, GatewayResources, Reader, Writer
from waybill.gateway.errors import SAFE_HEADERS, json_response
from waybill.gateway.http.bounded_json import BODY_STATUSES, JsonRoute
from waybill.gateway.http.idempotency import IdempotencyKey, NoIdempotencyKey, idempotent, stored_answer
from waybill.gateway.http.params import After, DurationOrNone, Limit, Text, duration
from waybill.gateway.openapi import errors
from waybill.gateway.resources import Resources
from waybill.services.webhooks import (
    Change,
    add_endpoint,
    add_test,
    change_endpoint,
    delivery_history,
    first_attempt,
    replay_deliveries,
    rotate_secret,
)

router = APIRouter(prefix="/api/v1/webhooks", tags=["webhooks"], route_class=JsonRoute)

_REPLAYED = {"Idempotency-Replayed": "true"}
# An attempt ends within 20 s, and HTTP clients wait for 30 s as a rule.
_TEST_SECONDS = 25.0

EventType = Annotated[Text, Field(json_schema_extra={"enum": list(EVENT_TYPES)})]


class NewEndpoint(BaseModel):
    """A new webhook endpoint."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"url": "https://hooks.example.com/waybill", "events": ["task_completed", "task_failed"]}]
        },
    )

    url: str = Field(max_length=MAX_URL_CHARS, pattern=r"^[Hh][Tt][Tt][Pp][Ss]?://")
    events: list[EventType] | None = Field(
        default=None, min_length=1, max_length=len(EVENT_TYPES), description="Event types to send; all if left out"
    )
    description: Text = Field(default="", max_length=500, description="What receives them, for people")


class Endpoint(BaseModel):
    """A webhook endpoint, without its secret."""

    endpoint_id: UUID
    url: str = Field(examples=["https://hooks.example.com/waybill"])
    events: list[str] | None = Field(examples=[["task_completed"]], description="Event types; null for all")
    origin: Origin = Field(description="Registered, from a Prefect block, or given with a run")
    name: str | None = Field(description="Name of the Prefect block")
    description: str
    state: EndpointState
    disabled_because: str | None
    failures: int = Field(description="Failed attempts since the last success")
    held_until: datetime | None = Field(description="Nothing is sent before: it asked to wait, or keeps failing")
    held_because: str | None
    created_at: datetime
    loopback_allowed: bool = Field(description="Added on the command line with an address of the server's own machine")


class ListedEndpoint(Endpoint):
    """An endpoint with the counts of its open deliveries."""

    pending: int = Field(description="Deliveries still to be sent")
    dead: int = Field(description="Deliveries given up after the last attempt")


class EndpointList(BaseModel):
    """All endpoints that were not removed, oldest first."""

    endpoints: list[ListedEndpoint]


class RegisteredEndpoint(Endpoint):
    """The new endpoint and its signing secret, which is shown only once."""

    secret: str = Field(examples=["whsec_..."])


class RotationOptions(BaseModel):
    """How long events are signed with the old secret as well."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"overlap": "7d"}, {"overlap": 3600}]})

    overlap: DurationOrNone = "24h"


class RotatedSecret(BaseModel):
    """The new signing secret of an endpoint, which is shown only once."""

    endpoint_id: UUID
    secret: str = Field(examples=["whsec_..."])
    previous_until: datetime = Field(description="Until then events are signed with both secrets")


class Delivery(BaseModel):
    """One event for one endpoint."""

    delivery_id: UUID
    event_id: str = Field(examples=["evt_0d6b3b52-6f0a-4d7c-9a3c-3d8f6f4e2b1a"])
    event_type: str = Field(examples=["task_completed"])
    task_id: UUID | None
    source_file: str | None
    endpoint_id: UUID
    url: str = Field(examples=["https://hooks.example.com/waybill"])
    state: DeliveryState
    attempts: int = Field(description="Attempts since it was recorded or last replayed")
    created_at: datetime
    due_at: datetime | None = Field(description="Time of the next attempt")
    settled_at: datetime | None
    last_attempt_at: datetime | None
    last_status: int | None = Field(examples=[204])
    last_milliseconds: float | None
    last_peer: str | None
    last_error: str | None


class TestOutcome(BaseModel):
    """What a key without the scope `read` learns of its test."""

    model_config = ConfigDict(extra="forbid")

    delivery_id: UUID
    event_id: str = Field(examples=["evt_0d6b3b52-6f0a-4d7c-9a3c-3d8f6f4e2b1a"])
    endpoint_id: UUID
    state: DeliveryState
    attempts: int
    last_status: int | None = Field(examples=[204])


class Attempt(BaseModel):
    """One attempt to send a delivery."""

    started_at: datetime
    milliseconds: float
    status: int | None
    peer: str | None
    error: str | None
    answer: str | None = Field(description="The beginning of the response body")


class DeliveryDetails(Delivery):
    """A delivery with every attempt, oldest first."""

    attempts_made: list[Attempt]


class DeliveryList(BaseModel):
    """One page of deliveries, newest first."""

    deliveries: list[Delivery]
    next: str | None = Field(examples=["MjAyNi0x..."], description="`after` of the next page; null on the last page")


class Replayed(BaseModel):
    """How many deliveries are due again: 0 if it is still pending, or its endpoint was removed."""

    replayed: int = Field(examples=[1])


class TestedEndpoint(BaseModel):
    """The endpoint that receives the test event."""

    model_config = ConfigDict(extra="forbid")

    endpoint_id: UUID


@router.post(
    "/endpoints",
    status_code=201,
    responses=errors(*BODY_STATUSES),
    response_model=RegisteredEndpoint,
)
async def register(caller: Admin, _: NoIdempotencyKey, resources: GatewayResources, wanted: NewEndpoint) -> Response:
    """Register an endpoint for events from now on. The response has its signing secret, which is shown only once."""
    added = await add_endpoint(
        resources.custody.catalog,
        resources.settings,
        url=wanted.url,
        events=wanted.events,
        description=wanted.description,
        guard=resources.guard,
        by=caller,
    )
    return json_response({**added.endpoint.as_json(), "secret": added.secret}, status=201)


@router.get("/endpoints", responses=errors(), response_model=EndpointList)
async def endpoints(_: Reader, resources: GatewayResources) -> Response:
    """List endpoints with their pending and given-up deliveries."""
    async with resources.custody.catalog.connection() as connection:
        found = await list_endpoints(connection)
    return json_response({"endpoints": [one.listing() for one in found]})


@router.delete("/endpoints/{endpoint_id}", responses=errors(404), response_model=Endpoint)
async def remove(caller: Admin, resources: GatewayResources, endpoint_id: UUID) -> Response:
    """Remove an endpoint and its secret. Its pending deliveries are never sent; its delivery log stays."""
    return await _changed(resources, endpoint_id, "removed", caller)


@router.post("/endpoints/{endpoint_id}/enable", responses=errors(404), response_model=Endpoint)
async def enable(caller: Admin, resources: GatewayResources, endpoint_id: UUID) -> Response:
    """Enable an endpoint, also one that answered 410. Pending deliveries are sent first."""
    return await _changed(resources, endpoint_id, "enabled", caller)


@router.post("/endpoints/{endpoint_id}/disable", responses=errors(404), response_model=Endpoint)
async def disable(caller: Admin, resources: GatewayResources, endpoint_id: UUID) -> Response:
    """Disable an endpoint. Its deliveries stay pending until it is enabled."""
    return await _changed(resources, endpoint_id, "disabled", caller)


@router.post(
    "/endpoints/{endpoint_id}/rotate",
    responses=errors(*BODY_STATUSES, 404),
    response_model=RotatedSecret,
)
async def rotate(
    caller: Admin,
    _: NoIdempotencyKey,
    resources: GatewayResources,
    endpoint_id: UUID,
    options: RotationOptions | None = None,
) -> Response:
    """Create a new secret, shown only in this response. Events are signed with both until the overlap ends."""
    overlap = duration((options or RotationOptions()).overlap)
    rotated = await rotate_secret(resources.custody.catalog, resources.settings, endpoint_id, overlap, by=caller)
    return json_response(
        {
            "endpoint_id": str(endpoint_id),
            "secret": rotated.secret,
            "previous_until": rotated.previous_until.isoformat(),
        }
    )


@router.get("/deliveries", responses=errors(), response_model=DeliveryList)
async def deliveries(
    _: Reader,
    resources: GatewayResources,
    endpoint_id: UUID | None = None,
    state: DeliveryState | None = None,
    task_id: Annotated[UUID | None, Query(description="Only deliveries about this run.")] = None,
    limit: Limit = 100,
    after: After = None,
) -> Response:
    """List deliveries and the outcome of their last attempt, newest first."""
    async with resources.custody.catalog.connection() as connection:
        page = await list_deliveries(
            connection, endpoint_id=endpoint_id, state=state, task_id=task_id, limit=limit, after=after
        )
    return json_response({"deliveries": [one.as_json() for one in page.deliveries], "next": page.next})


@router.get("/deliveries/{delivery_id}", responses=errors(404), response_model=DeliveryDetails)
async def delivery(_: Reader, resources: GatewayResources, delivery_id: UUID) -> Response:
    """Return one delivery with every attempt."""
    return json_response((await delivery_history(resources.custody.catalog, delivery_id)).as_json())


@router.post("/deliveries/{delivery_id}/replay", responses=errors(404, 409), response_model=Replayed)
async def replay(
    caller: Writer, resources: GatewayResources, delivery_id: UUID, idempotency_key: IdempotencyKey = None
) -> Response:
    """Send a delivery again, with the same id and body, starting the retry schedule over."""
    catalog, fingerprint = resources.custody.catalog, f"replay {delivery_id}"
    async with idempotent(catalog, caller.namespace, idempotency_key) as outcome:
        if isinstance(outcome, Answered):
            known = await stored_answer(catalog, outcome, fingerprint, Replayed)
            return json_response(known, headers=_REPLAYED)

        async def note(connection: Connection, replayed: int) -> None:
            await _record_answer(connection, outcome, fingerprint, {"replayed": replayed})

        again = await replay_deliveries(
            catalog, states=("dead", "delivered"), delivery_ids=[delivery_id], also=note, by=caller
        )
    return json_response({"replayed": again})


_NOT_SENT_YET: dict[int | str, dict[str, Any]] = {
    202: {"model": Delivery | TestOutcome, "description": "Not sent yet; read the delivery later"}
}


class _Recorded(BaseModel):
    """What is stored as the response of a test: the delivery that it recorded."""

    delivery_id: UUID


@router.post("/test", responses=_NOT_SENT_YET | errors(*BODY_STATUSES, 404, 409), response_model=Delivery | TestOutcome)
async def test(
    caller: Writer, resources: GatewayResources, wanted: TestedEndpoint, idempotency_key: IdempotencyKey = None
) -> Response:
    """Send a test event to an endpoint, and wait some seconds for the outcome.

    Repeated with the same `Idempotency-Key`, it returns the state of the delivery that the first request recorded.
    """
    catalog, fingerprint = resources.custody.catalog, f"test {wanted.endpoint_id}"
    async with idempotent(catalog, caller.namespace, idempotency_key) as outcome:
        is_repeated = isinstance(outcome, Answered)
        if isinstance(outcome, Answered):
            known = await stored_answer(catalog, outcome, fingerprint, _Recorded)
            delivery_id = UUID(known["delivery_id"])
        else:

            async def note(connection: Connection, made: UUID) -> None:
                await _record_answer(connection, outcome, fingerprint, {"delivery_id": str(made)})

            delivery_id = await add_test(catalog, wanted.endpoint_id, also=note, by=caller)
    if resources.waiting_tests.locked():
        found = await first_attempt(catalog, delivery_id, within_seconds=0)
    else:
        async with resources.waiting_tests:
            found = await first_attempt(catalog, delivery_id, within_seconds=_TEST_SECONDS)
    view = found.as_json()
    if not caller.allows(READ):  # the URL of an endpoint may hold a secret of its receiver
        view = {name: view[name] for name in TestOutcome.model_fields}
    status = 200 if found.last_attempt_at is not None else 202
    return json_response(view, status=status, headers=_REPLAYED if is_repeated else None)


@router.get(
    f"{EVENT_PATH.removeprefix(router.prefix)}/{{event_id}}",
    response_class=Response,
    responses={
        200: {"description": "The event's body", "content": {"application/json": {"schema": {"type": "object"}}}},
        **errors(404, 410),
    },
)
async def event(
    request: Request, resources: GatewayResources, event_id: str, token: Annotated[str | None, Query()] = None
) -> Response:
    """Return the whole body of an event that was too long to send. The link is checked before anything else."""
    if not token:
        raise link_required("webhooks have it as payload_url")
    await asyncio.to_thread(resources.links.check_event, token, event_id)
    resources.gate.admit_link(request, token)
    async with resources.custody.catalog.connection() as connection:
        body = await whole_body(connection, event_id)
    return Response(body, media_type="application/json", headers=SAFE_HEADERS)


async def _record_answer(
    connection: Connection, outcome: Claim | Answered | None, fingerprint: str, answer: dict[str, Any]
) -> None:
    if isinstance(outcome, Claim):
        await record_answer(connection, outcome, fingerprint, answer)


async def _changed(resources: Resources, endpoint_id: UUID, to: Change, caller: Caller) -> Response:
    return json_response((await change_endpoint(resources.custody.catalog, endpoint_id, to, by=caller)).as_json())
