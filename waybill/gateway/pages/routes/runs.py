"""``/runs``: the list of runs, and one run with its progress while it lasts and its documents.

The browser asks for the progress every few seconds and stops when the run has ended. The state is Prefect's, so without
it these pages say so; the documents that a run has delivered are in the catalogue.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import Response

from blocks.runs.ownership import catalogue_id
from waybill.gateway.dependencies import GatewayResources
from waybill.gateway.pages.rendering import page, see_other
from waybill.gateway.pages.visitors import ReadingVisitor, WritingForm
from waybill.gateway.resources import Resources
from waybill.services.run_documents import documents_of_run
from waybill.services.runs import ENDED, STATES, cancel_run, list_runs
from waybill.services.uploads import read_known, status_of, uploads_of_run, with_uploads

router = APIRouter(include_in_schema=False)

# A person waits for the page. Prefect reads one page of runs, or the tasks of one run, in far less.
_SECONDS = 5.0
_A_PAGE = 50


@router.get("/runs")
async def runs(
    request: Request, visitor: ReadingVisitor, resources: GatewayResources, state: str = "", after: str = ""
) -> Response:
    """List the runs, newest first."""
    chosen = [state] if state in STATES else []
    found = await runs_page(resources, limit=_A_PAGE, states=chosen, after=after[:200] or None)
    return page(
        request, "runs.html", visitor=visitor, runs=found["runs"], next=found["next"], state=state, states=STATES
    )


async def runs_page(
    resources: Resources, *, limit: int, states: list[str] | None = None, after: str | None = None
) -> dict[str, Any]:
    """Return one page of runs. Raises `PrefectUnavailable`, `InvalidOptions`."""
    async with resources.prefect.client(seconds=_SECONDS) as client:
        found = await list_runs(
            client,
            catalogue=await _catalogue(resources),
            states=states or [],
            limit=limit,
            after=after,
            unreadable=resources.unreadable_runs,
        )
    async with resources.custody.catalog.connection() as connection:
        return await with_uploads(connection, found)


@router.get("/runs/{run_id:uuid}")
async def run(request: Request, visitor: ReadingVisitor, resources: GatewayResources, run_id: UUID) -> Response:
    """Show one run."""
    return page(request, "run.html", visitor=visitor, **await _shown(resources, run_id))


@router.get("/runs/{run_id:uuid}/progress")
async def progress(request: Request, visitor: ReadingVisitor, resources: GatewayResources, run_id: UUID) -> Response:
    """Return the part of the run's page that changes."""
    return page(request, "run_progress.html", visitor=visitor, **await _shown(resources, run_id))


@router.post("/runs/{run_id:uuid}/cancel")
async def cancel(form: WritingForm, resources: GatewayResources, run_id: UUID) -> Response:
    """Cancel a run."""
    catalog, home = resources.custody.catalog, resources.settings.home
    async with resources.prefect.client(seconds=_SECONDS) as client:
        await cancel_run(catalog, client, run_id, home=home, by=form.visitor.caller)
    return see_other(f"/runs/{run_id}" if form.visitor.may_read else "/")


async def _shown(resources: Resources, run_id: UUID) -> dict[str, Any]:
    async with resources.custody.catalog.connection() as connection:
        known = await read_known(connection, run_id)
    async with resources.prefect.client(seconds=_SECONDS) as client:
        status = await status_of(client, run_id, known)
    async with resources.custody.catalog.connection() as connection:
        uploads = await uploads_of_run(connection, status)
    found = await documents_of_run(resources.custody.catalog, run_id)
    return {
        "run": status,
        "uploads": uploads,
        "documents": found.documents,
        "truncated": found.truncated,
        "ended": status["status"] in ENDED,
        "percent": round(100 * status["progress"]),
    }


async def _catalogue(resources: Resources) -> str:
    async with resources.custody.catalog.connection() as connection:
        return await catalogue_id(connection)
