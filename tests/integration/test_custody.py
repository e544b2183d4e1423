"""Custody on real storage and a real Postgres: what goes in comes out, and what was changed does not."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from blocks.catalog import Artifact, Catalog, Connection, Kind, Reservation
from blocks.catalog.skipped_records import skipped_counts
from blocks.custody import Custody, renewal
from blocks.custody.abandoned import remove_abandoned, remove_abandoned_forever
from blocks.custody.manifest import manifest_path
from blocks.custody.upload import streaming_upload
from blocks.errors import (
    ArtifactNotFound,
    BlobMissing,
    CatalogRefused,
    CatalogUnavailable,
    ContentMismatch,
    KeyExists,
    SourceNotFound,
    StorageUnavailable,
    TargetUnwritable,
    UnsafeKey,
)
from blocks.runtime.background_tasks import running
from blocks.storage import CHUNK_BYTES, Expected, is_file_path, kind_folder, new_blob_path
from tests.integration.custody_place import Place, draft
from tests.stack_driver import PATIENCE_SECONDS
from tests.storage_keys import ENCRYPTED, IDENTITY, PLAIN

CONTENT = os.urandom(3 * CHUNK_BYTES + 17)


@pytest.fixture
async def catalog(database_url: str) -> AsyncIterator[Catalog]:
    async with Catalog.open(database_url) as opened:
        yield opened


@pytest.fixture(params=["local", "local-plain", "memory", "s3"])
def place(request: pytest.FixtureRequest, catalog: Catalog, tmp_path: Path) -> Place:
    if request.param == "s3":
        server = request.getfixturevalue("s3_server")
        url = f"s3://{request.getfixturevalue('s3_bucket')}/custody"
        return Place.at(catalog, tmp_path / "store", ENCRYPTED, url, server.options)
    url = f"memory://{uuid4().hex}" if request.param == "memory" else None
    return Place.at(catalog, tmp_path / "store", PLAIN if request.param == "local-plain" else ENCRYPTED, url)


@pytest.fixture(params=["encrypted", "plain"])
def local(request: pytest.FixtureRequest, catalog: Catalog, tmp_path: Path) -> Place:
    return Place.at(catalog, tmp_path / "store", PLAIN if request.param == "plain" else ENCRYPTED)


def artifact_of(file_id: UUID, key: str, *, run_id: UUID, size: int = 1, sha256: str = "a" * 64) -> Artifact:
    """What is written into a row for a file that is stored as it is."""
    now = datetime.now(UTC)
    return Artifact(
        file_id=file_id, kind="upload", filename="report.pdf", source_file="/docs/report.pdf",
        document_sha256="d" * 64, stage=None, stage_name=None, stage_key=None, run_id=run_id,
        media_type="application/pdf", size=size, sha256=sha256, stored_size=size, stored_sha256=sha256, location=key,
        metadata={}, report={}, created_at=now, expires_at=now + timedelta(days=1),
    )  # fmt: skip


# In and out -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"x", CONTENT[:CHUNK_BYTES], CONTENT], ids=len)
async def test_what_goes_in_comes_out(place: Place, tmp_path: Path, content: bytes) -> None:
    source = tmp_path / "source"
    source.write_bytes(content)
    for given in (source, content):
        artifact = await place.custody.take(draft(), given)
        assert (artifact.size, artifact.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        with place.backend.open(artifact.location) as stream:
            stored = stream.read()
        assert (artifact.stored_size, artifact.stored_sha256) == (len(stored), hashlib.sha256(stored).hexdigest())
        assert (stored == content) == (place.custody.keys.recipient is None)
        assert await place.custody.get(artifact.file_id) == artifact
        assert await place.custody.read(artifact) == content
        await place.custody.verify(artifact)
        await place.custody.fetch(artifact, tmp_path / "target")
        assert (tmp_path / "target").read_bytes() == content
    assert await place.states() == {"available": 2}


@pytest.mark.parametrize("kind", ["upload", "stage_output", "transfer", "export"])
async def test_each_kind_lies_in_its_folder_under_its_id(place: Place, kind: Kind) -> None:
    artifact = await place.custody.take(draft(kind=kind), b"x")
    assert is_file_path(artifact.location)
    assert artifact.location.startswith(f"{kind_folder(kind)}/") and artifact.location.endswith(artifact.file_id.hex)
    assert place.blobs() == [artifact.location]
    assert place.custody.locate(artifact).endswith(artifact.location)


async def test_a_run_is_noted_with_what_it_made(place: Place) -> None:
    run_id = uuid4()
    artifact = await place.custody.take(draft(run_id=run_id), b"x")
    async with place.catalog.transaction() as connection:
        assert (await place.catalog.list_artifacts(connection, run_id=run_id)).artifacts == [artifact]


async def test_many_files_at_once(place: Place) -> None:
    contents = [f"{number}".encode() * 1000 for number in range(60)]
    artifacts = await asyncio.gather(*(place.custody.take(draft(), content) for content in contents))
    assert await asyncio.gather(*(place.custody.read(artifact) for artifact in artifacts)) == contents
    assert await place.states() == {"available": 60}
    assert len(place.blobs()) == 60


async def test_many_readers_of_one_file_at_once(place: Place, tmp_path: Path) -> None:
    artifact = await place.custody.take(draft(), CONTENT)
    await asyncio.gather(*(place.custody.fetch(artifact, tmp_path / f"{number}") for number in range(8)))
    assert all((tmp_path / f"{number}").read_bytes() == CONTENT for number in range(8))


async def test_expiry_hides_a_file_that_still_lies_there(place: Place) -> None:
    artifact = await place.custody.take(draft(keep_for=timedelta(0)), b"x")
    with pytest.raises(ArtifactNotFound):
        await place.custody.get(artifact.file_id)
    assert await place.states() == {"available": 1}


# What is refused on the way in ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "expected",
    [
        Expected(size=len(CONTENT) - 1),
        Expected(size=len(CONTENT) + 1),
        Expected(sha256=hashlib.sha256(b"other").hexdigest()),
        Expected(size=len(CONTENT), sha256=hashlib.sha256(CONTENT[:-1]).hexdigest()),
    ],
)
async def test_content_that_is_not_what_was_declared_leaves_nothing(
    place: Place, tmp_path: Path, expected: Expected
) -> None:
    source = tmp_path / "source"
    source.write_bytes(CONTENT)
    for given in (source, CONTENT):
        with pytest.raises(ContentMismatch):
            await place.custody.take(draft(), given, expected=expected)
    assert await place.states() == {}
    assert place.nothing_lies_in_the_storage()


async def test_a_source_that_cannot_be_opened_or_read_leaves_nothing(place: Place, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for source in (tmp_path / "missing", tmp_path / "folder", tmp_path / "missing/deeper", Path("/proc/self/mem")):
        with pytest.raises(SourceNotFound, match=source.name):
            await place.custody.take(draft(), source)
    assert await place.states() == {}
    assert place.nothing_lies_in_the_storage()


async def test_a_draft_that_the_catalogue_refuses_stores_nothing(place: Place) -> None:
    with pytest.raises(CatalogRefused):
        await place.custody.take(replace(draft(), source_file="a\x00b"), b"x")
    assert place.nothing_lies_in_the_storage()


async def test_an_id_that_is_taken_does_no_harm_to_the_file_that_has_it(place: Place) -> None:
    first = await place.custody.take(draft(), b"first")
    again = Custody(
        catalog=place.catalog,
        backend=place.backend,
        keys=ENCRYPTED,
        new_id=lambda: first.file_id,
        new_path=lambda *_: first.location,
    )
    with pytest.raises(CatalogRefused):
        await again.take(draft(), b"second")
    assert await place.custody.read(first) == b"first"
    assert await place.states() == {"available": 1}


async def test_a_blob_that_lies_under_the_key_already_stays(place: Place) -> None:
    file_id = uuid4()
    place.backend.publish(new_blob_path("upload", file_id), [b"another writer's"])
    custody = Custody(
        catalog=place.catalog, backend=place.backend, keys=ENCRYPTED, new_id=lambda: file_id, new_path=new_blob_path
    )
    with pytest.raises(KeyExists):
        await custody.take(draft(), b"ours")
    with place.backend.open(new_blob_path("upload", file_id)) as stream:
        assert stream.read() == b"another writer's"
    assert await place.states() == {}


async def test_a_foreign_file_in_the_way_is_told_and_leaves_no_row(local: Place) -> None:
    local.folder.write_text("a file where the storage's folder should be")
    with pytest.raises(UnsafeKey):
        await local.custody.take(draft(), b"ours")
    assert await local.states() == {}


@pytest.mark.usefixtures("manifests_beside")
async def test_a_manifest_that_lies_there_already_leaves_no_blob_without_a_row(place: Place) -> None:
    file_id = uuid4()
    place.backend.publish(manifest_path(new_blob_path("upload", file_id)), [b"somebody's"])
    keys = place.custody.keys
    custody = Custody(
        catalog=place.catalog, backend=place.backend, keys=keys, new_id=lambda: file_id, new_path=new_blob_path
    )
    with pytest.raises(KeyExists):
        await custody.take(draft(), b"ours")
    assert place.nothing_lies_in_the_storage()
    assert await place.states() == {}


# What is found on the way out -----------------------------------------------------------------------------------------


def flip(position: int) -> Callable[[bytes], bytes]:
    return lambda content: content[:position] + bytes([content[position] ^ 1]) + content[position:][1:]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "first byte flipped": flip(0),
    "middle byte flipped": flip(len(CONTENT) // 2),
    "last byte flipped": flip(len(CONTENT) - 1),
    "cut by one byte": lambda content: content[:-1],
    "cut at a chunk boundary": lambda content: content[: 2 * CHUNK_BYTES],
    "one byte appended": lambda content: content + b"\x00",
    "emptied": lambda _: b"",
    "two chunks swapped": lambda content: (
        content[CHUNK_BYTES : 2 * CHUNK_BYTES] + content[:CHUNK_BYTES] + content[2 * CHUNK_BYTES :]
    ),
    "another file's": lambda content: b"\x00" * len(content),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
async def test_any_change_to_the_stored_bytes_is_found(
    local: Place, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    artifact = await local.custody.take(draft(), CONTENT)
    stored = local.stored(artifact)
    stored.write_bytes(damage(stored.read_bytes()))
    await nothing_comes_out(local, artifact, tmp_path / "out", ContentMismatch)


async def test_a_blob_that_is_gone_is_told(place: Place, tmp_path: Path) -> None:
    artifact = await place.custody.take(draft(), CONTENT)
    place.backend.delete(artifact.location)
    await nothing_comes_out(place, artifact, tmp_path / "out", BlobMissing)


@pytest.mark.parametrize("plant", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/etc/hostname")])
async def test_something_else_in_place_of_the_blob_is_told(
    local: Place, tmp_path: Path, plant: Callable[[Path], None]
) -> None:
    artifact = await local.custody.take(draft(), CONTENT)
    local.stored(artifact).unlink()
    plant(local.stored(artifact))
    await nothing_comes_out(local, artifact, tmp_path / "out", UnsafeKey)


async def test_a_disk_that_cannot_be_read_is_a_passing_condition(local: Place, tmp_path: Path) -> None:
    """A file that opens and gives EIO when read: this process's own memory at address 0."""
    artifact = await local.custody.take(draft(), CONTENT)

    class Dying(type(local.backend)):  # type: ignore[misc]
        def open(self, key: str) -> Any:
            del key
            return Path("/proc/self/mem").open("rb")

    custody = Custody(catalog=local.catalog, backend=Dying(tmp_path), keys=ENCRYPTED)
    dying = Place(custody, local.catalog, local.backend, local.folder)
    await nothing_comes_out(dying, artifact, tmp_path / "out", StorageUnavailable)


