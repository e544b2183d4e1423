"""A run that is spread over machines: its slices, what its parent adds up, and what it does about lost ones.

The workers are tasks of the test here, which run slices as a worker's process does; real ones are in
`tests/acceptance/test_many_machines.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import psycopg
import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.flow_engine import run_flow_async
from prefect.states import Cancelled, Cancelling, Crashed, Pending, Running

from blocks.catalog import Catalog
from blocks.errors import InvalidOptions
from blocks.runs import slices as slice_rows
from blocks.runs.ownership import read_owner
from blocks.runs.run_artifacts import progress_key
from blocks.runs.slices import add_slices, begin_again, claim, complete, lose, note_started, read_slices
from blocks.settings import current_settings
from flows.process import process_documents
from flows.processing import cancellation, spread
from flows.processing.progress import progress_listener
from flows.processing.slice_runs import slice_deployment
from flows.slices import process_slice
from tasks.sources import Source
from tasks.sources.records import as_record
from tests.integration.conftest import Workspace
from tests.integration.prefect_runs import LIGHT, new_run, put
from tests.shared_servers import PREFECT_ALONE
from tests.stack_driver import PATIENCE_SECONDS
from tests.unit.test_parameter_bounds import fields
from waybill.services.machines_probe import check_machines

pytestmark = PREFECT_ALONE

# In the order in which they were recorded.
PROGRESS = """
    select convert_from(body, 'utf8')::jsonb from webhook_events where event_type = 'task_progress'
     order by occurred_at, (convert_from(body, 'utf8')::jsonb -> 'data' ->> 'sequence')::bigint
"""

FAILURES = """
    select source_file, event_type, convert_from(body, 'utf8')::jsonb -> 'data' from webhook_events
     where event_type in ('stage_failed', 'stage_chain_completed')
       and coalesce(convert_from(body, 'utf8')::jsonb -> 'data' ->> 'overall_success', 'false') = 'false'
     order by source_file, event_type
"""

Worker = Callable[[PrefectClient, FlowRun], Awaitable[None]]


async def works(client: PrefectClient, run: FlowRun) -> None:
    """What a worker's process does."""
    await client.set_flow_run_state(run.id, Pending())
    result = run_flow_async(process_slice, flow_run=run, parameters=run.parameters, return_type="state")
    await cast("Awaitable[Any]", result)


async def dies(client: PrefectClient, run: FlowRun) -> None:
    """What is seen of a process that is killed while its worker lives."""
    await client.set_flow_run_state(run.id, Pending())
    await client.set_flow_run_state(run.id, Running())
    await client.set_flow_run_state(run.id, Crashed(message="Process was killed."), force=True)


async def is_unfit(client: PrefectClient, run: FlowRun) -> None:
    """What a worker's process does that has the settings of another catalogue."""
    await client.set_flow_run_state(run.id, Pending())
    given = {**run.parameters, "parent": str(uuid4())}
    await cast("Awaitable[Any]", run_flow_async(process_slice, flow_run=run, parameters=given, return_type="state"))


async def vanishes(client: PrefectClient, run: FlowRun) -> None:
    """What is seen of a machine that loses its power as it has taken a run."""
    await client.set_flow_run_state(run.id, Pending())


