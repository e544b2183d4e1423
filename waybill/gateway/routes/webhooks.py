"""Webhooks over HTTP: endpoints and their secrets, the log of deliveries, sending again, and a test.

Answers are those of ``waybill webhooks ... --json``. Sends nothing itself: the dispatcher of ``waybill up``, or one
that runs alone, does, and is told by the database.
"""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import Response

from blocks.webhooks.endpoints import list_endpoints
from blocks.webhooks.outbox import DeliveryState, list_deliveries
from waybill.gateway.access import Caller
from waybill.gateway.dependencies import Admin, Reader, Waybill, Writer
from waybill.gateway.errors import json_answer
from waybill.gateway.http.bounded_json import BODY_STATUSES, JsonRoute
from waybill.gateway.http.params import After, Limit, duration
from waybill.gateway.openapi import errors
from waybill.gateway.resources import Resources
from waybill.gateway.routes.webhook_models import Delivery as DeliveryEntry
from waybill.gateway.routes.webhook_models import (
    DeliveryDetails,
    DeliveryList,
    Endpoint,
    EndpointList,
    NewEndpoint,
    RegisteredEndpoint,
    Replayed,
    RotatedSecret,
    RotationOptions,
    TestedEndpoint,
)
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

# An attempt ends within 20 s; a client's own patience is 30 s as a rule.
_TEST_SECONDS = 25.0


@router.post("/endpoints", status_code=201, responses=errors(*BODY_STATUSES), response_model=RegisteredEndpoint)
async def register(caller: Admin, resources: Waybill, wanted: NewEndpoint) -> Response:
    """Send events there from now on. The secret that they are signed with is in this answer and never shown again."""
    made = await add_endpoint(
        resources.custody.catalog,
        resources.settings,
        url=wanted.url,
        events=wanted.events,
        description=wanted.description,
        guard=resources.guard,
        by=caller,
    )
    return json_answer({**made.endpoint.as_json(), "secret": made.secret}, status=201)


@router.get("/endpoints", responses=errors(), response_model=EndpointList)
async def endpoints(_: Reader, resources: Waybill) -> Response:
    """Where events go, and how many deliveries wait or were given up."""
    async with resources.custody.catalog.connection() as connection:
        found = await list_endpoints(connection)
    return json_answer({"endpoints": [one.listing() for one in found]})


@router.delete("/endpoints/{endpoint_id}", responses=errors(404), response_model=Endpoint)
async def remove(caller: Admin, resources: Waybill, endpoint_id: UUID) -> Response:
    """Forget an endpoint and its secret. What waits for it is never sent; its log stays."""
    return await _changed(resources, endpoint_id, "removed", caller)


@router.post("/endpoints/{endpoint_id}/enable", responses=errors(404), response_model=Endpoint)
async def enable(caller: Admin, resources: Waybill, endpoint_id: UUID) -> Response:
    """Send there again, beginning with what waits; also to one that answered 410."""
    return await _changed(resources, endpoint_id, "enabled", caller)


@router.post("/endpoints/{endpoint_id}/disable", responses=errors(404), response_model=Endpoint)
async def disable(caller: Admin, resources: Waybill, endpoint_id: UUID) -> Response:
    """Send nothing there for now; what is due waits."""
    return await _changed(resources, endpoint_id, "disabled", caller)


@router.post("/endpoints/{endpoint_id}/rotate", responses=errors(*BODY_STATUSES, 404), response_model=RotatedSecret)
async def rotate(
    caller: Admin, resources: Waybill, endpoint_id: UUID, options: RotationOptions | None = None
) -> Response:
    """Make a new secret, in this answer and never shown again; the old one signs too until the overlap is over."""
    overlap = duration((options or RotationOptions()).overlap)
    made = await rotate_secret(resources.custody.catalog, resources.settings, endpoint_id, overlap, by=caller)
    return json_answer(
        {
            "endpoint_id": str(endpoint_id),
            "secret": made.secret,
            "previous_until": made.previous_until.isoformat(),
        }
    )


@router.get("/deliveries", responses=errors(), response_model=DeliveryList)
async def deliveries(
    _: Reader,
    resources: Waybill,
    endpoint_id: UUID | None = None,
    state: DeliveryState | None = None,
    task_id: Annotated[UUID | None, Query(description="Only those about this run.")] = None,
    limit: Limit = 100,
    after: After = None,
) -> Response:
    """What was sent to whom and what came back, newest first."""
    async with resources.custody.catalog.connection() as connection:
        page = await list_deliveries(
            connection, endpoint_id=endpoint_id, state=state, task_id=task_id, limit=limit, after=after
        )
    return json_answer({"deliveries": [one.as_json() for one in page.deliveries], "next": page.next})


@router.get("/deliveries/{delivery_id}", responses=errors(404), response_model=DeliveryDetails)
async def delivery(_: Reader, resources: Waybill, delivery_id: UUID) -> Response:
    """One delivery with every attempt."""
    return json_answer((await delivery_history(resources.custody.catalog, delivery_id)).as_json())


@router.post("/deliveries/{delivery_id}/replay", responses=errors(404), response_model=Replayed)
async def replay(caller: Writer, resources: Waybill, delivery_id: UUID) -> Response:
    """Send it again, with the same id and body, from the beginning of the schedule."""
    again = await replay_deliveries(
        resources.custody.catalog, states=("dead", "delivered"), delivery_ids=[delivery_id], by=caller
    )
    return json_answer({"replayed": again})


_NOT_YET: dict[int | str, dict[str, Any]] = {
    202: {"model": DeliveryEntry, "description": "Nobody has sent it yet; look at the delivery later"}
}


@router.post("/test", responses=_NOT_YET | errors(*BODY_STATUSES, 404), response_model=DeliveryEntry)
async def test(caller: Writer, resources: Waybill, wanted: TestedEndpoint) -> Response:
    """Send a test event to an endpoint, and wait some seconds for what comes back."""
    catalog = resources.custody.catalog
    delivery_id = await add_test(catalog, wanted.endpoint_id, by=caller)
    if resources.waiting_tests.locked():
        found = await first_attempt(catalog, delivery_id, within_seconds=0)
    else:
        async with resources.waiting_tests:
            found = await first_attempt(catalog, delivery_id, within_seconds=_TEST_SECONDS)
    return json_answer(found.as_json(), status=200 if found.last_attempt_at is not None else 202)


async def _changed(resources: Resources, endpoint_id: UUID, to: Change, caller: Caller) -> Response:
    return json_answer((await change_endpoint(resources.custody.catalog, endpoint_id, to, by=caller)).as_json())
