"""Runs that are being cancelled and have no process that could confirm it, on a real Prefect server."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import pytest
from prefect import flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelling, Completed, Pending, Running

from tests.shared_servers import PREFECT_ALONE
from waybill.stack import cancellations
from waybill.stack.cancellations import MissedCancellations, finish_cancellations

# It adds a work pool.
pytestmark = PREFECT_ALONE


class Clock:
    """Seconds that a test sets."""

    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@flow(name="cancelled-flow")
async def cancelled_flow() -> None: ...


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def ours(client: PrefectClient) -> UUID:
    return await deployment(client)


@pytest.fixture
def missed(ours: UUID, clock: Clock) -> MissedCancellations:
    return MissedCancellations([ours], clock=clock)


async def deployment(client: PrefectClient, work_pool: str | None = None) -> UUID:
    flow_id = await client.create_flow(cancelled_flow)
    return await client.create_deployment(flow_id, name=uuid4().hex, work_pool_name=work_pool)


async def cancelling_run(client: PrefectClient, deployment_id: UUID, *, started: bool = False) -> UUID:
    run = await client.create_flow_run_from_deployment(deployment_id)
    for state in [Pending(), *([Running()] if started else []), Cancelling()]:
        await client.set_flow_run_state(run.id, state)
    return run.id


async def state(client: PrefectClient, run_id: UUID) -> tuple[str, str]:
    found = (await client.read_flow_run(run_id)).state
    assert found is not None
    return found.name or "", found.message or ""


@asynccontextmanager
async def process_of(run_id: UUID) -> AsyncIterator[None]:
    """A child of this process that says it runs this run."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "import sys; print('started', flush=True); sys.stdin.read()",
        env={**os.environ, "PREFECT__FLOW_RUN_ID": str(run_id)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert child.stdin is not None and child.stdout is not None
    await child.stdout.readline()
    yield
    child.stdin.close()
    await child.wait()


async def finish_at(
    client: PrefectClient, missed: MissedCancellations, clock: Clock, *moments: float
) -> list[list[UUID]]:
    """What was finished at each of these moments."""
    outcomes: list[list[UUID]] = []
    for clock.seconds in moments:
        outcomes.append(await missed.finish(client))
    return outcomes


async def test_a_run_that_never_got_a_process_is_cancelled(
    client: PrefectClient, ours: UUID, missed: MissedCancellations, clock: Clock
) -> None:
    never_started = await cancelling_run(client, ours)
    assert await finish_at(client, missed, clock, 100, 105.9) == [[], []]
    assert await state(client, never_started) == ("Cancelling", "")
    assert await finish_at(client, missed, clock, 106, 200) == [[never_started], []]
    assert await state(client, never_started) == ("Cancelled", "There was no process that could confirm it.")


async def test_one_whose_process_is_gone_is_cancelled_when_the_runner_has_had_two_minutes(
    client: PrefectClient, ours: UUID, missed: MissedCancellations, clock: Clock
) -> None:
    started = await cancelling_run(client, ours, started=True)
    assert await finish_at(client, missed, clock, 100, 106, 219.9, 220) == [[], [], [], [started]]
    assert (await state(client, started))[0] == "Cancelled"


async def test_while_there_is_a_process_its_runner_is_waited_for(
    client: PrefectClient, ours: UUID, missed: MissedCancellations, clock: Clock
) -> None:
    run = await cancelling_run(client, ours)
    # The time begins anew when there is no process any more.
    assert await finish_at(client, missed, clock, 100, 105) == [[], []]
    async with process_of(run):
        assert await finish_at(client, missed, clock, 110, 1000) == [[], []]
    assert await finish_at(client, missed, clock, 1001, 1006, 1007) == [[], [], [run]]


async def test_other_runs_are_left_alone(client: PrefectClient, ours: UUID, clock: Clock) -> None:
    pool = uuid4().hex
    await client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
    in_pool = await deployment(client, pool)
    running = (await client.create_flow_run_from_deployment(ours)).id
    await client.set_flow_run_state(running, Running())
    ended = await cancelling_run(client, ours, started=True)
    others = [await cancelling_run(client, await deployment(client)), await cancelling_run(client, in_pool)]
    missed = MissedCancellations([ours, in_pool], clock=clock)
    assert await finish_at(client, missed, clock, 100) == [[]]
    await client.set_flow_run_state(ended, Completed(), force=True)
    assert await finish_at(client, missed, clock, 1000, 2000) == [[], []]
    assert [(await state(client, run))[0] for run in [running, ended, *others]] == [
        "Running", "Completed", "Cancelling", "Cancelling",
    ]  # fmt: skip
    await client.delete_work_pool(pool)


async def test_one_that_ends_or_cannot_be_set_does_not_hold_up_the_others(
    client: PrefectClient, ours: UUID, missed: MissedCancellations, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = {await cancelling_run(client, ours) for _ in range(3)}
    fails, ends, _ = runs
    read = client.read_flow_run

    async def read_flow_run(run_id: UUID) -> FlowRun:
        if run_id == fails:
            raise OSError("no answer")
        if run_id == ends:
            await client.set_flow_run_state(ends, Completed(), force=True)
        return await read(run_id)

    await missed.finish(client)
    clock.seconds += 6
    with monkeypatch.context() as patched, pytest.raises(OSError, match="no answer"):
        patched.setattr(client, "read_flow_run", read_flow_run)
        await missed.finish(client)
    assert {run: (await state(client, run))[0] for run in runs} == dict.fromkeys(runs, "Cancelled") | {
        fails: "Cancelling",
        ends: "Completed",
    }
    assert await missed.finish(client) == [fails]


async def test_an_outage_is_waited_for_and_logged_once(
    prefect_server: str, ours: UUID, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    del prefect_server
    rounds: list[Exception | None] = [None, OSError("no answer"), OSError("no answer"), TimeoutError(), None, None]
    done = asyncio.Event()

    async def finish(*_: object) -> list[UUID]:
        if not rounds:
            done.set()
        elif (error := rounds.pop(0)) is not None:
            raise error
        return []

    monkeypatch.setattr(MissedCancellations, "finish", finish)
    monkeypatch.setattr(cancellations, "_EVERY_SECONDS", 0)
    finishing = asyncio.create_task(finish_cancellations([ours]))
    await done.wait()
    finishing.cancel()
    await asyncio.wait([finishing])
    assert [r.getMessage() for r in caplog.records if r.name == "waybill.stack"] == [
        "cancellations wait: no answer",
        "cancellations are finished again",
    ]
