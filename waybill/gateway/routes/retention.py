"""``/files/cleanup``, ``/retention/plans`` and ``/stats``: what the retention removes, has planned, and has to do.

The responses are those of ``waybill expire --json`` and ``waybill stats --json``.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, cast
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field

from blocks.catalog import Kind
from blocks.errors import InvalidOptions
from tasks.expiry import Report
from waybill.gateway.access import Caller
from waybill.gateway.dependencies import Admin, GatewayResources, Reader
from waybill.gateway.errors import json_response
from waybill.gateway.http.params import Limit
from waybill.gateway.openapi import errors
from waybill.gateway.resources import Resources
from waybill.services.expiry import clean_up, list_plans, show_plan
from waybill.services.statistics import read_statistics

router = APIRouter(prefix="/api/v1", tags=["retention"])

# A hundred years: no file is older, and no date of Python or Postgres overflows.
_MAX_DAYS = 36_500
# What went wrong names paths and hosts of the storage; the log and `waybill expire` have it.
_NOT_DELETED = "its bytes could not be deleted; the next clean-up tries again"
_NO_PLACE = "its row named no place where bytes can be stored, so there were none to delete"


def _only_known(request: Request) -> None:
    """Refuse what this path does not know: a misspelt `dry_run` would remove files. Raises `InvalidOptions`."""
    route = cast("APIRoute", request.scope["route"])
    unknown = sorted(request.query_params.keys() - {one.alias for one in route.dependant.query_params})
    if unknown:
        raise InvalidOptions(f"this path does not know the parameters {', '.join(unknown)}; nothing was removed")
    headers = request.headers
    if "transfer-encoding" in headers or headers.get("content-length", "0") not in {"0", "2"}:  # 2: {}
        raise InvalidOptions("this path reads its parameters from the query and takes no body; nothing was removed")


KnownOnly = [Depends(_only_known)]
DryRun = Annotated[bool, Query(description="Make the plan and report it; remove nothing.")]
Kinds = Annotated[list[Kind] | None, Query(description="Only files of these kinds.")]
PlanId = Annotated[UUID | None, Query(description="Execute exactly this plan, which a dry run has made.")]


class RetentionGroup(BaseModel):
    """Files of one kind that one rule decides on."""

    rule: str = Field(examples=["expired"])
    reason: str = Field(examples=["its time was over"])
    goes: bool
    kind: str = Field(examples=["stage_output"])
    files: int
    bytes: int = Field(description="Bytes in the storage")


class RetentionPlan(BaseModel):
    """What a clean-up removes, decided once."""

    plan_id: UUID
    digest: str = Field(examples=["9f86d0" + "0" * 58], description="SHA-256 of all file ids with their rules")
    state: str = Field(examples=["planned"], description="planned, executing, done or abandoned")
    policy: dict[str, Any] = Field(description="The rules that differ from the defaults", examples=[{"keep_newest": 3}])
    cutoff: datetime = Field(description="The database's time by which the policy judged")
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    files: int
    bytes: int
    over_cap: int = Field(description="Files that would go too, but for the cap of one run")
    groups: list[RetentionGroup]


class JudgedFile(BaseModel):
    """A file, and the rule that decides on it."""

    file_id: UUID
    filename: str
    kind: str
    stage: int | None
    stage_name: str | None
    size: int
    sha256: str
    media_type: str
    created_at: datetime
    expires_at: datetime
    source_file: str
    rule: str = Field(examples=["pinned"])
    reason: str


class FailedFile(BaseModel):
    """A file that is unreadable and whose bytes could not be deleted."""

    file_id: UUID
    filename: str | None = None
    error: str


class FileWarning(BaseModel):
    """A file that was removed, and what was odd about it."""

    file_id: UUID
    warning: str


class Counts(BaseModel):
    """Counts of all files, also of those that the lists leave out."""

    removed: int
    removed_bytes: int
    kept: int
    failed: int
    failed_again: int = Field(description="Of these, those that an earlier run could not delete either")
    finished: int = Field(description="Deletions that earlier runs began")


class CleanUpReport(RetentionPlan):
    """What went and what stayed, or would. Lists hold the first of many."""

    dry_run: bool
    removed: list[JudgedFile]
    kept: list[JudgedFile]
    failed: list[FailedFile]
    warnings: list[FileWarning]
    counts: Counts
    renewed: int = Field(description="Files that a rule keeps past their expiry, which has moved")
    lifted_by: str | None = Field(description="Options of `waybill expire` that allow to remove what is over the cap")
    before: dict[str, Any]
    after: dict[str, Any]


class PlannedRemoval(JudgedFile):
    """A file of a plan."""

    state: str = Field(examples=["deleted"])


class PlanDetails(RetentionPlan):
    """A plan with the first of its files."""

    removes: list[PlannedRemoval]


class PlanList(BaseModel):
    """The newest plans."""

    plans: list[RetentionPlan]


class HomeStatistics(BaseModel):
    """What is in custody and in the search index."""

    total: dict[str, Any]
    by_kind: dict[str, Any]
    by_stage: dict[str, Any]
    by_state: dict[str, int]
    search_index: dict[str, Any]
    retention: dict[str, Any]


@router.delete("/files/cleanup", dependencies=KnownOnly, responses=errors(404, 409), response_model=CleanUpReport)
async def clean_up_by_age(
    caller: Admin,
    resources: GatewayResources,
    max_age_hours: Annotated[
        float | None, Query(ge=0.01, le=_MAX_DAYS * 24, description="Also remove files that are older than this.")
    ] = None,
    dry_run: DryRun = False,
    kind: Kinds = None,
    plan_id: PlanId = None,
) -> Response:
    """Remove files whose time is over by the retention policy; report what went, and what stayed and why."""
    older_than = timedelta(hours=max_age_hours) if max_age_hours is not None else None
    return await _clean_up(resources, caller, older_than, kind, dry_run=dry_run, plan_id=plan_id)


@router.post("/files/cleanup", dependencies=KnownOnly, responses=errors(404, 409), response_model=CleanUpReport)
async def clean_up_by_days(
    caller: Admin,
    resources: GatewayResources,
    days: Annotated[
        int | None, Query(ge=1, le=_MAX_DAYS, description="Also remove files that are older than this.")
    ] = None,
    dry_run: DryRun = False,
    kind: Kinds = None,
    plan_id: PlanId = None,
) -> Response:
    """Remove files whose time is over, like `DELETE`, with an age in days."""
    older_than = timedelta(days=days) if days is not None else None
    return await _clean_up(resources, caller, older_than, kind, dry_run=dry_run, plan_id=plan_id)


@router.get("/retention/plans", responses=errors(), response_model=PlanList)
async def plans(_: Reader, resources: GatewayResources, limit: Limit = 20) -> Response:
    """List the newest plans of the retention, newest first."""
    return json_response({"plans": await list_plans(resources.custody.catalog, limit)})


@router.get("/retention/plans/{plan_id:uuid}", responses=errors(404), response_model=PlanDetails)
async def plan(_: Reader, resources: GatewayResources, plan_id: UUID, limit: Limit = 1000) -> Response:
    """Show a plan: what it removes, by which rules, and how far it is."""
    return json_response(await show_plan(resources.custody.catalog, plan_id, limit))


@router.get("/stats", responses=errors(), response_model=HomeStatistics)
async def stats(_: Reader, resources: GatewayResources) -> Response:
    """Count what is in custody and in the search index: files, bytes, oldest and newest, by kind and stage."""
    return json_response(await read_statistics(resources.custody.catalog))


async def _clean_up(
    resources: Resources,
    caller: Caller,
    older_than: timedelta | None,
    kinds: list[Kind] | None,
    *,
    dry_run: bool,
    plan_id: UUID | None,
) -> Response:
    rules = {"older_than": older_than, "kinds": kinds or None}
    given = {name: value for name, value in rules.items() if value is not None}
    if plan_id is not None and given:
        raise InvalidOptions("a plan is executed as it was made: leave out the age and the kind, or plan_id")
    async with resources.clean_ups:
        report = await clean_up(
            resources.custody, resources.settings, given, dry_run=dry_run, plan_id=plan_id, by=caller
        )
    return json_response(_shown(report))


def _shown(report: Report) -> dict[str, Any]:
    view = report.view()
    return {
        **view,
        "failed": [{**one, "error": _NOT_DELETED} for one in view["failed"]],
        "warnings": [{**one, "warning": _NO_PLACE} for one in view["warnings"]],
    }
