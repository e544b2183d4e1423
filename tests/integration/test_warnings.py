"""What could not be carried over reaches people: in the run's report, states and summary, in events, over HTTP, and
again where an output is reused."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import psycopg
import pytest
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, FlowRunFilter, FlowRunFilterId

from tests.gateway import running_gateway
from tests.integration.conftest import Workspace
from tests.integration.test_document_events import endpoint, told
from tests.integration.test_process_flow import outputs, process, task_states
from tests.shared_servers import PREFECT_ALONE

__all__ = ["endpoint"]  # the fixture

pytestmark = PREFECT_ALONE

# Valid UTF-8 but for single bytes, which are replaced with a warning.
WORDS = ("Grüße aus Zürich. " * 20).encode()
ONE, TWO, BOTH = (
    f"{count} byte sequence{plural} replaced that {verb} not valid UTF-8"
    for count, plural, verb in ((1, "", "is"), (2, "s", "are"), (3, "s", "are"))
)
SUMMARY = f"3 warnings: {BOTH}"


def write_damaged(workspace: Workspace) -> None:
    workspace.write("a.txt", b"\xff " + WORDS)
    workspace.write("b.txt", b"\xff \xff " + WORDS)
    workspace.write("whole.txt", WORDS)


def warnings_of(report: dict[str, Any]) -> list[list[str]]:
    return [
        artifact["warnings"]
        for document in report["documents"]
        for artifact in document["artifacts"]
        if artifact["stage"] == 1
    ]


async def summary_page(run_id: str) -> str:
    this = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(run_id)]))
    async with get_client() as client:
        artifacts = await client.read_artifacts(artifact_filter=this)
    return next(str(artifact.data) for artifact in artifacts if artifact.key == f"summary-{run_id}")


async def task_messages(run_id: str) -> list[str]:
    await task_states(run_id, 9)
    async with get_client() as client:
        tasks = await client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[UUID(run_id)])))
    return sorted(task.state.message or "" for task in tasks if task.state and task.name.startswith("1-"))


async def test_a_run_names_what_was_lost_wherever_it_is_shown(workspace: Workspace) -> None:
    write_damaged(workspace)
    state, report = await process(workspace.documents, stages=[1, 2])
    assert state.message == f"3 of 3 documents completed; {SUMMARY}"
    assert report["warning_summary"] == SUMMARY
    assert warnings_of(report) == [[ONE], [TWO], []]
    assert await task_messages(report["run_id"]) == [
        "1 of 1 documents, 0 reused",
        f"1 of 1 documents, 0 reused; 1 warning: {ONE}",
        f"1 of 1 documents, 0 reused; 2 warnings: {TWO}",
    ]
    page = await summary_page(report["run_id"])
    assert f"\n{SUMMARY}.\n" in page
    assert f"- **b.txt**: 2 warnings: {TWO}" in page
    assert "whole.txt**" not in page


async def test_reused_outputs_have_their_warnings_again(workspace: Workspace) -> None:
    write_damaged(workspace)
    _, first = await process(workspace.documents, stages=[1, 2])
    with psycopg.connect(workspace.database_url) as connection:  # as an earlier version has stored them
        connection.execute("update artifacts set metadata = metadata - 'warnings'")
    state, again = await process(workspace.documents, stages=[1, 2])
    assert {reused for _, reused in outputs(again)} == {True}
    assert warnings_of(again) == warnings_of(first)
    assert state.message == f"3 of 3 documents completed; {SUMMARY}"
    assert f"\n{SUMMARY}.\n" in await summary_page(again["run_id"])


@pytest.mark.usefixtures("endpoint")
async def test_a_run_without_warnings_says_nothing_of_them(workspace: Workspace) -> None:
    state, report = await process(workspace.write("whole.txt", WORDS), stages=[1])
    assert state.message == "1 of 1 documents completed"
    assert report["warning_summary"] == ""
    assert "arning" not in await summary_page(report["run_id"])
    (event,) = told(workspace, "stage_completed")
    assert "warnings" not in event["data"]["metadata"]


async def test_a_failed_run_names_warnings_before_failures(workspace: Workspace) -> None:
    workspace.write("a.txt", b"\xff " + WORDS)
    workspace.write("empty.txt", "")
    state, _ = await process(workspace.documents, stages=[1])
    assert state.message == (
        f"1 of 2 documents completed; 1 warning: {ONE}; failed: empty.txt in custody (empty.txt is empty)"
    )


@pytest.mark.usefixtures("endpoint")
async def test_events_and_the_gateway_carry_warnings(workspace: Workspace, prefect_server: str) -> None:
    path = workspace.write("b.txt", b"\xff \xff " + WORDS)
    _, report = await process(path, stages=[1])
    (event,) = told(workspace, "stage_completed")
    assert event["data"]["metadata"]["warnings"] == [TWO]
    file_id, run_id = report["documents"][0]["artifacts"][1]["file_id"], report["run_id"]
    async with running_gateway(workspace.database_url, workspace.home, prefect_api=prefect_server) as gateway:
        gateway.client.headers.update(await gateway.headers("read"))

        async def read(path: str) -> dict[str, Any]:
            answer = await gateway.client.get(f"/api/v1/{path}")
            assert answer.status_code == 200, answer.text
            return json.loads(answer.content)

        assert (await read(f"status/{run_id}"))["message"] == f"1 of 1 documents completed; 2 warnings: {TWO}"
        assert (await read(f"files/metadata/{file_id}"))["metadata"]["warnings"] == [TWO]
        assert (await read(f"files/metadata/{file_id}?view=report"))["warnings"] == [TWO]
        (listed,) = (await read("files/list/by-stage?stage=1"))["files"]
        assert listed["metadata"]["warnings"] == [TWO]
