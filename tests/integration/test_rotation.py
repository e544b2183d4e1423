"""Moving stored files to a new key: nothing changes but who can open them, wherever it is interrupted."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from blocks.age import X25519Identity, read_header
from blocks.catalog import Artifact, Catalog, OutputLocks
from blocks.catalog.maintenance import by_recipient, interrupted_moves
from blocks.custody import Custody
from blocks.custody import rotate as rotation
from blocks.custody.manifest import manifest_path, read_manifest
from blocks.custody.rotate import Moved, rotate
from blocks.errors import (
    ArtifactNotFound,
    CatalogUnavailable,
    ContentMismatch,
    InvalidOptions,
    NoMatchingIdentity,
    RotationUnderWay,
    StorageUnavailable,
)
from blocks.keys import StorageKeys
from tests.integration.custody_place import Place, draft
from tests.stack_driver import PATIENCE_SECONDS
from tests.storage_keys import ENCRYPTED, IDENTITY, PLAIN

NEW = X25519Identity.generate()
ROTATED = StorageKeys(recipient=NEW.recipient, identities=(NEW, IDENTITY))
NEW_ONLY = StorageKeys(recipient=NEW.recipient, identities=(NEW,))
CONTENT = os.urandom(6 * 1024 * 1024 + 5)  # enough that the steps work in threads


@pytest.fixture
async def catalog(database_url: str) -> AsyncIterator[Catalog]:
    async with Catalog.open(database_url) as opened:
        yield opened


@pytest.fixture
def place(catalog: Catalog, tmp_path: Path) -> Place:
    return Place.at(catalog, tmp_path / "store")


@pytest.fixture
async def locks(database_url: str) -> AsyncIterator[OutputLocks]:
    async with OutputLocks.open(database_url) as opened:
        yield opened


async def rotated(place: Place, locks: OutputLocks) -> list[Moved]:
    moved: list[Moved] = []
    await rotate(place.custody, locks, on_moved=moved.append)
    return moved


def payload(stored: bytes) -> bytes:
    _, header = read_header(io.BytesIO(stored))
    return stored[len(header) :]


async def unfinished_moves(place: Place) -> list[object]:
    async with place.catalog.connection() as connection:
        return list(await interrupted_moves(connection))


@pytest.mark.usefixtures("manifests_beside")
async def test_every_file_is_opened_by_the_new_key_alone_and_its_payload_is_the_same(
    place: Place, locks: OutputLocks
) -> None:
    small, large = await place.custody.take(draft(), b"small"), await place.custody.take(draft(), CONTENT)
    plain = await place.with_keys(PLAIN).custody.take(draft(), b"from before encryption")
    expired = await place.custody.take(draft(), b"expired")
    async with place.catalog.connection() as connection:
        statement = "update artifacts set expires_at = now() - interval '1 day' where file_id = %s"
        await connection.execute(statement, [expired.file_id])
    payloads = [payload(place.stored(one).read_bytes()) for one in (small, large)]

    after = place.with_keys(ROTATED)
    moved = await rotated(after, locks)
    assert {one.artifact.file_id for one in moved} == {one.file_id for one in (small, large, plain, expired)}
    assert [one for one in moved if one.error] == []

    reader = place.with_keys(NEW_ONLY)
    for old, content in ((small, b"small"), (large, CONTENT), (plain, b"from before encryption")):
        current = await reader.custody.get(old.file_id)
        assert await reader.custody.read(current) == content
        assert await reader.custody.verify(current) is True
        assert current.location != old.location
        # Nothing that a consumer holds on to has changed.
        kept = {"location": "", "stored_size": 0, "stored_sha256": "", "encrypted_for": "", "header_sha256": ""}
        assert replace(current, **kept, verified_at=None) == replace(old, **kept, verified_at=None)
        manifest = (place.folder / manifest_path(current.location)).read_bytes()
        assert read_manifest(manifest, NEW_ONLY, accept_plain=False) == replace(current, verified_at=None)
    current = [await reader.custody.get(one.file_id) for one in (small, large)]
    assert [payload(place.stored(one).read_bytes()) for one in current] == payloads
    assert len(place.blobs()) == 4
    assert await unfinished_moves(place) == []
    assert await rotated(after, locks) == []
    async with place.catalog.connection() as connection:
        (use,) = await by_recipient(connection)
    assert (use.encrypted_for, use.files, use.undamaged) == (NEW.recipient.text, 4, 4)


async def test_who_holds_an_artifact_from_before_a_rotation_still_reads_it(place: Place, locks: OutputLocks) -> None:
    artifact = await place.custody.take(draft(), CONTENT)
    after = place.with_keys(ROTATED)
    await rotated(after, locks)
    assert await after.custody.read(artifact) == CONTENT
    assert (await after.custody.get(artifact.file_id)).damage is None


async def test_a_damaged_file_stays_where_it_is_and_stops_no_other(place: Place, locks: OutputLocks) -> None:
    damaged, sound = await place.custody.take(draft(), CONTENT), await place.custody.take(draft(), b"sound")
    stored = place.stored(damaged)
    before = stored.read_bytes()[:-1] + b"!"
    stored.write_bytes(before)
    moved = {one.artifact.file_id: one.error for one in await rotated(place.with_keys(ROTATED), locks)}
    assert moved[sound.file_id] is None
    assert isinstance(moved[damaged.file_id], ContentMismatch)
    assert stored.read_bytes() == before
    assert (await place.custody.get(damaged.file_id)).damage is not None
    assert len(place.blobs()) == 2
    assert await unfinished_moves(place) == []


async def test_a_file_whose_key_is_not_here_is_told_and_left_alone(place: Place, locks: OutputLocks) -> None:
    artifact = await place.custody.take(draft(), b"x")
    (moved,) = await rotated(place.with_keys(NEW_ONLY), locks)
    assert isinstance(moved.error, NoMatchingIdentity)
    assert await place.custody.read(await place.custody.get(artifact.file_id)) == b"x"


async def test_a_file_that_is_removed_while_it_moves_is_gone_with_all_its_bytes(
    place: Place, locks: OutputLocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = await place.custody.take(draft(), CONTENT)
    after = place.with_keys(ROTATED)
    publish = after.backend.publish
    loop = asyncio.get_running_loop()

    def removed_meanwhile(*arguments: object, **options: object) -> object:
        asyncio.run_coroutine_threadsafe(place.custody.remove(artifact.file_id), loop).result(PATIENCE_SECONDS)
        monkeypatch.undo()
        return publish(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(after.backend, "publish", removed_meanwhile)
    assert await rotated(after, locks) == []
    with pytest.raises(ArtifactNotFound):
        await place.custody.get(artifact.file_id)
    assert place.nothing_lies_in_the_storage()
    assert await place.states() == {"deleted": 1}


async def test_a_file_whose_new_bytes_are_removed_with_it_is_no_failure(
    place: Place, locks: OutputLocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = await place.custody.take(draft(), b"x")
    after = place.with_keys(ROTATED)
    loop = asyncio.get_running_loop()

    def removed_meanwhile(*_: object, **__: object) -> object:
        asyncio.run_coroutine_threadsafe(place.custody.remove(artifact.file_id), loop).result(PATIENCE_SECONDS)
        raise StorageUnavailable("what was written is gone")

    monkeypatch.setattr(after.backend, "publish", removed_meanwhile)
    assert await rotated(after, locks) == []
    assert place.nothing_lies_in_the_storage()


class StepFailed(Exception):
    """The process died here."""


STEPS = ("blob is written", "manifest is written", "readers are switched", "old blob is gone", "old manifest is gone")


@pytest.mark.usefixtures("manifests_beside")
@pytest.mark.parametrize("step", STEPS)
async def test_a_rotation_that_died_at_any_step_is_finished_by_the_next(
    place: Place, locks: OutputLocks, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step has happened, and nothing after it: no clearing up either, as if the power had gone."""
    artifacts = [await place.custody.take(draft(), f"file {number}".encode()) for number in range(3)]
    after = place.with_keys(ROTATED)
    with monkeypatch.context() as patch:
        die_after(after.custody, step, patch)
        with pytest.raises(StepFailed):
            await rotated(after, locks)
    reader = place.with_keys(ROTATED)
    for number, artifact in enumerate(artifacts):
        assert await reader.custody.read(artifact) == f"file {number}".encode()

    await rotated(reader, locks)
    for number, artifact in enumerate(artifacts):
        current = await reader.custody.get(artifact.file_id)
        assert current.encrypted_for == NEW.recipient.text
        assert await place.with_keys(NEW_ONLY).custody.read(current) == f"file {number}".encode()
    assert len(place.blobs()) == 3
    assert await unfinished_moves(place) == []


