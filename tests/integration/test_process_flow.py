"""process-documents on a real Prefect server and catalogue: custody, reuse, failures, retries, what people see."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
import pytest
from prefect import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateName,
)
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_CUSTOM_HEADERS,
    PREFECT_CLIENT_RETRY_EXTRA_CODES,
    temporary_settings,
)
from prefect.states import State

from blocks.catalog import OutputLocks
from blocks.custody.manifest import is_manifest_path
from blocks.errors import InvalidOptions, SourceNotFound
from blocks.keys import load_storage_keys
from blocks.settings import Settings, current_settings
from flows.process import ProcessOptions, process_documents
from tasks import run_context
from tests import stored
from tests.http_server import Answer, running_document_server
from tests.integration.conftest import Workspace
from tests.s3.fault_proxy import Fault, Request, running_fault_proxy
from tests.shared_servers import PREFECT_ALONE
from tests.stack_driver import PATIENCE_SECONDS
from waybill.stack.environment import _CLIENT_DEFAULTS

# A test saves the block that says where files are kept.
pytestmark = PREFECT_ALONE

# The hostile stage alone reads the source itself and takes a millisecond: most of these tests are about the flow.
LIGHT = [6]


async def process(*sources: object, stages: list[int] | None = None, **more: Any) -> tuple[State[Any], dict[str, Any]]:
    """Run the flow; its state and its report."""
    run = process_documents(sources=[str(s) for s in sources], stages=stages or LIGHT, return_state=True, **more)
    state = await cast("Awaitable[State[Any]]", run)
    report = await state.aresult(raise_on_failure=False)
    if isinstance(report, BaseException):
        raise report
    return state, report


def rows(workspace: Workspace, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(workspace.database_url) as connection:
        return connection.execute(statement.encode()).fetchall()


async def task_states(run_id: str, count: int) -> dict[str, str]:
    """Names of the run's *count* task runs and their states; records reach the server a moment late."""
    async with get_client() as client:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            found = await client.read_task_runs(flow_run_filter=_only(run_id), limit=200)
            states = {run.name: run.state.name if run.state else "" for run in found}
            if len(found) == count and all(name not in {"Running", "Pending", ""} for name in states.values()):
                return states
            assert time.monotonic() < deadline, f"task runs did not settle: {states}"
            await asyncio.sleep(0.1)


def _only(run_id: str) -> FlowRunFilter:
    return FlowRunFilter(id=FlowRunFilterId(any_=[UUID(run_id)]))


def outputs(report: dict[str, Any]) -> list[tuple[str, bool]]:
    return [
        (artifact["filename"], artifact["reused"])
        for document in report["documents"]
        for artifact in document["artifacts"]
        if artifact["kind"] == "stage_output"
    ]


async def test_every_output_is_in_custody_and_told(workspace: Workspace) -> None:
    path = workspace.write("a.txt", "hello")
    state, report = await process(path)
    assert state.is_completed()
    assert report["state"] == "completed"
    (document,) = report["documents"]
    assert document["source"] == str(path)
    upload, output = document["artifacts"]
    assert (upload["kind"], output["kind"], output["stage"]) == ("upload", "stage_output", 6)
    assert stored.output(workspace.home, output["file_id"]) == b"HELLO"
    assert rows(workspace, "select distinct state from artifacts") == [("available",)]
    assert list((workspace.home / "scratch").iterdir()) == []
    assert list((workspace.home / "leases").iterdir()) == []


async def test_one_failing_document_stops_no_other_and_fails_the_run(workspace: Workspace) -> None:
    for name, text in {"good.txt": "fine", "bad.txt": "raise", "dead.txt": "abort", "empty.txt": ""}.items():
        workspace.write(name, text)
    state, report = await process(workspace.documents)
    assert state.is_failed()
    assert report["state"] == "failed"
    by_name = {document["source"].rsplit("/", 1)[1]: document for document in report["documents"]}
    assert {name: d["state"] for name, d in by_name.items()} == {
        "good.txt": "completed",
        "bad.txt": "failed",
        "dead.txt": "failed",
        "empty.txt": "failed",
    }
    assert by_name["empty.txt"]["error_type"] == "EmptyDocument"
    assert by_name["empty.txt"]["artifacts"] == []
    assert by_name["dead.txt"]["error"].startswith("hostile: ")
    assert rows(workspace, "select count(*) from artifacts where state <> 'available'") == [(0,)]


