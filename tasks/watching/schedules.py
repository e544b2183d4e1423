"""The schedules of watch-source in Prefect: which of them is the watch of a place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast
from uuid import UUID

from prefect.client.orchestration import PrefectClient

from blocks.runs.prefect_api import PrefectApi
from blocks.watching import watch_id_of

_SECONDS = 30.0


async def read_schedules(client: PrefectClient, deployment_id: UUID) -> list[dict[str, Any]]:
    """Return the schedules of a deployment as Prefect's API gives them."""
    response = await client.request("GET", schedules_path(deployment_id))  # type: ignore[arg-type]
    response.raise_for_status()
    return cast("list[dict[str, Any]]", response.json())


def schedules_path(deployment_id: UUID) -> str:
    """Return the path of a deployment's schedules in Prefect's API."""
    return f"/deployments/{deployment_id}/schedules"


def source_of(parameters: Mapping[str, Any] | None) -> str | None:
    """Return the place in the *parameters* of a schedule or a run."""
    source = (parameters or {}).get("source")
    return source if isinstance(source, str) and source else None


async def is_without_schedule(prefect: PrefectApi, run_id: UUID, source: str) -> bool:
    """Return whether the flow run is the look of a schedule, or the first one of a watch, and that has no schedule now.

    A look that a person has started by hand needs none.
    """
    async with prefect.client(seconds=_SECONDS) as client:
        run = await client.read_flow_run(run_id)
        is_of_watch = run.auto_scheduled or (run.idempotency_key or "").startswith(watch_id_of(source))
        if run.deployment_id is None or not is_of_watch:
            return False
        schedules = await read_schedules(client, run.deployment_id)
    # One that names no place may have that of the deployment.
    return all(source_of(one.get("parameters")) not in {source, None} for one in schedules)
