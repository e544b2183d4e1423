"""Small uploads that share a run: each keeps its own id, status, history, result and webhook, and none is lost."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.flow_engine import run_flow_async
from prefect.states import Cancelled, Crashed, Failed, Running

from blocks.catalog import Catalog
from blocks.open_custody import open_custody
from blocks.runs.prefect_api import PrefectApi
from blocks.runs.upload_tasks import KEY_PREFIX, MOST_UPLOADS, add_task, find_task, give_to_runs
from blocks.settings import current_settings
from flows.events.record_run_events import RunEventRecorder, read_history
from flows.process import process_documents
from tests.gateway import Gateway, error_of, running_gateway
from tests.gateway.process import gateway_process
from tests.integration.conftest import Workspace
from tests.integration.prefect_runs import all_runs, begin_now, put
from tests.shared_servers import PREFECT_ALONE
from tests.stack_driver import PREFECT_AUTH
from waybill.gateway import ingest_window
from waybill.gateway.ingest_window import MOST_SHARED_BYTES, PACE_SECONDS, IngestWindow
from waybill.services.short_ids import find_run

pytestmark = PREFECT_ALONE

INGEST = "/api/v1/ingest/file"
# Longer than a test: what shares a run is started when the test says so.
LONG = 60.0


@pytest.fixture(scope="module")
async def deployment(prefect_server: str) -> UUID:
    """The deployment, registered and served by nobody: its runs wait."""
    del prefect_server
    served = await process_documents.ato_deployment(name="waybill")
    return UUID(str(await cast("Awaitable[object]", served.apply())))


@pytest.fixture
async def gateway(workspace: Workspace, prefect_server: str, deployment: UUID) -> AsyncIterator[Gateway]:
    """A gateway in which every small upload shares a run."""
    del deployment
    async with (
        # Of the same storage as the runs.
        open_custody(current_settings()) as stored,
        running_gateway(
            workspace.database_url,
            workspace.home,
            backend=stored.backend,
            keys=stored.keys,
            prefect_api=prefect_server,
            ingest_window_seconds=LONG,
        ) as running,
    ):
        running.client.headers.update(await running.headers())
        running.resources.window.shares = lambda size: size <= MOST_SHARED_BYTES
        yield running


async def ingest(
    gateway: Gateway, name: str, content: bytes | None = None, *, once: str | None = None, **fields: str
) -> dict[str, str]:
    files = {"file": (name, content or f"# {name}\n\nWords of {name}.\n".encode())}
    headers = {"Idempotency-Key": once} if once else {}
    answer = await gateway.client.post(INGEST, files=files, data={"stages": "1", **fields}, headers=headers)
    assert answer.status_code == 202, answer.text
    return answer.json()


async def post(sender: httpx.AsyncClient, name: str) -> dict[str, str]:
    answer = await sender.post(INGEST, files={"file": (name, f"# {name}\n".encode())}, data={"stages": "1"})
    assert answer.status_code == 202, answer.text
    return answer.json()


async def status(gateway: Gateway, task_id: str) -> dict[str, Any]:
    answer = await gateway.client.get(f"/api/v1/status/{task_id}")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def runs_with(client: PrefectClient, *answers: dict[str, str]) -> list[FlowRun]:
    """The runs on the files of these answers, each once."""
    files = {answer["file_id"] for answer in answers}
    return [run for run in await all_runs(client) if files & files_of(run)]


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    while True:
        if await condition():
            return
        await asyncio.sleep(0.1)


def files_of(run: FlowRun) -> set[str]:
    return {str(source).removeprefix("waybill:").partition("/")[0] for source in run.parameters["sources"]}


async def do(client: PrefectClient, run: FlowRun) -> None:
    """Do what a flow server would do with the run."""
    run = await client.read_flow_run(run.id)
    flow = cast("Any", process_documents)
    await run_flow_async(flow, flow_run=run, parameters=dict(run.parameters), return_type="state")


async def files_of_task(gateway: Gateway, task_id: str) -> Sequence[dict[str, Any]]:
    return (await gateway.client.get("/api/v1/files/list", params={"run_id": task_id})).json()["files"]


def events(workspace: Workspace, task_id: str) -> list[tuple[str, dict[str, Any]]]:
    """Type and body of every event of the task in the order of their sequence."""
    with psycopg.connect(workspace.database_url) as connection:
        rows = connection.execute("select event_type, body from webhook_events where task_id = %s", [task_id])
        found = [(str(kind), json.loads(bytes(body))) for kind, body in rows]
    return sorted(found, key=lambda one: one[1]["data"]["sequence"])


# When a run is shared ------------------------------------------------------------------------------------------------


def window(catalog: Catalog, prefect: PrefectApi, now: list[float], seconds: float = 0.05) -> IngestWindow:
    return IngestWindow(catalog, prefect, cast("Any", None), home=Path(), window_seconds=seconds, clock=lambda: now[0])


async def test_an_upload_after_a_pause_has_a_run_of_its_own_and_those_that_follow_share_one(database_url: str) -> None:
    now = [100.0]
    async with Catalog.open(database_url) as catalog, PrefectApi.open(None) as prefect:
        one = window(catalog, prefect, now)
        assert not one.shares(2000)
        assert one.shares(2000)
        assert not one.shares(MOST_SHARED_BYTES + 1)
        one.added()
        now[0] += 10 * PACE_SECONDS
        # What waits is not overtaken.
        assert one.shares(2000)
        other = window(catalog, prefect, now)
        assert not other.shares(2000)
        now[0] += PACE_SECONDS
        assert not other.shares(2000)
        off = window(catalog, prefect, now, seconds=0)
        assert not any(off.shares(2000) for _ in range(3))


async def test_as_many_uploads_as_a_run_takes_are_started_at_once(gateway: Gateway, client: PrefectClient) -> None:
    answers = await asyncio.gather(*(ingest(gateway, f"{number}.md") for number in range(MOST_UPLOADS)))
    ids = {answer["task_id"] for answer in answers}
    assert len(ids) == MOST_UPLOADS

    async def run_ids() -> set[str | None]:
        return {(await status(gateway, task_id))["run_id"] for task_id in ids}

    # The window would be open for a minute.
    async def all_started() -> bool:
        return None not in await run_ids()

    await until(all_started)
    (run_id,) = await run_ids()
    (run,) = await runs_with(client, *answers)
    assert str(run.id) == run_id
    assert files_of(run) == {answer["file_id"] for answer in answers}
    assert run.name.endswith(f"and {MOST_UPLOADS - 1} more")


async def test_uploads_with_other_options_and_the_same_file_twice_have_other_runs(
    gateway: Gateway, client: PrefectClient
) -> None:
    alike = [await ingest(gateway, "a.md", keep_for="9d"), await ingest(gateway, "b.md", keep_for="9d")]
    other = await ingest(gateway, "c.md", stages="1-2")
    again = await gateway.client.post(INGEST, files={"file_id": (None, alike[0]["file_id"])}, data={"stages": "1"})
    assert again.status_code == 202
    twice = await gateway.client.post(INGEST, files={"file_id": (None, alike[0]["file_id"])}, data={"stages": "1"})
    large = await ingest(gateway, "large.md", b"# Large\n\n" + b"Some words. " * 100_000)
    assert await gateway.resources.window.start_waiting()
    found = [await status(gateway, one["task_id"]) for one in (*alike, other, again.json(), twice.json(), large)]
    runs = [one["run_id"] for one in found]
    assert runs[0] == runs[1] and len({*runs[1:]}) == 5
    assert found[-1]["task_id"] == found[-1]["run_id"], "a large one has a run of its own"
    (run,) = await runs_with(client, other)
    assert run.parameters["stages"] == [1, 2]


# What each upload keeps ----------------------------------------------------------------------------------------------


async def test_each_upload_of_a_run_has_its_own_status_files_history_and_events(
    workspace: Workspace, gateway: Gateway, client: PrefectClient
) -> None:
    good = await ingest(gateway, "good.md")
    bad = await ingest(gateway, "bad.pdf", b"%PDF-1.4\nnothing of it is there\n")
    same = await ingest(gateway, "good.md", b"# good.md\n\nWords of good.md.\n")
    waiting = await status(gateway, good["task_id"])
    assert (waiting["status"], waiting["run_id"], waiting["name"]) == ("scheduled", None, "good.md")
    assert await gateway.resources.window.start_waiting()
    (run,) = await runs_with(client, good, bad, same)
    assert (await status(gateway, good["task_id"]))["status"] == "scheduled"
    await do(client, run)
    assert (await client.read_flow_run(run.id)).state_name == "Failed"
    done = await status(gateway, good["task_id"])
    assert (done["status"], done["progress"], done["source_file"], done["documents"]) == (
        "completed", 1.0, "good.md", 1,
    )  # fmt: skip
    assert done["run_id"] == str(run.id) and done["ended_at"]
    failed = await status(gateway, bad["task_id"])
    assert failed["status"] == "failed" and failed["message"].startswith("failed in markdown-conversion: ")
    assert (await status(gateway, same["task_id"]))["status"] == "completed"
    for answer in (good, same):
        files = await files_of_task(gateway, answer["task_id"])
        assert {(file["kind"], file["source_file"]) for file in files} == {
            ("upload", "good.md"), ("stage_output", "good.md"),
        }  # fmt: skip
        assert [file["file_id"] for file in files if file["kind"] == "upload"] == [answer["file_id"]]
    history = (await gateway.client.get(f"/api/v1/status/{good['task_id']}/history")).json()
    states = [entry["status"] for entry in history["history"]]
    assert (states[0], states[-1], history["event_count"]) == ("completed", "scheduled", len(states))
    assert "failed" not in states
    assert not any("bad.pdf" in str(entry) for entry in history["history"])


async def test_each_upload_has_the_events_of_a_run_at_its_own_webhook(
    workspace: Workspace, gateway: Gateway, client: PrefectClient
) -> None:
    begin_now(workspace)
    hooked = await ingest(gateway, "hooked.md", webhook_url="https://example.org/hooked")
    other = await ingest(gateway, "other.md", webhook_url="https://example.org/other")
    assert await gateway.resources.window.start_waiting()
    (run,) = await runs_with(client, hooked, other)
    assert "webhook_url" not in run.parameters
    await do(client, run)
    await record(client, gateway, run)
    for answer, name in ((hooked, "hooked.md"), (other, "other.md")):
        found = events(workspace, answer["task_id"])
        assert [kind for kind, _ in found] == [
            "task_started", "task_progress", "task_progress", "stage_completed", "task_progress",
            "stage_chain_completed", "task_completed",
        ] or sorted(kind for kind, _ in found) == sorted([
            "task_started", *["task_progress"] * 3, "stage_completed", "stage_chain_completed", "task_completed",
        ])  # fmt: skip
        assert (found[0][0], found[-1][0]) == ("task_started", "task_completed")
        assert {body["task_id"] for _, body in found} == {answer["task_id"]}
        assert {body["source_file"] for _, body in found} == {name}
        result = found[-1][1]["data"]["result"]
        assert (result["documents"], result["files"], result["reused"]) == (1, 1, 0)
        assert result["status_path"] == f"/api/v1/status/{answer['task_id']}"
    with psycopg.connect(workspace.database_url) as connection:
        sent = connection.execute(
            "select e.url, count(*) from webhook_deliveries join webhook_endpoints e using (endpoint_id)"
            " group by e.url order by e.url"
        ).fetchall()
        of_run = connection.execute("select count(*) from webhook_events where task_id = %s", [run.id]).fetchone()
    assert sent == [("https://example.org/hooked", 7), ("https://example.org/other", 7)]
    assert of_run == (0,), "its clients know no such task"


async def record(client: PrefectClient, gateway: Gateway, run: FlowRun) -> None:
    """What hooks and the reconciler do, twice."""
    for _ in range(2):
        found = await read_history(client, await client.read_flow_run(run.id))
        async with gateway.custody.catalog.transaction() as connection:
            recorder = RunEventRecorder(current_settings())
            await recorder.record(connection, found, since=found.states[0].timestamp)


async def test_uploads_that_a_run_has_left_open_end_with_it(
    workspace: Workspace, gateway: Gateway, client: PrefectClient
) -> None:
    begin_now(workspace)
    for ending, state, kind in [
        (Cancelled(), "cancelled", "task_cancelled"),
        (Failed(message="other.md failed"), "failed", "task_failed"),
        (Crashed(), "crashed", "task_crashed"),
    ]:
        answer = await ingest(gateway, f"{state}.md")
        assert await gateway.resources.window.start_waiting()
        (run,) = await runs_with(client, answer)
        await put(client, run, Running(), ending)
        await record(client, gateway, run)
        assert (await status(gateway, answer["task_id"]))["status"] == state
        found = events(workspace, answer["task_id"])
        assert [event for event, _ in found] == ["task_started", kind]
        assert "other.md" not in str(found), "the message of the run is about another upload"


async def test_a_run_is_listed_with_its_uploads_and_found_by_the_beginning_of_their_ids(
    gateway: Gateway, client: PrefectClient
) -> None:
    answers = [await ingest(gateway, name) for name in ("a.md", "b.md")]
    assert await gateway.resources.window.start_waiting()
    (run,) = await runs_with(client, *answers)
    found = (await gateway.client.get("/api/v1/runs")).json()["runs"]
    (listed,) = (one for one in found if one["task_id"] == str(run.id))
    assert [(one["task_id"], one["name"], one["status"]) for one in listed["uploads"]] == [
        (answer["task_id"], name, "scheduled") for answer, name in zip(answers, ("a.md", "b.md"), strict=True)
    ]
    assert listed["source_count"] == 2
    async with gateway.custody.catalog.connection() as connection:
        assert str(await find_run(client, connection, answers[1]["task_id"][:13])) == answers[1]["task_id"]


async def test_an_upload_is_cancelled_alone_and_the_last_one_with_its_run(
    workspace: Workspace, gateway: Gateway, client: PrefectClient
) -> None:
    early, first, second = [await ingest(gateway, name) for name in ("early.md", "first.md", "second.md")]

    async def cancel(answer: dict[str, str]) -> httpx.Response:
        return await gateway.client.post(f"/api/v1/runs/{answer['task_id']}/cancel")

    assert (await cancel(early)).json()["status"] == "cancelled"
    assert await gateway.resources.window.start_waiting()
    assert await runs_with(client, early) == []
    (run,) = await runs_with(client, first, second)
    assert (await cancel(first)).json()["status"] == "cancelled"
    assert (await client.read_flow_run(run.id)).state_name == "Scheduled"
    await do(client, run)
    assert [(await status(gateway, one["task_id"]))["status"] for one in (first, second)] == ["cancelled", "completed"]
    assert await files_of_task(gateway, first["task_id"]) == []
    assert [kind for kind, _ in events(workspace, first["task_id"])] == ["task_cancelled"]
    late = await cancel(second)
    assert (late.status_code, error_of(late)) == (409, "RunEnded")
    assert (await cancel(first)).json()["status"] == "cancelled"
    alone = await ingest(gateway, "alone.md")
    assert await gateway.resources.window.start_waiting()
    (run,) = await runs_with(client, alone)
    await cancel(alone)
    assert (await client.read_flow_run(run.id)).state_name == "Cancelled"


# Nothing is lost, and nothing is done twice ---------------------------------------------------------------------------


async def test_a_request_that_is_sent_again_is_one_upload(gateway: Gateway, client: PrefectClient) -> None:
    first = await ingest(gateway, "a.md", once="order-1")
    assert await ingest(gateway, "a.md", once="order-1") == first
    assert await gateway.resources.window.start_waiting()
    assert await ingest(gateway, "a.md", once="order-1") == first
    assert len(await runs_with(client, first)) == 1


async def test_uploads_of_a_gateway_that_was_killed_are_started_by_the_next(
    workspace: Workspace, prefect_server: str, deployment: UUID, client: PrefectClient
) -> None:
    del deployment
    environment: dict[str, Any] = {"PREFECT_API_URL": prefect_server, "PREFECT_API_AUTH_STRING": PREFECT_AUTH}
    async with running_gateway(workspace.database_url, workspace.home) as local:
        headers = await local.headers()
    workspace.home.mkdir(exist_ok=True)
    given: list[dict[str, str]] = []
    waiting: list[str] = []
    with gateway_process(
        workspace.home, workspace.database_url, **environment, WAYBILL_INGEST_WINDOW_SECONDS=str(LONG)
    ) as first:
        async with httpx.AsyncClient(base_url=first.url, headers=headers, timeout=LONG) as sender:
            # The first one has a run of its own, and so has one that comes when the machine was busy for a second.
            while not waiting:
                given += await asyncio.gather(*(post(sender, f"{len(given) + number}.md") for number in range(6)))
                with psycopg.connect(workspace.database_url) as connection:
                    rows = connection.execute("select task_id::text from upload_tasks where run_id is null").fetchall()
                waiting = [str(task_id) for (task_id,) in rows]
        os.kill(first.pid, signal.SIGKILL)
    before = {run.id for run in await runs_with(client, *given)}
    with gateway_process(workspace.home, workspace.database_url, **environment):

        async def all_started() -> bool:
            return set().union(*[files_of(run) for run in await runs_with(client, *given)]) == {
                answer["file_id"] for answer in given
            }

        await until(all_started)
    started = await runs_with(client, *given)
    assert before <= {run.id for run in started}
    assert sum(len(files_of(run)) for run in started) == len(given), "each upload has one run"


async def test_a_run_whose_gateway_was_killed_before_it_noted_it_is_not_started_again(
    gateway: Gateway, client: PrefectClient, deployment: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_window, "_LEFT_AFTER_SECONDS", 0.0)
    ids = [uuid4(), uuid4()]
    artifact = await gateway.put(b"# A note\n", name="note.md")
    async with gateway.custody.catalog.transaction() as connection:
        for task_id, name in zip(ids, ("known.md", "unknown.md"), strict=True):
            await add_task(
                connection,
                task_id=task_id,
                file_id=artifact.file_id,
                source_file=name,
                filename=name,
                parameters={"stages": [1]},
            )
        keys = await give_to_runs(connection)
        tasks = [await find_task(connection, task_id) for task_id in ids]
    assert len(keys) == 2 and all(key.startswith(KEY_PREFIX) for key in keys)
    assert tasks[0] is not None
    made = await client.create_flow_run_from_deployment(
        deployment, parameters={"sources": [tasks[0].source]}, idempotency_key=tasks[0].run_key
    )
    await gateway.resources.window.start_waiting(with_left=True)
    found = [await status(gateway, str(task_id)) for task_id in ids]
    assert found[0]["run_id"] == str(made.id)
    assert found[1]["run_id"] not in (None, str(made.id))
    assert len([run for run in await all_runs(client) if str(artifact.file_id) in files_of(run)]) == 2


async def test_without_prefect_uploads_wait_and_are_started_when_it_is_back(
    workspace: Workspace, gateway: Gateway, client: PrefectClient, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    answer = await ingest(gateway, "a.md")
    begin = ingest_window.start_run

    async def refuse(*_: Any, **__: Any) -> UUID:
        raise ingest_window.PrefectUnavailable("the Prefect server does not answer")

    monkeypatch.setattr(ingest_window, "start_run", refuse)
    assert not await gateway.resources.window.start_waiting()
    assert "the start of shared runs waits: PrefectUnavailable" in caplog.text
    assert (await status(gateway, answer["task_id"]))["status"] == "scheduled"
    monkeypatch.setattr(ingest_window, "start_run", begin)
    assert await gateway.resources.window.start_waiting()
    assert len(await runs_with(client, answer)) == 1


async def test_uploads_whose_parameters_prefect_refuses_fail_and_keep_no_others_waiting(
    workspace: Workspace, gateway: Gateway, client: PrefectClient, deployment: UUID
) -> None:
    good = await ingest(gateway, "good.md")
    bad = uuid4()
    async with gateway.custody.catalog.transaction() as connection:
        await add_task(
            connection, task_id=bad, file_id=UUID(good["file_id"]), source_file="bad.md", filename="bad.md",
            parameters={"stages": {"nonsense": []}, "reuse": "neither"},
        )  # fmt: skip
    assert await gateway.resources.window.start_waiting()
    assert (await status(gateway, str(bad)))["status"] == "failed"
    assert [kind for kind, _ in events(workspace, str(bad))] == ["task_failed"]
    assert len(await runs_with(client, good)) == 1


async def test_many_uploads_at_once_ask_prefect_for_the_deployment_once(
    gateway: Gateway, client: PrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    find, asked = ingest_window.find_deployment, 0

    async def counted(*given: Any) -> UUID:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return await find(*given)

    monkeypatch.setattr(ingest_window, "find_deployment", counted)
    window = gateway.resources.window
    window._deployment = None
    assert len({*await asyncio.gather(*(window.deployment_id() for _ in range(50)))}) == 1
    assert asked == 1

    async def refuse(*_: Any) -> UUID:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        raise ingest_window.PrefectUnavailable("the Prefect server does not answer")

    monkeypatch.setattr(ingest_window, "find_deployment", refuse)
    window._deployment = None
    failed = await asyncio.gather(*(window.deployment_id() for _ in range(50)), return_exceptions=True)
    assert {type(one) for one in failed} == {ingest_window.PrefectUnavailable}
    assert asked == 2
