"""A catalogue with three files in it, and export jobs."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, LiteralString

from blocks.catalog import Catalog
from blocks.exports import ExportJob, ExportRequest, create_job, get_job, new_job_id
from blocks.settings import Settings
from tests.delivery.outbox_place import until
from tests.integration.custody_place import Place, draft


@dataclass(frozen=True)
class ExportPlace:
    """A custody with three files, and the settings of what exports from it."""

    place: Place
    settings: Settings

    async def record(self, request: ExportRequest, **given: Any) -> str:
        """Record a job; its id."""
        job_id = new_job_id()
        keep_for = request.keep_for or timedelta(days=1)
        async with self.place.catalog.connection() as connection:
            await create_job(connection, job_id, request, keep_for=keep_for, requested_by="a test", **given)
        return job_id

    async def job(self, job_id: str) -> ExportJob:
        async with self.place.catalog.connection() as connection:
            return await get_job(connection, job_id)

    async def until_running(self, job_id: str) -> None:
        async def runs() -> bool:
            return (await self.job(job_id)).state == "running"

        await until(runs, "the job runs")

    async def execute(self, statement: LiteralString, *values: Any) -> list[Any]:
        """One statement; its rows."""
        async with self.place.catalog.connection() as connection:
            cursor = await connection.execute(statement, values)
            return await cursor.fetchall() if cursor.description else []

    async def events(self) -> list[dict[str, Any]]:
        """Type and data of every event."""
        rows = await self.execute("select event_type, convert_from(body, 'UTF8')::jsonb as body from webhook_events")
        return [{"type": row["event_type"], **row["body"]["data"]} for row in rows]

    async def content(self, job: ExportJob) -> bytes:
        assert job.file_id is not None
        custody = self.place.custody
        return await custody.read(await custody.get(job.file_id))


@asynccontextmanager
async def open_export_place(database_url: str, tmp_path: Path, **settings: Any) -> AsyncGenerator[ExportPlace]:
    """The place, with its home and its storage below *tmp_path*."""
    given = Settings(**{"home": tmp_path / "home", "database_url": database_url, **settings})
    async with Catalog.open(database_url) as catalog:
        place = Place.at(catalog, tmp_path / "store")
        for _ in range(3):
            await place.custody.take(draft(), b"content")
        yield ExportPlace(place, given)
