"""Watches: schedules of the deployment watch-source, with what their looks have found.

A watch is a schedule in Prefect, so that its UI and API show and change it; the catalogue has what was seen and taken.
A place is watched once: watching it again changes its schedule.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID, uuid4

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import StateType
from prefect.states import Cancelled

from blocks.access import Actor, record
from blocks.catalog import Catalog
from blocks.durations import format_duration
from blocks.errors import InvalidOptions, WatchNotFound
from blocks.runs.deployment import find_deployment
from blocks.runs.deployment_names import WATCH_DEPLOYMENT
from blocks.runs.prefect_api import PrefectApi
from blocks.runs.prefect_lists import runs_of_deployments
from blocks.settings import Settings
from blocks.watching import add_watch, read_watches, remove_watch, watch_id_of
from tasks.watching import check_watch
from tasks.watching.schedules import read_schedules, schedules_path, source_of

# A look is a process of its own, which takes some seconds of processor time.
LEAST = timedelta(seconds=15)
# Prefect plans some looks ahead. With one that is behind the year 9999 it plans none, for no watch.
MOST = timedelta(days=365)
_SECONDS = 30.0


async def start_watch(
    catalog: Catalog,
    prefect: PrefectApi,
    settings: Settings,
    source: str,
    *,
    every: timedelta,
    parameters: Mapping[str, Any],
    by: Actor,
) -> dict[str, Any]:
    """Watch *source*: look at it now and *every* so often. *parameters* are those of watch-source, other than source.

    Raises `InvalidOptions`, `SourceRefused`, `DeploymentMissing`, `PrefectUnavailable`, `CatalogUnavailable`.
    """
    if every < LEAST:
        raise InvalidOptions(
            f"a place is not looked at more often than every {format_duration(LEAST)}; {format_duration(every)} is less"
        )
    if every > MOST:
        raise InvalidOptions(
            f"a place is looked at every {format_duration(MOST)} at least, not {format_duration(every)}"
        )
    await asyncio.to_thread(check_watch, settings, source)
    deployment_id = await find_deployment(prefect, catalog, settings.home, wanted=WATCH_DEPLOYMENT, seconds=_SECONDS)
    given = {name: value for name, value in parameters.items() if value is not None} | {"source": source}
    watch_id = watch_id_of(source)
    async with catalog.transaction() as connection:
        await add_watch(connection, source)
        await record(connection, by.entry("watch_added", detail={"watch_id": watch_id}))
    schedule = {
        "schedule": {
            "interval": every.total_seconds(),
            "anchor_date": datetime.now(UTC).isoformat(),
            "timezone": "UTC",
        },
        "active": True,
        "parameters": given,
    }
    path = schedules_path(deployment_id)
    async with prefect.client(seconds=_SECONDS) as client:
        schedules = await read_schedules(client, deployment_id)
        known = [one for one in schedules if source_of(one.get("parameters")) == source]
        for extra in known[1:]:
            await _request(client, "DELETE", f"{path}/{extra['id']}")
        if known:
            await _request(client, "PATCH", f"{path}/{known[0]['id']}", schedule)
        else:
            await _request(client, "POST", path, [{**schedule, "slug": watch_id}])
        # A schedule begins with its next turn.
        run = await client.create_flow_run_from_deployment(
            deployment_id, parameters=given, idempotency_key=f"{watch_id}-{uuid4()}"
        )
    return {"watch_id": watch_id, "source": source, "every": format_duration(every), "task_id": str(run.id)}


async def list_watches(catalog: Catalog, prefect: PrefectApi, settings: Settings) -> dict[str, Any]:
    """Return ``{"watches": [...]}``: the schedules, also those that were made in Prefect, with what was found.

    A place that was looked at without a schedule has none. Raises as `start_watch` does.
    """
    deployment_id = await find_deployment(prefect, catalog, settings.home, wanted=WATCH_DEPLOYMENT, seconds=_SECONDS)
    async with prefect.client(seconds=_SECONDS) as client:
        schedules = await read_schedules(client, deployment_id)
    async with catalog.connection() as connection:
        known = dict(await read_watches(connection))
    found: list[dict[str, Any]] = []
    for schedule in schedules:
        source = source_of(schedule.get("parameters"))
        if source is None:
            continue
        state = known.pop(watch_id_of(source), None)
        found.append(
            {
                "watch_id": watch_id_of(source),
                "source": source,
                **_when(schedule),
                "parameters": {name: value for name, value in schedule["parameters"].items() if name != "source"},
                **(_looks(state.as_json()) if state else _NEVER_LOOKED),
            }
        )
    for state in known.values():
        without: dict[str, Any] = {"schedule_id": None, "every": None, "active": False, "parameters": {}}
        found.append({"watch_id": state.watch_id, "source": state.source, **without, **_looks(state.as_json())})
    return {"watches": sorted(found, key=lambda one: str(one["source"]))}


async def end_watch(
    catalog: Catalog, prefect: PrefectApi, settings: Settings, which: str, *, by: Actor
) -> dict[str, Any]:
    """Remove the watch *which*, an id or a source, and forget what it has seen. Raises `WatchNotFound`."""
    watch_id = which if which.startswith("wat_") else watch_id_of(which)
    deployment_id = await find_deployment(prefect, catalog, settings.home, wanted=WATCH_DEPLOYMENT, seconds=_SECONDS)
    path = schedules_path(deployment_id)
    removed = False
    async with prefect.client(seconds=_SECONDS) as client:
        for schedule in await read_schedules(client, deployment_id):
            source = source_of(schedule.get("parameters"))
            if source is not None and watch_id_of(source) == watch_id:
                await _request(client, "DELETE", f"{path}/{schedule['id']}")
                removed = True
        await _cancel_queued_looks(client, deployment_id, watch_id)
    async with catalog.transaction() as connection:
        removed = await remove_watch(connection, watch_id) or removed
        if not removed:
            raise WatchNotFound(f"there is no watch {which}; 'waybill watch list' shows them")
        await record(connection, by.entry("watch_removed", detail={"watch_id": watch_id}))
    return {"watch_id": watch_id, "removed": True}


async def _cancel_queued_looks(client: PrefectClient, deployment_id: UUID, watch_id: str) -> None:
    """Cancel the looks that have not begun: each would record its watch anew."""
    queued = {"type": {"any_": [StateType.SCHEDULED, StateType.PENDING]}}
    for run in await runs_of_deployments(client, [deployment_id], state=queued):
        source = source_of(run.parameters)
        if source is not None and watch_id_of(source) == watch_id:
            await client.set_flow_run_state(run.id, Cancelled(message="Its watch was removed."))


_LOOKED = ("looked_at", "problem", "files", "waiting", "running", "done", "failed")
_NEVER_LOOKED: Mapping[str, Any] = {name: None if name in _LOOKED[:2] else 0 for name in _LOOKED}


def _looks(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: state[name] for name in _LOOKED}


def _when(schedule: Mapping[str, Any]) -> dict[str, Any]:
    given = cast("Mapping[str, Any]", schedule["schedule"])
    every = given.get("interval")
    text = format_duration(timedelta(seconds=every)) if isinstance(every, (int, float)) else None
    return {
        "schedule_id": schedule["id"],
        "every": text or given.get("cron") or given.get("rrule"),
        "active": bool(schedule["active"]),
    }


async def _request(client: PrefectClient, method: str, path: str, body: object = None) -> Any:
    response = await client.request(method, path, **({} if body is None else {"json": body}))  # type: ignore[arg-type]
    response.raise_for_status()
    return response.json() if response.content else None
