"""What a retention judges, for its tests: candidates of a policy, and files in a custody whose time is over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from blocks.catalog import Artifact, Catalog
from blocks.retention import Candidate
from tests.integration.custody_place import Place, draft

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def file(number: int = 1, **changes: Any) -> Candidate:
    """An upload of ten days ago that expires in twenty."""
    values: dict[str, Any] = {
        "file_id": UUID(int=number),
        "kind": "upload",
        "source_file": "/docs/report.pdf",
        "stage": None,
        "document_sha256": "d" * 64,
        "created_at": NOW - 10 * DAY,
        "expires_at": NOW + 20 * DAY,
        "stored_size": 100,
    }
    return Candidate(**values | changes)


@pytest.fixture
async def local_place(database_url: str, tmp_path: Path) -> AsyncIterator[Place]:
    """A custody in a local folder; a module that uses it names it *place*."""
    async with Catalog.open(database_url) as catalog:
        yield Place.at(catalog, tmp_path / "storage")


async def stored(place: Place, count: int) -> list[Artifact]:
    return [await place.custody.take(draft(), f"content {number}".encode()) for number in range(count)]


async def sql(place: Place, statement: str, *values: object) -> None:
    async with place.catalog.connection() as connection:
        await connection.execute(statement.encode(), values)


async def expire(place: Place, *artifacts: Artifact) -> None:
    await sql(
        place,
        "update artifacts set expires_at = clock_timestamp() - interval '1 second' where file_id = any(%s)",
        [artifact.file_id for artifact in artifacts],
    )


async def name_place(place: Place, artifact: Artifact, location: str) -> None:
    """Let the row of a file name another place for its bytes, as a person with SQL could."""
    await sql(place, "update artifacts set location = %s where file_id = %s", location, artifact.file_id)
