"""The flow export-table: its job, its outcome in Prefect, and the table that only Prefect knows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, cast
from uuid import UUID

import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import ArtifactFilter
from prefect.client.schemas.objects import State
from prefect.states import Cancelling

from blocks.catalog import Catalog
from blocks.exports import ExportRequest, create_job, get_job, new_job_id
from blocks.exports.jobs import claim_job
from blocks.open_custody import open_block_custody
from blocks.runs.run_artifacts import export_key, progress_key
from blocks.settings import Settings, current_settings
from flows.export import cancel_export, export_table
from tests.delivery.outbox_place import until
from tests.integration.custody_place import draft
from tests.postgres_road import road_to


async def run(**parameters: Any) -> State[Any]:
    return await cast("Awaitable[State[Any]]", export_table(**parameters, return_state=True))


async def outcome(state: State[Any]) -> dict[str, Any]:
    return cast("dict[str, Any]", await state.aresult(raise_on_failure=False))


async def test_a_run_exports_and_links_to_its_file(settings: Settings, client: PrefectClient) -> None:
    async with open_block_custody(settings) as custody:
        await custody.take(draft(), b"content")
    state = await run(export_type="artifacts", format="csv", keep_for="2h")
    job = await outcome(state)
    assert (state.type.value, state.message) == ("COMPLETED", f"1 rows in {job['filename']}")
    run_id = state.state_details.flow_run_id
    assert run_id is not None
    assert (job["state"], job["rows"], job["run_id"]) == ("completed", 1, str(run_id))
    assert (await client.read_flow_run(run_id)).name == "artifacts as csv"
    found = await client.read_artifacts(
        artifact_filter=ArtifactFilter.model_validate({"flow_run_id": {"any_": [run_id]}})
    )
    shown = {artifact.key: artifact for artifact in found}
    assert shown.keys() == {progress_key(run_id), export_key(run_id)}
    assert (shown[progress_key(run_id)].data, shown[progress_key(run_id)].description) == (100.0, "1 of 1 rows")
    assert f"/files/download/{job['file_id']}?token=" in str(shown[export_key(run_id)].data)


async def test_the_runs_of_this_catalogue_are_a_table(settings: Settings) -> None:
    done = await run(export_type="facts")
    job = await outcome(await run(export_type="runs"))
    async with open_block_custody(settings) as custody:
        content = (await custody.read(await custody.get(UUID(job["file_id"])))).decode()
    assert str(done.state_details.flow_run_id) in content
    assert "facts as csv" in content


async def test_a_failed_export_is_a_failed_run_and_a_database_is_named_never_given(settings: Settings) -> None:
    state = await run(export_type="nothing", query="select no_such_column from documents")
    assert state.type.value == "FAILED"
    assert (await outcome(state))["state"] == "failed"
    refused = await run(export_type="a", query="select 1", database="postgresql://me:hunter2@db.example.org/x")
    assert refused.type.value == "FAILED"
    async with Catalog.open(settings.required_database_url) as catalog, catalog.connection() as connection:
        cursor = await connection.execute("select count(*) as count from export_jobs where export_type = 'a'")
        assert await cursor.fetchone() == {"count": 0}


async def test_a_run_waits_for_a_catalogue_that_is_away_for_a_moment(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with road_to(settings.required_database_url) as road:
        monkeypatch.setenv("WAYBILL_DATABASE_URL", road.url)
        current_settings.cache_clear()
        await road.close()
        running = asyncio.ensure_future(run(export_type="facts"))

        async def has_begun_again() -> bool:
            return any("begins again" in record.getMessage() for record in caplog.records)

        await until(has_begun_again, "the run has met the outage")
        await road.open()
        job = await outcome(await running)
        assert (job["state"], job["error"]) == ("completed", None)
    async with Catalog.open(settings.required_database_url) as catalog, catalog.connection() as connection:
        cursor = await connection.execute("select count(*) as count from export_jobs")
        assert await cursor.fetchone() == {"count": 1}
        cursor = await connection.execute("select event_type from webhook_events where event_type ~ 'export'")
        assert await cursor.fetchall() == [{"event_type": "export_completed"}]


async def test_a_run_that_is_cancelled_cancels_its_job(settings: Settings, client: PrefectClient) -> None:
    job_id = new_job_id()
    request = ExportRequest(export_type="facts", format="csv")
    flow_run = await client.create_flow_run(export_table, parameters={"job_id": job_id})
    async with Catalog.open(settings.required_database_url) as catalog, catalog.connection() as connection:
        keep_for = settings.retention.period("export")
        await create_job(connection, job_id, request, keep_for=keep_for, requested_by="a test")
        assert await claim_job(connection, job_id, run_id=flow_run.id)
        await cancel_export(export_table, flow_run, Cancelling())
        assert (await get_job(connection, job_id)).state == "cancelled"
    await client.delete_flow_run(flow_run.id)
