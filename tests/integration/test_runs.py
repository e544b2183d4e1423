"""The list of runs, and cancelling them, over HTTP on a real Prefect server."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.states import AwaitingRetry, Cancelling, Completed, Failed, Pending, Running, Scheduled

from blocks.catalog import Catalog
from blocks.postgres import fetch_row
from blocks.runs.ownership import CATALOGUE_LABEL
from blocks.runs.run_lock import hold_run_lock
from blocks.runs.slices import add_slices, complete, note_started, read_slices
from blocks.settings import current_settings
from flows.events.reconciler import Reconciler
from flows.events.record_run_events import RunEventRecorder
from tests.gateway import Gateway, error_of, running_gateway
from tests.integration.conftest import Workspace
from tests.integration.prefect_runs import begin_now, new_run, process, put, stand_in
from tests.shared_servers import PREFECT_ALONE
from tests.stack_driver import PATIENCE_SECONDS, eventually

pytestmark = PREFECT_ALONE

RUNS = "/api/v1/runs"
_RUN_OF = "select max(run_id::text) as run_id from artifacts where filename = %(name)s and state = 'available'"


@pytest.fixture
async def gateway(workspace: Workspace, prefect_server: str) -> AsyncIterator[Gateway]:
    async with running_gateway(workspace.database_url, workspace.home, prefect_api=prefect_server) as running:
        running.client.headers.update(await running.headers())
        yield running


@pytest.fixture
async def catalog(workspace: Workspace) -> AsyncIterator[Catalog]:
    async with Catalog.open(workspace.database_url) as opened:
        yield opened


async def listed(gateway: Gateway, **parameters: Any) -> list[dict[str, Any]]:
    """All pages, of two runs each."""
    found: list[dict[str, Any]] = []
    after: dict[str, str] = {}
    while True:
        answer = await gateway.client.get(RUNS, params={"limit": 2, **parameters, **after})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += page["runs"]
        if page["next"] is None:
            return found
        assert len(page["runs"]) == 2
        after = {"after": page["next"]}


async def cancel(gateway: Gateway, run_id: UUID) -> httpx.Response:
    return await gateway.client.post(f"{RUNS}/{run_id}/cancel")


async def state_of(client: PrefectClient, run: FlowRun) -> str | None:
    return (await client.read_flow_run(run.id)).state_name


async def deployed_run(client: PrefectClient, **given: Any) -> FlowRun:
    flow_id = await client.create_flow(stand_in)
    deployment = await client.create_deployment(flow_id, name=uuid4().hex)
    return await client.create_flow_run_from_deployment(deployment, parameters={"sources": ["a.pdf"]}, **given)


async def test_runs_are_listed_with_what_they_are_about(
    workspace: Workspace, gateway: Gateway, client: PrefectClient
) -> None:
    run_id = await process(workspace.write("report.txt", "Some words."))
    newest = (await listed(gateway))[0]
    assert newest["task_id"] == str(run_id)
    assert (newest["name"], newest["status"], newest["progress"]) == ("report.txt", "completed", 1.0)
    assert newest["sources"] == [str(workspace.documents / "report.txt")]
    assert (newest["source_count"], newest["documents"], newest["deployed"]) == (1, 1, False)
    assert newest["message"] == "1 of 1 documents completed"
    moments = [datetime.fromisoformat(newest[name]) for name in ("created_at", "started_at", "ended_at")]
    assert moments == sorted(moments) and newest["seconds"] > 0


async def test_a_run_in_progress_has_the_seconds_that_it_has_worked(gateway: Gateway, client: PrefectClient) -> None:
    run = await new_run(client, Running())
    before = next(one for one in await listed(gateway) if one["task_id"] == str(run.id))["seconds"]
    await asyncio.sleep(0.01)
    after = next(one for one in await listed(gateway) if one["task_id"] == str(run.id))["seconds"]
    assert 0 < before < after


async def test_pages_have_each_run_once_newest_first_also_runs_of_the_same_moment(
    gateway: Gateway, client: PrefectClient
) -> None:
    moment = datetime.now(UTC) - timedelta(seconds=5)
    made = {str((await deployed_run(client, state=Scheduled(scheduled_time=moment))).id) for _ in range(5)}
    made |= {str((await new_run(client, Running(), Completed())).id) for _ in range(3)}
    found = await listed(gateway)
    ids = [run["task_id"] for run in found]
    assert len(set(ids)) == len(ids) and made <= set(ids)
    places = [(run["due_at"], UUID(run["task_id"])) for run in found]
    assert places == sorted(places, reverse=True)


async def test_runs_can_be_chosen_by_state_and_flow(gateway: Gateway, client: PrefectClient) -> None:
    running, failed = await new_run(client, Running()), await new_run(client, Failed(message="no such file"))
    later = await deployed_run(client, state=Scheduled(scheduled_time=datetime.now(UTC) + timedelta(hours=3)))

    async def ids(**parameters: Any) -> set[str]:
        return {run["task_id"] for run in await listed(gateway, **parameters)}

    # Those of a schedule exist long before they are due.
    assert str(later.id) not in await ids()
    assert str(later.id) in await ids(state="scheduled")
    some = await ids(state=["running", "failed"])
    assert {str(running.id), str(failed.id)} <= some
    assert {run["status"] for run in await listed(gateway, state=["running", "failed"])} == {"running", "failed"}
    assert str(running.id) not in await ids(flow="export-table")
    assert str(running.id) in await ids(flow="all")
    for wrong in ({"state": "dancing"}, {"flow": "no-such-flow"}, {"after": "x"}, {"limit": 0}):
        answer = await gateway.client.get(RUNS, params=wrong)
        assert answer.status_code == 422, wrong


async def test_runs_of_another_catalogue_are_neither_listed_nor_cancelled(
    gateway: Gateway, client: PrefectClient
) -> None:
    run = await new_run(client, Running())
    await client.update_flow_run_labels(run.id, {CATALOGUE_LABEL: "0badcafe"})
    assert str(run.id) not in {one["task_id"] for one in await listed(gateway)}
    answer = await cancel(gateway, run.id)
    assert (answer.status_code, error_of(answer)) == (404, "RunNotFound")
    assert await state_of(client, run) == "Running"


async def test_a_run_that_has_not_begun_is_cancelled_at_once(gateway: Gateway, client: PrefectClient) -> None:
    moment = datetime.now(UTC) + timedelta(hours=3)
    for run in (await deployed_run(client), await deployed_run(client, state=Scheduled(scheduled_time=moment))):
        answer = await cancel(gateway, run.id)
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
        assert await state_of(client, run) == "Cancelled"


async def test_a_run_under_way_is_cancelling_and_cancelling_it_again_changes_nothing(
    gateway: Gateway, client: PrefectClient
) -> None:
    run = await deployed_run(client)
    await put(client, run, Pending(), Running())
    answers = [(await cancel(gateway, run.id)).json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0]["status"] == "cancelling" and answers[0]["message"].startswith("Cancelled by key:")
    states = [state.name for state in await client.read_flow_run_states(run.id)]
    assert states.count("Cancelling") == 1
    assert [entry["run_id"] for entry in await gateway.audited("run_cancelled")] == [run.id, run.id]


async def test_one_that_waits_for_a_retry_is_cancelled(gateway: Gateway, client: PrefectClient) -> None:
    run = await deployed_run(client)
    await put(client, run, Pending(), Running(), AwaitingRetry(scheduled_time=datetime.now(UTC) + timedelta(hours=1)))
    assert (await cancel(gateway, run.id)).json()["status"] == "cancelled"


async def test_a_run_that_is_over_cannot_be_cancelled(gateway: Gateway, client: PrefectClient) -> None:
    run = await new_run(client, Running(), Completed())
    answer = await cancel(gateway, run.id)
    assert (answer.status_code, error_of(answer)) == (409, "RunEnded")
    assert "completed" in answer.json()["error"]["message"]
    answer = await cancel(gateway, uuid4())
    assert (answer.status_code, error_of(answer)) == (404, "RunNotFound")


async def test_a_run_of_a_command_that_was_killed_is_cancelled_at_once_and_a_living_one_is_waited_for(
    workspace: Workspace, gateway: Gateway, client: PrefectClient
) -> None:
    dead, alive = await new_run(client, Running()), await new_run(client, Running())
    with pytest.raises(KeyboardInterrupt), hold_run_lock(workspace.home, dead.id):
        raise KeyboardInterrupt  # its lock file stays, as after a kill
    with hold_run_lock(workspace.home, alive.id):
        assert (await cancel(gateway, alive.id)).json()["status"] == "cancelling"
    assert (await cancel(gateway, dead.id)).json()["status"] == "cancelled"
    # One that was being cancelled when its process died.
    late = await new_run(client, Running(), Cancelling())
    with pytest.raises(KeyboardInterrupt), hold_run_lock(workspace.home, late.id):
        raise KeyboardInterrupt
    assert (await cancel(gateway, late.id)).json()["status"] == "cancelled"


async def test_the_slices_of_a_run_whose_process_is_gone_are_cancelled_with_it(
    workspace: Workspace, gateway: Gateway, client: PrefectClient, catalog: Catalog
) -> None:
    parent = await new_run(client, Running())
    waits, works, done = [await new_run(client, Running()) for _ in range(2)] + [await new_run(client, Completed())]
    await put(client, waits, Scheduled())
    await add_slices(catalog, parent.id, [[{"text": "a"}], [{"text": "b"}], [{"text": "c"}], [{"text": "d"}]])
    async with catalog.connection() as connection:
        slices = await read_slices(connection, parent.id)
        for one, run in zip(slices, (waits, works, done), strict=False):
            await note_started(connection, parent.id, one, run.id)
        assert await complete(connection, parent.id, 3, done.id, {"failed": 0})
    status = (await gateway.client.get(f"/api/v1/status/{parent.id}", headers=await gateway.headers("read"))).json()
    assert status["slices"] == {"total": 4, "done": 1, "running": 0, "waiting": 3, "lost": 0}
    with pytest.raises(KeyboardInterrupt), hold_run_lock(workspace.home, parent.id):
        raise KeyboardInterrupt
    assert (await cancel(gateway, parent.id)).json()["status"] == "cancelled"
    states = [await state_of(client, run) for run in (waits, works, done)]
    assert states == ["Cancelled", "Cancelling", "Completed"]


async def test_listing_needs_read_and_cancelling_needs_write(gateway: Gateway, client: PrefectClient) -> None:
    run = await new_run(client, Running())
    read, write = await gateway.headers("read"), await gateway.headers("write")
    assert (await gateway.client.get(RUNS, headers=read)).status_code == 200
    assert (await gateway.client.post(f"{RUNS}/{run.id}/cancel", headers=read)).status_code == 403
    assert (await gateway.client.get(RUNS, headers=write)).status_code == 403
    assert (await gateway.client.post(f"{RUNS}/{run.id}/cancel", headers=write)).status_code == 200


async def test_a_run_of_a_command_notices_that_it_was_cancelled_and_a_later_run_reuses_what_it_has_stored(
    workspace: Workspace, gateway: Gateway, client: PrefectClient, catalog: Catalog
) -> None:
    begin_now(workspace)
    good, endless = workspace.write("good.txt", "Some words."), workspace.write("endless.txt", "hang")
    running = asyncio.create_task(process(good, endless))
    run_id = await until_stored(catalog, "good.hostile.txt")
    answer = await cancel(gateway, run_id)
    assert answer.json()["status"] == "cancelling"
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await running == run_id
    states = [state.name for state in await client.read_flow_run_states(run_id)]
    assert states == ["Pending", "Running", "Cancelling", "Cancelled"]
    # One that was killed is gone when its forkserver has said so.
    await asyncio.to_thread(eventually, lambda: multiprocessing.active_children() == [], "no worker process is left")
    # Its event is recorded as that of any other state that is set over Prefect's API.
    recorder = RunEventRecorder(current_settings())
    await Reconciler(client, catalog, recorder).reconcile_once()
    with psycopg.connect(workspace.database_url) as connection:
        events = connection.execute("select event_type from webhook_events where task_id = %s", [run_id]).fetchall()
    assert ("task_cancelled",) in events and ("task_completed",) not in events
    again = await process(good)
    assert (await client.read_flow_run(again)).state_name == "Completed"
    with psycopg.connect(workspace.database_url) as connection:
        made = connection.execute("select count(*) from artifacts where kind = 'stage_output'").fetchone()
    assert made == (1,)


async def test_a_run_of_a_command_that_ends_before_it_notices_is_cancelled_all_the_same(
    workspace: Workspace, gateway: Gateway, client: PrefectClient, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_now(workspace)
    monkeypatch.setattr("flows.processing.cancellation.LOOK_SECONDS", 3600.0)
    running = asyncio.create_task(process(workspace.write("a.txt", "words"), workspace.write("b.txt", "linger")))
    run_id = await until_stored(catalog, "a.hostile.txt")
    assert (await cancel(gateway, run_id)).json()["status"] == "cancelling"
    (workspace.home / "go").touch()
    await running
    assert (await client.read_flow_run(run_id)).state_name == "Cancelled"
    with psycopg.connect(workspace.database_url) as connection:
        events = connection.execute("select event_type from webhook_events where task_id = %s", [run_id]).fetchall()
    assert ("task_cancelled",) in events and ("task_completed",) not in events


async def test_a_command_that_is_interrupted_while_it_looks_for_cancellations_ends_as_before(
    workspace: Workspace, client: PrefectClient, catalog: Catalog
) -> None:
    running = asyncio.create_task(process(workspace.write("endless.txt", "hang"), workspace.write("a.txt", "words")))
    run_id = await until_stored(catalog, "a.hostile.txt")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await client.read_flow_run(run_id)).state_name == "Crashed"


async def until_stored(catalog: Catalog, filename: str) -> UUID:
    """The run that has stored an output of this name."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            async with catalog.connection() as connection:
                row = await fetch_row(connection, _RUN_OF, {"name": filename})
            if row["run_id"] is not None:
                return UUID(row["run_id"])
            await asyncio.sleep(0.05)
