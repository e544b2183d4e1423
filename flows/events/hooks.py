"""Prefect state-change hooks: each records the run's new event in the outbox.

A hook runs in the flow's process, or in the runner's or worker's when that one is dead, and delays it. So it takes two
seconds at most, writes a row, sends nothing, and never fails; the reconciler records what a hook could not. It reads
the run from the API instead of using its arguments: those are some steps behind (the run's name and attempts, and a
cancelled run is still "cancelling"), and their states do not always have the ids that the server has.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any
from uuid import UUID

import httpx
from prefect import Flow, State, get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import PrefectException
from prefect.logging.loggers import flow_run_logger
from prefect.states import Cancelled

from blocks.errors import WaybillError
from blocks.postgres import single_connection
from blocks.runs.run_groups import cancel_all
from blocks.runs.slices import runs_under_way
from blocks.runtime.background_tasks import running
from blocks.settings import current_settings
from blocks.webhooks.outbox import history
from flows.events.record_run_events import RunEventRecorder, read_history
from tasks.remote.outputs import cancel_assignments

# A few milliseconds are usual. A database outage must not delay a run, and the reconciler makes up for a missed hook.
HOOK_SECONDS = 2.0
# The runner sets "cancelled" right after the hook, and a worker some seconds later.
_FOLLOW_SECONDS = 10.0
_FOLLOW_PAUSE_SECONDS = 0.25

_Logger = logging.Logger | logging.LoggerAdapter[Any]

# References: an event loop keeps only weak ones to its tasks.
_following: set[asyncio.Task[None]] = set()


async def record_state(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Record the event of the run's new state: an attempt has begun, or the run has completed, failed or crashed."""
    await _try_to_record(flow_run_logger(flow_run, flow), flow_run.id, state.name or state.type.value)


async def record_cancellation(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Record that the run is cancelled once it is: Prefect calls this hook before its server sets the state.

    A run of a command has nothing that would set it. It ended by itself while it was being cancelled.
    """
    if flow_run.deployment_id is None:
        await _try(flow_run_logger(flow_run, flow), _confirm(flow_run.id), "Cancelled")
        return
    following = asyncio.create_task(_follow(flow_run_logger(flow_run, flow), flow_run.id))
    _following.add(following)
    following.add_done_callback(_following.discard)


async def cancel_remote_stages(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Take back what a cancelled run has given to remote workers, or to runs of slices: its process may be gone."""
    del state
    log = flow_run_logger(flow_run, flow)
    try:
        if not await bounded(_cancel_remote_stages(flow_run.id), HOOK_SECONDS):
            log.warning("remote workers may go on for a while: there was no answer in %.0f s", HOOK_SECONDS)
    except (WaybillError, OSError) as error:
        log.warning("remote workers may go on for a while: %s", error)


async def _cancel_remote_stages(run_id: UUID) -> None:
    async with single_connection(current_settings().required_database_url) as connection:
        async with connection.transaction():
            await cancel_assignments(connection, run_id, "the run was cancelled")
        slices = await runs_under_way(connection, run_id)
    if slices:
        async with get_client() as client:
            await cancel_all(client, slices)


async def _try_to_record(log: _Logger, run_id: UUID, what: str) -> None:
    await _try(log, _record_now(run_id), what)


async def _try(log: _Logger, recording: Coroutine[Any, Any, None], what: str) -> None:
    try:
        if not await bounded(recording, HOOK_SECONDS):
            log.warning("the event of %r is recorded later: there was no answer in %.0f s", what, HOOK_SECONDS)
    except (WaybillError, PrefectException, httpx.HTTPError, OSError) as error:
        log.warning("the event of %r is recorded later: %s", what, error)


async def _confirm(run_id: UUID) -> None:
    async with get_client() as client:
        await client.set_flow_run_state(
            run_id, Cancelled(message="The run ended by itself while it was being cancelled.")
        )
    await _record_now(run_id)


async def _record_now(run_id: UUID) -> None:
    settings = current_settings()
    async with single_connection(settings.required_database_url) as connection, get_client() as client:
        watermark = await history.read_watermark(connection)
        found = await read_history(client, await client.read_flow_run(run_id))
        async with connection.transaction():
            await RunEventRecorder(settings).record(connection, found, since=watermark.began_at)


async def _follow(log: _Logger, run_id: UUID) -> None:
    try:
        async with asyncio.timeout(_FOLLOW_SECONDS), get_client() as client:
            while True:
                if await _is_cancelled(client, run_id):
                    break
                await asyncio.sleep(_FOLLOW_PAUSE_SECONDS)
    except (PrefectException, httpx.HTTPError, OSError) as error:
        log.warning("the event of the cancellation is recorded later: %s", str(error) or "it is not set yet")
    else:
        await _try_to_record(log, run_id, "Cancelled")


async def _is_cancelled(client: PrefectClient, run_id: UUID) -> bool:
    state = (await client.read_flow_run(run_id)).state
    return state is not None and state.is_cancelled()


async def bounded(work: Coroutine[Any, Any, None], seconds: float) -> bool:
    """Await *work* for *seconds* at most, whatever it waits for. Return whether it ended; raise what it raised."""
    # A cancelled query asks its server to stop and waits for that; `running` cancels it again, which ends the wait.
    async with running(work) as tasks:
        done, _ = await asyncio.wait(tasks, timeout=seconds)
        for task in done:
            task.result()
    return bool(done)
