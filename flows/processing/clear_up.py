"""Clear up after runs whose processes have died: of this home by its file locks, of any other one by their leases."""

from __future__ import annotations

import asyncio
import shutil
from uuid import UUID

import httpx
from prefect import get_client, get_run_logger
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.states import Crashed

from blocks.custody import Custody
from blocks.custody.abandoned import remove_abandoned
from blocks.errors import WaybillError
from blocks.postgres import single_connection
from blocks.runs.expected_report import remove_unexpected
from blocks.runs.run_lease import Lease, forget_lease, given_up, suspects
from blocks.runs.run_lock import dead_runs, run_locks
from blocks.settings import Settings
from tasks.remote.runner import cancel_remote_stages

_PROBLEMS = (WaybillError, PrefectException, httpx.HTTPError, ValueError)


async def clear_up_dead_runs(settings: Settings, custody: Custody) -> None:
    """Undo the unfinished work of killed processes, and set their runs to Crashed in Prefect. Never fails this run."""
    for run_id in dead_runs(settings.home):
        await asyncio.to_thread(shutil.rmtree, settings.scratch / str(run_id), ignore_errors=True)
        try:
            await _clear_up(custody, run_id)
            async with custody.catalog.connection() as connection:
                await forget_lease(connection, run_id)
        except _PROBLEMS as error:
            _log_problem(run_id, error)
    await clear_up_lost_runs(settings, custody)
    remove_unexpected(settings.home)
    try:
        # Uploads, and what was not under a lease.
        if removed := await remove_abandoned(custody):
            get_run_logger().info("removed %d files that killed processes left half stored or half deleted", removed)
    except WaybillError as error:
        get_run_logger().warning("files that killed processes left are removed later: %s", error)


async def clear_up_lost_runs(settings: Settings, custody: Custody) -> list[UUID]:
    """The same for runs of any home whose leases have run out; return them. Never fails this run."""
    try:
        async with custody.catalog.connection() as connection:
            found = await suspects(connection)
    except WaybillError as error:
        get_run_logger().warning("runs of other homes that have died are found later: %s", error)
        return []
    # Of this home the kernel knows better: it may have slept, with its database.
    alive = run_locks(settings.home) if found else {}
    lost = [lease for lease in found if not alive.get(lease.run_id, False)]
    return [lease.run_id for lease in lost if await _clear_up_lost(settings, custody, lease)]


async def _clear_up_lost(settings: Settings, custody: Custody, lease: Lease) -> bool:
    """Return whether the run was dead, and is cleared up now."""
    try:
        async with single_connection(settings.required_database_url) as session, given_up(session, lease) as is_dead:
            if is_dead:
                await _clear_up(custody, lease.run_id)
            return is_dead
    except _PROBLEMS as error:
        _log_problem(lease.run_id, error)
        return False


async def _clear_up(custody: Custody, run_id: UUID) -> None:
    await cancel_remote_stages(custody, run_id)
    rows = await custody.recover_run(run_id)
    await _set_crashed(run_id)
    get_run_logger().info("cleared up after run %s, whose process died: %d unfinished files", run_id, rows)


def _log_problem(run_id: UUID, error: Exception) -> None:
    # Its unfinished rows stay invisible; the next run tries again.
    get_run_logger().error("could not clear up after run %s, whose process died: %s", run_id, error)


async def _set_crashed(run_id: UUID) -> None:
    """Set a run to Crashed whose process was killed: otherwise Prefect would show it as Running for ever."""
    async with get_client() as client:
        try:
            run = await client.read_flow_run(run_id)
        except ObjectNotFound:
            return  # it ran with another Prefect database
        if run.deployment_id is not None and run.work_pool_name is None:
            return  # its flow server queues it again, this one or the next
        if run.state is not None and run.state.type in {StateType.RUNNING, StateType.PENDING, StateType.CANCELLING}:
            message = "The process that ran this was killed. Run the same again: it continues from what is stored."
            await client.set_flow_run_state(run_id, Crashed(message=message), force=True)
