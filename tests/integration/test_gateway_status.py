"""Status, history and recent events over HTTP, for runs that began anywhere, from a real Prefect server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect import flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.flows import load_flow_from_entrypoint
from prefect.states import AwaitingRetry, Completed, Crashed, Pending, Running

from blocks.catalog import Catalog
from blocks.runs.ownership import CATALOGUE_LABEL, catalogue_id
from blocks.runs.progress import Plan, plan_of, record_plan
from blocks.runs.run_events import OUR_FLOWS
from tests.gateway import Gateway, error_of, running_gateway
from tests.integration.conftest import Workspace
from tests.integration.prefect_runs import begin_now, new_run, process, put
from tests.shared_servers import PREFECT_ALONE
from tests.stack_driver import PATIENCE_SECONDS
from waybill.services import run_status
from waybill.services.recent_events import read_recent_events
from waybill.services.run_status import read_history
from waybill.stack.deployments import project_directory, read_deployments

pytestmark = PREFECT_ALONE

# Of nothing. Always the same one: the names of tests hold it.
SOME_ID = "0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a"

STATUS = "/api/v1/status"


@pytest.fixture
async def client(workspace: Workspace, client: PrefectClient) -> PrefectClient:
    begin_now(workspace)
    return client


@pytest.fixture
async def gateway(workspace: Workspace, prefect_server: str) -> AsyncIterator[Gateway]:
    async with running_gateway(workspace.database_url, workspace.home, prefect_api=prefect_server) as running:
        running.client.headers.update(await running.headers("read"))
        yield running


async def read(gateway: Gateway, path: object, **parameters: Any) -> dict[str, Any]:
    answer = await gateway.client.get(f"{STATUS}/{path}", params=parameters)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "private, no-store"
    return answer.json()


async def all_tasks_recorded(client: PrefectClient, run_id: UUID, count: int) -> None:
    """Prefect writes what becomes of tasks a moment after it has happened."""
    this = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            tasks = await client.read_task_runs(flow_run_filter=this)
            if len(tasks) == count and all(task.end_time for task in tasks):
                return
            await asyncio.sleep(0.05)


def told(history: dict[str, Any]) -> list[tuple[str, float, str]]:
    """Status, progress and what it is about, oldest first."""
    return [
        (entry["status"], entry["progress"], entry["metadata"].get("stage", "the run"))
        for entry in reversed(history["history"])
    ]


async def test_a_run_is_told_with_its_stages_and_how_far_it_was_at_each_moment(
    workspace: Workspace, gateway: Gateway, client: PrefectClient
) -> None:
    run_id = await process(workspace.write("report.txt", "Some words."))
    await all_tasks_recorded(client, run_id, 2)
    status = await read(gateway, run_id)
    assert status["task_id"] == str(run_id)
    assert (status["status"], status["progress"], status["stage"]) == ("completed", 1.0, None)
    assert (status["name"], status["documents"]) == ("report.txt", 1)
    assert status["source_file"] == str(workspace.documents / "report.txt")
    assert status["message"] == "1 of 1 documents completed"
    moments = [datetime.fromisoformat(status[name]) for name in ("created_at", "started_at", "ended_at")]
    assert moments == sorted(moments)

    history = await read(gateway, f"{run_id}/history")
    assert told(history) == [
        ("pending", 0.0, "the run"),
        ("running", 0.0, "the run"),
        ("running", 0.0, "0-custody report.txt"),
        ("completed", 0.5, "0-custody report.txt"),
        ("running", 0.5, "6-hostile report.txt"),
        ("completed", 1.0, "6-hostile report.txt"),
        ("completed", 1.0, "the run"),
    ]
    assert (history["event_count"], history["next"], history["truncated"]) == (7, None, False)
    times = [entry["timestamp"] for entry in history["history"]]
    assert times == sorted(times, reverse=True)
    ended = next(entry for entry in history["history"] if entry["progress"] == 0.5)
    assert ended["message"] in {"6-hostile report.txt began", "0-custody report.txt: 1 of 1 documents, 0 reused"}


async def test_history_comes_in_pages_that_what_happens_meanwhile_does_not_shift(
    workspace: Workspace, gateway: Gateway, client: PrefectClient
) -> None:
    run = await new_run(client, Running(), AwaitingRetry(), Running())
    whole = (await read(gateway, f"{run.id}/history"))["history"]
    assert [entry["metadata"]["state_name"] for entry in whole] == ["Running", "AwaitingRetry", "Running", "Pending"]
    first = await read(gateway, f"{run.id}/history", limit=1)
    await put(client, run, Completed())
    pages, after = [*first["history"]], first["next"]
    while after:
        page = await read(gateway, f"{run.id}/history", limit=1, after=after)
        assert (len(page["history"]), page["event_count"]) == (1, 5)
        pages += page["history"]
        after = page["next"]
    assert pages == whole


async def test_progress_is_that_of_the_moment_and_never_falls(gateway: Gateway, client: PrefectClient) -> None:
    run = await new_run(client, Running())
    await report(client, run, 40.0)
    await put(client, run, Crashed(), AwaitingRetry(), Pending(), Running())
    assert (await read(gateway, run.id))["progress"] == 0.4
    await report(client, run, 10.0)
    before = [0.0, 0.0, 0.4, 0.4, 0.4, 0.4]
    assert [progress for _, progress, _ in told(await read(gateway, f"{run.id}/history"))] == before
    await report(client, run, 90.0)
    await put(client, run, Completed())
    # What came later does not change what was.
    assert [progress for _, progress, _ in told(await read(gateway, f"{run.id}/history"))] == [*before, 1.0]


async def report(client: PrefectClient, run: FlowRun, percent: float) -> None:
    """As an attempt of the flow does, with an artifact of its own."""
    await client.request(
        "POST",
        "/artifacts/",
        json={"key": "process-progress", "type": "progress", "data": percent, "flow_run_id": str(run.id)},
    )


async def test_failed_documents_and_second_attempts_are_counted_as_they_are(
    workspace: Workspace, gateway: Gateway, client: PrefectClient
) -> None:
    run_id = await process(workspace.write("good.txt", "Some words."), workspace.documents / "missing.txt")
    await all_tasks_recorded(client, run_id, 3)
    history = await read(gateway, f"{run_id}/history")
    failed = next(entry for entry in history["history"] if entry["metadata"].get("stage") == "0-custody missing.txt")
    assert failed["status"] == "failed" and "missing.txt" in failed["message"]
    newest = history["history"][0]
    assert (newest["status"], newest["progress"], newest["metadata"]["state_name"]) == ("failed", 1.0, "Failed")
    progress = [entry["progress"] for entry in reversed(history["history"])]
    assert progress == sorted(progress) and progress[:2] == [0.0, 0.0]


async def test_of_a_run_with_very_many_tasks_the_newest_are_told_and_progress_counts_all(
    workspace: Workspace, client: PrefectClient, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with catalog.connection() as connection:
        catalogue = await catalogue_id(connection)
    run_id = await process(*(workspace.write(f"{number}.txt", f"Words {number}.") for number in range(6)))
    await all_tasks_recorded(client, run_id, 12)
    whole = await read_history(client, run_id, catalogue=catalogue)
    monkeypatch.setattr("blocks.runs.prefect_lists.PAGE_ITEMS", 2)
    assert await read_history(client, run_id, catalogue=catalogue) == whole
    monkeypatch.setattr(run_status, "MAX_TASKS", 4)
    some = await read_history(client, run_id, catalogue=catalogue)
    assert some["truncated"] is True
    shown = {entry["metadata"].get("task_run_id") for entry in some["history"]} - {None}
    assert len(shown) == 4
    at_the_time = {entry["timestamp"]: entry["progress"] for entry in whole["history"]}
    ends = [entry for entry in some["history"] if "seconds" in entry["metadata"]]
    assert ends[0]["progress"] == 1.0
    assert all(entry["progress"] >= at_the_time[entry["timestamp"]] for entry in ends)


async def test_what_a_run_plans_is_noted_on_it_and_odd_labels_are_nothing(
    workspace: Workspace, client: PrefectClient
) -> None:
    run_id = await process(workspace.write("a.txt", "Some words."), workspace.write("b.txt", "More words."))
    assert plan_of(await client.read_flow_run(run_id)) == Plan(documents=2, tasks=4)
    run = await new_run(client)
    assert plan_of(run) is None
    for odd in ("many", -1, 0, True, 1.5):
        await client.update_flow_run_labels(run.id, {"waybill.documents": 1, "waybill.tasks": odd})
        assert plan_of(await client.read_flow_run(run.id)) is None
    # Nobody has this run; no run fails for it.
    await record_plan(uuid4(), Plan(documents=1, tasks=1))


@flow(name="somebody-elses")
async def somebody_elses() -> None:
    """A flow of another project on the same Prefect server."""


async def test_runs_that_are_not_there_or_not_ours_are_404(gateway: Gateway, client: PrefectClient) -> None:
    other = await client.create_flow_run(somebody_elses, state=Running())
    for run_id in (uuid4(), other.id):
        for path in (f"{STATUS}/{run_id}", f"{STATUS}/{run_id}/history"):
            answer = await gateway.client.get(path)
            assert (answer.status_code, error_of(answer)) == (404, "RunNotFound")
    recent = await read(gateway, "events/recent", hours=1, limit=2000)
    assert str(other.id) not in {entry["task_id"] for entry in recent["events"]}


def test_every_deployed_flow_is_one_of_ours() -> None:
    names = {load_flow_from_entrypoint(one.entrypoint).name for one in read_deployments(project_directory())}
    assert names <= set(OUR_FLOWS)


async def test_what_cannot_be_asked_for_is_422(gateway: Gateway, subtests: pytest.Subtests) -> None:
    for path, parameters in (
        [("events/recent", {"hours": value}) for value in ("0", "-1", "nan", "inf", "1e9", "x", "", "745")]
        + [("events/recent", {"limit": value}) for value in ("0", "-1", "2001", "x", "1.5")]
        + [(f"{SOME_ID}/history", {"limit": value}) for value in ("0", "1001", "x")]
        + [(f"{SOME_ID}/history", {"after": value}) for value in ("", "x", "\x00", "ü", "A" * 201, "MjAyNi0wMS0wMSB4")]
        + [("nonsense", {}), ("nonsense/history", {})]
    ):
        with subtests.test(path=path, parameters=parameters):
            answer = await gateway.client.get(f"{STATUS}/{path}", params=parameters)
            assert answer.status_code == 422, answer.text
            assert error_of(answer) in {"InvalidRequest", "InvalidOptions"}


async def test_a_key_with_the_scope_read_is_wanted(gateway: Gateway) -> None:
    del gateway.client.headers["authorization"]
    for path in (f"{uuid4()}", f"{SOME_ID}/history", "events/recent"):
        answer = await gateway.client.get(f"{STATUS}/{path}")
        assert (answer.status_code, error_of(answer)) == (401, "NotAuthenticated")
        answer = await gateway.client.get(f"{STATUS}/{path}", headers=await gateway.headers("write"))
        assert (answer.status_code, error_of(answer)) == (403, "ScopeMissing")


async def test_a_run_of_another_home_on_the_same_prefect_server_is_404(gateway: Gateway, client: PrefectClient) -> None:
    run = await new_run(client, Running())
    assert (await read(gateway, run.id))["status"] == "running"
    await client.update_flow_run_labels(run.id, {CATALOGUE_LABEL: "0badcafe"})
    for path in (f"{run.id}", f"{run.id}/history"):
        answer = await gateway.client.get(f"{STATUS}/{path}")
        assert (answer.status_code, error_of(answer)) == (404, "RunNotFound")


async def test_recent_events_are_the_newest_of_all_runs_and_documents(
    workspace: Workspace, gateway: Gateway, client: PrefectClient, catalog: Catalog
) -> None:
    run_id = await process(workspace.write("report.txt", "Some words."))
    runs = [await new_run(client, Running()) for _ in range(5)]
    await put(client, runs[0], Completed())
    found, few = await recent_and_newest(gateway, [1, 2, 3, 7])
    assert (found["count"], found["hours"], found["truncated"]) == (len(found["events"]), 0.1, False)
    assert {"task_completed", "stage_completed"} <= {
        entry["event_type"] for entry in found["events"] if entry["task_id"] == str(run_id)
    }
    # Only runs that can have something among the newest are asked for, and yet none is missing.
    for limit, newest in few.items():
        assert (newest["events"], newest["truncated"]) == (found["events"][:limit], True)
    ours = [entry["task_id"] for entry in found["events"] if entry["task_id"] in {str(run.id) for run in runs}]
    assert ours[0] == str(runs[0].id)


async def recent_and_newest(gateway: Gateway, limits: list[int]) -> tuple[dict[str, Any], dict[int, dict[str, Any]]]:
    """All recent events and the newest by limit, read while nothing happened: runs of other tests are on the server
    too, and become late when they want."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            found = await read(gateway, "events/recent", hours=0.1, limit=2000)
            few = {limit: await read(gateway, "events/recent", hours=0.1, limit=limit) for limit in limits}
            if await read(gateway, "events/recent", hours=0.1, limit=2000) == found:
                return found, few


