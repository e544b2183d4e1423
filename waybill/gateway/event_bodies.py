"""``GET`` of the whole of a webhook event that was too long to be sent, by the link that was sent instead."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from blocks.custody import Custody
from blocks.links import EVENT_PATH, Links
from blocks.outbox import whole_body
from waybill.gateway.answers import SAFE_HEADERS, no_token


def event_routes(custody: Custody, links: Links) -> APIRouter:
    """The path that the links of thinned events lead to. A link is checked before anything is looked up."""
    router = APIRouter()

    @router.get(f"{EVENT_PATH}/{{event_id}}")
    async def event(event_id: str, token: Annotated[str | None, Query()] = None) -> Response:
        if not token:
            raise no_token("a webhook brings it as payload_url")
        await asyncio.to_thread(links.check_event, token, event_id)
        async with custody.catalog.connection() as connection:
            body = await whole_body(connection, event_id)
        return Response(body, media_type="application/json", headers=SAFE_HEADERS)

    del event  # registered by its decorator
    return router