async def test_small_and_large_outputs_are_stored_and_a_failed_one_leaves_neither_row_nor_bytes(
    workspace: Workspace, settings: Settings
) -> None:
    """A worker stores small ones itself, and is killed each time it has done so for one of them."""
    texts = ["small", "bulky", "vanish once", "vanish always", "raise"]
    _, report = await process(*(workspace.write(f"{text}.txt", text) for text in texts))
    made = {document["source"].rsplit("/", 1)[1]: document["artifacts"][1:] for document in report["documents"]}
    assert {name: len(files) for name, files in made.items()} == {
        "small.txt": 1, "bulky.txt": 1, "vanish once.txt": 1, "vanish always.txt": 0, "raise.txt": 0,
    }  # fmt: skip
    assert rows(workspace, "select state, count(*) from artifacts group by state") == [("available", 8)]
    assert stored.output(settings.home, made["small.txt"][0]["file_id"]) == b"SMALL"


async def test_the_same_content_is_processed_once_across_runs_and_names(workspace: Workspace) -> None:
    first = workspace.write("first.txt", "same content")
    await process(first)
    second = workspace.write("second.txt", "same content")
    _, report = await process(first, second)
    assert outputs(report) == [("first.hostile.txt", True), ("first.hostile.txt", True)]
    assert rows(workspace, "select count(*) from artifacts where kind = 'stage_output'") == [(1,)]
    assert rows(workspace, "select count(*) from artifacts where kind = 'upload'") == [(2,)]


