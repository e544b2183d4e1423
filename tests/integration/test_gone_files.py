"""A file that is gone says how to have it again, by what it was."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from blocks.catalog import KINDS, Catalog, Kind
from blocks.catalog.keeping import extend
from blocks.errors import ArtifactGone, ArtifactNotFound, ContentMismatch
from tests.integration.custody_place import Place, draft

AGAIN: dict[Kind, str] = {
    "stage_output": "; process its source again",
    "upload": "; upload it again, or process its source again",
    "transfer": "; have it sent again",
    "export": "; export it again",
}


@pytest.fixture
async def place(database_url: str, tmp_path: Path) -> AsyncGenerator[Place]:
    async with Catalog.open(database_url) as catalog:
        yield Place.at(catalog, tmp_path / "store")


async def test_a_file_that_is_gone_says_how_to_have_it_again(place: Place, subtests: pytest.Subtests) -> None:
    assert AGAIN.keys() == set(KINDS)
    for kind, again in AGAIN.items():
        with subtests.test(kind=kind):
            artifact = await place.custody.take(draft(kind=kind), b"content")
            await place.custody.remove(artifact.file_id)
            with pytest.raises(ArtifactGone) as caught:
                await place.custody.get(artifact.file_id)
            assert caught.value.message == f"file {artifact.file_id} has expired or was deleted{again}"
    with pytest.raises(ArtifactNotFound, match="it never existed"):
        await place.custody.get(uuid4())


async def test_a_file_that_has_expired_and_is_stored_says_how_it_is_readable_again(place: Place) -> None:
    artifact = await place.custody.take(draft(), b"content")
    async with place.catalog.connection() as connection:
        await connection.execute(b"update artifacts set expires_at = clock_timestamp() - interval '1 second'")
        for refused in (place.custody.get(artifact.file_id), place.catalog.pin(connection, artifact.file_id)):
            with pytest.raises(ArtifactGone, match=f"'waybill files extend {artifact.file_id} --for 90d'"):
                await refused
        await extend(connection, artifact.file_id, timedelta(days=90), even_expired=True)
    assert (await place.custody.get(artifact.file_id)).file_id == artifact.file_id


async def test_a_file_that_is_damaged_says_how_to_have_it_again(place: Place, subtests: pytest.Subtests) -> None:
    for kind, again in AGAIN.items():
        with subtests.test(kind=kind):
            artifact = await place.custody.take(draft(kind=kind), b"content")
            other = replace(artifact, sha256="0" * 64)
            with pytest.raises(ContentMismatch) as caught:
                await place.custody.read(other)
            assert caught.value.message.endswith(f"or remove the file and {again.removeprefix('; ')}")
