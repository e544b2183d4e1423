"""The runs of slices in a work pool of Prefect: the deployment, starting, and giving up."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import TERMINAL_STATES
from prefect.exceptions import ObjectNotFound
from prefect.flows import load_flow_from_entrypoint
from prefect.states import Crashed

from blocks.runs.ownership import Owner
from blocks.runs.slices import Slice
from blocks.runs.work_pools import check_pool

FLOW_NAME = "process-slice"
# Imported from the Waybill that is installed at the worker: nothing of this machine's files is needed there.
ENTRYPOINT = "flows.slices.process_slice"


async def slice_deployment(client: PrefectClient, pool: str, owner: Owner) -> UUID:
    """Return the deployment of process-slice in *pool*; it is made where there is none.

    Raises `InvalidOptions` when there is no such pool, and what *client* raises.
    """
    await check_pool(client, pool)
    these = FlowFilter(name=FlowFilterName(any_=[FLOW_NAME]))
    for one in await client.read_deployments(flow_filter=these):
        if one.work_pool_name == pool and one.entrypoint == ENTRYPOINT:
            return one.id
    flow = await asyncio.to_thread(load_flow_from_entrypoint, ENTRYPOINT)
    return await client.create_deployment(
        flow_id=await client.create_flow_from_name(FLOW_NAME),
        name=f"{pool}-{owner.catalogue}",
        description="Processes a slice of a run's documents; started by runs of process-documents.",
        tags=["waybill"],
        work_pool_name=pool,
        entrypoint=ENTRYPOINT,
        pull_steps=[],
        # What people see of it in Prefect; runs are started by their parents, of this version or another one.
        parameter_openapi_schema=flow.parameters.model_dump_for_openapi(),
        enforce_parameter_schema=False,
        paused=False,
    )


async def start(
    client: PrefectClient,
    deployment: UUID,
    parent_id: UUID,
    one: Slice,
    of: int,
    parameters: Mapping[str, Any],
    tag: str,
) -> UUID:
    """Start the run of the slice's attempt and return its id; called again, it is the same run."""
    run = await client.create_flow_run_from_deployment(
        deployment,
        parameters={**parameters, "parent": str(parent_id), "number": one.number, "attempt": one.attempt},
        idempotency_key=f"{parent_id}:{one.number}:{one.attempt}",
        name=f"slice {one.number} of {of}, {one.documents} documents",
        tags=["waybill", tag],
    )
    return run.id


async def give_up(client: PrefectClient, run_id: UUID, why: str) -> None:
    """Set a run to Crashed that never began to work. One that has an outcome keeps it."""
    with suppress(ObjectNotFound):
        run = await client.read_flow_run(run_id)
        if run.state_type not in TERMINAL_STATES:
            await client.set_flow_run_state(run_id, Crashed(message=why), force=True)
