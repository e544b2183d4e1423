"""``/exports``: small ones at the same time, large ones as runs, who may ask for what, and what is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import PrefectClient

from blocks.exports import ExportRequest, new_job_id
from blocks.exports.jobs import create_job
from blocks.runs.ownership import read_owner
from flows.export import export_table
from tasks.export_job import ExportTools, run_export
from tests.delivery.outbox_place import until
from tests.gateway import Gateway, error_of, running_gateway

EXPORTS = "/api/v1/exports"
HOUR = timedelta(hours=1)


@pytest.fixture
async def gateway(database_url: str, tmp_path: Path) -> AsyncGenerator[Gateway]:
    async with running_gateway(database_url, tmp_path / "home", requests_per_minute=1_000_000) as running:
        running.client.headers["authorization"] = f"Bearer {await running.key('admin')}"
        yield running


async def test_a_small_table_is_exported_while_the_client_waits(gateway: Gateway) -> None:
    await gateway.put(b"content", name="=1+1 report.pdf")
    answer = await gateway.client.post(EXPORTS, json={"export_type": "artifacts", "safe_formulas": True})
    job = answer.json()
    assert (answer.status_code, job["state"], job["rows"], job["progress"]) == (201, "completed", 1, 1.0)
    assert answer.headers["location"] == job["status_url"] == f"{gateway.url}{EXPORTS}/{job['job_id']}"
    content = await gateway.get(job["download_url"], authorization="")
    assert content.status_code == 200 and b"'=1+1 report.pdf" in content.content
    assert job["filename"] in content.headers["content-disposition"]
    assert content.headers["content-type"].startswith("text/csv")
    found = await gateway.client.get(f"{EXPORTS}/{job['job_id']}")
    assert found.json()["sha256"] == job["sha256"]
    (listed,) = (await gateway.client.get("/api/v1/files/list", params={"kind": "export"})).json()["files"]
    assert (listed["file_id"], listed["filename"]) == (job["file_id"], job["filename"])
    (entry,) = await gateway.audited("export")
    assert entry["detail"]["job_id"] == job["job_id"]


async def test_the_file_of_a_job_can_be_deleted_once_and_is_gone_then(gateway: Gateway) -> None:
    job = (await gateway.client.post(EXPORTS, json={"export_type": "facts", "format": "jsonl"})).json()
    path = f"{EXPORTS}/{job['job_id']}"
    assert (await gateway.client.post(f"/api/v1/files/{job['file_id']}/pin")).status_code == 200
    refused = await gateway.client.delete(path)
    assert (refused.status_code, error_of(refused)) == (409, "ArtifactPinned")
    assert (await gateway.client.get(path)).json()["state"] == "completed"
    await gateway.client.post(f"/api/v1/files/{job['file_id']}/unpin")
    short = await gateway.client.delete(path, headers=await gateway.headers("write"))
    assert short.json() == {"job_id": job["job_id"], "state": "deleted"}
    for again in (await gateway.client.get(path), await gateway.client.delete(path)):
        assert (again.status_code, error_of(again)) == (410, "ExportGone")
    assert (await gateway.client.get(f"/api/v1/files/metadata/{job['file_id']}")).status_code == 410
    unknown = await gateway.client.get(f"{EXPORTS}/{new_job_id()}")
    assert (unknown.status_code, error_of(unknown)) == (404, "ExportNotFound")


async def test_the_same_request_is_one_job(gateway: Gateway) -> None:
    wanted, key = {"export_type": "facts"}, {"Idempotency-Key": "facts-1"}
    first = await gateway.client.post(EXPORTS, json=wanted, headers=key)
    again = await gateway.client.post(EXPORTS, json=wanted, headers=key)
    assert again.headers["idempotency-replayed"] == "true"
    assert (first.json()["job_id"], first.status_code) == (again.json()["job_id"], again.status_code)
    other = await gateway.client.post(EXPORTS, json={"export_type": "chunks"}, headers=key)
    assert (other.status_code, error_of(other)) == (422, "IdempotencyKeyReused")
    assert len((await gateway.client.get(EXPORTS)).json()["exports"]) == 1


async def test_the_same_request_twice_at_the_same_time_is_one_job_and_one_answer(gateway: Gateway) -> None:
    wanted, key = {"export_type": "artifacts"}, {"Idempotency-Key": "at-once"}
    async with gateway.custody.catalog.transaction() as connection:
        # Held for writers: the first request has recorded its job, and waits with the file.
        await connection.execute("lock table artifacts in share mode")
        requests = [asyncio.ensure_future(gateway.client.post(EXPORTS, json=wanted, headers=key)) for _ in range(4)]

        async def have_come() -> bool:
            waiting = (
                "select count(*) as waiting from pg_stat_activity"
                " where datname = current_database() and wait_event_type = 'Lock' and query ~ 'insert into artifacts'"
            )
            async with gateway.custody.catalog.connection() as watching:
                cursor = await watching.execute(waiting)
                (row,) = await cursor.fetchall()
                return row["waiting"] >= 1

        await until(have_come, "the first request waits with its file")
    answers = await asyncio.gather(*requests)
    jobs = [answer.json() for answer in answers]
    assert {(answer.status_code, job["job_id"], job["state"]) for answer, job in zip(answers, jobs, strict=True)} == {
        (201, jobs[0]["job_id"], "completed")
    }
    assert sorted(answer.headers.get("idempotency-replayed", "no") for answer in answers) == ["no"] + ["true"] * 3
    assert [job["file_id"] for job in jobs] == [jobs[0]["file_id"]] * 4
    assert len((await gateway.client.get(EXPORTS)).json()["exports"]) == 1
    assert len((await gateway.client.get("/api/v1/files/list", params={"kind": "export"})).json()["files"]) == 1


async def test_a_place_in_the_home_is_no_place_for_exports(database_url: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with running_gateway(database_url, home, export_storage_path=str(home / "exports")) as gateway:
        gateway.client.headers["authorization"] = f"Bearer {await gateway.key('admin')}"
        answer = await gateway.client.post(EXPORTS, json={"export_type": "facts"})
        assert (answer.status_code, error_of(answer)) == (503, "InvalidSettings")
        assert (await gateway.client.get(EXPORTS)).json()["exports"] == []


WRONG: list[dict[str, Any]] = [
    {"export_type": "secrets"},
    {"export_type": "../etc"},
    {"export_type": "a", "query": "select 1", "input": "/x.csv"},
    {"export_type": "documents", "format": "exe"},
    {"export_type": "documents", "database": "elsewhere"},
    {"export_type": "a", "query": "select 1", "database": "postgresql://me:hunter2@db.example.org/x"},
    {"export_type": "a", "query": "select 1", "database": "host=db.example.org password=hunter2"},
    {"export_type": "a", "query": "select 1", "database": "nowhere"},
    {"export_type": "a", "input": "https://me:hunter2@example.org/x.csv"},
    {"export_type": "a", "input": "https://example.org/x.csv?X-Amz-Signature=hunter2"},
    {"export_type": "documents", "keep_for": "0s"},
    {"export_type": "documents", "encrypt_for": ["age1nothing"]},
    {"export_type": "documents", "path": "/etc/passwd"},
]


async def test_what_cannot_be_exported_is_422(gateway: Gateway, subtests: pytest.Subtests) -> None:
    for wanted in WRONG:
        with subtests.test(wanted=wanted):
            answer = await gateway.client.post(EXPORTS, json=wanted)
            assert answer.status_code == 422, answer.text
            assert error_of(answer) in {"InvalidOptions", "InvalidRequest"}
            assert "hunter2" not in answer.text
    assert (await gateway.client.get(EXPORTS)).json()["exports"] == []


async def test_queries_and_files_are_for_administrators(gateway: Gateway) -> None:
    headers = await gateway.headers("read", "write")
    for more in ({"query": "select 1"}, {"input": "/data/mine.csv"}):
        answer = await gateway.client.post(EXPORTS, json={"export_type": "mine", **more}, headers=headers)
        assert (answer.status_code, error_of(answer)) == (403, "ScopeMissing")


async def test_without_prefect_a_large_export_is_503_and_leaves_no_job(gateway: Gateway) -> None:
    answer = await gateway.client.post(EXPORTS, json={"export_type": "mine", "query": "select 1"})
    assert (answer.status_code, error_of(answer)) == (503, "PrefectUnavailable")
    assert (await gateway.client.get(EXPORTS)).json()["exports"] == []


async def test_a_query_is_a_run_that_takes_its_job_over(
    database_url: str, tmp_path: Path, prefect_server: str, client: PrefectClient
) -> None:
    home = tmp_path / "home"
    async with running_gateway(database_url, home, prefect_api=prefect_server) as gateway:
        owner = await read_owner(gateway.resources.settings)
        flow_id = await client.create_flow(export_table)
        await client.create_deployment(flow_id, f"waybill-{owner.home}", tags=[owner.tag])
        gateway.client.headers["authorization"] = f"Bearer {await gateway.key('admin')}"
        wanted = {"export_type": "names", "query": "select filename from artifacts", "keep_for": "2h"}
        answer = await gateway.client.post(EXPORTS, json=wanted, headers={"Idempotency-Key": "names"})
        job = answer.json()
        assert (answer.status_code, job["state"], job["download_url"]) == (202, "pending", None)
        run = await client.read_flow_run(job["run_id"])
        assert run.parameters == {"export_type": "names", "format": "csv", "job_id": job["job_id"]}
        status = await gateway.client.get(f"/api/v1/status/{run.id}")
        assert status.json()["status"] == "scheduled"
        again = await gateway.client.post(EXPORTS, json=wanted, headers={"Idempotency-Key": "names"})
        assert (again.status_code, again.json()["run_id"]) == (202, job["run_id"])
        # As the run does.
        await gateway.put(b"content", name="report.pdf")
        tools = ExportTools(custody=gateway.custody, settings=gateway.resources.settings)
        done = await run_export(job["job_id"], tools, run_id=run.id)
        assert (done.state, done.rows, done.error) == ("completed", 1, None)
        assert done.expires_at is not None and done.ended_at is not None
        assert round((done.expires_at - done.ended_at) / HOUR) == 2
        found = (await gateway.client.get(f"{EXPORTS}/{job['job_id']}")).json()
        assert (await gateway.get(found["download_url"])).content.count(b"report.pdf") == 1
        await client.delete_flow_run(run.id)


async def test_a_cancelled_job_is_not_begun(gateway: Gateway) -> None:
    job_id = new_job_id()
    request = ExportRequest(export_type="facts", format="csv")
    async with gateway.custody.catalog.connection() as connection:
        await create_job(connection, job_id, request, keep_for=HOUR, requested_by="a test")
    gone = await gateway.client.delete(f"{EXPORTS}/{job_id}")
    assert gone.json()["state"] == "cancelled"
    tools = ExportTools(custody=gateway.custody, settings=gateway.resources.settings)
    assert (await run_export(job_id, tools)).state == "cancelled"
    assert (await gateway.client.get(f"{EXPORTS}/{job_id}")).json()["state"] == "cancelled"