@pytest.fixture
async def pool(client: PrefectClient, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> str:
    """A work pool, slices of two documents, and a parent that looks often."""
    name = f"pool-{uuid4()}"
    await client.create_work_pool(WorkPoolCreate(name=name, type="process"))
    monkeypatch.setenv("WAYBILL_SLICE_SIZE", "2")
    current_settings.cache_clear()
    monkeypatch.setattr(spread, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(spread, "UNFIT_PAUSE_SECONDS", 0.05)
    return name


@asynccontextmanager
async def worker(client: PrefectClient, pool: str, act: Worker, taken: list[FlowRun]) -> AsyncIterator[None]:
    """Take the runs of *pool* one by one for the length of the block."""

    async def take_forever() -> None:
        while True:
            for found in await client.get_scheduled_flow_runs_for_work_pool(pool):
                if found.flow_run.id not in {one.id for one in taken}:
                    taken.append(found.flow_run)
                    await act(client, found.flow_run)
            await asyncio.sleep(0.05)

    task = asyncio.create_task(take_forever())
    try:
        yield
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def spread_run(workspace: Workspace, pool: str, texts: dict[str, str]) -> tuple[State[Any], dict[str, Any]]:
    for name, text in texts.items():
        workspace.write(name, text)
    run = process_documents(sources=[str(workspace.documents)], stages=LIGHT, spread=pool, return_state=True)
    async with asyncio.timeout(PATIENCE_SECONDS):
        state = await cast("Awaitable[State[Any]]", run)
    return state, cast("dict[str, Any]", await state.aresult(raise_on_failure=False))


def rows(workspace: Workspace, statement: str, *values: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(workspace.database_url) as connection:
        return connection.execute(statement.encode(), values).fetchall()


async def test_slices_are_processed_by_runs_of_their_own_and_added_up(
    workspace: Workspace, client: PrefectClient, pool: str
) -> None:
    taken: list[FlowRun] = []
    texts = {f"{number}.txt": f"text {number}" for number in range(4)} | {"bad.txt": "raise"}
    async with worker(client, pool, works, taken):
        state, report = await spread_run(workspace, pool, texts)
    assert state.type is StateType.FAILED
    assert {key: report["counts"][key] for key in ("documents", "failed", "files_made", "files_reused")} == {
        "documents": 5, "failed": 1, "files_made": 9, "files_reused": 0,
    }  # fmt: skip
    (failed,) = report["documents"]
    assert failed["source"].endswith("/bad.txt") and failed["error_type"] == "StageFailed"
    assert sorted(run.name for run in taken) == [f"slice {n} of 3, {d} documents" for n, d in ((1, 2), (2, 2), (3, 1))]
    assert {(run.parameters["number"], run.parameters["attempt"]) for run in taken} == {(1, 1), (2, 1), (3, 1)}
    # Files are the slice's and the parent's; events are the parent's alone, and each has come once.
    parent = UUID(report["run_id"])
    assert rows(workspace, "select count(*) from run_outputs where run_id = %s", parent) == [(9,)]
    assert rows(workspace, "select distinct task_id from webhook_events") in ([(parent,)], [])
    assert rows(workspace, "select state, sources, attempt from slices order by number") == [("completed", None, 1)] * 3
    assert rows(workspace, "select count(*) from run_leases") == [(0,)]


async def test_milestones_are_those_of_the_whole_run_and_come_once(
    workspace: Workspace, client: PrefectClient, pool: str
) -> None:
    """One slice fails three times: what is lost counts as done, as documents that fail do."""
    taken: list[FlowRun] = []

    async def second_dies(client: PrefectClient, run: FlowRun) -> None:
        await (dies if run.parameters["number"] == 2 else works)(client, run)

    async with worker(client, pool, second_dies, taken):
        _, report = await spread_run(workspace, pool, {f"{number}.txt": f"text {number}" for number in range(6)})
    events = [body for (body,) in rows(workspace, PROGRESS)]
    assert [(event["task_id"], event["source_file"]) for event in events] == [(report["run_id"], None)] * 3
    data = [event["data"] for event in events]
    assert [(one["progress"], one["status"], one["metadata"]) for one in data] == [
        (percent, "running", {"stage": "slice", "attempt": 1}) for percent in (0.25, 0.5, 0.75)
    ]
    sequences = [one["sequence"] for one in data]
    assert sequences == sorted(set(sequences)) and all(one % 2 for one in sequences)


async def test_the_parent_reports_what_its_slices_report(
    workspace: Workspace, client: PrefectClient, pool: str
) -> None:
    """Of two slices one has ended and the other is half done, when a process looks at the parent."""
    seen: list[tuple[str, list[float]]] = []

    async def second_waits(client: PrefectClient, run: FlowRun) -> None:
        if run.parameters["number"] == 1:
            await works(client, run)
            return
        key = progress_key(run.id)
        artifact = {"key": key, "type": "progress", "data": 50.0, "flow_run_id": str(run.id)}
        (await client.request("POST", "/artifacts/", json=artifact)).raise_for_status()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                bodies = [body for (body,) in rows(workspace, PROGRESS)]
                if len(bodies) == 3:
                    break
                await asyncio.sleep(0.05)
        seen.append(("half", [body["data"]["progress"] for body in bodies]))
        await works(client, run)

    notes: list[str] = []
    token = progress_listener.set(lambda progress: notes.append(progress.note))
    try:
        async with worker(client, pool, second_waits, []):
            state, _ = await spread_run(workspace, pool, {f"{number}.txt": f"text {number}" for number in range(4)})
    finally:
        progress_listener.reset(token)
    assert state.is_completed()
    assert seen == [("half", [0.25, 0.5, 0.75])]
    assert any(note.startswith("1 of 2 slices, 3 of 4 documents") for note in notes), notes
    assert notes[-1] == "4 of 4 documents"


async def test_a_slice_whose_process_dies_is_processed_by_another_one(
    workspace: Workspace, client: PrefectClient, pool: str
) -> None:
    taken: list[FlowRun] = []

    async def dies_once(client: PrefectClient, run: FlowRun) -> None:
        await (dies if run.parameters["attempt"] == 1 else works)(client, run)

    async with worker(client, pool, dies_once, taken):
        state, report = await spread_run(workspace, pool, {f"{number}.txt": f"text {number}" for number in range(3)})
    assert state.is_completed()
    assert (report["counts"]["documents"], report["counts"]["failed"], report["documents"]) == (3, 0, [])
    assert sorted(run.parameters["attempt"] for run in taken) == [1, 1, 2, 2]


async def test_a_slice_that_ends_three_processes_is_lost_and_the_others_are_not(
    workspace: Workspace, client: PrefectClient, pool: str
) -> None:
    taken: list[FlowRun] = []

    async def second_dies(client: PrefectClient, run: FlowRun) -> None:
        await (dies if run.parameters["number"] == 2 else works)(client, run)

    async with worker(client, pool, second_dies, taken):
        state, report = await spread_run(workspace, pool, {f"{number}.txt": f"text {number}" for number in range(5)})
    assert state.is_failed()
    assert (report["counts"]["documents"], report["counts"]["failed"]) == (5, 2)
    (lost,) = report["documents"]
    assert lost["error_type"] == "StageCrashed" and "Process was killed; run" in lost["error"]
    assert (state.message or "").endswith("run the same again)")
    assert [run.parameters["attempt"] for run in taken if run.parameters["number"] == 2] == [1, 2, 3]
    # Its documents have events, as those have that failed in a stage.
    events = rows(workspace, FAILURES)
    assert [(path.rpartition("/")[2], kind) for path, kind, _ in events] == [
        (name, kind) for name in ("2.txt", "3.txt") for kind in ("stage_chain_completed", "stage_failed")
    ]
    for _, kind, data in events:
        said = data["metadata"] if kind == "stage_chain_completed" else data["stage"]
        assert said["error_message"].endswith("Process was killed; run the same again"), data


async def test_a_worker_that_cannot_begin_costs_no_slice_an_attempt(
    workspace: Workspace, client: PrefectClient, pool: str
) -> None:
    """Its machine has other settings: of two workers it is the quicker one for a while."""
    taken: list[FlowRun] = []

    async def is_set_right(client: PrefectClient, run: FlowRun) -> None:
        await (is_unfit if run.parameters["number"] == 1 and run.parameters["attempt"] < 5 else works)(client, run)

    async with worker(client, pool, is_set_right, taken):
        state, report = await spread_run(workspace, pool, {f"{number}.txt": f"text {number}" for number in range(4)})
    assert state.is_completed(), state.message
    assert (report["counts"]["documents"], report["counts"]["failed"]) == (4, 0)
    assert [run.parameters["attempt"] for run in taken if run.parameters["number"] == 1] == [1, 2, 3, 4, 5]


async def test_a_worker_with_another_storage_processes_nothing(
    workspace: Workspace, client: PrefectClient, pool: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing would find its files: a worker's folder is a temporary one, and so is a home there."""
    state, _ = await spread_run_of_one(workspace, client, pool, "first.txt")
    assert state.is_completed()
    for name, value, message in (
        ("WAYBILL_HOME", tmp_path / "nowhere", "would keep files in a new home"),
        ("WAYBILL_STORAGE_URL", tmp_path / "other", "has none of the newest files of the catalogue"),
    ):

        async def is_elsewhere(client: PrefectClient, run: FlowRun, name: str = name, value: Path = value) -> None:
            with monkeypatch.context() as patch:
                patch.setenv(name, str(value))
                current_settings.cache_clear()
                await works(client, run)
            current_settings.cache_clear()

        async with worker(client, pool, is_elsewhere, []):
            state, report = await spread_run(workspace, pool, {"second.txt": "other text"})
        assert state.is_failed()
        assert message in report["documents"][0]["error"]
        assert rows(workspace, "select 1 from artifacts where source_file like %s", "%second.txt") == []
        assert not value.exists() or list(value.rglob("*")) == []


async def spread_run_of_one(
    workspace: Workspace, client: PrefectClient, pool: str, name: str
) -> tuple[State[Any], dict[str, Any]]:
    async with worker(client, pool, works, []):
        return await spread_run(workspace, pool, {name: "text"})


async def test_a_pool_where_no_worker_can_begin_is_given_up_with_the_reason(
    workspace: Workspace, client: PrefectClient, pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYBILL_SLICES_AT_ONCE", "2")
    current_settings.cache_clear()
    taken: list[FlowRun] = []
    async with worker(client, pool, is_unfit, taken):
        state, report = await spread_run(workspace, pool, {f"{number}.txt": f"text {number}" for number in range(8)})
    assert state.is_failed()
    counts = report["counts"]
    assert (counts["documents"], counts["failed"], counts["failed_left_out"]) == (8, 8, 0)
    assert sum(int(one["source"].partition("(")[2].split()[0]) for one in report["documents"]) == 8
    for one in report["documents"]:
        assert "InvalidSettings: the catalogue of this worker has no slice" in one["error"]
    assert f"no worker of pool {pool} can process it" in report["documents"][-1]["error"]
    assert "encountered an exception" not in report["documents"][-1]["error"]
    assert {path.rpartition("/")[2] for path, _, _ in rows(workspace, FAILURES)} == {f"{n}.txt" for n in range(8)}
    assert rows(workspace, "select distinct state from slices") == [("lost",)]


async def test_a_run_that_a_worker_takes_and_never_begins_is_given_up(
    workspace: Workspace, client: PrefectClient, pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spread, "BEGIN_SECONDS", 0.2)
    taken: list[FlowRun] = []

    async def vanishes_once(client: PrefectClient, run: FlowRun) -> None:
        if run.parameters["attempt"] == 1:
            await vanishes(client, run)
        else:
            monkeypatch.setattr(spread, "BEGIN_SECONDS", PATIENCE_SECONDS)
            await works(client, run)

    async with worker(client, pool, vanishes_once, taken):
        state, _ = await spread_run(workspace, pool, {"a.txt": "text"})
    assert state.is_completed()
    assert [run.parameters["attempt"] for run in taken] == [1, 2]
    assert (await client.read_flow_run(taken[0].id)).state_name == "Crashed"


async def test_the_slices_of_a_run_that_is_cancelled_are_cancelled(
    workspace: Workspace, client: PrefectClient, pool: str
) -> None:
    running = asyncio.create_task(spread_run(workspace, pool, {f"{number}.txt": "text" for number in range(3)}))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            started = rows(workspace, "select run_id from slices where state = 'started'")
            if len(started) == 2:
                break
            await asyncio.sleep(0.05)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    for (run_id,) in started:
        assert (await client.read_flow_run(run_id)).state_type is StateType.CANCELLED


async def test_a_slice_notices_that_its_parent_was_cancelled_also_without_the_process_of_that(
    workspace: Workspace, client: PrefectClient, pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in Prefect's UI, of a parent whose process was killed: nothing half done stays."""
    monkeypatch.setattr(cancellation, "LOOK_SECONDS", 0.05)
    parent = await new_run(client, Running())
    source = as_record(Source(text="slow.txt", name="slow.txt", path=workspace.write("slow.txt", "linger")))
    async with Catalog.open(workspace.database_url) as catalog:
        (one,) = await add_slices(catalog, parent.id, [[source]])
    given = {"parent": str(parent.id), "number": one.number, "attempt": one.attempt, "stages": LIGHT}
    deployment = await slice_deployment(client, pool, await read_owner(current_settings()))
    run = await client.create_flow_run_from_deployment(deployment, parameters=given)
    working = asyncio.create_task(works(client, run))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if rows(workspace, "select 1 from artifacts where kind = 'upload' and state = 'available'"):
                break
            await asyncio.sleep(0.05)
        await put(client, parent, Cancelling(), Cancelled())
        await working
    state = (await client.read_flow_run(run.id)).state
    assert state is not None and state.type is StateType.CANCELLED, state
    assert rows(workspace, "select distinct state from artifacts") == [("available",)]
    assert rows(workspace, "select state from slices") == [("started",)]


async def test_a_pool_that_is_not_there_is_named(workspace: Workspace) -> None:
    workspace.write("a.txt", "text")
    with pytest.raises(InvalidOptions, match=r"no work pool 'nowhere'.*prefect work-pool create nowhere"):
        await cast(
            "Awaitable[Any]", process_documents(sources=[str(workspace.documents)], stages=LIGHT, spread="nowhere")
        )


async def test_a_pool_is_looked_for_before_a_command_begins(
    workspace: Workspace, client: PrefectClient, pool: str
) -> None:
    del workspace
    await check_machines(client, current_settings(), pool)
    for missing in ("nowhere", ""):
        with pytest.raises(InvalidOptions, match="work pool"):
            await check_machines(client, current_settings(), missing)


async def test_the_form_of_a_slice_explains_every_field_in_its_order(
    client: PrefectClient, pool: str, workspace: Workspace
) -> None:
    del workspace
    owner = await read_owner(current_settings())
    made = await slice_deployment(client, pool, owner)
    assert await slice_deployment(client, pool, owner) == made
    schema = (await client.read_deployment(made)).parameter_openapi_schema or {}
    # The database keeps no order of names: the form goes by the positions.
    assert sorted(schema["properties"], key=lambda name: schema["properties"][name]["position"]) == [
        "parent", "number", "attempt", "stages", "options", "reuse", "keep_for", "run_on", "time_limit",
    ]  # fmt: skip
    assert schema["required"] == ["parent", "number", "attempt"]
    for where, found in fields(schema):
        for name, field in found.items():
            assert field.get("title") not in {None, name} and field["description"], (where, name)
        assert sorted(field["position"] for field in found.values()) == list(range(len(found))), where


async def test_only_the_run_that_has_the_attempt_completes_a_slice(database_url: str) -> None:
    parent, first, second = uuid4(), uuid4(), uuid4()
    async with Catalog.open(database_url) as catalog:
        (one,) = await add_slices(catalog, parent, [[{"text": "a"}]])
        assert await add_slices(catalog, parent, [[{"text": "b"}], [{"text": "c"}]]) == [one]
        async with catalog.connection() as connection:
            # The run itself may be quicker than its parent.
            assert await claim(connection, parent, 1, attempt=1, run_id=first) == [{"text": "a"}]
            await note_started(connection, parent, one, first)
            assert await claim(connection, parent, 1, attempt=1, run_id=second) is None
            (one,) = await read_slices(connection, parent)
            assert (one.state, one.run_id, one.has_ended) == ("started", first, False)
            await begin_again(connection, parent, one)
            assert await claim(connection, parent, 1, attempt=1, run_id=first) is None
            assert not await complete(connection, parent, 1, first, {})
            assert await claim(connection, parent, 1, attempt=2, run_id=second) == [{"text": "a"}]
            assert await slice_rows.runs_under_way(connection, parent) == [second]
            assert await complete(connection, parent, 1, second, {"failed": 0})
            (done,) = await read_slices(connection, parent)
            await lose(connection, parent, done, {"lost": "too late"})
            await begin_again(connection, parent, done)
            assert await read_slices(connection, parent) == [done]
            assert (done.state, done.result, done.attempt) == ("completed", {"failed": 0}, 2)
