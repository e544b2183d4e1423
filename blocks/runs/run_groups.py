"""Several runs of Prefect by their ids: read them, or cancel them."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun, StateType
from prefect.exceptions import PrefectException
from prefect.states import Cancelling

from blocks.runs.prefect_lists import slices as pages_of


async def read_runs(client: PrefectClient, run_ids: Collection[UUID]) -> dict[UUID, FlowRun]:
    """Return those of the runs that Prefect has. Raises what *client* raises."""
    found: dict[UUID, FlowRun] = {}
    for some in pages_of(list(run_ids)):
        runs = await client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=some)))
        found |= {run.id: run for run in runs}
    return found


async def cancel_all(client: PrefectClient, run_ids: Collection[UUID]) -> None:
    """Cancel the runs that have no outcome yet. Each as far as Prefect answers."""
    with suppress(httpx.HTTPError, PrefectException):
        for run in (await read_runs(client, run_ids)).values():
            if run.state_type not in TERMINAL_STATES and run.state_type is not StateType.CANCELLING:
                with suppress(httpx.HTTPError, PrefectException):
                    await client.set_flow_run_state(run.id, Cancelling(message="The run that it is a part of ended."))