async def test_a_program_of_our_own_reads_the_same_recent_events(
    workspace: Workspace, gateway: Gateway, client: PrefectClient, catalog: Catalog
) -> None:
    await process(workspace.write("report.txt", "Some words."))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            before, _ = await recent_and_newest(gateway, [])
            direct = await read_recent_events(catalog, client, 0.1)
            after, _ = await recent_and_newest(gateway, [])
            if before == after:
                break
    assert direct["events"] == before["events"]


@pytest.fixture
async def catalog(workspace: Workspace) -> AsyncIterator[Catalog]:
    async with Catalog.open(workspace.database_url) as opened:
        yield opened


async def test_a_prefect_that_is_away_or_not_named_is_503_at_once(workspace: Workspace) -> None:
    for api in (None, "http://127.0.0.1:9/api"):
        async with running_gateway(workspace.database_url, workspace.home, prefect_api=api) as gateway:
            gateway.client.headers.update(await gateway.headers("read"))
            for path in (f"{uuid4()}", f"{SOME_ID}/history", "events/recent"):
                began = time.perf_counter()
                answer = await gateway.client.get(f"{STATUS}/{path}")
                assert (answer.status_code, error_of(answer)) == (503, "PrefectUnavailable")
                assert answer.headers["retry-after"] == "5"
                # Prefect's client would repeat the request for a minute.
                assert time.perf_counter() - began < 40
