"""``/``: what this is, and where to begin."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from blocks.errors import DeploymentMissing, PrefectUnavailable
from blocks.runs.deployment import find_deployment
from waybill.gateway.dependencies import GatewayResources
from waybill.gateway.pages.rendering import page
from waybill.gateway.pages.routes.runs import runs_page
from waybill.gateway.pages.visitors import AnyVisitor
from waybill.gateway.resources import Resources

router = APIRouter(include_in_schema=False)

# A person waits for the start page: what Prefect does not say in this time is left out.
PREFECT_SECONDS = 2.0
_RECENT_RUNS = 5


@router.get("/")
async def home(request: Request, visitor: AnyVisitor, resources: GatewayResources) -> Response:
    """Show what Waybill is, and take files."""
    problem = await why_nothing_runs(resources)
    recent: list[dict[str, Any]] = []
    if visitor.may_read and problem is None:
        recent = (await runs_page(resources, limit=_RECENT_RUNS))["runs"]
    most_bytes = resources.settings.max_file_mib * 2**20
    return page(request, "home.html", visitor=visitor, problem=problem, most_bytes=most_bytes, runs=recent)


async def why_nothing_runs(resources: Resources) -> str | None:
    """Return why no run can be started now, as a sentence; None when one can."""
    catalog, home_folder = resources.custody.catalog, resources.settings.home
    try:
        await find_deployment(resources.prefect, catalog, home_folder, seconds=PREFECT_SECONDS)
    except PrefectUnavailable:
        return "Prefect does not answer, so no document can be processed now."
    except DeploymentMissing:
        return "No deployment is registered in Prefect, so no document can be processed now; 'waybill up' registers it."
    return None
