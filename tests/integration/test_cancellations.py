"""Runs that are being cancelled and have no process that could confirm it, on a real Prefect server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from prefect import flow, get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.states import Cancelling, Completed, Pending, Running

from tests.shared_servers import PREFECT_ALONE
from waybill.stack.cancellations import MissedCancellations

# It adds a work pool.
pytestmark = PREFECT_ALONE


@flow(name="cancelled-flow")
async def cancelled_flow() -> None: ...


@pytest.fixture
async def client(prefect_server: str) -> AsyncIterator[PrefectClient]:
    del prefect_server
    async with get_client() as opened:
        yield opened


async def deployment(client: PrefectClient, name: str, work_pool: str | None = None) -> UUID:
    flow_id = await client.create_flow(cancelled_flow)
    return await client.create_deployment(flow_id, name=name, work_pool_name=work_pool)


async def cancelling_run(client: PrefectClient, deployment_id: UUID, *, started: bool = False) -> UUID:
    run = await client.create_flow_run_from_deployment(deployment_id)
    for state in [Pending(), *([Running()] if started else []), Cancelling()]:
        await client.set_flow_run_state(run.id, state)
    return run.id


async def state(client: PrefectClient, run_id: UUID) -> tuple[str, str]:
    found = (await client.read_flow_run(run_id)).state
    assert found is not None
    return found.name or "", found.message or ""


async def test_a_run_that_never_got_a_process_is_cancelled(client: PrefectClient) -> None:
    ours = await deployment(client, "ours")
    never_started = await cancelling_run(client, ours)
    missed = MissedCancellations(client, [ours])
    assert await missed.finish(100.0) == []
    assert await missed.finish(105.9) == []
    assert await state(client, never_started) == ("Cancelling", "")
    assert await missed.finish(106.0) == [never_started]
    assert await state(client, never_started) == ("Cancelled", "It was cancelled before its process had started.")
    assert await missed.finish(200.0) == []


async def test_one_whose_process_is_gone_is_cancelled_after_the_runner_had_a_minute(client: PrefectClient) -> None:
    ours = await deployment(client, "ours")
    started = await cancelling_run(client, ours, started=True)
    missed = MissedCancellations(client, [ours])
    assert [await missed.finish(at) for at in (100.0, 106.0, 159.9)] == [[], [], []]
    assert await missed.finish(160.0) == [started]
    assert await state(client, started) == ("Cancelled", "The process that ran it ended before it could confirm.")


async def test_while_there_is_a_process_its_runner_is_waited_for(client: PrefectClient) -> None:
    ours = await deployment(client, "ours")
    run = await cancelling_run(client, ours)
    missed = MissedCancellations(client, [ours])
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "import sys; print('started', flush=True); sys.stdin.read()",
        env={"PREFECT__FLOW_RUN_ID": str(run)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert child.stdin is not None and child.stdout is not None
    await child.stdout.readline()
    assert [await missed.finish(at) for at in (100.0, 1000.0)] == [[], []]
    child.stdin.close()
    await child.wait()
    # The time begins when there is no process.
    assert [await missed.finish(at) for at in (1001.0, 1006.0)] == [[], []]
    assert await missed.finish(1007.0) == [run]


async def test_other_runs_are_left_alone(client: PrefectClient) -> None:
    await client.create_work_pool(WorkPoolCreate(name="elsewhere", type="process"))
    ours, theirs = await deployment(client, "ours"), await deployment(client, "theirs")
    in_pool = await deployment(client, "in-pool", "elsewhere")
    running = (await client.create_flow_run_from_deployment(ours)).id
    await client.set_flow_run_state(running, Running())
    ended = await cancelling_run(client, ours, started=True)
    others = [await cancelling_run(client, theirs), await cancelling_run(client, in_pool)]
    missed = MissedCancellations(client, [ours, in_pool])
    assert await missed.finish(100.0) == []
    await client.set_flow_run_state(ended, Completed(), force=True)
    assert await missed.finish(1000.0) == []
    assert await missed.finish(2000.0) == []
    assert [(await state(client, run))[0] for run in [running, ended, *others]] == [
        "Running", "Completed", "Cancelling", "Cancelling",
    ]  # fmt: skip
