"""``GET /status``: the state and history of runs and uploads, and recent events of all runs, as read from Prefect.

For every run of this project's flows, wherever it was started, but not for those of another home's catalogue;
`waybill status` and `waybill events` show the same.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, Field

from waybill.gateway.dependencies import GatewayResources, Reader
from waybill.gateway.errors import json_response
from waybill.gateway.http.params import After
from waybill.gateway.openapi import errors
from waybill.gateway.resources import Resources
from waybill.services.recent_events import MAX_EVENTS, MAX_HOURS, read_recent_events
from waybill.services.run_status import MAX_ENTRIES
from waybill.services.uploads import Known, history_of, read_known, status_of

# Reading thousands of task runs, or the tasks of hundreds of runs one by one.
_LONG_READ_SECONDS = 10.0

router = APIRouter(prefix="/api/v1/status", tags=["status"])

_RUN = "0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a"
_MOMENT = "2026-03-01T12:00:00.000000+00:00"


class SliceCounts(BaseModel):
    """The slices of a run that is spread over machines."""

    total: int = Field(ge=1, examples=[20])
    done: int = Field(ge=0, examples=[3])
    running: int = Field(ge=0, examples=[4])
    waiting: int = Field(ge=0, description="For a worker, or for their turn.", examples=[13])
    lost: int = Field(ge=0, description="Given up; their documents have failed.", examples=[0])


class RunStatus(BaseModel):
    """The state and progress of a run."""

    task_id: UUID = Field(examples=[_RUN])
    run_id: UUID | None = Field(
        description="Prefect's flow run; of an upload that shares one, null until that is started.", examples=[_RUN]
    )
    status: str = Field(description="The type of its Prefect state, in lower case.", examples=["running"])
    progress: float = Field(ge=0, le=1, examples=[0.42])
    note: str | None = Field(
        description="How far it is, how fast, and how long the rest takes, while it runs.",
        examples=["3 of 20 slices, 1,700 of 10,000 documents, 12 documents/s, 12 min left"],
    )
    message: str | None = Field(examples=["3 of 3 documents completed"])
    stage: str | None = Field(description="The running stage task.", examples=["3-chunker report.pdf"])
    name: str = Field(examples=["report.pdf"])
    source_file: str | None = Field(description="Its source, if it has a single one.", examples=["/data/report.pdf"])
    documents: int | None = Field(description="The number of documents; null before it starts.", examples=[1])
    slices: SliceCounts | None = Field(description="Null unless it is spread over machines.")
    state_name: str | None = Field(examples=["Running"])
    created_at: datetime | None = Field(examples=[_MOMENT])
    started_at: datetime | None = Field(examples=[_MOMENT])
    ended_at: datetime | None = Field(examples=[None])


class HistoryEntry(BaseModel):
    """One change of a run or of one of its stages. `progress` is that of the run at that moment."""

    timestamp: datetime = Field(examples=[_MOMENT])
    status: str = Field(examples=["completed"])
    progress: float = Field(ge=0, le=1, examples=[0.5])
    message: str | None = Field(examples=["3-chunker report.pdf: 1 of 1 documents, 0 reused"])
    metadata: dict[str, Any] = Field(
        description="Has `stage` for a stage task, `state_id` for the run itself.",
        examples=[{"stage": "3-chunker report.pdf", "state_name": "Completed", "seconds": 0.2}],
    )


class RunHistory(BaseModel):
    """The states of a run, and the starts and ends of its stage tasks, newest first."""

    task_id: UUID = Field(examples=[_RUN])
    history: list[HistoryEntry]
    event_count: int = Field(ge=0, description="The number of entries on all pages.", examples=[14])
    next: str | None = Field(description="`after` of the next page; null on the last page.", examples=[None])
    truncated: bool = Field(description="Whether the run has more tasks than are listed.", examples=[False])


class RecentEvent(BaseModel):
    """One event of a run or of a document."""

    timestamp: datetime = Field(examples=[_MOMENT])
    event_type: str | None = Field(
        description="The webhook event type; null if there is none.", examples=["stage_completed"]
    )
    task_id: UUID | None = Field(examples=[_RUN])
    source_file: str | None = Field(examples=["report.pdf"])
    status: str = Field(examples=["completed"])
    progress: float | None = Field(examples=[None])
    message: str | None = Field(examples=["chunker"])
    metadata: dict[str, Any] = Field(examples=[{"event_id": "evt_5f0c", "stage": "chunker"}])


class RecentEvents(BaseModel):
    """Recent events of all runs, newest first."""

    events: list[RecentEvent]
    count: int = Field(ge=0, examples=[1])
    hours: float = Field(examples=[24.0])
    truncated: bool = Field(description="Whether there are more events than are listed.", examples=[False])


@router.get("/events/recent", responses=errors(), response_model=RecentEvents)
async def events(
    _: Reader,
    resources: GatewayResources,
    hours: Annotated[float, Query(gt=0, le=MAX_HOURS, allow_inf_nan=False, description="How far to look back.")] = 24.0,
    limit: Annotated[int, Query(ge=1, le=MAX_EVENTS)] = 100,
) -> Response:
    """List recent state changes and document events of all runs, newest first."""
    async with resources.prefect.client(seconds=_LONG_READ_SECONDS) as client:
        found = await read_recent_events(
            resources.custody.catalog, client, hours, limit=limit, unreadable=resources.unreadable_runs
        )
        return json_response(found)


@router.get("/{task_id}", responses=errors(404), response_model=RunStatus)
async def status(_: Reader, resources: GatewayResources, task_id: UUID) -> Response:
    """Return the state of a run or of an upload, its progress from 0 to 1, and the running stage."""
    known = await _known(resources, task_id)
    async with resources.prefect.client() as client:
        return json_response(await status_of(client, task_id, known))


@router.get("/{task_id}/history", responses=errors(404), response_model=RunHistory)
async def history(
    _: Reader,
    resources: GatewayResources,
    task_id: UUID,
    limit: Annotated[int, Query(ge=1, le=MAX_ENTRIES)] = 100,
    after: After = None,
) -> Response:
    """List a run's states and stages, newest first, each with the progress of the run at that moment."""
    known = await _known(resources, task_id)
    async with resources.prefect.client(seconds=_LONG_READ_SECONDS) as client:
        return json_response(await history_of(client, task_id, known, limit=limit, after=after))


async def _known(resources: Resources, task_id: UUID) -> Known:
    async with resources.custody.catalog.connection() as connection:
        return await read_known(connection, task_id)