async def nothing_comes_out(place: Place, artifact: Artifact, folder: Path, error: type[Exception]) -> None:
    prepare(folder)
    with pytest.raises(error):
        await place.custody.verify(artifact)
    with pytest.raises(error):
        await place.custody.read(artifact)
    for target in (folder / "new", folder / "earlier"):
        with pytest.raises(error):
            await place.custody.fetch(artifact, target)
    assert names_in(folder) == ["earlier"]
    assert (folder / "earlier").read_bytes() == b"earlier"


def prepare(folder: Path) -> None:
    folder.mkdir()
    (folder / "earlier").write_bytes(b"earlier")


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_a_fetched_file_is_its_owners_alone_and_replaces_an_earlier_one(place: Place, tmp_path: Path) -> None:
    artifact = await place.custody.take(draft(), b"new")
    target = tmp_path / "target"
    target.write_bytes(b"old and longer")
    target.chmod(0o644)
    await place.custody.fetch(artifact, target)
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["文" * 85, "x" * 255, "-rf", " "])
async def test_any_name_that_the_file_system_takes_can_be_fetched_to(place: Place, tmp_path: Path, name: str) -> None:
    artifact = await place.custody.take(draft(), b"x")
    await place.custody.fetch(artifact, tmp_path / name)
    assert (tmp_path / name).read_bytes() == b"x"


