"""Exports on a full disk, and over a database that is away for a moment."""

from __future__ import annotations

import asyncio
import logging
import shutil
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from blocks.exports import ExportJob, ExportRequest
from blocks.exports.jobs import claim_job
from blocks.exports.query_role import session_name
from tasks.export import FORMATS
from tasks.export_job import ExportTools, run_export
from tests.delivery.outbox_place import until
from tests.fault.mounts import can_mount
from tests.integration.export_place import ExportPlace, open_export_place
from tests.postgres_road import road_to

# Text that no compression makes much smaller: more than the disk holds, in every format.
MUCH = "select n, md5(n::text) || md5((n + 1)::text) || md5((n + 2)::text) as noise from generate_series(1, 400000) n"
LITTLE = "select n from generate_series(1, 1000) n"
# Waits for whoever holds this lock.
HELD = "select n, pg_advisory_xact_lock_shared(4711)::text from generate_series(1, 3000) n"


async def export(place: ExportPlace, query: str, **given: Any) -> ExportJob:
    request = ExportRequest(**{"export_type": "mine", "format": "csv", **given}, query=query)
    return await run_export(await place.record(request), tools(place))


def tools(place: ExportPlace) -> ExportTools:
    return ExportTools(custody=place.place.custody, settings=place.settings)


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if not path.is_dir())


# A full disk ----------------------------------------------------------------------------------------------------------

if can_mount():

    async def test_a_full_disk_of_the_home_fails_the_export_and_gives_its_room_back(
        database_url: str, tmp_path: Path, small_disk: Path, subtests: pytest.Subtests
    ) -> None:
        async with open_export_place(database_url, tmp_path, home=small_disk / "home") as place:
            assert (await export(place, LITTLE)).state == "completed"
            before, free = files_in(small_disk), shutil.disk_usage(small_disk).free
            for number, form in enumerate(FORMATS):
                with subtests.test(form):
                    job = await export(place, MUCH, format=form)
                    assert (job.state, job.file_id, job.progress) == ("failed", None, None), job
                    assert "free some space" in str(job.error)
                    assert (files_in(small_disk), shutil.disk_usage(small_disk).free) == (before, free)
                    events = [event["type"] for event in await place.events()]
                    assert events.count("export_failed") == number + 1
            assert (await export(place, LITTLE)).state == "completed"
            assert await place.place.states() == {"available": 5}

    async def test_a_full_disk_of_the_finished_files_keeps_no_part_of_one(
        database_url: str, tmp_path: Path, small_disk: Path
    ) -> None:
        folder = small_disk / "exports"
        async with open_export_place(database_url, tmp_path, export_storage_path=str(folder)) as place:
            whole = await export(place, LITTLE)
            free = shutil.disk_usage(small_disk).free
            job = await export(place, MUCH)
            assert job.state == "failed" and "space" in str(job.error), job
            assert files_in(small_disk) == [whole.filename]
            assert shutil.disk_usage(small_disk).free == free
            assert not (place.settings.scratch / "exports" / job.job_id).exists()
            assert (await export(place, LITTLE)).state == "completed"


# A database that is away ----------------------------------------------------------------------------------------------


async def test_an_export_whose_database_is_away_for_a_moment_begins_again_and_nothing_is_doubled(
    database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "exports"
    caplog.set_level(logging.WARNING, "waybill.exports")
    async with (
        road_to(database_url) as road,
        open_export_place(database_url, tmp_path / "watching") as watching,
        open_export_place(road.url, tmp_path, export_storage_path=str(folder)) as place,
        await psycopg.AsyncConnection.connect(database_url, autocommit=True) as holding,
    ):
        await holding.execute("select pg_advisory_lock(4711)")
        job_id = await place.record(ExportRequest(export_type="mine", format="csv", query=HELD))
        running = asyncio.ensure_future(run_export(job_id, tools(place), run_id=uuid4()))

        async def is_queried() -> bool:
            rows = "select 1 from pg_stat_activity where application_name = %s and state = 'active' and query ~ 'fetch'"
            return bool(await watching.execute(rows, session_name(job_id)))

        await until(is_queried, "the query runs")
        await road.close()
        await until(lambda: _is_logged(caplog, "begins again"), "the export has noticed it")
        await holding.execute("select pg_advisory_unlock(4711)")
        await road.open()
        job = await running
        assert (job.state, job.rows, job.error) == ("completed", 3000, None)
        assert len((folder / str(job.filename)).read_text().splitlines()) == 3001
        assert files_in(folder) == [job.filename]
        assert [(event["type"], event["rows"]) for event in await watching.events()] == [("export_completed", 3000)]
        assert not (place.settings.scratch / "exports" / job_id).exists()


async def test_what_will_not_pass_fails_at_once(
    database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "waybill.exports")
    async with open_export_place(database_url, tmp_path) as place:
        job = await export(place, "select no_such_column from documents")
        assert job.state == "failed" and "no_such_column" in str(job.error)
        assert not await _is_logged(caplog, "begins again")


async def test_a_job_that_was_completed_after_all_keeps_its_file(database_url: str, tmp_path: Path) -> None:
    """As when the answer to its commit is lost, and the process then takes it for failed."""
    from tasks.export_job import _end, _Work  # pyright: ignore[reportPrivateUsage]
    from tasks.export_progress import Progress

    folder = tmp_path / "exports"
    async with open_export_place(database_url, tmp_path, export_storage_path=str(folder)) as place:
        request = ExportRequest(export_type="mine", format="csv", query=LITTLE)
        job_id = await place.record(request)
        async with place.place.catalog.connection() as connection:
            claim = await claim_job(connection, job_id, run_id=None)
        assert claim is not None
        work = _Work(tools(place), request, await place.job(job_id), claim, Progress(), None)
        await work.attempt(None)
        await _end(work, "failed", "the connection was lost")
        job = await place.job(job_id)
        assert (job.state, job.rows) == ("completed", 1000)
        assert files_in(folder) == [job.filename]


async def _is_logged(caplog: pytest.LogCaptureFixture, text: str) -> bool:
    return any(text in record.getMessage() for record in caplog.records)
