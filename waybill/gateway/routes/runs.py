"""``/runs``: the list of runs, as read from Prefect, and cancelling one.

`waybill runs` does the same. The state and history of one run are below ``/status``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, Field

from blocks.runs.ownership import catalogue_id
from blocks.runs.run_events import OUR_FLOWS, REPORTED_FLOWS
from waybill.gateway.dependencies import GatewayResources, Reader, Writer
from waybill.gateway.errors import json_response
from waybill.gateway.http.params import After
from waybill.gateway.openapi import errors
from waybill.services.runs import ALL_FLOWS, MAX_RUNS, STATES, cancel_run, list_runs
from waybill.services.uploads import with_uploads

# Some pages of runs, for a list whose runs are mostly those of another home.
_LONG_READ_SECONDS = 10.0

router = APIRouter(prefix="/api/v1/runs", tags=["runs"])

_RUN = "0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a"
_MOMENT = "2026-03-01T12:00:00.000000+00:00"

State = Annotated[
    list[str],
    Query(max_length=len(STATES), description="Only runs in these states.", json_schema_extra={"enum": list(STATES)}),
]
Flow = Annotated[
    str,
    Query(
        max_length=50,
        description="Only runs of this flow.",
        json_schema_extra={"enum": [*OUR_FLOWS, ALL_FLOWS]},
    ),
]


class Upload(BaseModel):
    """An upload that shares a run: a task of its own, whose id stands for that of a run on every other path."""

    task_id: UUID = Field(examples=[_RUN])
    name: str = Field(examples=["report.pdf"])
    status: str = Field(description="Its own, whatever becomes of the run.", examples=["completed"])
    file_id: UUID = Field(examples=[_RUN])
    message: str | None = Field(examples=["1 of 1 documents completed"])


class Run(BaseModel):
    """A run, as a list shows it."""

    task_id: UUID = Field(examples=[_RUN])
    name: str = Field(examples=["report.pdf and 2 more"])
    status: str = Field(description="The type of its Prefect state, in lower case.", examples=["running"])
    state_name: str | None = Field(examples=["Running"])
    progress: float = Field(ge=0, le=1, examples=[0.42])
    message: str | None = Field(examples=["3 of 3 documents completed"])
    sources: list[str] = Field(description="Its first sources.", examples=[["/data/report.pdf"]])
    source_count: int = Field(ge=0, description="The number of its sources.", examples=[3])
    documents: int | None = Field(description="The number of documents; null before it starts.", examples=[3])
    deployed: bool = Field(description="Whether it was started through a deployment, and not by a command.")
    home: str | None = Field(description="The id of the home that runs it, where that is known.", examples=["0c5d21aa"])
    due_at: datetime | None = Field(description="When it was to begin.", examples=[_MOMENT])
    created_at: datetime | None = Field(examples=[_MOMENT])
    started_at: datetime | None = Field(examples=[_MOMENT])
    ended_at: datetime | None = Field(examples=[_MOMENT])
    seconds: float | None = Field(description="How long it has worked; null before it starts.", examples=[12.5])
    uploads: list[Upload] = Field(description="The uploads that share it; empty where it belongs to one alone.")


class RunList(BaseModel):
    """One page of runs, newest first."""

    runs: list[Run]
    next: str | None = Field(description="`after` of the next page; null on the last page.", examples=[None])


class Cancellation(BaseModel):
    """The state of the run after it was cancelled."""

    task_id: UUID = Field(examples=[_RUN])
    status: str = Field(
        description="`cancelling` until its process has ended, then `cancelled`.", examples=["cancelling"]
    )
    state_name: str | None = Field(examples=["Cancelling"])
    message: str = Field(examples=["Cancelled by key:0c5d21aa7f10."])


@router.get("", responses=errors(), response_model=RunList)
async def runs(
    _: Reader,
    resources: GatewayResources,
    state: State = [],  # noqa: B006 - FastAPI makes a new one for each request
    flow: Flow = REPORTED_FLOWS[0],
    limit: Annotated[int, Query(ge=1, le=MAX_RUNS)] = 50,
    after: After = None,
) -> Response:
    """List runs that have begun or are due, newest first; with the state `scheduled` also those that are due later."""
    async with resources.custody.catalog.connection() as connection:
        catalogue = await catalogue_id(connection)
    async with resources.prefect.client(seconds=_LONG_READ_SECONDS) as client:
        found = await list_runs(
            client,
            catalogue=catalogue,
            states=state,
            flow=flow,
            limit=limit,
            after=after,
            unreadable=resources.unreadable_runs,
        )
    async with resources.custody.catalog.connection() as connection:
        return json_response(await with_uploads(connection, found))


@router.post("/{task_id}/cancel", responses=errors(404, 409), response_model=Cancellation)
async def cancel(caller: Writer, resources: GatewayResources, task_id: UUID) -> Response:
    """Cancel a run, or an upload that shares one.

    One that is under way ends within seconds; what it has stored stays, and a later run reuses it.
    """
    async with resources.prefect.client() as client:
        catalog, home = resources.custody.catalog, resources.settings.home
        return json_response(await cancel_run(catalog, client, task_id, home=home, by=caller))