async def test_a_link_in_the_place_of_the_target_is_replaced_and_not_written_through(
    place: Place, tmp_path: Path
) -> None:
    artifact = await place.custody.take(draft(), b"x")
    (tmp_path / "elsewhere").write_bytes(b"untouched")
    (tmp_path / "target").symlink_to(tmp_path / "elsewhere")
    await place.custody.fetch(artifact, tmp_path / "target")
    assert (tmp_path / "elsewhere").read_bytes() == b"untouched"


async def test_a_target_that_cannot_be_written_is_told(place: Place, tmp_path: Path) -> None:
    artifact = await place.custody.take(draft(), b"x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for target in (tmp_path / "folder", tmp_path / "missing/x", tmp_path / "file/x", tmp_path / ("x" * 256)):
        with pytest.raises(TargetUnwritable, match=str(target)):
            await place.custody.fetch(artifact, target)
    assert {name for name in names_in(tmp_path) if name != "store"} == {"file", "folder"}


# Removal --------------------------------------------------------------------------------------------------------------


async def test_a_removed_file_is_gone_and_its_row_remembers_it(place: Place) -> None:
    artifact = await place.custody.take(draft(), CONTENT)
    await place.custody.remove(artifact.file_id)
    assert place.nothing_lies_in_the_storage()
    assert await place.states() == {"deleted": 1}
    for call in (place.custody.get, place.custody.remove):
        with pytest.raises(ArtifactNotFound):
            await call(artifact.file_id)
    with pytest.raises(ArtifactNotFound):
        await place.custody.read(artifact)


async def test_a_missing_blob_is_no_obstacle_to_removal(place: Place) -> None:
    artifact = await place.custody.take(draft(), b"x")
    place.backend.delete(artifact.location)
    await place.custody.remove(artifact.file_id)
    assert await place.states() == {"deleted": 1}


async def test_several_who_remove_one_file_at_once_remove_it_once(place: Place) -> None:
    artifact = await place.custody.take(draft(), b"x")
    results = await asyncio.gather(*(place.custody.remove(artifact.file_id) for _ in range(5)), return_exceptions=True)
    assert all(result is None or isinstance(result, ArtifactNotFound) for result in results)
    assert None in results
    assert await place.states() == {"deleted": 1}


async def test_an_unknown_file_cannot_be_removed(place: Place) -> None:
    with pytest.raises(ArtifactNotFound):
        await place.custody.remove(uuid4())


# What a crash leaves --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["pending", "deleting"])
@pytest.mark.parametrize("blob", ["none", "half", "two halves", "whole", "whole and half", "empty"])
async def test_recovery_converges_from_every_point_of_a_crash(local: Place, state: str, blob: str) -> None:
    """Rows as a killed run leaves them, with each thing that may lie on the disk at that point."""
    run_id, file_id = uuid4(), uuid4()
    bystander = await local.custody.take(draft(run_id=run_id), b"stays")
    key = new_blob_path("upload", file_id)
    async with local.catalog.transaction() as connection:
        await local.catalog.reserve(
            connection, [Reservation(file_id=file_id, location=key, draft=draft(run_id=run_id))]
        )
        if state == "deleting":
            await local.catalog.make_available(connection, artifact_of(file_id, key, run_id=run_id))
            await local.catalog.begin_deletion(connection, file_id)
    path = local.folder / key
    path.parent.mkdir(parents=True, exist_ok=True)
    if "whole" in blob or blob == "empty":
        path.write_bytes(b"" if blob == "empty" else CONTENT)
    for number in range({"half": 1, "two halves": 2, "whole and half": 1}.get(blob, 0)):
        (path.parent / f".{path.name}.{number:016x}.partial").write_bytes(CONTENT[:100])

    assert await local.custody.recover_run(run_id) == 1
    assert await local.custody.recover_run(run_id) == 0
    assert await local.states() == ({"available": 1} | ({"deleted": 1} if state == "deleting" else {}))
    assert local.blobs() == [bystander.location]
    assert list(local.backend.leftovers()) == []
    assert await local.custody.read(bystander) == b"stays"


async def test_two_recoveries_at_once_do_each_row_once(place: Place) -> None:
    run_id = uuid4()
    for _ in range(10):
        file_id = uuid4()
        async with place.catalog.transaction() as connection:
            reservation = Reservation(
                file_id=file_id, location=new_blob_path("upload", file_id), draft=draft(run_id=run_id)
            )
            await place.catalog.reserve(connection, [reservation])
        place.backend.publish(new_blob_path("upload", file_id), [b"x"])
    await asyncio.gather(*(place.custody.recover_run(run_id) for _ in range(4)))
    assert await place.states() == {}
    assert place.nothing_lies_in_the_storage()


async def test_the_recovery_of_one_run_leaves_others_alone(place: Place) -> None:
    file_id = uuid4()
    async with place.catalog.transaction() as connection:
        await place.catalog.reserve(
            connection, [Reservation(file_id=file_id, location="x/y", draft=draft(run_id=uuid4()))]
        )
    assert await place.custody.recover_run(uuid4()) == 0
    assert await place.states() == {"pending": 1}


LONG_AGO = "created_at - interval '1 hour'"


async def silent(place: Place, since: str = LONG_AGO) -> None:
    """Make the pending rows look as if their writers had not renewed them for an hour."""
    async with place.catalog.connection() as connection:
        await connection.execute(f"update artifacts set created_at = {since} where state = 'pending'".encode())  # noqa: S608


async def left_by_a_killed_process(place: Place, location: str | None = None, run_id: UUID | None = None) -> UUID:
    """A row that is pending, with its bytes."""
    file_id = uuid4()
    path = location or new_blob_path("upload", file_id)
    async with place.catalog.transaction() as connection:
        reservation = Reservation(file_id=file_id, location=path, draft=draft(run_id=run_id))
        await place.catalog.reserve(connection, [reservation])
    if location is None:
        place.backend.publish(path, [b"half"])
    return file_id


async def test_what_killed_processes_left_is_removed_by_any_number_of_others(place: Place) -> None:
    stays = await place.custody.take(draft(), b"stays")
    for run_id in (None, None, uuid4()):
        await left_by_a_killed_process(place, run_id=run_id)
    deleting = await place.custody.take(draft(), b"goes")
    async with place.catalog.transaction() as connection:
        await place.catalog.begin_deletion(connection, deleting.file_id)
    await silent(place)
    others = [place.with_keys(ENCRYPTED).custody for _ in range(4)]
    assert sum(await asyncio.gather(*(remove_abandoned(custody) for custody in others))) >= 4
    assert await place.states() == {"available": 1, "deleted": 1}
    assert place.blobs() == [stays.location]
    assert await remove_abandoned(place.custody) == 0


@pytest.mark.parametrize("since", [LONG_AGO, "'-infinity'"])
async def test_a_row_whose_bytes_cannot_be_removed_keeps_no_other(local: Place, since: str) -> None:
    odd = [await left_by_a_killed_process(local) for _ in range(3)]
    for file_id in odd:
        path = local.folder / new_blob_path("upload", file_id)
        path.unlink()
        path.mkdir()  # what unlink refuses
    await left_by_a_killed_process(local)
    await silent(local, since)
    assert await remove_abandoned(local.custody) == 1
    assert {row[0] for row in await local.rows("file_id")} == set(odd)
    assert local.nothing_lies_in_the_storage()
    async with local.catalog.connection() as connection:
        assert await skipped_counts(connection) == {"file": len(odd)}


async def test_a_row_that_names_no_place_for_bytes_is_removed_with_a_warning(
    local: Place, caplog: pytest.LogCaptureFixture
) -> None:
    places = ("../../etc/passwd", "x" * 3000, "/etc/passwd", "uploads")
    for path in places:
        await left_by_a_killed_process(local, path)
    await left_by_a_killed_process(local)
    await silent(local)
    assert await remove_abandoned(local.custody) == len(places) + 1
    assert await local.states() == {}
    assert all(f"location={path[:200]!r}: " in caplog.text for path in places)


async def test_a_young_row_is_left_to_its_writer(place: Place) -> None:
    await left_by_a_killed_process(place)
    assert await remove_abandoned(place.custody) == 0
    assert await place.states() == {"pending": 1}


async def test_an_upload_that_takes_longer_than_many_looks_is_never_removed(
    local: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "RENEW_SECONDS", 0.01)
    removing = remove_abandoned_forever(local.with_keys(local.custody.keys).custody, pause_seconds=0.001)
    async with running(removing), streaming_upload(local.custody, draft()) as upload:
        for _ in range(3):
            await upload.write(CONTENT)
            before = await local.rows("created_at")
            async with asyncio.timeout(PATIENCE_SECONDS):
                while await local.rows("created_at") == before:  # noqa: ASYNC110 - it changes in the database
                    await asyncio.sleep(0.01)
        await upload.finish()
        artifact = await upload.keep(draft())
    assert await local.custody.read(artifact) == 3 * CONTENT
    assert await local.states() == {"available": 1}


async def test_a_process_renews_its_own_writes_before_it_looks(local: Place) -> None:
    """After an outage of the database, or while the machine slept, they are old."""
    async with streaming_upload(local.custody, draft()) as upload:
        await upload.write(CONTENT)
        await silent(local)
        assert await remove_abandoned(local.custody) == 0
        await upload.finish()
        artifact = await upload.keep(draft())
    assert await local.custody.read(artifact) == CONTENT


async def test_a_writer_that_was_suspended_for_too_long_fails_and_leaves_nothing(place: Place) -> None:
    # Whichever the writer meets first: its bytes are gone, or its row.
    with pytest.raises((ArtifactNotFound, StorageUnavailable)):
        async with streaming_upload(place.custody, draft()) as upload:
            await upload.write(CONTENT)
            await silent(place)
            assert await remove_abandoned(place.with_keys(ENCRYPTED).custody) == 1
            await upload.finish()
            await upload.keep(draft())
    assert await place.states() == {}
    assert place.nothing_lies_in_the_storage()


class ForgetfulCatalog(Catalog):
    """Loses the answer of one commit: it has happened, and the caller is told that the connection broke."""

    forget: int = 0

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        async with super().connection() as connection:
            yield connection
        self.forget -= 1
        if self.forget == 0:
            raise CatalogUnavailable("the connection broke while the commit was under way")


async def test_a_lost_answer_to_the_last_commit_keeps_the_file(place: Place, database_url: str) -> None:
    async with ForgetfulCatalog.open(database_url) as forgetful:
        forgetful.forget = 2
        custody = Custody(catalog=forgetful, backend=place.backend, keys=place.custody.keys)
        with pytest.raises(CatalogUnavailable):
            await custody.take(draft(), CONTENT)
    async with place.catalog.transaction() as connection:
        page = await place.catalog.list_artifacts(connection)
    assert await place.custody.read(page.artifacts[0]) == CONTENT
    assert await place.states() == {"available": 1}


async def test_a_lost_answer_to_the_first_commit_leaves_no_row(place: Place, database_url: str) -> None:
    async with ForgetfulCatalog.open(database_url) as forgetful:
        forgetful.forget = 1
        with pytest.raises(CatalogUnavailable):
            await Custody(catalog=forgetful, backend=place.backend, keys=ENCRYPTED).take(draft(), CONTENT)
    assert await place.states() == {}
    assert place.nothing_lies_in_the_storage()


async def test_a_commit_that_is_still_under_way_is_waited_for_before_anything_is_undone(local: Place) -> None:
    """The writer's connection is gone, its transaction is not: whoever clears up must see how it ends."""
    run_id, file_id = uuid4(), uuid4()
    key = new_blob_path("upload", file_id)
    async with local.catalog.transaction() as connection:
        await local.catalog.reserve(
            connection, [Reservation(file_id=file_id, location=key, draft=draft(run_id=run_id))]
        )
    blob = local.backend.publish(key, [CONTENT])
    async with local.catalog.transaction() as connection:
        wanted = artifact_of(file_id, key, run_id=run_id, size=blob.size, sha256=blob.sha256)
        artifact = await local.catalog.make_available(connection, wanted)
        recovery = asyncio.create_task(local.custody.recover_run(run_id))
        done, _ = await asyncio.wait([recovery], timeout=0.3)
        assert not done
        assert list(local.backend.paths()) == [key]
    await recovery
    assert await local.custody.read(artifact) == CONTENT


async def test_a_row_that_was_given_up_meanwhile_ends_the_write_without_a_trace(place: Place, tmp_path: Path) -> None:
    """A recovery that took the run for dead has removed the row while the bytes were being written."""

    class Recovered(Custody):
        async def _make_available(self, *arguments: Any) -> Artifact:
            async with self.catalog.transaction() as connection:
                await self.catalog.forget_pending(connection, arguments[0].file_id)
            return await super()._make_available(*arguments)

    with pytest.raises(ArtifactNotFound, match="no longer pending"):
        await Recovered(catalog=place.catalog, backend=place.backend, keys=ENCRYPTED).take(draft(), CONTENT)
    assert await place.states() == {}
    assert place.nothing_lies_in_the_storage()


# Memory ---------------------------------------------------------------------------------------------------------------

_IN_AND_OUT = """
import asyncio, sys
from datetime import timedelta
from pathlib import Path
from blocks.age import X25519Identity
from blocks.catalog import Catalog, Draft
from blocks.catalog.skipped_records import skipped_counts
from blocks.custody import Custody
from blocks.custody.abandoned import remove_abandoned, remove_abandoned_forever
from blocks.custody.manifest import manifest_path
from blocks.custody.upload import streaming_upload
from blocks.keys import StorageKeys
from blocks.storage import open_backend

def peak_kib():
    return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line).split()[1])

async def main(url, store, source, target, identities):
    keys = StorageKeys(recipient=identities[0].recipient if identities else None, identities=tuple(identities))
    draft = Draft(kind="upload", filename="x", source_file="x", document_sha256="d" * 64, media_type="x/y",
                  keep_for=timedelta(days=1))
    async with Catalog.open(url) as catalog:
        custody = Custody(catalog=catalog, backend=open_backend(store), keys=keys)
        await custody.take(draft, b"x")
        before = peak_kib()
        artifact = await custody.take(draft, source)
        await custody.fetch(artifact, target)
        await custody.verify(artifact)
        print(artifact.size, peak_kib() - before)

identities = [X25519Identity.from_text(text) for text in sys.argv[5:]]
asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]), identities))
"""


@pytest.mark.parametrize("identities", [[], [IDENTITY.text]], ids=["plain", "encrypted"])
def test_a_large_file_goes_in_and_out_with_at_most_64_mib_of_memory(
    database_url: str, tmp_path: Path, identities: list[str]
) -> None:
    source = tmp_path / "source"
    with source.open("wb") as stream:
        stream.truncate(384 * 2**20)
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            _IN_AND_OUT,
            database_url,
            str(tmp_path / "store"),
            str(source),
            str(tmp_path / "out"),
            *identities,
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    size, extra_kib = map(int, done.stdout.split())
    assert size == (tmp_path / "out").stat().st_size == 384 * 2**20
    assert extra_kib < 64 * 1024


async def test_reservations_are_made_together_filled_one_by_one_and_the_rest_released(place: Place) -> None:
    reservations = await place.custody.reserve([draft() for _ in range(3)])
    assert await place.states() == {"pending": 3}
    filled = await place.custody.fill(
        reservations[0], CONTENT, draft=replace(reservations[0].draft, metadata={"known": "later"})
    )
    assert filled.metadata == {"known": "later"}
    await place.custody.release(reservations)  # the filled one is left alone
    assert await place.states() == {"available": 1}
    assert await place.custody.read(filled) == CONTENT
    with pytest.raises(ArtifactNotFound):
        await place.custody.fill(reservations[1], CONTENT)
    assert await place.states() == {"available": 1}


async def test_one_draft_that_cannot_be_catalogued_leaves_no_row_of_its_batch(place: Place) -> None:
    with pytest.raises(CatalogRefused):
        await place.custody.reserve([draft(), replace(draft(), source_file="a\x00b")])
    assert await place.states() == {}
