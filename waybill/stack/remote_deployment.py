"""The work pool of remote workers, and the deployment in it; registered by `waybill up` through Prefect's API.

Nothing of this home's files is in either: a worker imports the flow from the Waybill that is installed there.
"""

from __future__ import annotations

import logging

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectAlreadyExists, PrefectException
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema
from prefect.workers.process import ProcessWorker

from blocks.runs.ownership import Owner
from blocks.runs.remote_stages import REMOTE_POOL
from blocks.runtime.form_schema import without_other_fields
from waybill.stack.deployments import Deployment

_LOG = logging.getLogger("waybill.stack")


async def register_remote(client: PrefectClient, deployment: Deployment, owner: Owner, *, name: str) -> None:
    """Make the pool, and register *deployment* in it as *name*. Idempotent; a failure is logged.

    Everything but remote stages works without it.
    """
    try:
        await _ensure_pool(client)
        flow = load_flow_from_entrypoint(deployment.entrypoint)
        await client.create_deployment(
            flow_id=await client.create_flow_from_name(flow.name),
            name=name,
            description=deployment.description,
            tags=[*deployment.tags, owner.tag],
            work_pool_name=REMOTE_POOL,
            entrypoint=deployment.entrypoint,
            # No path and no pull steps: they would be this machine's.
            pull_steps=[],
            parameter_openapi_schema=without_other_fields(parameter_schema(flow).model_dump_for_openapi()),
            enforce_parameter_schema=deployment.enforce_parameter_schema,
            paused=False,
        )
    except (PrefectException, httpx.HTTPError, ValueError) as error:
        _LOG.warning("stages cannot run on remote workers: Prefect refuses their work pool or deployment: %s", error)


async def _ensure_pool(client: PrefectClient) -> None:
    """Make the pool with its job template: without one, a worker would have to write it, which the gateway refuses."""
    template = ProcessWorker.get_default_base_job_template()
    try:
        await client.create_work_pool(WorkPoolCreate(name=REMOTE_POOL, type="process", base_job_template=template))
    except ObjectAlreadyExists:
        if not (await client.read_work_pool(REMOTE_POOL)).base_job_template:
            await client.update_work_pool(REMOTE_POOL, WorkPoolUpdate(base_job_template=template))