async def test_a_run_whose_outputs_are_all_stored_locks_none(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked: list[str] = []
    acquire = OutputLocks.try_acquire

    async def try_acquire(self: OutputLocks, keys: Collection[str]) -> set[str]:
        locked.extend(keys)
        return await acquire(self, keys)

    monkeypatch.setattr(OutputLocks, "try_acquire", try_acquire)
    stored = workspace.write("stored.txt", "stored")
    await process(stored)
    assert len(locked) == 1
    await process(stored)
    assert len(locked) == 1
    _, report = await process(stored, workspace.write("new.txt", "new"))
    assert [reused for _, reused in outputs(report)] == [True, False]
    assert len(locked) == 2


@pytest.mark.parametrize("reuse", [True, False])
async def test_twins_in_one_shard_have_their_output_each(workspace: Workspace, reuse: bool) -> None:
    """Of 18 documents in one shard, the first three have the same content."""
    names = [f"d{number:02}.txt" for number in range(18)]
    for number, name in enumerate(names):
        workspace.write(name, f"content {max(number, 2)}")
    _, report = await process(workspace.documents, reuse=reuse)
    delivered = "select split_part(o.source_file, '/', -1), o.reused from run_outputs o join artifacts using (file_id)"
    found = rows(workspace, f"{delivered} where kind = 'stage_output' and o.run_id = '{report['run_id']}' order by 1")
    assert found == [(name, name in names[1:3]) for name in names]


async def test_twins_in_one_run_are_worked_on_once(workspace: Workspace) -> None:
    for number in range(30):  # more than fit into shards of one, so that twins meet in a shard and across shards
        workspace.write(f"twin{number:02}.txt", "same content")
    _, report = await process(workspace.documents)
    assert sorted(reused for _, reused in outputs(report)) == [False] + [True] * 29
    assert rows(workspace, "select count(*) from artifacts where kind = 'stage_output'") == [(1,)]


async def test_two_runs_at_once_make_each_output_once(workspace: Workspace) -> None:
    for number in range(20):
        workspace.write(f"d{number}.txt", f"content {number}")
    reports = await asyncio.gather(process(workspace.documents), process(workspace.documents))
    assert [report["state"] for _, report in reports] == ["completed", "completed"]
    assert rows(workspace, "select count(*) from artifacts where kind = 'stage_output'") == [(20,)]


@pytest.mark.parametrize("reuse", [True, False])
async def test_twins_far_apart_in_one_run_are_worked_on_once_and_few_outputs_are_remembered(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, reuse: bool
) -> None:
    monkeypatch.setattr(run_context, "LAST_MADE", 2)
    monkeypatch.setenv("WAYBILL_SHARD_SIZE", "5")
    monkeypatch.setenv("WAYBILL_SHARDS_AT_ONCE", "1")
    for number in range(30):
        content = "same content" if number in (0, 29) else f"content {number}"
        workspace.write(f"d{number:02}.txt", content)
    _, report = await process(workspace.documents, reuse=reuse)
    assert [reused for _, reused in outputs(report)] == [False] * 29 + [True]
    assert rows(workspace, "select count(*) from artifacts where kind = 'stage_output'") == [(29,)]


async def test_no_reuse_makes_every_output_anew(workspace: Workspace) -> None:
    path = workspace.write("a.txt", "hello")
    await process(path)
    _, report = await process(path, reuse=False)
    assert outputs(report) == [("a.hostile.txt", False)]


async def test_deleted_and_expired_outputs_are_made_again(workspace: Workspace) -> None:
    path = workspace.write("a.txt", "hello")
    await process(path)
    with psycopg.connect(workspace.database_url) as connection:
        connection.execute("update artifacts set expires_at = clock_timestamp() + interval '30 minutes'")
    _, report = await process(path)
    assert outputs(report) == [("a.hostile.txt", False)]


async def test_files_stay_for_the_period_of_their_kind_or_as_long_as_the_run_says(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def days() -> list[tuple[Any, ...]]:
        left = "round(extract(epoch from expires_at - clock_timestamp()) / 86400)::int"
        return rows(workspace, f"select kind, {left} from artifacts order by created_at")  # noqa: S608

    monkeypatch.setenv("WAYBILL_RETENTION", '{"stage_output": "3d", "upload": "5d"}')
    await process(workspace.write("a.txt", "hello"))
    assert days() == [("upload", 5), ("stage_output", 3)]
    # What it reuses stays as long as the run says too, and never less than it would.
    await process(workspace.write("b.txt", "hello"), keep_for="4d")
    assert days() == [("upload", 5), ("stage_output", 4), ("upload", 4)]
    await process(workspace.documents / "b.txt", keep_for="2d")
    assert days() == [("upload", 5), ("stage_output", 4), ("upload", 4)]


async def test_nothing_is_reused_that_is_encrypted_for_a_lost_key(workspace: Workspace, settings: Settings) -> None:
    path = workspace.write("a.txt", "hello")
    await process(path)
    settings.resolved_storage_identity_file.unlink()
    load_storage_keys(settings)  # as 'waybill keys storage --new' does
    _, report = await process(path)
    reused = [one["reused"] for document in report["documents"] for one in document["artifacts"]]
    assert reused == [False, False]
    _, report = await process(path)
    assert [one["reused"] for document in report["documents"] for one in document["artifacts"]] == [True, True]


async def test_a_reused_stage_shows_as_reused_and_names_say_document_and_stage(workspace: Workspace) -> None:
    path = workspace.write("report.txt", "hello")
    _, first = await process(path)
    assert await task_states(first["run_id"], 2) == {
        "0-custody report.txt": "Completed",
        "6-hostile report.txt": "Completed",
    }
    _, second = await process(path)
    assert await task_states(second["run_id"], 2) == {
        "0-custody report.txt": "Reused",
        "6-hostile report.txt": "Reused",
    }
    async with get_client() as client:
        run = await client.read_flow_run(UUID(second["run_id"]))
    assert run.name == "report.txt"


async def test_prefect_finds_stage_tasks_by_the_name_of_how_they_ended(workspace: Workspace) -> None:
    path = workspace.write("report.txt", "hello")
    await process(path)
    _, report = await process(path)
    await task_states(report["run_id"], 2)
    async with get_client() as client:
        observed = (await client.request("GET", "/observed-states", params={"query": "reu"})).json()
        assert [(state["state_type"], state["state_name"]) for state in observed] == [("COMPLETED", "Reused")]
        found = await client.read_task_runs(
            flow_run_filter=_only(report["run_id"]),
            task_run_filter=TaskRunFilter(state=TaskRunFilterState(name=TaskRunFilterStateName(any_=["Reused"]))),
        )
    assert {run.name for run in found} == {"0-custody report.txt", "6-hostile report.txt"}


async def test_a_stage_in_which_a_document_failed_is_not_shown_as_reused(workspace: Workspace) -> None:
    # More documents than get a shard each, so that the failing one shares its shard with reused ones.
    for number in range(20):
        workspace.write(f"d{number:02}.txt", f"content {number}")
    await process(workspace.documents)
    workspace.write("bad.txt", "raise")
    _, report = await process(workspace.documents)
    assert report["state"] == "failed"
    await task_states(report["run_id"], 4)
    async with get_client() as client:
        runs = await client.read_task_runs(flow_run_filter=_only(report["run_id"]))
    states = [run.state for run in runs if run.state and "failed: bad.txt" in (run.state.message or "")]
    assert [state.name for state in states] == ["Completed"]


async def test_a_transient_error_is_retried_and_only_for_the_document_that_had_it(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.stage_tasks.run_stage.retry_delay_seconds", [0.1])
    workspace.write("shaky.txt", "transient")
    for number in range(20):
        workspace.write(f"calm{number}.txt", f"calm {number}")
    state, report = await process(workspace.documents)
    assert state.is_completed()
    assert len(outputs(report)) == 21
    assert rows(workspace, "select count(*) from artifacts where kind = 'stage_output'") == [(21,)]


async def test_prefect_shows_one_progress_artifact_at_100_and_a_summary_with_links(workspace: Workspace) -> None:
    workspace.write("fine.txt", "fine")
    workspace.write("<img src=x>|bad.txt", "raise")
    _, report = await process(workspace.documents)
    async with get_client() as client:
        artifacts = await client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(report["run_id"])]))
        )
    run_id = report["run_id"]
    by_key = {artifact.key: artifact for artifact in artifacts}
    assert set(by_key) == {f"progress-{run_id}", f"summary-{run_id}", f"page-{run_id}"}
    assert by_key[f"progress-{run_id}"].data == 100.0
    assert f"/runs/{report['run_id']})" in str(by_key[f"page-{run_id}"].data)
    summary = str(by_key[f"summary-{run_id}"].data)
    assert "1 of 2 documents completed" in summary
    assert "](/runs/task-run/" in summary
    assert "<img" not in summary


