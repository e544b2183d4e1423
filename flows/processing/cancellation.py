"""Notice that a run was cancelled, where nothing else would: in a run of a command, and in a slice of a run.

The processes of deployed runs are ended by Prefect's runner or worker. A command such as `waybill process` has neither:
its run would go on to its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import partial
from uuid import UUID

import httpx
from prefect import get_client
from prefect.client.schemas.objects import StateType
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectException

from blocks.errors import RunCancelled
from blocks.runtime.background_tasks import ended_by

# Each look is a request of some milliseconds. A person who cancels waits for the end of it.
LOOK_SECONDS = 2.0
_CANCELLED = frozenset({StateType.CANCELLING, StateType.CANCELLED})


@asynccontextmanager
async def noticing_cancellation(run_id: UUID) -> AsyncGenerator[None]:
    """End the block with `RunCancelled` within seconds after the run was cancelled in Prefect, unless it is deployed.

    A server that does not answer is asked again: what it says then counts.
    """
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if run is None or run.deployment_id is not None:
        yield
        return
    async with ended_by(partial(_until_cancelled, run_id)):
        yield


@asynccontextmanager
async def noticing_cancellation_of(parent: UUID) -> AsyncGenerator[None]:
    """End the block with `RunCancelled` within seconds after *parent*, of which this run is a slice, was cancelled.

    The process of the parent cancels its slices, and so does its runner; both may be gone.
    """
    async with ended_by(partial(_until_cancelled, parent)):
        yield


async def _until_cancelled(run_id: UUID) -> RunCancelled:
    async with get_client() as client:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            with suppress(httpx.HTTPError, PrefectException, OSError):
                if (await client.read_flow_run(run_id)).state_type in _CANCELLED:
                    return RunCancelled("the run was cancelled; what it has stored stays, and a later run reuses it")
