"""The retention as the HTTP API runs it. Checks no permissions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from blocks.access import Actor
from blocks.catalog import Catalog
from blocks.custody import Custody
from blocks.retention import get_plan, newest_plans, planned_files
from blocks.settings import Settings
from blocks.webhooks.event_links import EventLinks
from tasks.expiry import Report, file_view, plan_view, retention_policy, run_retention
from waybill.services.patient_custody import patient_custody


async def clean_up(
    custody: Custody,
    settings: Settings,
    given: Mapping[str, Any],
    *,
    dry_run: bool,
    plan_id: UUID | None = None,
    by: Actor,
) -> Report:
    """Run the retention with the rules of *settings* and those *given*, or execute the plan *plan_id*.

    On connections without a time limit: planning a million files takes seconds. Raises like `run_retention`, and
    `InvalidOptions`.
    """
    policy = retention_policy(settings, given)
    async with patient_custody(custody, settings) as patient:
        return await run_retention(
            patient, policy, by=by, links=EventLinks.of(settings), dry_run=dry_run, plan_id=plan_id
        )


async def list_plans(catalog: Catalog, limit: int) -> list[dict[str, Any]]:
    """Return the newest plans as JSON."""
    async with catalog.connection() as connection:
        return [plan_view(plan) for plan in await newest_plans(connection, limit)]


async def show_plan(catalog: Catalog, plan_id: UUID, limit: int) -> dict[str, Any]:
    """Return a plan as JSON, with the first *limit* of its files. Raises `PlanNotFound`."""
    async with catalog.connection() as connection:
        plan = await get_plan(connection, plan_id)
    files = [file_view(one) | {"state": one.state} async for one in planned_files(catalog, plan_id, limit=limit)]
    return {**plan_view(plan), "removes": files}
