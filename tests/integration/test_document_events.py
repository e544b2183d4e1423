"""What a real run records for consumers: stages, chains, progress and failures, each once, with links that work."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import psycopg
import pytest

from blocks.catalog import Catalog
from blocks.links import Links
from blocks.settings import current_settings
from blocks.webhooks.registration import register
from blocks.webhooks.secrets import SecretBox
from tests.delivery import open_place
from tests.integration.conftest import Workspace
from tests.integration.prefect_runs import begin_now
from tests.integration.test_process_flow import process
from tests.webhooks import Receiver


@pytest.fixture
async def endpoint(workspace: Workspace) -> None:
    """An endpoint that wants everything: without one, short bodies are recorded."""
    box = SecretBox.of(current_settings())
    async with Catalog.open(workspace.database_url) as catalog, catalog.transaction() as connection:
        await register(connection, box, url="https://receiver.example/all")


def told(workspace: Workspace, *event_types: str) -> list[dict[str, Any]]:
    """The bodies of the events of these types, in the order they were recorded."""
    with psycopg.connect(workspace.database_url) as connection:
        rows = connection.execute(
            "select event_id, body from webhook_events where event_type = any(%s) order by occurred_at, recorded_at",
            [list(event_types)],
        ).fetchall()
    return [{"event_id": event_id, **json.loads(body)} for event_id, body in rows]


@pytest.mark.usefixtures("endpoint")
async def test_a_stage_and_its_chain_are_told_with_a_link_to_each_file(workspace: Workspace) -> None:
    path = workspace.write("a.txt", "hello")
    _, report = await process(path)
    (stage,) = told(workspace, "stage_completed")
    (chain,) = told(workspace, "stage_chain_completed")
    output = report["documents"][0]["artifacts"][1]
    assert (stage["task_id"], stage["source_file"]) == (report["run_id"], str(path))
    described = stage["data"]["stage"]
    assert described.pop("execution_time") > 0
    assert described == {"number": 6, "name": "hostile", "status": "completed", "error_message": None}
    (file,) = stage["data"]["output_files"]
    assert (file["file_id"], file["filename"], file["sha256"]) == (
        output["file_id"], output["filename"], output["sha256"],
    )  # fmt: skip
    url, _, token = file["download_url"].partition("?token=")
    assert url.endswith(output["file_id"])
    Links.of(current_settings()).check_download(token, UUID(output["file_id"]))
    assert stage["data"]["context"]["reused"] is False
    assert chain["data"]["overall_success"] is True
    assert [one["status"] for one in chain["data"]["stages"]] == ["completed"]
    assert chain["data"]["sequence"] > stage["data"]["sequence"]


@pytest.mark.usefixtures("endpoint")
async def test_reuse_is_told_as_well_and_the_same_run_tells_nothing_twice(workspace: Workspace) -> None:
    path = workspace.write("a.txt", "hello")
    await process(path)
    _, again = await process(path)
    first, second = told(workspace, "stage_completed")
    assert second["task_id"] == again["run_id"]
    assert second["data"]["context"]["reused"] is True
    assert first["event_id"] != second["event_id"]
    assert len(told(workspace, "stage_chain_completed")) == 2


@pytest.mark.usefixtures("endpoint")
async def test_a_failure_is_told_with_its_reason_and_ends_the_chain(workspace: Workspace) -> None:
    good, bad = workspace.write("good.txt", "fine"), workspace.write("bad.txt", "raise")
    empty = workspace.write("empty.txt", "")
    await process(good, bad, empty)
    failed = {one["source_file"]: one for one in told(workspace, "stage_failed")}
    assert set(failed) == {str(bad), str(empty)}
    assert failed[str(bad)]["data"]["stage"]["name"] == "hostile"
    assert failed[str(bad)]["data"]["metadata"]["error_type"] == "StageFailed"
    at_the_door = failed[str(empty)]["data"]["stage"]
    assert (at_the_door["number"], at_the_door["name"], at_the_door["status"]) == (0, "custody", "failed")
    assert "empty.txt is empty" in at_the_door["error_message"]
    chains = {one["source_file"]: one["data"]["overall_success"] for one in told(workspace, "stage_chain_completed")}
    assert chains == {str(good): True, str(bad): False, str(empty): False}


@pytest.mark.parametrize("count", [1, 7])
@pytest.mark.usefixtures("endpoint")
async def test_each_milestone_is_told_once(workspace: Workspace, count: int) -> None:
    paths = [workspace.write(f"{number}.txt", f"text {number}") for number in range(count)]
    _, report = await process(*paths)
    progress = told(workspace, "task_progress")
    assert sorted(one["data"]["progress"] for one in progress) == [0.25, 0.5, 0.75]
    assert {one["task_id"] for one in progress} == {report["run_id"]}
    assert {one["source_file"] for one in progress} == {str(paths[0]) if count == 1 else None}


@pytest.mark.usefixtures("endpoint")
async def test_the_same_content_under_two_names_is_told_for_both(workspace: Workspace) -> None:
    paths = [workspace.write(name, "same") for name in ("a.txt", "b.txt")]
    await process(*paths)
    stages = told(workspace, "stage_completed")
    assert {one["source_file"] for one in stages} == {str(path) for path in paths}
    assert sorted(one["data"]["context"]["reused"] for one in stages) == [False, True]


@pytest.mark.usefixtures("endpoint")
async def test_what_is_told_and_the_row_commit_together(workspace: Workspace) -> None:
    # An event that Postgres refuses takes the row with it: nothing is available that was not told.
    with psycopg.connect(workspace.database_url) as connection:
        connection.execute("alter table webhook_events add check (event_type <> 'stage_completed')")
    path = workspace.write("a.txt", "hello")
    _, report = await process(path)
    assert report["state"] == "failed"
    with psycopg.connect(workspace.database_url) as connection:
        kinds = connection.execute("select kind, state from artifacts").fetchall()
    assert kinds == [("upload", "available")]
    assert [one["data"]["stage"]["status"] for one in told(workspace, "stage_failed")] == ["failed"]


@pytest.mark.parametrize(
    ("url", "deliveries"),
    # What is no URL at all gets no endpoint: the run's log says so. An address that is refused may be permitted later.
    [("http://127.0.0.1:9/hook", 5), ("no address", 0), ("https://host.example/" + "x" * 100_000, 0)],
)
async def test_no_webhook_url_fails_a_run_and_its_log_says_what_is_wrong(
    workspace: Workspace, url: str, deliveries: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = workspace.write("a.txt", "hello")
    state, _ = await process(path, webhook_url=url)
    assert state.is_completed()
    with psycopg.connect(workspace.database_url) as connection:
        (count,) = connection.execute("select count(*) from webhook_deliveries").fetchone() or (0,)
        (endpoints,) = connection.execute("select count(*) from webhook_endpoints").fetchone() or (0,)
    assert count >= deliveries
    assert bool(count) == bool(endpoints) == bool(deliveries)
    assert "no events of this run are sent to its webhook_url" in caplog.text


async def test_the_webhooks_of_a_run_sort_by_their_sequence_without_ties(
    workspace: Workspace, receiver: Receiver
) -> None:
    begin_now(workspace)
    paths = [workspace.write(f"{number}.txt", f"Text number {number}.") for number in range(20)]
    paths.append(workspace.write("bad.txt", "raise"))
    async with open_place(workspace.database_url, workspace.home) as outbox:
        await outbox.register(receiver.url())
        _, report = await process(*paths, stages=[1, 2, 6])
        # Started and failed, three milestones; four events of each document, and two of the one that fails at stage 6
        # after two that it went through.
        expected = 5 + 20 * 4 + 4
        async with outbox.sending():
            bodies = [json.loads(request.body) for request in await receiver.until(expected)]
    assert {body["task_id"] for body in bodies} == {report["run_id"]}
    # As they may arrive.
    bodies.sort(key=lambda body: body["data"].get("message") or body["timestamp"][::-1])
    bodies.sort(key=lambda body: body["data"]["sequence"])
    numbers = [body["data"]["sequence"] for body in bodies]
    assert len(set(numbers)) == len(numbers) == expected
    assert (bodies[0]["event_type"], bodies[-1]["event_type"]) == ("task_started", "task_failed")
    assert [b["data"]["progress"] for b in bodies if b["event_type"] == "task_progress"] == [0.25, 0.5, 0.75]
    for path in paths:
        of_document = [b for b in bodies if b["source_file"] == str(path) and b["event_type"].startswith("stage_")]
        ended = "stage_failed" if path.name == "bad.txt" else "stage_completed"
        assert [(b["event_type"], b["data"].get("stage", {}).get("number")) for b in of_document] == [
            ("stage_completed", 1), ("stage_completed", 2), (ended, 6), ("stage_chain_completed", None),
        ]  # fmt: skip