def die_after(custody: Custody, step: str, patch: pytest.MonkeyPatch) -> None:
    """Let *custody* fail for good once *step* has been done."""
    backend, dead = custody.backend, False
    publish, delete, switch = backend.publish, backend.delete, rotation.switch_move

    def now(what: str) -> None:
        nonlocal dead
        if dead or what == step:
            dead = True
            raise StepFailed(what)

    def published(key: str, *arguments: object, **options: object) -> object:
        now("")
        blob = publish(key, *arguments, **options)  # type: ignore[arg-type]
        now("manifest is written" if key.endswith(".waybill") else "blob is written")
        return blob

    def deleted(key: str, **options: bool) -> bool:
        now("")
        was_there = delete(key, **options)
        now("old manifest is gone" if key.endswith(".waybill") else "old blob is gone")
        return was_there

    async def switched(*arguments: object) -> bool:
        now("")
        return await switch(*arguments)  # type: ignore[arg-type]

    async def entered(*arguments: object, **options: object) -> None:
        now("readers are switched")
        await remove(*arguments, **options)  # type: ignore[arg-type]

    remove = rotation._remove_unused
    patch.setattr(backend, "publish", published)
    patch.setattr(backend, "delete", deleted)
    patch.setattr(rotation, "switch_move", switched)
    patch.setattr(rotation, "_remove_unused", entered)


