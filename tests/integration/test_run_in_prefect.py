"""What a person sees of a run in Prefect's UI: arrows, tags, log lines, reasons of failures, and the summary."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest
from markdown_it import MarkdownIt
from prefect import tags
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import ArtifactFilter, FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import State, TaskRun

from flows.process import process_documents
from tests.integration.conftest import Workspace
from tests.stack_driver import PATIENCE_SECONDS

MARKDOWN = """\
# Kettle 2000

The boiler of the kettle holds 1.7 litres of water. It was built in 2024 by Jane Fletcher in Leeds, and its lid
weighs 250 grams. ``` `<script>` and | and <b> are text here.
"""


async def process(*sources: Path | str, **more: Any) -> tuple[State[Any], UUID]:
    state = await cast("Any", process_documents(sources=[str(source) for source in sources], return_state=True, **more))
    return state, state.state_details.flow_run_id


async def tasks_of(client: PrefectClient, run_id: UUID, count: int) -> dict[str, TaskRun]:
    """The task runs by name, once Prefect has all of them: they reach its database late."""
    these = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))

    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = await client.read_task_runs(flow_run_filter=these)
        if len(found) == count and all(run.state and run.state.is_final() for run in found):
            return {run.name: run for run in found}
        assert time.monotonic() < deadline, [(run.name, run.state_name) for run in found]
        await asyncio.sleep(0.1)


async def summary_of(client: PrefectClient, run_id: UUID) -> str:
    these = ArtifactFilter.model_validate({"flow_run_id": {"any_": [run_id]}, "key": {"any_": [f"summary-{run_id}"]}})
    (found,) = await client.read_artifacts(artifact_filter=these)
    return str(found.data)


async def test_an_arrow_leads_from_each_step_of_a_document_to_the_next(
    workspace: Workspace, client: PrefectClient
) -> None:
    paths = [workspace.write("a.md", MARKDOWN), workspace.write("b.md", "# B\n\nOther words.\n")]
    _, run_id = await process(*paths, stages=["markdown-conversion", "markdown-optimizer"])
    runs = await tasks_of(client, run_id, 6)
    before = {
        name: {one.id for inputs in run.task_inputs.values() for one in inputs if getattr(one, "id", None)}
        for name, run in runs.items()
    }
    for document in ("a.md", "b.md"):
        first, second, third = (
            f"0-custody {document}",
            f"1-markdown-conversion {document}",
            f"2-markdown-optimizer {document}",
        )
        assert before[first] == set()
        assert before[second] == {runs[first].id}
        assert before[third] == {runs[second].id}


async def test_the_next_step_works_on_the_others_when_one_document_of_a_shard_fails(
    workspace: Workspace, client: PrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.stage_tasks.run_stage.retry_delay_seconds", [0.1])
    # Never ends well: the task itself fails after its last retry, with documents that have an output.
    workspace.write("shaky.txt", "transient " * 50)
    for number in range(20):
        workspace.write(f"d{number:02}.txt", f"Some words, number {number}.")
    state, run_id = await process(workspace.documents, stages=[6, 1])
    report = await state.aresult(raise_on_failure=False)
    assert sum(document["state"] == "completed" for document in report["documents"]) >= 20
    names = set(await tasks_of(client, run_id, 6))
    # More documents than get a task each: the names say which shard it is.
    assert {name for name in names if name.startswith("0-")} == {
        "0-custody (shard 1 of 2, 11 documents)", "0-custody (shard 2 of 2, 10 documents)",
    }  # fmt: skip


async def test_a_run_has_tags_by_which_people_find_it_and_keeps_those_it_has(
    workspace: Workspace, client: PrefectClient
) -> None:
    paths = [workspace.write("a.md", MARKDOWN), workspace.write("b.csv", "a,b\n1,2\n3,4\n")]
    with tags("batch 7"):
        _, run_id = await process(*paths, stages=[1])
    run = await client.read_flow_run(run_id)
    assert set(run.tags) == {"batch 7", "waybill", "type:md", "type:csv"}
    # Prefect asks for a concurrency limit for each tag of each task.
    assert all(not task.tags for task in (await tasks_of(client, run_id, 4)).values())


async def test_the_log_has_a_line_for_each_document_and_step(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    path = workspace.write("kettle.md", MARKDOWN)
    await process(path, stages=[1, 2, 3, 4])
    lines = [record.message for record in caplog.records if record.message.startswith("kettle.md: ")]
    custody, conversion, optimization, chunks, facts = lines
    assert custody == f"kettle.md: text/markdown, {len(MARKDOWN)} bytes"
    assert conversion.startswith("kettle.md: English, ") and conversion.endswith(" s")
    assert "bytes" in optimization
    assert chunks.startswith("kettle.md: 1 chunk, ")
    assert "fact" in facts
    caplog.clear()
    await process(path, stages=[1])
    assert [record.message for record in caplog.records if record.message.startswith("kettle.md: English")] == [
        conversion.rpartition(", ")[0] + ", reused"
    ]


async def test_documents_that_are_processed_together_are_lines_of_few_log_records(
    workspace: Workspace, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        workspace.write(f"{number:02}.txt", f"text {number}")
    state, _ = await process(workspace.documents, stages=[6])
    records = [record.message for record in caplog.records if ".txt: " in record.message]
    assert state.is_completed()
    assert len(records) == 4  # two shards of ten, custody and one stage
    lines = [line for record in records for line in record.splitlines()]
    assert sorted(line.partition(": ")[0] for line in lines) == sorted(2 * [f"{number:02}.txt" for number in range(20)])
    caplog.clear()
    # Prefect drops a record that is too long.
    monkeypatch.setattr("tasks.stage_tasks.MOST_RECORD_CHARS", 100)
    await process(workspace.documents, stages=[6])
    records = [record.message for record in caplog.records if ".txt: " in record.message]
    assert len([line for record in records for line in record.splitlines()]) == 40
    assert all(len(record) <= 110 for record in records)


async def test_the_state_of_a_failed_run_says_why_and_where_a_path_was_looked_for(workspace: Workspace) -> None:
    state, _ = await process("missing.pdf", workspace.write("empty.txt", ""), stages=[1])
    # A path that is not whole is one in the folder of the process that runs the flow.
    assert state.message == (
        f"0 of 2 documents completed; failed: missing.pdf in custody (cannot open {Path.cwd() / 'missing.pdf'}: "
        "No such file or directory); empty.txt in custody (empty.txt is empty)"
    )


async def test_the_summary_shows_what_a_document_holds_and_leads_to_it(
    workspace: Workspace, client: PrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYBILL_PUBLIC_URL", "https://waybill.example/docs")
    state, run_id = await process(
        workspace.write("kettle.md", MARKDOWN), workspace.documents / "gone.pdf", stages=[1, 2, 3, 4]
    )
    (document,) = [one for one in (await state.aresult(raise_on_failure=False))["documents"] if one["sha256"]]
    page = await summary_of(client, run_id)
    assert page.startswith("# 1 of 2 documents completed\n")
    assert f"[Open this run](https://waybill.example/docs/runs/{run_id})" in page
    assert f"[kettle.md](https://waybill.example/docs/documents/{document['sha256']}) | Kettle 2000 | md |" in page
    # Failures come first, with their reason.
    assert page.index("- **gone.pdf** in custody: cannot open ") < page.index("## Documents") < page.index("kettle")
    # A fence that the text cannot end, and facts whose characters mean nothing.
    assert "```text\nKettle 2000\n" in page
    assert "\n- The boiler of the kettle holds 1.7 litres of water.\n" in page
    assert "<script" not in MarkdownIt("commonmark").enable("table").render(page)


async def test_a_run_that_waybill_stored_already_is_named_by_its_id(
    workspace: Workspace, client: PrefectClient
) -> None:
    unknown = "waybill:11111111-1111-4111-8111-111111111111"
    _, run_id = await process(unknown, stages=[1])
    assert (await client.read_flow_run(run_id)).name == unknown
