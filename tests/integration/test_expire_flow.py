"""expire-artifacts on a real Prefect server: what goes, what the run shows, and when it fails."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from prefect.artifacts import Artifact as PrefectArtifact
from prefect.client.orchestration import PrefectClient
from prefect.states import State

from blocks.catalog import Artifact
from blocks.custody import Custody
from blocks.open_custody import open_custody
from blocks.retention import RetentionPolicy, make_plan
from blocks.settings import Settings
from blocks.transfers import create_transfer
from blocks.transfers.prepare import new_upload
from flows.expire import expire_artifacts
from tests.integration.conftest import Workspace
from tests.integration.custody_place import draft

HOUR = timedelta(hours=1)


@pytest.fixture
async def custody(settings: Settings) -> AsyncIterator[Custody]:
    async with open_custody(settings) as opened:
        yield opened


async def run(**parameters: Any) -> State[Any]:
    return await cast("Awaitable[State[Any]]", expire_artifacts(return_state=True, **parameters))


async def stored(custody: Custody, workspace: Workspace, count: int, *, expired: int) -> list[Artifact]:
    files = [await custody.take(draft(), f"content {number}".encode()) for number in range(count)]
    with psycopg.connect(workspace.database_url) as connection:
        ids = [one.file_id for one in files[:expired]]
        connection.execute("update artifacts set expires_at = now() where file_id = any(%s)", [ids])
    return files


def refuse_to_be_deleted(custody: Custody, file: Artifact) -> Path:
    """Put a folder in the place of the stored bytes, which unlink refuses; its path."""
    path = Path(custody.locate(file))
    path.unlink()
    path.mkdir()
    return path


def make_deletable(path: Path) -> None:
    path.rmdir()


def rows(workspace: Workspace, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(workspace.database_url) as connection:
        return connection.execute(statement.encode()).fetchall()


async def test_a_run_removes_and_shows_what_went_and_what_stayed(
    workspace: Workspace, custody: Custody, client: PrefectClient
) -> None:
    *gone, pinned, _ = await stored(custody, workspace, 4, expired=3)
    with psycopg.connect(workspace.database_url) as connection:
        connection.execute("update artifacts set pinned_at = now() where file_id = %s", [pinned.file_id])
    days = [f"{datetime.now(UTC):%Y-%m-%d}"]
    state = await run(sweep=True, leftovers=True)
    days.append(f"{datetime.now(UTC):%Y-%m-%d}")
    assert state.is_completed() and "2 files removed, 2 kept" in (state.message or "")
    report = await state.aresult()
    assert report["after"]["total"]["count"] == 2 and report["sweep"]["stopped"] is None
    flow_run = await client.read_flow_run(cast("Any", state.state_details.flow_run_id))
    assert flow_run.name in {f"expire {day}" for day in days}, "midnight may lie between"
    table = await PrefectArtifact.aget("expired-files", client=client)
    assert table is not None and table.flow_run_id == flow_run.id
    shown = json.loads(cast("str", table.data))
    assert shown[0]["state"] == "went", "what goes comes first"
    assert {(row["state"], row["rule"], row["files"]) for row in shown[:3]} == {
        ("went", "expired", "2"), ("stayed", "pinned", "1"), ("stayed", "not_due", "1"),
    }  # fmt: skip
    assert any(row["what"] == "/docs/report.pdf" and row["state"] == "went" for row in shown)
    assert any(str(pinned.file_id) in row["file"] for row in shown)
    page = await PrefectArtifact.aget("retention-statistics", client=client)
    assert page is not None and "| upload | 4 | 2 |" in str(page.data)
    events = rows(workspace, "select event_type, task_id from webhook_events")
    assert events == [("files_expired", flow_run.id)], "and none about the run itself"
    assert rows(workspace, "select count(*) from artifacts where state = 'deleted'") == [(2,)]
    assert len(gone) == 2


async def test_a_dry_run_makes_the_plan_that_a_later_run_executes(workspace: Workspace, custody: Custody) -> None:
    await stored(custody, workspace, 2, expired=1)
    dry = await run(dry_run=True, policy={"older_than": "1s", "min_age": "1h"})
    plan = await dry.aresult()
    assert (plan["counts"]["removed"], plan["state"], plan["policy"]["min_age"]) == (0, "planned", "1h")
    dry = await run(dry_run=True)
    plan = await dry.aresult()
    assert "1 file would go" in (dry.message or "")
    done = await (await run(plan_id=plan["plan_id"])).aresult()
    assert (done["digest"], done["counts"]["removed"]) == (plan["digest"], 1)


async def test_kinds_bound_the_rules_of_the_settings(workspace: Workspace, custody: Custody) -> None:
    await stored(custody, workspace, 1, expired=1)
    assert (await (await run(kinds=["export"])).aresult())["counts"]["removed"] == 0
    assert (await (await run()).aresult())["counts"]["removed"] == 1


async def test_runs_of_transfers_end_those_whose_time_is_over(workspace: Workspace, custody: Custody) -> None:
    upload = new_upload(filename="a.md", requested_by="a test")
    async with custody.catalog.transaction() as connection:
        await create_transfer(connection, upload)
        await connection.execute("update transfers set expires_at = clock_timestamp()")
    await run(kinds=["export"], leftovers=True)
    await run(dry_run=True)
    assert rows(workspace, "select state from transfers") == [("pending",)]
    await run(kinds=["transfer"])
    assert rows(workspace, "select state from transfers") == [("expired",)]
    assert ("transfer_failed",) in rows(workspace, "select event_type from webhook_events")


async def test_a_run_fails_only_past_a_share_of_failures(workspace: Workspace, custody: Custody) -> None:
    files = await stored(custody, workspace, 4, expired=4)
    odd = refuse_to_be_deleted(custody, files[0])
    state = await run(max_failed_share=0.5)
    assert state.is_completed() and "1 could not be deleted" in (state.message or "")
    again = await run()
    assert again.is_failed() and "1 could not be deleted" in (again.message or "")
    hourly = await run(kinds=["export"], leftovers=True)
    assert hourly.is_completed() and "1 could not be deleted" in (hourly.message or ""), "the nightly run says it"
    make_deletable(odd)
    assert (await run()).is_completed()


async def test_a_row_that_names_no_place_for_bytes_is_shown_and_fails_no_run(
    workspace: Workspace, custody: Custody, client: PrefectClient
) -> None:
    (odd,) = await stored(custody, workspace, 1, expired=1)
    with psycopg.connect(workspace.database_url) as connection:
        connection.execute("update artifacts set location = '../x'")
    assert (await run()).is_completed()
    table = await PrefectArtifact.aget("expired-files", client=client)
    assert table is not None
    (shown,) = [row for row in json.loads(cast("str", table.data)) if row["file"] == str(odd.file_id)]
    assert shown["state"] == "went" and "location='../x': " in shown["why"]


async def test_what_an_outage_left_is_finished_by_the_next_run(workspace: Workspace, custody: Custody) -> None:
    await stored(custody, workspace, 2, expired=2)
    plan = await make_plan(custody.catalog, RetentionPolicy())
    with psycopg.connect(workspace.database_url) as connection:
        connection.execute("update retention_plans set state = 'executing'")
    report = await (await run()).aresult()
    assert report["counts"]["finished"] == 2
    assert (str(plan.plan_id), "done") in rows(workspace, "select plan_id::text, state from retention_plans")


def test_the_form_of_a_run_describes_every_field() -> None:
    schema = expire_artifacts.parameters.model_dump()
    fields = [*schema["properties"].values(), *schema["definitions"]["RetentionPolicy"]["properties"].values()]
    assert all(field.get("description") for field in fields) and len(fields) > 15
