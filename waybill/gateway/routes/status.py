"""``GET`` of what Prefect knows of runs: how far one is, its history, and what has happened lately over all of them.

Answers for every run of this project's flows, wherever it was started. The same as `waybill status` and
`waybill events` show.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, Field

from waybill.gateway.dependencies import Reader, Waybill
from waybill.gateway.errors import json_answer
from waybill.gateway.openapi import errors
from waybill.services.recent_events import MAX_EVENTS, MAX_HOURS, read_recent_events
from waybill.services.run_status import MAX_ENTRIES, read_history, read_status

# A run of thousands of tasks, or hundreds of runs that are asked for one by one.
_LONG_ANSWER_SECONDS = 10.0

router = APIRouter(prefix="/api/v1/status", tags=["status"])

_RUN = "0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a"
_MOMENT = "2026-03-01T12:00:00.000000+00:00"


class RunStatus(BaseModel):
    """How far a run is."""

    task_id: UUID = Field(examples=[_RUN])
    status: str = Field(description="The type of its state in Prefect, in small letters.", examples=["running"])
    progress: float = Field(ge=0, le=1, examples=[0.42])
    message: str | None = Field(examples=["3 of 3 documents completed"])
    stage: str | None = Field(description="The stage task that is running.", examples=["3-chunker report.pdf"])
    name: str = Field(examples=["report.pdf"])
    source_file: str | None = Field(description="Its source, where it has one.", examples=["/data/report.pdf"])
    documents: int | None = Field(description="How many there are in it; null before it has begun.", examples=[1])
    state_name: str | None = Field(examples=["Running"])
    created_at: datetime | None = Field(examples=[_MOMENT])
    started_at: datetime | None = Field(examples=[_MOMENT])
    ended_at: datetime | None = Field(examples=[None])


class HistoryEntry(BaseModel):
    """Something that happened to a run. `progress` is how far it was at that moment."""

    timestamp: datetime = Field(examples=[_MOMENT])
    status: str = Field(examples=["completed"])
    progress: float = Field(ge=0, le=1, examples=[0.5])
    message: str | None = Field(examples=["3-chunker report.pdf: 1 of 1 documents, 0 reused"])
    metadata: dict[str, Any] = Field(
        description="`stage` where it is about a stage task, `state_id` where it is about the run itself.",
        examples=[{"stage": "3-chunker report.pdf", "state_name": "Completed", "seconds": 0.2}],
    )


class RunHistory(BaseModel):
    """A run's states and the beginnings and ends of its stage tasks, newest first."""

    task_id: UUID = Field(examples=[_RUN])
    history: list[HistoryEntry]
    event_count: int = Field(ge=0, description="On all pages.", examples=[14])
    next: str | None = Field(description="The `after` of the next page; null on the last.", examples=[None])
    truncated: bool = Field(description="Whether the run had more tasks than are shown.", examples=[False])


class RecentEvent(BaseModel):
    """Something that happened to a run or to a document."""

    timestamp: datetime = Field(examples=[_MOMENT])
    event_type: str | None = Field(
        description="As webhooks name it; null for what they do not tell.", examples=["stage_completed"]
    )
    task_id: UUID | None = Field(examples=[_RUN])
    source_file: str | None = Field(examples=["report.pdf"])
    status: str = Field(examples=["completed"])
    progress: float | None = Field(examples=[None])
    message: str | None = Field(examples=["chunker"])
    metadata: dict[str, Any] = Field(examples=[{"event_id": "evt_5f0c", "stage": "chunker"}])


class RecentEvents(BaseModel):
    """What has happened lately, newest first."""

    events: list[RecentEvent]
    count: int = Field(ge=0, examples=[1])
    hours: float = Field(examples=[24.0])
    truncated: bool = Field(description="Whether more has happened than is shown.", examples=[False])


@router.get("/events/recent", responses=errors(), response_model=RecentEvents)
async def events(
    _: Reader,
    resources: Waybill,
    hours: Annotated[float, Query(gt=0, le=MAX_HOURS, allow_inf_nan=False, description="How far to look back.")] = 24.0,
    limit: Annotated[int, Query(ge=1, le=MAX_EVENTS)] = 100,
) -> Response:
    """State changes of runs and what happened to their documents, over all runs, newest first."""
    async with resources.prefect.client(seconds=_LONG_ANSWER_SECONDS) as client:
        return json_answer(await read_recent_events(resources.custody.catalog, client, hours, limit=limit))


@router.get("/{task_id}", responses=errors(404), response_model=RunStatus)
async def status(_: Reader, resources: Waybill, task_id: UUID) -> Response:
    """How far a run is: progress from 0 to 1, the stage that is running, and what Prefect says of it."""
    async with resources.prefect.client() as client:
        return json_answer(await read_status(client, task_id))


@router.get("/{task_id}/history", responses=errors(404), response_model=RunHistory)
async def history(
    _: Reader,
    resources: Waybill,
    task_id: UUID,
    limit: Annotated[int, Query(ge=1, le=MAX_ENTRIES)] = 100,
    after: Annotated[str | None, Query(max_length=200, description="The `next` of the page before.")] = None,
) -> Response:
    """What happened to a run, newest first: its states, and its stages with how far the run was at each moment."""
    async with resources.prefect.client(seconds=_LONG_ANSWER_SECONDS) as client:
        return json_answer(await read_history(client, task_id, limit=limit, after=after))
