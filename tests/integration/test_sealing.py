"""Small files are sealed and stored by any process of the machine, with the public key alone."""

from __future__ import annotations

import pickle
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from blocks.age import HybridIdentity, X25519Identity
from blocks.catalog import Artifact, Catalog
from blocks.custody.sealing import Filled, KeepOrder, Sealing, fill_whole
from blocks.errors import CatalogRefused, KeyExists, TargetUnwritable
from blocks.keys import StorageKeys
from tests.integration.custody_place import Place, draft
from tests.storage_keys import ENCRYPTED

PLAIN = StorageKeys(recipient=None)


@pytest.fixture
async def catalog(database_url: str) -> AsyncIterator[Catalog]:
    async with Catalog.open(database_url) as catalog:
        yield catalog


@pytest.fixture(params=["local", "memory"])
async def place(request: pytest.FixtureRequest, catalog: Catalog, tmp_path: Path) -> Place:
    url = f"memory://{uuid4()}" if request.param == "memory" else None
    return Place.at(catalog, tmp_path / "store", url=url)


async def ordered(place: Place, spool: Path) -> tuple[Sealing, KeepOrder]:
    """What a worker gets, as it arrives there."""
    (reservation,) = await place.custody.reserve([draft()])
    order = place.custody.order(reservation, reservation.draft, spool)
    return pickle.loads(pickle.dumps((place.custody.sealing, order)))  # noqa: S301 - our own


async def available(place: Place, filled: Filled) -> Artifact:
    artifact = await place.custody.finish(filled)
    place.backend.sync_folders([artifact.location])
    async with place.catalog.connection() as connection:
        found = await place.catalog.make_available(connection, artifact)
    place.custody.open_writes.remove([artifact.file_id])
    return found


@pytest.mark.parametrize("content", [b"", b"some words", b"x" * 65_536, b"y" * 200_000])
async def test_what_another_process_has_sealed_becomes_readable(place: Place, tmp_path: Path, content: bytes) -> None:
    sealing, order = await ordered(place, tmp_path / "spool")
    filled = fill_whole(sealing, order, content, metadata={"pages": 3}, report={"seconds": 0.5})
    artifact = await available(place, pickle.loads(pickle.dumps(filled)))  # noqa: S301 - our own
    assert await place.custody.read(artifact) == content
    assert (artifact.metadata, artifact.report) == ({"pages": 3}, {"seconds": 0.5})
    assert await place.custody.verify(artifact)
    assert place.blobs() == [artifact.location]
    assert not (tmp_path / "spool").exists()
    assert artifact.created_at <= await place.catalog.now()


async def test_before_its_row_is_available_the_file_is_not_readable_and_can_be_undone(
    place: Place, tmp_path: Path
) -> None:
    sealing, order = await ordered(place, tmp_path / "spool")
    filled = fill_whole(sealing, order, b"never announced")
    artifact = await place.custody.finish(filled)
    assert await place.states() == {"pending": 1}
    await place.custody.undo(artifact.file_id, artifact.location)
    assert await place.states() == {}
    assert place.nothing_lies_in_the_storage()


async def test_a_second_attempt_of_the_same_order_replaces_what_the_first_has_left(
    place: Place, tmp_path: Path
) -> None:
    sealing, order = await ordered(place, tmp_path / "spool")
    fill_whole(sealing, order, b"of a worker that was killed before it answered")
    artifact = await available(place, fill_whole(sealing, order, b"of the next"))
    assert await place.custody.read(artifact) == b"of the next"
    assert await place.custody.verify(artifact)


async def test_a_rotation_since_the_worker_has_started_decides_for_which_key(place: Place, tmp_path: Path) -> None:
    sealing, order = await ordered(place, tmp_path / "spool")
    for identity in (X25519Identity.generate(), HybridIdentity.generate()):
        newer = replace(order, encrypted_for=identity.recipient.text)
        assert fill_whole(sealing, newer, b"x").artifact.encrypted_for == identity.recipient.text
    assert fill_whole(sealing, order, b"x").artifact.encrypted_for == ENCRYPTED.encrypted_for
    await place.custody.undo(order.reservation.file_id, order.reservation.location)


async def test_without_encryption_the_stored_bytes_are_the_content(place: Place, tmp_path: Path) -> None:
    place = place.with_keys(PLAIN)
    sealing, order = await ordered(place, tmp_path / "spool")
    artifact = await available(place, fill_whole(sealing, order, b"words"))
    assert place.stored_bytes(artifact) == b"words"
    assert await place.custody.read(artifact) == b"words"


async def test_metadata_that_the_catalogue_would_refuse_stores_nothing(place: Place, tmp_path: Path) -> None:
    sealing, order = await ordered(place, tmp_path / "spool")
    with pytest.raises(CatalogRefused):
        fill_whole(sealing, order, b"x", metadata={"no": object()})
    await place.custody.undo(order.reservation.file_id, order.reservation.location)
    assert place.nothing_lies_in_the_storage()


async def test_a_spool_that_cannot_be_written_says_so(catalog: Catalog, tmp_path: Path) -> None:
    place = Place.at(catalog, tmp_path / "store", url=f"memory://{uuid4()}")
    sealing, order = await ordered(place, tmp_path / "missing" / "spool")
    assert sealing.root is None
    with pytest.raises(TargetUnwritable):
        fill_whole(sealing, order, b"x")
    await place.custody.undo(order.reservation.file_id, order.reservation.location)


async def test_a_spooled_file_whose_place_is_taken_leaves_the_other_writers_blob(
    catalog: Catalog, tmp_path: Path
) -> None:
    place = Place.at(catalog, tmp_path / "store", url=f"memory://{uuid4()}")
    sealing, order = await ordered(place, tmp_path / "spool")
    filled = fill_whole(sealing, order, b"x")
    place.backend.publish(filled.artifact.location, [b"another writer's"])
    with pytest.raises(KeyExists):
        await place.custody.finish(filled)
    assert await place.states() == {}
    assert place.stored_bytes(filled.artifact) == b"another writer's"