@pytest.mark.parametrize("fault", ["500", "cut"])
async def test_a_prefect_server_that_is_away_for_a_moment_fails_no_run(
    workspace: Workspace, prefect_server: str, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    # Prefect's client waits two seconds before it repeats a request, and then twice as long each time.
    monkeypatch.setattr("prefect.client.base.clamped_poisson_interval", lambda *_: 0.01)
    workspace.write("a.txt", "hello")
    asked: dict[tuple[str, str], int] = {}

    def fails(request: Request) -> bool:
        """Twice each request that sets a state; always those that only show something."""
        what = request.method, request.key
        asked[what] = asked.get(what, 0) + 1
        return (asked[what] <= 2 and "set_state" in request.key) or "artifacts" in request.key

    given = Fault(cut_request_after_bytes=0) if fault == "cut" else Fault(refuse_with=(int(fault), "on purpose"))
    with running_fault_proxy(prefect_server) as proxy:
        proxy.inject(fails, given)
        settings = {
            PREFECT_API_URL: f"{proxy.address}/api",
            # The server answers under its own address only.
            PREFECT_CLIENT_CUSTOM_HEADERS: {"Host": urlsplit(prefect_server).netloc},
            PREFECT_CLIENT_RETRY_EXTRA_CODES: _CLIENT_DEFAULTS["PREFECT_CLIENT_RETRY_EXTRA_CODES"],
        }
        with temporary_settings(updates=settings):
            state, report = await process(workspace.documents)
    assert state.is_completed()
    assert len(outputs(report)) == 1
    assert any("set_state" in key for _, key in asked)
    async with get_client() as client:
        run = await client.read_flow_run(UUID(report["run_id"]))
    assert run.state is not None
    assert run.state.is_completed()


def kinds_stored(folder: Path) -> list[str]:
    """The kinds of the files in a storage, one for each; small ones have their manifests inside."""
    assert not any(is_manifest_path(path.name) for path in folder.glob("*/*/*"))
    return sorted(path.parent.parent.name for path in folder.glob("*/*/*"))


async def test_a_block_that_a_person_has_saved_wins_and_no_command_saves_or_changes_one(workspace: Workspace) -> None:
    from blocks.settings import current_settings
    from blocks.storage.block import ArtifactStore
    from waybill.services.register_blocks import register_blocks

    elsewhere = workspace.home / "elsewhere"
    await register_blocks(current_settings())
    with pytest.raises(ValueError, match="Unable to find block document"):
        await ArtifactStore.aload("waybill")
    await ArtifactStore(url=str(elsewhere)).asave("waybill", overwrite=True)
    try:
        await register_blocks(current_settings())
        await process(workspace.write("a.txt", "hello"))
        assert kinds_stored(elsewhere) == ["outputs", "uploads"]
    finally:
        await ArtifactStore.adelete("waybill")


async def test_a_block_that_another_home_or_version_has_saved_sends_no_file_elsewhere(workspace: Workspace) -> None:
    from blocks.storage.block import ArtifactStore

    elsewhere = workspace.home / "of-another-home"
    await ArtifactStore(url=str(elsewhere), managed=True).asave("waybill", overwrite=True)
    try:
        await process(workspace.write("a.txt", "hello"))
        assert (await ArtifactStore.aload("waybill")).url == str(elsewhere)
    finally:
        await ArtifactStore.adelete("waybill")
    assert not elsewhere.exists()
    assert kinds_stored(workspace.home / "artifacts") == ["outputs", "uploads"]


async def test_a_run_keeps_the_storage_that_it_began_with(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person saves a block of their own while the run is under way."""
    from blocks.storage.block import ArtifactStore
    from flows.processing import resources

    elsewhere = workspace.home / "elsewhere"
    clear_up = resources.clear_up_dead_runs

    async def saved_meanwhile(*arguments: Any) -> None:
        await clear_up(*arguments)
        await ArtifactStore(url=str(elsewhere)).asave("waybill", overwrite=True)

    monkeypatch.setattr(resources, "clear_up_dead_runs", saved_meanwhile)
    try:
        state, _ = await process(workspace.write("a.txt", "hello"))
    finally:
        await ArtifactStore.adelete("waybill")
    assert state.is_completed()
    assert not elsewhere.exists()
    assert kinds_stored(workspace.home / "artifacts") == ["outputs", "uploads"]


@pytest.mark.parametrize(
    ("sources", "stages", "expected"),
    [([], [6], InvalidOptions), (["/nowhere/*.pdf"], [6], SourceNotFound), (["README.md"], [99], InvalidOptions)],
)
async def test_a_run_that_cannot_begin_says_why(
    workspace: Workspace, sources: list[str], stages: list[int], expected: type[Exception]
) -> None:
    del workspace
    with pytest.raises(expected):
        await process(*sources, stages=stages)


async def test_a_stage_without_its_input_fails_clearly(workspace: Workspace) -> None:
    state, report = await process(workspace.write("a.txt", "hello"), stages=[3])
    assert state.is_failed()
    assert report["documents"][0]["error_type"] == "StageInputMissing"
    assert "markdown-conversion" in report["documents"][0]["error"]


async def test_a_file_in_custody_can_be_processed_by_its_id(workspace: Workspace) -> None:
    _, first = await process(workspace.write("a.txt", "hello"))
    upload = first["documents"][0]["artifacts"][0]
    (workspace.documents / "a.txt").unlink()
    _, report = await process(f"waybill:{upload['file_id']}", reuse=False)
    assert outputs(report) == [("a.hostile.txt", False)]


def test_the_parameters_make_a_form() -> None:
    from prefect.utilities.callables import parameter_schema

    schema = parameter_schema(process_documents).model_dump_for_openapi()
    assert set(schema["properties"]) == {
        "sources", "stages", "options", "reuse", "webhook_url", "keep_for", "run_on", "time_limit", "spread",
    }  # fmt: skip
    text = json.dumps(schema)
    for field in ("markdown_conversion", "chunker", "fact_generator", "max_tokens", "gpu-pool"):
        assert field in text
    assert json.loads(ProcessOptions().model_dump_json())["chunker"]


# Sources --------------------------------------------------------------------------------------------------------------


async def test_a_busy_server_is_asked_again_when_it_says_and_a_refused_source_stops_no_other(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.stage_tasks.take_custody.retry_delay_seconds", [0.0] * 3)
    outside = workspace.documents.parent / "secret.txt"
    outside.write_text("secret")
    (workspace.documents / "out.txt").symlink_to(outside)
    workspace.write("fine.txt", "fine")
    with running_document_server() as server:
        monkeypatch.setenv("WAYBILL_ALLOWED_SOURCES", f"{workspace.documents},{server.address}")
        current_settings.cache_clear()
        busy, asked = Answer(status=503, headers={"Retry-After": "1"}), list[float]()

        def answered(answer: Answer) -> Callable[[], Answer]:
            return lambda: (asked.append(time.monotonic()), answer)[1]

        cut = Answer(b"not all of it", headers={"Content-Length": "29"})
        url = server.answer("/busy.txt", *map(answered, [busy, cut, Answer(b"a document, and all of it now")]))
        missing = server.answer("/forbidden.txt", Answer(status=403))
        state, report = await process(
            url, workspace.documents, missing, outside, workspace.home, f"file://{workspace.home}/scratch/../x"
        )
    assert state.is_failed()
    found = {document["source"].rsplit("/", 1)[-1]: document for document in report["documents"]}
    assert {name: document["error_type"] for name, document in found.items()} == {
        "busy.txt": None,
        "fine.txt": None,
        "out.txt": "SourceRefused",
        "forbidden.txt": "SourceNotFound",
        "secret.txt": "SourceRefused",
        "home": "SourceRefused",
        "x": "SourceRefused",
    }
    assert found["busy.txt"]["artifacts"][0]["size"] == 29
    assert asked[1] - asked[0] >= 1 and len(asked) == 3
    assert "WAYBILL_ALLOWED_SOURCES" in found["secret.txt"]["error"]
    assert rows(workspace, "select count(*) from artifacts where kind = 'upload'") == [(2,)]
