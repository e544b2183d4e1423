"""Part 1: a file in custody.

Read the fundamentals from `test_1_files.py` to `test_4_webhooks.py`: each test shows one concept, on real parts.

*Custody* is where Waybill keeps files. It has two halves: a *storage* that holds the bytes (a folder here, S3 as well)
and a *catalogue* in Postgres that holds a row for each file.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blocks.access import Actor
from blocks.catalog import Catalog, Draft
from blocks.errors import ArtifactGone
from tests.integration.custody_place import Place
from waybill.services.files import pin_file

CONTENT = b"The snow plough leaves at six."


@pytest.fixture
async def place(database_url: str, tmp_path: Path) -> AsyncIterator[Place]:
    """A custody with an empty folder and an empty catalogue."""
    async with Catalog.open(database_url) as catalog:
        yield Place.at(catalog, tmp_path / "store")


def letter() -> Draft:
    """What is known of a file before it is stored: a draft of its catalogue row."""
    return Draft(
        kind="upload",
        filename="letter.txt",
        source_file="/in/letter.txt",
        document_sha256=hashlib.sha256(CONTENT).hexdigest(),
        media_type="text/plain",
        keep_for=timedelta(days=1),
    )


async def let_all_files_expire(place: Place) -> None:
    """Move every expiry to the present, so that no test waits for a day to pass."""
    async with place.catalog.connection() as connection:
        await connection.execute("update artifacts set expires_at = clock_timestamp()")


async def test_a_stored_file_is_read_back(place: Place) -> None:
    """Store a file, and read the same bytes back.

    What is stored is encrypted: the content is not in the folder. Reading decrypts it, and compares its hash with the
    one in the catalogue, so that a damaged file is never returned as if it were whole.
    """
    artifact = await place.custody.take(letter(), CONTENT)

    assert await place.custody.read(artifact) == CONTENT
    assert CONTENT not in place.stored_bytes(artifact)


async def test_each_file_has_a_catalogue_row(place: Place) -> None:
    """Look a file up by its id.

    The row is what the rest of the project works with. It says what the file is and how long it is kept. It becomes
    *available* only after the bytes are whole, so an available row never points at half a file.
    """
    stored = await place.custody.take(letter(), CONTENT)

    row = await place.custody.get(stored.file_id)

    assert (row.filename, row.kind, row.media_type) == ("letter.txt", "upload", "text/plain")
    assert (row.size, row.sha256) == (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    assert row.expires_at > datetime.now(UTC)
    assert await place.states() == {"available": 1}


async def test_an_expired_file_is_invisible(place: Place) -> None:
    """Let a file expire: from that moment on it cannot be looked up.

    The row decides, not the bytes. They are still in the folder until the file is deleted; no reader gets at them.
    """
    artifact = await place.custody.take(letter(), CONTENT)
    await let_all_files_expire(place)

    with pytest.raises(ArtifactGone):
        await place.custody.get(artifact.file_id)
    assert place.stored(artifact).exists()


async def test_a_pinned_file_outlives_its_expiry(place: Place) -> None:
    """Pin a file to keep it until it is unpinned.

    A command and the gateway pin through the same service, which also writes down in the audit log who pinned it.
    """
    artifact = await place.custody.take(letter(), CONTENT)
    await pin_file(place.custody, artifact.file_id, note="until the audit is over", by=Actor(actor="a reader"))
    await let_all_files_expire(place)

    pinned = await place.custody.get(artifact.file_id)

    assert pinned.pin_note == "until the audit is over"
    assert await place.custody.read(pinned) == CONTENT
