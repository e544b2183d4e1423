"""Runs on the tests' Prefect server: real ones, and ones whose states a test sets itself."""

from __future__ import annotations

from collections.abc import Awaitable
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import psycopg
from prefect import flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Pending

from flows.process import process_documents
from tests.integration.conftest import Workspace

# The hostile stage alone reads the source itself and takes a millisecond.
LIGHT = [6]


@flow(name="process-documents")
async def stand_in(sources: list[str], webhook_url: str | None = None) -> None:
    """Gives runs of the right flow name whose states a test sets itself."""


async def new_run(client: PrefectClient, *states: State[Any], **parameters: Any) -> FlowRun:
    """A run that has been through *states*."""
    run = await client.create_flow_run(stand_in, parameters={"sources": ["a.pdf"], **parameters}, state=Pending())
    await put(client, run, *states)
    return await client.read_flow_run(run.id)


async def put(client: PrefectClient, run: FlowRun, *states: State[Any]) -> None:
    for state in states:
        await client.set_flow_run_state(run.id, state, force=True)


async def process(*sources: Path | str, **more: Any) -> UUID:
    run = process_documents(sources=[str(source) for source in sources], stages=LIGHT, return_state=True, **more)
    state = await cast("Awaitable[State[Any]]", run)
    assert state.state_details.flow_run_id is not None
    return state.state_details.flow_run_id


async def all_runs(client: PrefectClient) -> list[FlowRun]:
    """Every run on the server, page by page; new ones of other tests may move the pages."""
    found: dict[UUID, FlowRun] = {}
    offset = 0
    while page := await client.read_flow_runs(limit=200, offset=offset, sort=FlowRunSort.ID_DESC):
        found |= {run.id: run for run in page}
        offset += len(page)
    return list(found.values())


def begin_now(workspace: Workspace) -> None:
    with psycopg.connect(workspace.database_url) as connection:
        connection.execute(
            "update webhook_history_read set began_at = clock_timestamp(), read_until = clock_timestamp()"
        )
