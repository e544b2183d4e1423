"""Starting runs: by the deployment's name, through Prefect's API, as any other program would."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from prefect.exceptions import ObjectNotFound

from blocks.errors import DeploymentMissing
from blocks.runs.prefect_api import PrefectApi

DEPLOYMENT = "process-documents/waybill"


async def find_deployment(prefect: PrefectApi) -> UUID:
    """The deployment that processes documents. Raises `PrefectUnavailable`, `DeploymentMissing`."""
    try:
        async with prefect.client() as client:
            return (await client.read_deployment_by_name(DEPLOYMENT)).id
    except ObjectNotFound as exc:
        raise DeploymentMissing(
            f"Prefect knows no deployment {DEPLOYMENT}; 'waybill up' or 'prefect deploy --all' registers it"
        ) from exc


async def start_run(
    prefect: PrefectApi, deployment_id: UUID, parameters: Mapping[str, Any], *, name: str, run_key: str
) -> UUID:
    """Start a run and return its id; with the same *run_key* it is the same run. Prefect calls it *name* until it
    begins, and names itself. Raises like `find_deployment`."""
    try:
        async with prefect.client() as client:
            run = await client.create_flow_run_from_deployment(
                deployment_id, parameters=dict(parameters), name=name, idempotency_key=run_key
            )
    except ObjectNotFound as exc:
        raise DeploymentMissing(f"the deployment {DEPLOYMENT} was deleted a moment ago; try again") from exc
    return run.id
