"""``GET`` of the whole of a webhook event that was too long to be sent, by the link that was sent instead."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from blocks.links import EVENT_PATH
from blocks.webhooks.outbox import whole_body
from waybill.gateway.dependencies import Waybill
from waybill.gateway.errors import SAFE_HEADERS, link_required
from waybill.gateway.openapi import errors

router = APIRouter(tags=["webhooks"])


@router.get(
    f"{EVENT_PATH}/{{event_id}}",
    response_class=Response,
    responses={
        200: {"description": "The event's body", "content": {"application/json": {"schema": {"type": "object"}}}},
        **errors(404, 410),
    },
)
async def event(resources: Waybill, event_id: str, token: Annotated[str | None, Query()] = None) -> Response:
    """The whole of an event that was too long to be sent. The link is checked before anything is looked up."""
    if not token:
        raise link_required("a webhook brings it as payload_url")
    await asyncio.to_thread(resources.links.check_event, token, event_id)
    async with resources.custody.catalog.connection() as connection:
        body = await whole_body(connection, event_id)
    return Response(body, media_type="application/json", headers=SAFE_HEADERS)
