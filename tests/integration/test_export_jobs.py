"""The rows of export jobs: claims, lists, what a killed process leaves, and when files go."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from blocks.errors import ExportNotFound, InvalidOptions
from blocks.exports import (
    ExportRequest,
    Result,
    cancel_job,
    claim_job,
    complete,
    end_job,
    get_job,
    list_jobs,
    new_job_id,
    release,
    renew,
    set_path,
)
from blocks.exports.expiry import expire_exports, exports_to_go, fail_dead_jobs, scratch_of
from blocks.exports.place import ExportPlace as StoredExports
from tests.integration.export_place import open_export_place

HOUR = timedelta(hours=1)
FACTS = ExportRequest(export_type="facts", format="csv")


async def test_a_job_of_a_killed_process_is_failed_by_the_next_look_and_leaves_nothing(
    database_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "exports"
    async with open_export_place(database_url, tmp_path, export_storage_path=str(folder)) as exporting:
        job_id = await exporting.record(ExportRequest(export_type="artifacts", format="csv"))
        half = f"artifacts_{job_id}_20261129_120000.csv"
        async with exporting.place.catalog.connection() as connection:
            claim = await claim_job(connection, job_id, run_id=None)
            assert claim is not None
            assert await claim_job(connection, job_id, run_id=None) is None
            assert await set_path(connection, claim, filename=half, path=f"{folder}/{half}")
        place = StoredExports.of(exporting.settings)
        assert place is not None
        place.publish(half, [b"half"])
        scratch = scratch_of(exporting.settings, job_id)
        scratch.mkdir(parents=True)
        assert await fail_dead_jobs(exporting.place.catalog, exporting.settings) == []
        await exporting.execute("update export_jobs set claimed_until = clock_timestamp() - interval '1 s'")
        first, second = await asyncio.gather(
            *(fail_dead_jobs(exporting.place.catalog, exporting.settings) for _ in "ab")
        )
        assert [*first, *second] == [job_id]
        job = await exporting.job(job_id)
        assert job.state == "failed" and "ended before" in str(job.error)
        assert list(folder.iterdir()) == [] and not scratch.exists()
        assert [event["type"] for event in await exporting.events()] == ["export_failed"]


async def test_one_process_works_on_a_job_and_a_lost_claim_writes_nothing(database_url: str, tmp_path: Path) -> None:
    async with open_export_place(database_url, tmp_path) as exporting:
        job_id = await exporting.record(FACTS)
        async with exporting.place.catalog.connection() as connection:
            first = await claim_job(connection, job_id, run_id=None)
            assert first is not None
            assert await renew(connection, first, rows=5, rows_expected=10)
            assert (await get_job(connection, job_id)).progress == 0.5
            assert await release(connection, first)
            second = await claim_job(connection, job_id, run_id=uuid4())
            assert second is not None
            assert not await renew(connection, first, rows=6)
            assert not await end_job(connection, first, state="failed", error="late", keep_failed=HOUR)
            assert await cancel_job(connection, job_id, error="not needed", keep_failed=HOUR)
            assert await cancel_job(connection, job_id, error="again", keep_failed=HOUR) is None
            result = Result(filename="a", file_id=None, size=1, sha256="a" * 64, rows=1, notes=[], expires_at=None)
            assert await complete(connection, second, result) is None
            assert (await get_job(connection, job_id)).error == "not needed"


async def test_files_go_when_they_expire_and_their_rows_when_they_are_history(
    database_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "exports"
    async with open_export_place(database_url, tmp_path, export_storage_path=str(folder)) as exporting:
        place, custody, settings = StoredExports.of(exporting.settings), exporting.place.custody, exporting.settings
        assert place is not None
        job_id = await exporting.record(FACTS)
        name = f"facts_{job_id}_20261129_120000.csv"
        async with exporting.place.catalog.connection() as connection:
            claim = await claim_job(connection, job_id, run_id=None)
            assert claim is not None and await set_path(connection, claim, filename=name, path=f"{folder}/{name}")
            blob = place.publish(name, [b"a"])
            found = Result(
                filename=name, file_id=None, size=blob.size, sha256=blob.sha256, rows=0, notes=[], expires_at=None
            )
            expires_at = await complete(connection, claim, found)
        assert expires_at is not None
        assert await exports_to_go(custody.catalog, expires_at - timedelta(seconds=1)) == []
        assert await expire_exports(custody, settings, expires_at - timedelta(seconds=1)) == []
        assert [one.job_id for one in await exports_to_go(custody.catalog, expires_at)] == [job_id]
        (gone,) = await expire_exports(custody, settings, expires_at)
        assert (gone.job_id, gone.state, gone.error) == (job_id, "deleted", None)
        assert list(folder.iterdir()) == []
        assert (await exporting.job(job_id)).state == "deleted"
        assert await expire_exports(custody, settings, expires_at + timedelta(days=6)) == []
        assert (await exporting.job(job_id)).state == "deleted"
        await expire_exports(custody, settings, expires_at + timedelta(days=8))
        with pytest.raises(ExportNotFound):
            await exporting.job(job_id)


async def test_jobs_are_listed_newest_first_in_pages(database_url: str, tmp_path: Path) -> None:
    async with open_export_place(database_url, tmp_path) as exporting:
        ids = [
            await exporting.record(ExportRequest(export_type=kind, format="csv"))
            for kind in ("facts", "chunks", "facts")
        ]
        async with exporting.place.catalog.connection() as connection:
            first = await list_jobs(connection, limit=2)
            rest = await list_jobs(connection, limit=2, after=first.next)
            assert [job.job_id for job in [*first.jobs, *rest.jobs]] == ids[::-1]
            assert rest.next is None
            assert [job.job_id for job in (await list_jobs(connection, export_type="facts")).jobs] == [ids[2], ids[0]]
            assert (await list_jobs(connection, state="completed")).jobs == []
            with pytest.raises(InvalidOptions, match="cursor"):
                await list_jobs(connection, after="bm8=")
            with pytest.raises(ExportNotFound):
                await get_job(connection, new_job_id())
