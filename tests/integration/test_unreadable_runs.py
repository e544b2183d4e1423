"""Runs, states, tasks, artifacts and blocks that Prefect cannot list: one is left out, and all others are read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from uuid import UUID, uuid4

import psycopg
import pytest
from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, PREFECT_CLIENT_RETRY_EXTRA_CODES, temporary_settings
from prefect.states import Completed, Running

from blocks.catalog import Catalog
from blocks.catalog.skipped_records import skipped_counts
from blocks.errors import RunUnreadable
from blocks.runs.prefect_lists import UnreadableRuns
from blocks.runs.progress import read_progress
from blocks.runs.run_artifacts import progress_key
from blocks.settings import Settings
from flows.events.reconciler import LAST_10_SECONDS, Reconciler
from flows.events.record_run_events import RunEventRecorder
from tests.gateway import running_gateway
from tests.integration.conftest import Workspace
from tests.integration.poison import NESTED, NOT_A_NUMBER, RUN_POISONS, write, write_run
from tests.integration.prefect_runs import begin_now, new_run, put, stand_in
from tests.shared_servers import PREFECT_ALONE
from waybill.services.recent_events import read_recent_events
from waybill.services.run_status import read_history, read_status
from waybill.stack.unreadable_runs import fail_unreadable_runs

pytestmark = PREFECT_ALONE


@pytest.fixture
async def client(workspace: Workspace) -> AsyncIterator[PrefectClient]:
    """A client that repeats no failed request by itself, as the dispatcher and the gateway have it."""
    begin_now(workspace)
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
        async with get_client() as opened:
            yield opened


@pytest.fixture
async def catalog(workspace: Workspace) -> AsyncIterator[Catalog]:
    async with Catalog.open(workspace.database_url) as opened:
        yield opened


@pytest.fixture
async def flow_id(client: PrefectClient) -> AsyncIterator[UUID]:
    """The flow that events are recorded for. Every poisoned run goes with the test, for the sake of the next one."""
    found = await client.create_flow(stand_in)
    poisoned.clear()
    yield found
    for run_id in poisoned:
        await client.delete_flow_run(run_id)


poisoned: list[UUID] = []


async def poisoned_run(client: PrefectClient, flow_id: UUID, poison: str, *, state: str = "RUNNING") -> UUID:
    poisoned.append(await write_run(client, flow_id, poison, state=state))
    return poisoned[-1]


def skipped(workspace: Workspace) -> set[tuple[str, str]]:
    with psycopg.connect(workspace.database_url) as connection:
        return set(connection.execute("select kind, id from skipped_records").fetchall())


def told(workspace: Workspace, run_id: UUID) -> list[str]:
    with psycopg.connect(workspace.database_url) as connection:
        statement = "select event_type from webhook_events where task_id = %s order by occurred_at"
        return [event_type for (event_type,) in connection.execute(statement, [run_id])]


async def test_runs_that_cannot_be_listed_silence_no_other_and_the_watermark_moves_on(
    workspace: Workspace, client: PrefectClient, catalog: Catalog, settings: Settings, flow_id: UUID
) -> None:
    reconciler = Reconciler(client, catalog, RunEventRecorder(settings))
    healthy = [await new_run(client, Running(), Completed()), await new_run(client, Running())]
    bad = {str(await poisoned_run(client, flow_id, poison)) for poison in RUN_POISONS}
    ended = await poisoned_run(client, flow_id, "nested parameters", state="COMPLETED")
    healthy.append(await new_run(client, Running(), Completed()))
    await reconciler.reconcile_once(LAST_10_SECONDS)
    assert [len(told(workspace, run.id)) for run in healthy] == [2, 1, 2]
    assert skipped(workspace) == {("run", run) for run in bad | {str(ended)}}
    async with catalog.connection() as connection:
        assert await skipped_counts(connection) == {"run": len(bad) + 1}
    last = await new_run(client, Running(), Completed())
    await reconciler.reconcile_once(LAST_10_SECONDS)
    assert told(workspace, last.id) == ["task_started", "task_completed"]
    with psycopg.connect(workspace.database_url) as connection:
        (watermark,) = connection.execute("select read_until from webhook_history_read").fetchone() or (None,)
    assert watermark == last.end_time
    shown = await read_recent_events(catalog, client, 1.0)
    assert {str(run.id) for run in [*healthy, last]} <= {event["task_id"] for event in shown["events"]}
    # One that is gone is no longer reported.
    await client.delete_flow_run(poisoned.pop())
    reconciler.unreadable._tried_at -= 3600  # pyright: ignore[reportPrivateUsage]
    await reconciler.reconcile_once(LAST_10_SECONDS)
    assert skipped(workspace) == {("run", run) for run in bad}


async def test_states_tasks_and_artifacts_that_cannot_be_listed_hide_nothing_else_of_their_run(
    workspace: Workspace, client: PrefectClient, catalog: Catalog, settings: Settings, flow_id: UUID
) -> None:
    run = await new_run(client, Running())
    poisoned.append(run.id)
    body = {"state": {"type": "RUNNING", "data": {"x": NESTED}}, "force": True}
    await write(client, f"/flow_runs/{run.id}/set_state", body)
    await put(client, run, Running(name="Healthy"))
    for number, label in enumerate(("fine", NOT_A_NUMBER, "fine")):
        task = {"flow_run_id": str(run.id), "task_key": "t", "dynamic_key": str(number), "labels": {"x": label}}
        state = {"type": "RUNNING"}
        await write(client, "/task_runs/", task | {"name": f"t{number}", "state": state})
    for data in (NESTED, 40):
        artifact = {"key": progress_key(run.id), "type": "progress", "flow_run_id": str(run.id), "data": data}
        await write(client, "/artifacts/", artifact)
    assert await read_progress(client, run.id) == 0.4
    status = await read_status(client, run.id, catalogue="00c0ffee")
    assert (status["status"], status["progress"]) == ("running", 0.4)
    assert status["stage"] in ("t0", "t2")
    history = await read_history(client, run.id, catalogue="00c0ffee")
    assert {entry["metadata"].get("stage", entry["metadata"]["state_name"]) for entry in history["history"]} >= {
        "Healthy"
    }
    await Reconciler(client, catalog, RunEventRecorder(settings)).reconcile_once(LAST_10_SECONDS)
    assert told(workspace, run.id) == ["task_started"]
    assert skipped(workspace) == {("run", str(run.id))}


async def test_a_gateway_looks_for_runs_that_cannot_be_listed_once_and_not_at_each_request(
    workspace: Workspace, client: PrefectClient, prefect_server: str, flow_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not again after a minute, which a busy machine may take for the first time.
    monkeypatch.setattr("blocks.runs.prefect_lists._TRY_AGAIN_SECONDS", 3600.0)
    healthy = await new_run(client, Running())
    bad = {await poisoned_run(client, flow_id, poison) for poison in RUN_POISONS}
    async with AsyncExitStack() as until_done:
        # As `waybill up` sets it for its processes.
        with temporary_settings({PREFECT_CLIENT_RETRY_EXTRA_CODES: {500, 504}}):
            opening = running_gateway(workspace.database_url, workspace.home, prefect_api=prefect_server)
            gateway = await until_done.enter_async_context(opening)
        gateway.client.headers.update(await gateway.headers("read"))
        for _ in range(2):
            # Two at the same time find the same ones.
            requests = [gateway.client.get("/api/v1/status/events/recent?hours=1") for _ in range(2)]
            for answer in await asyncio.gather(*requests):
                assert answer.status_code == 200, answer.text
                assert str(healthy.id) in {event["task_id"] for event in answer.json()["events"]}
            assert gateway.resources.unreadable_runs.reasons.keys() >= bad
            monkeypatch.setattr(UnreadableRuns, "_find", None)


async def test_the_status_of_a_run_that_cannot_be_read_names_it(client: PrefectClient, flow_id: UUID) -> None:
    run_id = await poisoned_run(client, flow_id, "nested parameters")
    for read in (read_status, read_history):
        with pytest.raises(RunUnreadable, match=str(run_id)):
            await read(client, run_id, catalogue="00c0ffee")


async def test_a_due_run_that_cannot_be_read_fails_and_the_others_are_started(client: PrefectClient) -> None:
    flow_id = await client.create_flow(stand_in)
    deployment_id = await client.create_deployment(flow_id, name=uuid4().hex)
    due = await client.create_flow_run_from_deployment(deployment_id)
    assert await fail_unreadable_runs(client, [deployment_id]) == []
    failed: list[UUID] = []
    try:
        await write(client, f"/deployments/{deployment_id}/create_flow_run", {"labels": {"x": NOT_A_NUMBER}})
        failed = await fail_unreadable_runs(client, [deployment_id])
        assert len(failed) == 1
        found = await client.get_scheduled_flow_runs_for_deployments([deployment_id])
        assert [run.id for run in found] == [due.id]
    finally:
        await client.delete_deployment(deployment_id)
        for run_id in failed:
            await client.delete_flow_run(run_id)
