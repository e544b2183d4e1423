"""Runs of which nothing is heard any more, on a real Prefect server and its automations."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from datetime import timedelta
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import PrefectClient
from prefect.events import DoNothing, EventTrigger, emit_event
from prefect.events.related import tags_as_related_resources
from prefect.events.schemas.automations import AutomationCore, Posture
from prefect.states import AwaitingRetry, Completed, Pending, Running

from blocks.runs.ownership import Owner
from tests.shared_servers import PREFECT_ALONE
from tests.stack_driver import PATIENCE_SECONDS, PREFECT_AUTH, plain_environment
from waybill.stack.automations import AUTOMATION, LOST, automation_name, stop_watching, watch_heartbeats

# A server that other tests keep busy learns of heartbeats too late.
pytestmark = PREFECT_ALONE

# The shortest that Prefect takes.
WITHIN = timedelta(seconds=10)
OURS = Owner(catalogue="00c0ffee", home="0000aaaa")
OF_ANOTHER_HOME = Owner(catalogue="00c0ffee", home="0000bbbb")


@flow(name="watched-flow")
async def watched() -> None: ...


@flow(name="somebody-elses-flow")
async def not_watched() -> None: ...


# The first time, unless the machine is held up for as long as a run may be silent.
TRIES = 3


async def begin(client: PrefectClient, which: object = watched, owner: Owner = OURS) -> UUID:
    run = await client.create_flow_run(which, tags=[owner.tag], state=Pending())  # pyright: ignore[reportArgumentType]
    await client.set_flow_run_state(run.id, Running())
    return run.id


def beat(run_id: UUID, flow_name: str = "watched-flow", owner: Owner = OURS) -> None:
    """As Prefect's engine does it."""
    flow_of_run = {
        "prefect.resource.id": "prefect.flow.x",
        "prefect.resource.role": "flow",
        "prefect.resource.name": flow_name,
    }
    related = [flow_of_run, *tags_as_related_resources([owner.tag])]
    emit_event(
        event="prefect.flow-run.heartbeat",
        resource={"prefect.resource.id": f"prefect.flow-run.{run_id}"},
        related=related,
    )


_RUN = """
import asyncio
from prefect import flow, tags
from prefect.runtime import flow_run

@flow(name="watched-flow")
async def watched():
    print(flow_run.id, flush=True)
    await asyncio.sleep(600)

with tags(TAG):
    asyncio.run(watched())
"""


def run_and_kill(api: str) -> UUID:
    """Begin a run of this home in a process that is killed as soon as it runs."""
    reached = {"PREFECT_API_URL": api, "PREFECT_API_AUTH_STRING": PREFECT_AUTH}
    with subprocess.Popen(
        [sys.executable, "-c", _RUN.replace("TAG", repr(OURS.tag))],
        env={**plain_environment(), **reached, "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        run_id = UUID(process.stdout.readline().decode().strip())
        process.kill()
    return run_id


async def state(client: PrefectClient, run_id: UUID) -> str:
    found = (await client.read_flow_run(run_id)).state
    assert found is not None
    return found.name or ""


async def test_runs_that_fall_silent_are_lost_and_those_that_are_heard_of_or_resumed_are_not(
    client: PrefectClient, prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("waybill.stack.automations._FAREWELL_SECONDS", 30.0)
    # That of an earlier version, for all homes, goes; the one of another home stays on when this one stops.
    never = EventTrigger(expect={"never"}, posture=Posture.Reactive, threshold=1)
    former = AutomationCore(name=AUTOMATION, trigger=never, actions=[DoNothing()])
    await client.create_automation(former)
    await watch_heartbeats(client, ["watched-flow"], timedelta(hours=1), OF_ANOTHER_HOME)
    # Everything below comes after a clean stop and another start.
    await watch_heartbeats(client, ["watched-flow"], WITHIN, OURS)
    await stop_watching(client, OURS)
    await watch_heartbeats(client, ["watched-flow"], WITHIN, OURS)
    # An old one, which goes silent before the automation is brought up to date: then its silence does not count.
    resumed = await begin(client)
    beat(resumed)
    await asyncio.sleep(1)
    await watch_heartbeats(client, ["watched-flow"], WITHIN, OURS)
    await client.set_flow_run_state(resumed, AwaitingRetry(), force=True)
    killed = await asyncio.to_thread(run_and_kill, prefect_server)
    for _ in range(TRIES):
        silent, never_heard, ended, alive = [await begin(client) for _ in range(4)]
        stranger = await begin(client, not_watched)
        of_another_home = await begin(client, owner=OF_ANOTHER_HOME)
        beat(of_another_home, owner=OF_ANOTHER_HOME)
        beat(silent)
        beat(ended)
        beat(stranger, "somebody-elses-flow")
        await client.set_flow_run_state(ended, Completed())
        began = time.monotonic()
        while {await state(client, run) for run in (silent, never_heard, killed)} != {LOST}:
            assert time.monotonic() - began < PATIENCE_SECONDS
            beat(alive)
            await asyncio.sleep(0.5)
        print(f"lost after {time.monotonic() - began:.1f} s")
        if await state(client, alive) == "Running":
            break
    assert await state(client, alive) == "Running"
    assert await state(client, ended) == "Completed"
    assert await state(client, resumed) == "AwaitingRetry"
    assert await state(client, stranger) == "Running"
    # That home has stopped on purpose, or its runs report less often.
    assert await state(client, of_another_home) == "Running"
    await stop_watching(client, OURS)
    assert [one.enabled for one in await client.read_automations_by_name(automation_name(OURS))] == [False]
    await watch_heartbeats(client, ["watched-flow"], WITHIN, OURS)
    assert [one.enabled for one in await client.read_automations_by_name(automation_name(OURS))] == [True]
    await watch_heartbeats(client, ["watched-flow"], None, OURS)
    assert [one.enabled for one in await client.read_automations_by_name(automation_name(OURS))] == [False]
    assert await client.read_automations_by_name(AUTOMATION) == []
    other = await client.read_automations_by_name(automation_name(OF_ANOTHER_HOME))
    assert [one.enabled for one in other] == [True]
    await client.delete_automation(other[0].id)
