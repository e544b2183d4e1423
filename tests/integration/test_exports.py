"""Export jobs: rows, files, events, expiry, and what a killed process leaves."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pyrage import decrypt, x25519

from blocks.errors import InvalidSettings, UnsafeKey
from blocks.exports import (
    ExportJob,
    ExportRequest,
    cancel_job,
    claim_job,
    get_job,
    mark_deleted,
    renew,
)
from blocks.exports.expiry import expire_exports, scratch_of
from blocks.exports.place import ExportPlace as StoredExports
from blocks.exports.place import check_place
from blocks.settings import Settings
from blocks.storage.local import LocalBackend
from tasks.export_job import ExportTools, run_export
from tests.integration.export_place import ExportPlace, open_export_place
from tests.s3 import S3Server

HOUR = timedelta(hours=1)


class Exporting(ExportPlace):
    """A place that exports."""

    @property
    def tools(self) -> ExportTools:
        return ExportTools(custody=self.place.custody, settings=self.settings)

    async def export(self, export_type: str = "artifacts", format: str = "csv", **given: Any) -> ExportJob:  # noqa: A002
        request = ExportRequest(export_type=export_type, format=format, **given)
        return await run_export(await self.record(request), self.tools, request=request)


@asynccontextmanager
async def _exporting(database_url: str, tmp_path: Path, **settings: Any) -> AsyncGenerator[Exporting]:
    async with open_export_place(database_url, tmp_path, **settings) as found:
        yield Exporting(found.place, found.settings)


@pytest.fixture
async def exporting(database_url: str, tmp_path: Path) -> AsyncGenerator[Exporting]:
    async with _exporting(database_url, tmp_path) as found:
        yield found


async def test_a_table_is_exported_into_custody(exporting: Exporting) -> None:
    job = await exporting.export()
    assert (job.state, job.rows, job.rows_expected, job.progress, job.error) == ("completed", 3, 3, 1.0, None)
    content = await exporting.content(job)
    assert len(content) == job.size
    assert len(content.splitlines()) == 4 and b"report.pdf" in content
    assert job.filename is not None
    assert job.filename.startswith(f"artifacts_{job.job_id}_") and job.filename.endswith(".csv")
    (event,) = await exporting.events()
    assert (event["type"], event["job_id"], event["rows"]) == ("export_completed", job.job_id, 3)
    assert event["file_id"] == str(job.file_id)
    assert not scratch_of(exporting.settings, job.job_id).exists()
    assert job.expires_at is not None and job.ended_at is not None
    assert abs(job.expires_at - job.ended_at - timedelta(days=1)) < timedelta(minutes=1)


async def test_a_file_below_the_export_path_has_a_plain_name_and_is_private(database_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "exports"
    async with _exporting(database_url, tmp_path, export_storage_path=str(folder)) as exporting:
        job = await exporting.export()
        assert (job.state, job.file_id, job.path) == ("completed", None, f"{folder}/{job.filename}")
        (file,) = folder.iterdir()
        assert file.name == job.filename
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o750
        assert (job.size, len(file.read_bytes().splitlines())) == (file.stat().st_size, 4)
        assert job.expires_at is not None
        assert await expire_exports(exporting.place.custody, exporting.settings) == []
        (gone,) = await expire_exports(exporting.place.custody, exporting.settings, job.expires_at)
        assert (gone.job_id, gone.state, gone.error) == (job.job_id, "deleted", None)
        assert list(folder.iterdir()) == []
        assert (await exporting.job(job.job_id)).state == "deleted"
        assert await expire_exports(exporting.place.custody, exporting.settings, job.expires_at) == []


@pytest.mark.parametrize("now", ["elsewhere", "", None])
async def test_a_file_goes_from_the_place_where_it_is_also_when_the_settings_name_another_or_none(
    now: str | None, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with _exporting(database_url, tmp_path, export_storage_path="exports") as exporting:
        job = await exporting.export()
        assert (job.state, job.path) == ("completed", f"{tmp_path}/exports/{job.filename}")
        settings = replace(exporting.settings, export_storage_path=None if now is None else "exports")
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / (now or ""))  # the same relative path is another folder there
        (gone,) = await expire_exports(exporting.place.custody, settings, job.expires_at)
        assert (gone.job_id, gone.state, gone.error) == (job.job_id, "deleted", None)
        assert list((tmp_path / "exports").iterdir()) == []


def test_the_place_of_a_file_is_recorded_without_a_password_and_opened_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def open_it(url: str, options: object) -> LocalBackend:
        del options
        opened.append(url)
        return LocalBackend(tmp_path)

    monkeypatch.setattr("blocks.exports.place.open_backend", open_it)
    url = "sftp://me:hunter2@example.org/out/"
    settings = Settings(home=tmp_path / "home", export_storage_path=url)
    place = StoredExports.of(settings)
    assert place is not None
    job_id = "exp_0123456789abcdef"
    name = f"a_{job_id}_20261129_120000.csv"
    location = f"sftp://me@example.org/out/{name}"
    assert place.locate(name) == location
    for other in (settings, Settings(home=tmp_path / "home")):
        assert StoredExports.holding(other, location, job_id)[1] == name
    assert StoredExports.holding(settings, name, job_id)[1] == name, "older rows have the name alone"
    assert opened == [url, url, "sftp://me@example.org/out", url]
    for foreign in ("/etc/passwd", f"/srv/{name}x/b.csv", "sftp://me@example.org/out/a_exp_fedcba9876543210_1.csv"):
        with pytest.raises(UnsafeKey, match="none of its own"):
            StoredExports.holding(settings, foreign, job_id)


async def test_an_export_is_encrypted_for_whom_it_is_asked(exporting: Exporting) -> None:
    identity = x25519.Identity.generate()
    job = await exporting.export(encrypt_for=(str(identity.to_public()),))
    assert job.filename is not None and job.filename.endswith(".csv.age") and job.encrypted
    assert len(decrypt(await exporting.content(job), [identity]).splitlines()) == 4


async def test_a_job_lasts_as_long_as_its_file_and_no_longer(exporting: Exporting) -> None:
    job = await exporting.export(keep_for=HOUR)
    assert job.file_id is not None
    await exporting.execute("update artifacts set expires_at = clock_timestamp() where file_id = %s", job.file_id)
    assert (await exporting.job(job.job_id)).state == "deleted"  # nobody can read it, though it is still stored
    async with exporting.place.catalog.connection() as connection:
        await exporting.execute("update artifacts set pinned_at = now() where file_id = %s", job.file_id)
        assert (await get_job(connection, job.job_id)).state == "completed"
        await exporting.execute("update artifacts set pinned_at = null where file_id = %s", job.file_id)
    assert await expire_exports(exporting.place.custody, exporting.settings) == []
    await exporting.place.custody.remove(job.file_id)
    (gone,) = await expire_exports(exporting.place.custody, exporting.settings)
    assert (gone.job_id, gone.state) == (job.job_id, "deleted")


async def test_a_failure_keeps_its_reason_without_secrets_and_nothing_else(exporting: Exporting) -> None:
    job = await exporting.export(
        "anything", query="select 1", database="postgresql://me:hunter2@127.0.0.1:1/nothing?password=hunter2"
    )
    assert job.state == "failed" and job.error and job.expires_at and job.ended_at
    # Both are the database's clock, read a moment apart.
    assert HOUR <= job.expires_at - job.ended_at < HOUR + timedelta(minutes=1)
    assert (await exporting.place.states()) == {"available": 3}
    (event,) = await exporting.events()
    assert (event["type"], event["error"]["message"]) == ("export_failed", job.error)
    rows = await exporting.execute(
        "select to_jsonb(j)::text as row, (select string_agg(convert_from(body, 'UTF8'), '') from webhook_events) "
        "          as events"
        "  from export_jobs j"
    )
    assert "hunter2" not in str(rows)
    (gone,) = await expire_exports(exporting.place.custody, exporting.settings, job.expires_at)
    assert gone.state == "deleted"


async def test_a_run_takes_its_own_job_over_and_no_other(exporting: Exporting) -> None:
    run_id = uuid4()
    job_id = await exporting.record(ExportRequest(export_type="artifacts", format="csv"), run_id=run_id)
    async with exporting.place.catalog.connection() as connection:
        assert await claim_job(connection, job_id, run_id=run_id)
    assert (await run_export(job_id, exporting.tools, run_id=uuid4())).state == "running"
    job = await run_export(job_id, exporting.tools, run_id=run_id)
    assert (job.state, job.rows, job.run_id) == ("completed", 3, run_id)


async def test_a_job_that_is_cancelled_while_it_runs_keeps_nothing(exporting: Exporting) -> None:
    job_id = await exporting.record(
        ExportRequest(
            export_type="slow", format="csv", query="select n, pg_sleep(0.01)::text from generate_series(1, 100000) n"
        )
    )
    running = asyncio.ensure_future(run_export(job_id, exporting.tools))
    await exporting.until_running(job_id)
    async with exporting.place.catalog.connection() as connection:
        assert await cancel_job(connection, job_id, error="not needed", keep_failed=HOUR)
    job = await running
    assert (job.state, job.error) == ("cancelled", "not needed")
    assert await exporting.place.states() == {"available": 3}


async def test_a_job_that_ended_early_shows_the_rows_that_it_wrote(exporting: Exporting) -> None:
    job_id = await exporting.record(ExportRequest(export_type="artifacts", format="csv"))
    async with exporting.place.catalog.connection() as connection:
        claim = await claim_job(connection, job_id, run_id=None)
        assert claim is not None
        assert await renew(connection, claim, rows=1, rows_expected=4)
        assert await cancel_job(connection, job_id, error="not needed", keep_failed=HOUR)
        job = await get_job(connection, job_id)
        assert (job.state, job.rows, job.progress) == ("cancelled", 1, 0.25)
        assert await mark_deleted(connection, job_id)
        job = await get_job(connection, job_id)
        assert (job.state, job.rows, job.progress) == ("deleted", 1, 0.25)
    whole = await exporting.export()
    async with exporting.place.catalog.connection() as connection:
        assert await mark_deleted(connection, whole.job_id)
        assert (await get_job(connection, whole.job_id)).progress == 1.0
    failed = await exporting.export("early", query="select n, 1 / (6000 - n) from generate_series(1, 7000) n")
    assert (failed.state, failed.rows, failed.progress) == ("failed", 5000, None)


async def test_a_job_that_takes_longer_than_its_caller_waits_is_given_back(exporting: Exporting) -> None:
    job_id = await exporting.record(
        ExportRequest(
            export_type="slow", format="csv", query="select n, pg_sleep(0.01)::text from generate_series(1, 300) n"
        )
    )
    assert (await run_export(job_id, exporting.tools, wait_seconds=0.2)).state == "pending"
    assert (await run_export(job_id, exporting.tools)).rows == 300


async def test_too_many_rows_are_refused(database_url: str, tmp_path: Path) -> None:
    async with _exporting(database_url, tmp_path, export_max_rows=150) as exporting:
        job = await exporting.export("many", query="select n from generate_series(1, 1000) n")
        assert job.state == "failed" and "150 rows" in str(job.error)
    async with _exporting(database_url, tmp_path, export_max_rows=2) as exporting:
        job = await exporting.export()
        assert (job.state, job.rows) == ("failed", 0) and "6 rows" in str(job.error)


PLACES: list[tuple[dict[str, Any], bool]] = [
    ({"export_storage_path": "HERE/home"}, False),
    ({"export_storage_path": "HERE/home/exports"}, False),
    ({"export_storage_path": "file://HERE/home/exports"}, False),
    ({"export_storage_path": "simplecache::file://HERE/home/exports"}, False),
    ({"export_storage_path": "FILE://HERE/home/exports"}, False),
    ({"export_storage_path": "HERE/elsewhere/../home/exports"}, False),
    ({"export_storage_path": "HERE/linked/exports"}, False),
    ({"export_storage_path": "HERE/store/exports", "storage_url": "HERE/store"}, False),
    ({"export_storage_path": "s3://a/b", "storage_url": "s3://a/b/"}, False),
    ({"export_storage_path": "s3://a/b/c", "storage_url": "s3://a/b"}, False),
    ({"export_storage_path": "s3://a/b", "storage_url": "s3a://a"}, False),
    ({"export_storage_path": "S3://a/b/c", "storage_url": "s3://a/b"}, False),
    ({"export_storage_path": "s3://a/bc", "storage_url": "s3://a/b"}, True),
    ({"export_storage_path": "s3://ab", "storage_url": "s3://a"}, True),
    ({"export_storage_path": "HERE/home-exports"}, True),
    ({"export_storage_path": "HERE"}, True),
    ({"export_storage_path": "HERE/exports", "storage_url": "s3://a"}, True),
    ({}, True),
]


def test_finished_files_are_not_put_among_files_in_custody(tmp_path: Path, subtests: pytest.Subtests) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "home")
    for given, is_good in PLACES:
        here = {name: value.replace("HERE", str(tmp_path)) for name, value in given.items()}
        settings = Settings(home=tmp_path / "home", **here)
        with subtests.test(**given):
            if is_good:
                check_place(settings)
                continue
            with pytest.raises(InvalidSettings, match=r"WAYBILL_EXPORT_STORAGE_PATH is in the (home|storage)"):
                check_place(settings)
            with pytest.raises(InvalidSettings):
                StoredExports.of(settings)


async def test_a_query_that_takes_too_long_fails(database_url: str, tmp_path: Path) -> None:
    async with _exporting(database_url, tmp_path, export_query_seconds=1) as exporting:
        job = await exporting.export("slow", query="select pg_sleep(600)::text")
        assert job.state == "failed" and job.error


async def test_an_input_file_is_read_where_a_run_may_read(exporting: Exporting, tmp_path: Path) -> None:
    given = tmp_path / "given.csv"
    given.write_text("a,b\n1,2\n")
    job = await exporting.export("mine", input=str(given))
    assert (job.state, job.rows, job.error) == ("completed", 1, None)
    key = exporting.settings.home / "link-keys"
    key.parent.mkdir(exist_ok=True)
    key.write_text("a,b\n1,2\n")
    refused = await exporting.export("mine", input=str(key))
    assert refused.state == "failed" and "link-keys" in str(refused.error)


async def test_on_s3_a_file_has_its_plain_name_and_goes_when_it_expires(
    database_url: str, tmp_path: Path, s3_server: S3Server, s3_bucket: str
) -> None:
    place: dict[str, Any] = {
        "export_storage_path": f"s3://{s3_bucket}/out",
        "export_storage_options": s3_server.options,
    }

    def keys() -> list[str]:
        found = s3_server.administrator.list_objects_v2(Bucket=s3_bucket).get("Contents", [])
        return [one["Key"] for one in found]

    async with _exporting(database_url, tmp_path, **place) as exporting:
        job = await exporting.export()
        assert (job.state, job.error) == ("completed", None)
        assert keys() == [f"out/{job.filename}"]
        (gone,) = await expire_exports(exporting.place.custody, exporting.settings, job.expires_at)
        assert (gone.state, gone.error, keys()) == ("deleted", None, [])
