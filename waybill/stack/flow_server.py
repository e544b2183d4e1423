"""The process that runs deployed flows for `waybill up`; run as ``python -m waybill.stack.flow_server``.

Owns registering what ``prefect.yaml`` describes, putting runs that an earlier flow server left behind back into
the queue, running Prefect's runner until a signal stops it, and finishing cancellations meanwhile. Ends by
itself when the command that started it is gone. Only ever one per home: `waybill up` sees to that, which is why a run
that is still "running" at the start has no process any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.flows import load_flow_from_entrypoint
from prefect.runner import Runner
from prefect.runner.storage import LocalStorage
from prefect.schedules import Schedule
from prefect.settings import get_current_settings

from blocks.errors import WaybillError
from blocks.runs.ownership import Owner, owner_in, read_owner
from blocks.runs.run_events import OUR_FLOWS
from blocks.runtime.background_tasks import running
from blocks.runtime.form_schema import without_other_fields
from blocks.settings import current_settings
from waybill.process.child_protocol import child_arguments, end_with_parent, say_ready
from waybill.process.process_log import log_to_stderr
from waybill.stack.automations import patience, stop_watching, watch_heartbeats
from waybill.stack.cancellations import finish_cancellations
from waybill.stack.deployments import DONE_BY_UP, Deployment, project_directory, read_deployments
from waybill.stack.interrupted_runs import PersistentRunner, resume_interrupted_runs
from waybill.stack.remote_deployment import register_remote
from waybill.stack.unreadable_runs import fail_unreadable_runs

_LOG = logging.getLogger("waybill.stack")


async def serve_deployments(project: Path, on_ready: Callable[[], None]) -> None:
    """Serve every deployment of *project* until SIGTERM or SIGINT; *on_ready* is called before the first poll.

    Flow runs are processes in this process's group. On the way out they are ended and stay "Running", so that the next
    flow server goes on with them. Raises `StackUnavailable` when ``prefect.yaml`` cannot be read.
    """
    deployments = read_deployments(project)
    owner = await read_owner(current_settings())
    runner = make_runner(current_settings().home)
    async with get_client() as client:
        served = [await _runner_deployment(client, project, one, owner) for one in deployments if one.is_served]
        ids = [await runner.aadd_deployment(each) for each in served]
        await asyncio.gather(*(_refuse_other_parameters(client, one) for one in ids))
        for remote in (one for one in deployments if one.is_remote):
            await _register_remote(client, remote, owner)
        # First the automation, which forgets what it has expected of the runs that now go on.
        # By the names of the flows and not of the deployments, so that runs of `waybill process` are watched too.
        await watch_heartbeats(client, OUR_FLOWS, patience(), owner)
        await resume_interrupted_runs(client, ids)
        # Before the runner's first poll, which such a run would make fail.
        await fail_unreadable_runs(client, ids)
    serving = asyncio.create_task(runner.start())
    # Runs the task up to its first wait: by then the runner has set its own handler, which would leave its work undone.
    await asyncio.sleep(0)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
    on_ready()
    async with running(finish_cancellations(ids)):
        with contextlib.suppress(asyncio.CancelledError):
            await serving
    async with get_client() as client:
        await stop_watching(client, owner)


def make_runner(home: Path) -> Runner:
    """Return Prefect's runner, with its working folder in *home*.

    Prefect takes ``runner_storage`` of the folder for temporary files, one name for every account of the machine: who
    makes it first keeps all others from starting, and could exchange what is in it.
    """
    before = tempfile.tempdir
    # No argument of the runner says where; it asks for this once, as it is made.
    tempfile.tempdir = str(home / "prefect")
    try:
        # Pausing schedules at the end keeps missed runs of frequent schedules from piling up while nothing serves them.
        return PersistentRunner(name="waybill", pause_on_shutdown=True)
    finally:
        tempfile.tempdir = before


async def _runner_deployment(
    client: PrefectClient, project: Path, deployment: Deployment, owner: Owner
) -> RunnerDeployment:
    limit = deployment.concurrency_limit
    idle: dict[str, Any] = {"active": False} if deployment.entrypoint in DONE_BY_UP else {}
    served = await RunnerDeployment.afrom_storage(
        # A storage, though the code is here: with it the deployment's directory is written again at each start, so a
        # checkout may move.
        storage=LocalStorage(path=str(project)),
        entrypoint=deployment.entrypoint,
        name=deployment.name,
        version=deployment.version,
        description=deployment.description,
        tags=[*deployment.tags, owner.tag],
        parameters=deployment.parameters,
        schedules=[Schedule(**schedule | idle) for schedule in deployment.schedules],
        concurrency_limit=ConcurrencyLimitConfig.model_validate(limit) if isinstance(limit, dict) else limit,
        enforce_parameter_schema=deployment.enforce_parameter_schema,
        paused=False,
    )
    if not deployment.schedules:
        # An empty list that is sent removes the schedules that people have made, and an update refuses null.
        served.model_fields_set.discard("schedules")
    # Said explicitly, so that a deployment that `prefect deploy` gave to a work pool comes back to this process.
    served.work_pool_name = None
    served.work_queue_name = None
    if await _is_taken(client, f"{served.flow_name}/{served.name}", owner):
        served.name = f"{served.name}-{owner.home}"
        _LOG.warning("another home has the deployment %s; this one has %s", deployment.name, served.name)
    return served


async def _refuse_other_parameters(client: PrefectClient, deployment_id: UUID) -> None:
    """Let Prefect refuse a run with a parameter that its flow does not have, and which would crash in its process.

    Done after registering: the class in which Prefect holds a flow's schema has no field for it.
    """
    schema = (await client.read_deployment(deployment_id)).parameter_openapi_schema or {}
    strict = DeploymentUpdate(parameter_openapi_schema=without_other_fields(schema))
    await client.update_deployment(deployment_id, strict)


async def _register_remote(client: PrefectClient, deployment: Deployment, owner: Owner) -> None:
    flow_name = load_flow_from_entrypoint(deployment.entrypoint).name
    taken = await _is_taken(client, f"{flow_name}/{deployment.name}", owner)
    name = f"{deployment.name}-{owner.home}" if taken else deployment.name
    await register_remote(client, deployment, owner, name=name)


async def _is_taken(client: PrefectClient, name: str, owner: Owner) -> bool:
    """Return whether another home has registered the deployment *name*: each serves its own runs alone.

    On the home's own server never: there it is this home under an earlier id, before its file was lost or restored.
    """
    if get_current_settings().home == current_settings().home / "prefect":
        return False
    try:
        other = owner_in((await client.read_deployment_by_name(name)).tags)
    except ObjectNotFound:
        return False
    return other is not None and other.home != owner.home


def main() -> None:
    """Serve the deployments of ``--project`` until a signal, or until stdin is closed because the parent is gone."""
    parser = child_arguments(__doc__)
    parser.add_argument("--project", type=Path, default=project_directory())
    arguments = parser.parse_args()
    log_to_stderr()
    end_with_parent()
    try:
        asyncio.run(serve_deployments(arguments.project, on_ready=lambda: say_ready(arguments.ready_fd)))
    except WaybillError as error:
        sys.exit(f"waybill: {error.message}")


if __name__ == "__main__":
    main()
