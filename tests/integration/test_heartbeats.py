"""Runs of which nothing is heard any more, on a real Prefect server and its automations."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest
from prefect import flow, get_client
from prefect.client.orchestration import PrefectClient
from prefect.events import emit_event
from prefect.states import AwaitingRetry, Completed, Pending, Running

from tests.shared_servers import PREFECT_ALONE
from waybill.stack.automations import AUTOMATION, LOST, stop_watching, watch_heartbeats

# A server that other tests keep busy learns of heartbeats too late.
pytestmark = PREFECT_ALONE

# The shortest that Prefect takes.
WITHIN = timedelta(seconds=10)


@flow(name="watched-flow")
async def watched() -> None: ...


@flow(name="somebody-elses-flow")
async def not_watched() -> None: ...


# The first time, unless the machine is held up for as long as a run may be silent.
TRIES = 3


@pytest.fixture
async def client(prefect_server: str) -> AsyncIterator[PrefectClient]:
    del prefect_server
    async with get_client() as opened:
        yield opened


async def begin(client: PrefectClient, which: object = watched) -> UUID:
    run = await client.create_flow_run(which, state=Pending())  # pyright: ignore[reportArgumentType]
    await client.set_flow_run_state(run.id, Running())
    return run.id


def beat(run_id: UUID, flow_name: str = "watched-flow") -> None:
    """As Prefect's engine does it."""
    related = {
        "prefect.resource.id": "prefect.flow.x",
        "prefect.resource.role": "flow",
        "prefect.resource.name": flow_name,
    }
    emit_event(
        event="prefect.flow-run.heartbeat",
        resource={"prefect.resource.id": f"prefect.flow-run.{run_id}"},
        related=[related],
    )


async def state(client: PrefectClient, run_id: UUID) -> str:
    found = (await client.read_flow_run(run_id)).state
    assert found is not None
    return found.name or ""


async def test_runs_that_fall_silent_are_lost_and_those_that_are_heard_of_or_resumed_are_not(
    client: PrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("waybill.stack.automations._FAREWELL_SECONDS", 30.0)
    # Everything below comes after a clean stop and another start.
    await watch_heartbeats(client, ["watched-flow"], WITHIN)
    await stop_watching(client)
    await watch_heartbeats(client, ["watched-flow"], WITHIN)
    # An old one, which goes silent before the automation is brought up to date: then its silence does not count.
    resumed = await begin(client)
    beat(resumed)
    await asyncio.sleep(1)
    await watch_heartbeats(client, ["watched-flow"], WITHIN)
    await client.set_flow_run_state(resumed, AwaitingRetry(), force=True)
    for _ in range(TRIES):
        silent, never_heard, ended, alive = [await begin(client) for _ in range(4)]
        stranger = await begin(client, not_watched)
        beat(silent)
        beat(ended)
        beat(stranger, "somebody-elses-flow")
        await client.set_flow_run_state(ended, Completed())
        began = time.monotonic()
        while (await state(client, silent), await state(client, never_heard)) != (LOST, LOST):
            assert time.monotonic() - began < 90
            beat(alive)
            await asyncio.sleep(0.5)
        print(f"lost after {time.monotonic() - began:.1f} s")
        if await state(client, alive) == "Running":
            break
    assert await state(client, alive) == "Running"
    assert await state(client, ended) == "Completed"
    assert await state(client, resumed) == "AwaitingRetry"
    assert await state(client, stranger) == "Running"
    await stop_watching(client)
    assert [one.enabled for one in await client.read_automations_by_name(AUTOMATION)] == [False]
    await watch_heartbeats(client, ["watched-flow"], WITHIN)
    assert [one.enabled for one in await client.read_automations_by_name(AUTOMATION)] == [True]
    await watch_heartbeats(client, ["watched-flow"], None)
    assert [one.enabled for one in await client.read_automations_by_name(AUTOMATION)] == [False]