async def test_two_rotations_at_once_are_one_and_a_refusal(place: Place, locks: OutputLocks, database_url: str) -> None:
    await place.custody.take(draft(), CONTENT)
    after = place.with_keys(ROTATED)
    async with OutputLocks.open(database_url) as others:
        await others.try_acquire({"waybill:rotate-storage"})
        with pytest.raises(RotationUnderWay):
            await rotated(after, locks)
        await others.release({"waybill:rotate-storage"})  # a closed connection lets go a little later
    assert len(await rotated(after, locks)) == 1


async def test_a_move_that_switches_while_another_rotation_clears_up_keeps_what_readers_find(
    place: Place, locks: OutputLocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock of the first rotation went with its connection; a second one has listed its move as interrupted."""
    artifact = await place.custody.take(draft(), b"moved a moment ago")
    monkeypatch.setattr(rotation, "interrupted_moves", switched_since(artifact))
    after = place.with_keys(ROTATED)
    assert [one.error for one in await rotated(after, locks)] == [None]
    assert await after.custody.read(await after.custody.get(artifact.file_id)) == b"moved a moment ago"


def switched_since(artifact: Artifact) -> Callable[[object], Awaitable[list[tuple[UUID, str]]]]:
    async def interrupted(_: object) -> list[tuple[UUID, str]]:
        return [(artifact.file_id, artifact.location)]

    return interrupted


async def test_a_switch_whose_answer_was_lost_leaves_the_new_bytes_alone(
    place: Place, locks: OutputLocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = await place.custody.take(draft(), b"switched")
    switch = rotation.switch_move

    async def answer_lost(*arguments: object) -> bool:
        await switch(*arguments)  # type: ignore[arg-type]
        raise CatalogUnavailable("the connection broke")

    monkeypatch.setattr(rotation, "switch_move", answer_lost)
    after = place.with_keys(ROTATED)
    (moved,) = await rotated(after, locks)
    assert isinstance(moved.error, CatalogUnavailable)
    current = await after.custody.get(artifact.file_id)
    assert current.encrypted_for == NEW.recipient.text
    assert await after.custody.read(current) == b"switched"
    assert len(place.blobs()) == 1
    assert await unfinished_moves(place) == []


async def test_a_rotation_that_loses_its_lock_ends_with_what_it_has_done(place: Place, database_url: str) -> None:
    await place.custody.take(draft(), b"x")
    moved: list[Moved] = []

    def cut(one: Moved) -> None:
        moved.append(one)
        with psycopg.connect(database_url) as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'"
                " and database = (select oid from pg_database where datname = current_database())"
            )

    async with OutputLocks.open(database_url) as locks:
        await rotate(place.with_keys(ROTATED).custody, locks, on_moved=cut)
    assert [one.error for one in moved] == [None]


async def test_without_encryption_there_is_nothing_to_rotate_to(place: Place, locks: OutputLocks) -> None:
    with pytest.raises(InvalidOptions, match="WAYBILL_ENCRYPT"):
        await rotated(place.with_keys(PLAIN), locks)


async def test_a_cancelled_rotation_leaves_every_file_readable_and_no_trace(place: Place, locks: OutputLocks) -> None:
    artifacts: list[Artifact] = [await place.custody.take(draft(), CONTENT) for _ in range(2)]
    after = place.with_keys(ROTATED)
    for steps in (1, 4, 8, 15, 30):
        rotating = asyncio.create_task(rotated(after, locks))
        for _ in range(steps):
            await asyncio.sleep(0.001)
        rotating.cancel()
        await asyncio.gather(rotating, return_exceptions=True)
        for artifact in artifacts:
            assert await after.custody.read(artifact) == CONTENT
        assert len(place.blobs()) == 2
    await rotated(after, locks)
    assert await unfinished_moves(place) == []


def test_the_keys_of_a_rotation_are_told_apart() -> None:
    assert ROTATED.opens(ENCRYPTED.encrypted_for)
    assert not NEW_ONLY.opens(ENCRYPTED.encrypted_for)
