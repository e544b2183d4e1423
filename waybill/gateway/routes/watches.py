"""``/watches``: watched folders, buckets and URLs. `waybill watch` does the same.

A watch reads files of the gateway's machine, so that only a key with `admin` makes or removes one.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from blocks.durations import parse_duration, parse_period
from waybill.gateway.dependencies import Admin, GatewayResources, Reader
from waybill.gateway.errors import json_response
from waybill.gateway.http.bounded_json import BODY_STATUSES, JsonRoute
from waybill.gateway.http.form_parsing import read_webhook_url
from waybill.gateway.http.params import Text
from waybill.gateway.openapi import errors
from waybill.services.run_options import check_options, read_stages
from waybill.services.watches import end_watch, list_watches, start_watch

router = APIRouter(prefix="/api/v1/watches", tags=["watches"], route_class=JsonRoute)

_WATCH = "wat_0b6f1c3e7d524f0e"
WatchId = Annotated[str, Path(pattern="^wat_[0-9a-f]{16}$", examples=[_WATCH])]


class WatchOptions(BaseModel):
    """What to watch, how often, and how what is found is processed."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"source": "s3://inbox/letters/", "every": "1m"}]}
    )

    source: Text = Field(min_length=1, max_length=2000, description="A whole path of a folder or glob, or a URL")
    every: Text = Field(default="5m", max_length=20, description="How often; 15s at least")
    stages: Text | None = Field(default=None, max_length=100, description="Such as 1-3; all when left out")
    options: dict[str, Any] | None = Field(default=None, description="Options by stage")
    webhook_url: Text | None = Field(default=None, max_length=2000)
    keep_for: Text | None = Field(default=None, max_length=20)
    settle: Text = Field(default="10s", max_length=20, description="A local file that changed since is left for later")


class Watched(BaseModel):
    """The watch, and the run of its first look."""

    watch_id: str = Field(examples=[_WATCH])
    source: str
    every: str = Field(examples=["1m"])
    task_id: UUID


class WatchEntry(BaseModel):
    """A watch, as its schedule and its looks are now."""

    watch_id: str = Field(examples=[_WATCH])
    source: str
    schedule_id: UUID | None = Field(description="The schedule in Prefect; null for a place that was looked at once.")
    every: str | None = Field(description="Its interval, or its cron or rrule text.", examples=["1m"])
    active: bool
    parameters: dict[str, Any]
    looked_at: datetime | None
    problem: str | None = Field(description="Why the last look failed.")
    files: int
    waiting: int = Field(description="New files that are still being written, and failed ones that are tried again.")
    running: int
    done: int
    failed: int


class WatchList(BaseModel):
    """All watches, by source."""

    watches: list[WatchEntry]


class WatchRemoved(BaseModel):
    """The watch is gone."""

    watch_id: str
    removed: bool


@router.get("", responses=errors(), response_model=WatchList)
async def watches(_: Reader, resources: GatewayResources) -> Response:
    """List watched places, with how many of their files wait, are done or have failed."""
    found = await list_watches(resources.custody.catalog, resources.prefect, resources.settings)
    return json_response(found)


@router.post("", status_code=201, responses=errors(*BODY_STATUSES), response_model=Watched)
async def watch(caller: Admin, resources: GatewayResources, wanted: WatchOptions) -> Response:
    """Watch a place: look at it now and on a schedule. Watching it again changes its schedule."""
    parameters: dict[str, Any] = {"settle": wanted.settle}
    parse_duration(wanted.settle)
    if wanted.stages is not None:
        parameters["stages"] = read_stages(wanted.stages)
    if wanted.options:
        parameters["options"] = check_options(wanted.options, "options")
    if wanted.webhook_url is not None:
        parameters["webhook_url"] = read_webhook_url(wanted.webhook_url, resources.guard)
    if wanted.keep_for is not None:
        parse_period(wanted.keep_for)
        parameters["keep_for"] = wanted.keep_for
    made = await start_watch(
        resources.custody.catalog,
        resources.prefect,
        resources.settings,
        wanted.source,
        every=parse_duration(wanted.every),
        parameters=parameters,
        by=caller,
    )
    return json_response(made, status=201)


@router.delete("/{watch_id}", responses=errors(404), response_model=WatchRemoved)
async def unwatch(caller: Admin, resources: GatewayResources, watch_id: WatchId) -> Response:
    """Remove a watch and forget what it has seen; files that it took stay as they are."""
    gone = await end_watch(resources.custody.catalog, resources.prefect, resources.settings, watch_id, by=caller)
    return json_response(gone)
