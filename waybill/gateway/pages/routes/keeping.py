"""``/retention``: what goes next, what is kept past its time, and what was removed."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from waybill.gateway.dependencies import GatewayResources
from waybill.gateway.pages.rendering import page
from waybill.gateway.pages.visitors import ReadingVisitor
from waybill.services.expiry import list_plans
from waybill.services.retention_lists import kept_files, next_to_go

router = APIRouter(include_in_schema=False)

_MOST_FILES = 50
_MOST_PLANS = 10


@router.get("/retention")
async def retention(request: Request, visitor: ReadingVisitor, resources: GatewayResources) -> Response:
    """Show what the retention does."""
    catalog = resources.custody.catalog
    async with catalog.connection() as connection:
        going = await next_to_go(connection, _MOST_FILES)
        kept = await kept_files(connection, _MOST_FILES)
    plans = await list_plans(catalog, _MOST_PLANS)
    rules = resources.settings.retention.rules
    return page(
        request, "retention.html", visitor=visitor, going=going, kept=kept, plans=plans, rules=rules, most=_MOST_FILES
    )
