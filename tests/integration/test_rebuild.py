"""The catalogue from storage alone: every row comes back as it was, and nothing that nobody stored comes in."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from blocks.age import X25519Identity, seal
from blocks.catalog import KINDS, Artifact, Catalog, Connection
from blocks.catalog.maintenance import restore
from blocks.custody import Custody
from blocks.custody.manifest import manifest_path
from blocks.custody.rebuild import Rebuilt, rebuild
from blocks.keys import StorageKeys
from blocks.retention import RetentionPolicy, execute_plan, make_plan
from tests.integration.custody_place import Place, draft
from tests.storage_keys import IDENTITY, PLAIN

# Inline ones are in test_inline_manifests.
pytestmark = pytest.mark.usefixtures("manifests_beside")

# All that a manifest has to bring back; marks of verification are made anew.
COLUMNS = """
    file_id, state, kind, filename, source_file, document_sha256, stage, stage_name, stage_key, run_id, media_type,
    size, sha256, stored_size, stored_sha256, location, metadata, report, created_at, expires_at, encrypted_for,
    header_sha256, deleted_at, spare_location
"""


@pytest.fixture
async def catalog(database_url: str) -> AsyncIterator[Catalog]:
    async with Catalog.open(database_url) as opened:
        yield opened


@pytest.fixture(params=["local", "memory"])
def place(request: pytest.FixtureRequest, catalog: Catalog, tmp_path: Path) -> Place:
    url = f"memory://{uuid4().hex}" if request.param == "memory" else None
    return Place.at(catalog, tmp_path / "store", url=url)


@pytest.fixture
def local(catalog: Catalog, tmp_path: Path) -> Place:
    return Place.at(catalog, tmp_path / "store")


async def rebuilt(place: Place, *, accept_plain: bool = False, dry_run: bool = False) -> Rebuilt:
    return await rebuild(place.custody, accept_plain=accept_plain, dry_run=dry_run, on_progress=lambda *_: None)


async def lose(place: Place, where: str = "true") -> None:
    async with place.catalog.connection() as connection:
        await connection.execute(f"delete from artifacts where {where}".encode())  # noqa: S608


async def test_a_lost_catalogue_comes_back_equal(place: Place) -> None:
    run_id = uuid4()
    for kind in KINDS:
        wanted = replace(
            draft(kind=kind, run_id=run_id),
            filename="文 report.pdf",
            metadata={"title": "T\x00", "pages": [1, 2.5, None], "deep": {"a": {"b": "😀"}}},
            report={"seconds": 0.25, "warnings": ["w"]},
        )
        await place.custody.take(wanted, os.urandom(1000))
    await place.custody.take(draft(keep_for=timedelta(0)), b"expired")
    before = await place.rows(COLUMNS)
    await lose(place)

    assert (await rebuilt(place, dry_run=True)).restored == 5
    assert await place.rows(COLUMNS) == []
    found = await rebuilt(place)
    assert (found.restored, found.known, found.failed, found.blobs_without_manifest) == (5, 0, [], [])
    assert await place.rows(COLUMNS) == before
    async with place.catalog.connection() as connection:
        page = await place.catalog.list_artifacts(connection, run_id=run_id)
    assert len(page.artifacts) == 4
    for artifact in page.artifacts:
        assert await place.custody.verify(artifact) is True
    again = await rebuilt(place)
    assert (again.restored, again.known) == (0, 5)


async def test_what_is_known_already_is_not_touched(place: Place) -> None:
    kept, lost, removed = [await place.custody.take(draft(), f"{n}".encode()) for n in range(3)]
    with place.backend.open(manifest_path(removed.location)) as stream:
        manifest = stream.read()
    await place.custody.remove(removed.file_id)
    # A crash between the two deletions can leave a manifest; it must not bring the file back.
    place.backend.publish(manifest_path(removed.location), [manifest])
    place.backend.publish(removed.location, [b"and even the blob"])
    async with place.catalog.connection() as connection:
        await connection.execute("update artifacts set filename = 'renamed' where file_id = %s", [kept.file_id])
    await lose(place, f"file_id = '{lost.file_id}'")
    found = await rebuilt(place)
    assert (found.restored, found.known, found.failed) == (1, 2, [])
    assert (await place.custody.get(kept.file_id)).filename == "renamed"
    assert await place.states() == {"available": 2, "deleted": 1}


async def test_what_a_mistaken_policy_has_removed_comes_back_with_its_bytes(place: Place) -> None:
    removed, deleted, gone = [await place.custody.take(draft(), f"content {n}".encode()) for n in range(3)]
    backup: dict[str, bytes] = {}
    for artifact in (removed, deleted, gone):
        for path in (artifact.location, manifest_path(artifact.location)):
            with place.backend.open(path) as stream:
                backup[path] = stream.read()
    await place.custody.remove(deleted.file_id)  # by request
    async with place.catalog.connection() as connection:
        await connection.execute(b"update artifacts set expires_at = now() - interval '1 day'")
    plan = await make_plan(place.catalog, RetentionPolicy())

    async def nothing(*_: object) -> None:
        """Records no event."""

    assert (await execute_plan(place.custody, plan, nothing)).removed == 2
    for artifact in (removed, deleted):
        for path in (artifact.location, manifest_path(artifact.location)):
            place.backend.publish(path, [backup[path]])
    assert ((found := await rebuilt(place, dry_run=True)).restored, found.known) == (1, 1)
    assert ((found := await rebuilt(place)).restored, found.known, found.failed) == (1, 1, [])
    assert await place.states() == {"available": 1, "deleted": 2}
    back = await place.custody.get(removed.file_id)
    assert await place.custody.read(back) == b"content 0" and await place.custody.verify(back)
    assert (await make_plan(place.catalog, RetentionPolicy())).files == 0, "the next run leaves it for a day"
    assert (await rebuilt(place)).restored == 0


async def removed_by_a_rule(place: Place, artifact: Artifact) -> None:
    """As a run of the retention does it."""
    for path in (artifact.location, manifest_path(artifact.location)):
        place.backend.delete(path)
    async with place.catalog.connection() as connection:
        change = b"state = 'deleted', deleted_at = now(), removed_because = 'expired'"
        await connection.execute(b"update artifacts set " + change + b" where file_id = %s", [artifact.file_id])


async def test_what_a_rule_removes_before_its_manifest_is_read_is_no_failure(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes, _ = [await place.custody.take(draft(), f"{n}".encode()) for n in range(2)]
    paths = place.backend.paths

    def listed_before(prefix: str = "") -> Iterator[str]:
        found = list(paths(prefix))
        for path in (goes.location, manifest_path(goes.location)):
            place.backend.delete(path)
        return iter(found)

    monkeypatch.setattr(place.backend, "paths", listed_before)
    found = await rebuilt(place)
    assert (found.restored, found.known, found.failed) == (0, 1, [])


async def test_a_rebuild_next_to_a_rotation_opens_what_is_encrypted_for_the_new_key(local: Place) -> None:
    identity = X25519Identity.generate()
    after = StorageKeys(recipient=identity.recipient, identities=(identity,))
    for place in (local, local.with_keys(after)):
        await place.custody.take(draft(), b"x")
    await lose(local)
    before = local.custody.keys
    both = StorageKeys(recipient=identity.recipient, identities=(identity, *before.identities))
    began_before = Custody(catalog=local.catalog, backend=local.backend, keys=before, reload_keys=lambda: both)
    found = await rebuild(began_before, accept_plain=False, dry_run=False, on_progress=lambda *_: None)
    assert (found.restored, found.failed) == (2, [])


@pytest.mark.parametrize("change", ["state = 'deleting'", "location = location || '-moved'"])
async def test_a_file_between_the_deletions_of_its_blob_and_its_manifest_is_no_failure(
    place: Place, change: str
) -> None:
    """A run of the retention, or a rotation of the key, is at work on it."""
    goes, lost = [await place.custody.take(draft(), f"{n}".encode()) for n in range(2)]
    for artifact in (goes, lost):
        place.backend.delete(artifact.location)
    async with place.catalog.connection() as connection:
        statement = f"update artifacts set {change} where file_id = %s"  # noqa: S608 - one of these
        await connection.execute(statement.encode(), [goes.file_id])
    found = await rebuilt(place)
    assert (found.restored, found.known) == (0, 0)
    assert [path for path, _ in found.failed] == [manifest_path(lost.location)], "this one is lost"


async def test_what_a_rule_removes_before_its_row_is_restored_stays_removed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes, _ = [await place.custody.take(draft(), f"{n}".encode()) for n in range(2)]

    async def removed_before(connection: Connection, artifact: Artifact) -> bool:
        if artifact.file_id == goes.file_id:
            await removed_by_a_rule(place, goes)
        return await restore(connection, artifact)

    monkeypatch.setattr("blocks.custody.rebuild.restore", removed_before)
    found = await rebuilt(place)
    assert (found.restored, found.known, found.failed) == (0, 1, [])
    assert await place.states() == {"available": 1, "deleted": 1}, "no row without its bytes"


async def test_two_rebuilds_at_once_restore_each_file_once(place: Place) -> None:
    for number in range(40):
        await place.custody.take(draft(), f"{number}".encode())
    await lose(place)
    results = await asyncio.gather(*(rebuilt(place) for _ in range(3)))
    assert sum(result.restored for result in results) == 40
    assert [failed for result in results for failed in result.failed] == []


async def test_blobs_and_manifests_without_each_other_are_told(local: Place) -> None:
    whole, no_manifest, no_blob = [await local.custody.take(draft(), f"{n}".encode()) for n in range(3)]
    local.backend.delete(manifest_path(no_manifest.location))
    local.backend.delete(no_blob.location)
    await lose(local)
    found = await rebuilt(local)
    assert found.restored == 1
    assert found.blobs_without_manifest == [no_manifest.location]
    ((key, error),) = found.failed
    assert key == manifest_path(no_blob.location)
    assert "is gone" in error
    assert await local.custody.read(await local.custody.get(whole.file_id)) == b"0"


def flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


HOSTILE: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda content: content[:-1],
    "empty": lambda _: b"",
    "flipped": flipped,
    "not encrypted": lambda _: b'{"waybill_manifest": 1}',
    "for another key": lambda _: b"".join(seal([b"{}"], [X25519Identity.generate().recipient])),
    "of another version": lambda _: b"".join(seal([b'{"waybill_manifest": 2}'], [IDENTITY.recipient])),
    "not JSON": lambda _: b"".join(seal([b"\xff{"], [IDENTITY.recipient])),
    "endless": lambda _: b"x" * (16 * 2**20 + 1),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
async def test_a_manifest_that_cannot_be_trusted_restores_nothing(
    local: Place, change: Callable[[bytes], bytes]
) -> None:
    artifact = await local.custody.take(draft(), b"x")
    path = local.folder / manifest_path(artifact.location)
    path.write_bytes(change(path.read_bytes()))
    await lose(local)
    found = await rebuilt(local)
    assert [key for key, _ in found.failed] == [manifest_path(artifact.location)]
    assert await local.rows("file_id") == []


async def test_a_manifest_in_another_files_place_restores_nothing(local: Place) -> None:
    first, second = await local.custody.take(draft(), b"1"), await local.custody.take(draft(), b"2")
    (local.folder / manifest_path(second.location)).write_bytes(
        (local.folder / manifest_path(first.location)).read_bytes()
    )
    await lose(local)
    found = await rebuilt(local)
    assert (found.restored, [key for key, _ in found.failed]) == (1, [manifest_path(second.location)])
    assert [row for (row,) in await local.rows("file_id")] == [first.file_id]


async def test_plain_manifests_count_where_encryption_is_off_or_when_asked_for(local: Place) -> None:
    plain = local.with_keys(PLAIN)
    artifact = await plain.custody.take(draft(), b"x")
    manifest = json.loads((local.folder / manifest_path(artifact.location)).read_bytes())
    assert manifest["file_id"] == str(artifact.file_id)
    before = await local.rows(COLUMNS)
    for custody, accept in ((plain, False), (local, True)):
        await lose(local)
        assert (await rebuilt(custody, accept_plain=accept)).restored == 1
        assert await local.rows(COLUMNS) == before
    await lose(local)
    assert (await rebuilt(local)).restored == 0


ODD: dict[str, dict[str, object]] = {
    "expires beyond the calendar": {"expires_at": "9999-12-31T23:59:59-14:00"},
    "made before the calendar": {"created_at": "0001-01-01T00:00:00+14:00"},
    "size of no column": {"size": 2**63},
    "stage of no column": {"stage": 70_000, "stage_name": "x", "stage_key": "c" * 64},
    "a stage key that is none": {"stage": 7, "stage_name": "x", "stage_key": "x"},
    "U+0000": {"filename": "a\0b"},
    "type of two lines": {"media_type": "text/plain\r\nx: y"},
    "no file's key": {"location": "../x"},
    "a name of a megabyte": {"filename": "x" * 1_000_000},
    "a source of a megabyte": {"source_file": "x" * 1_000_000},
    "another size": {"stored_size": 4},
    "deep metadata": {"metadata": json.loads('{"a":' * 900 + "1" + "}" * 900)},
}


@pytest.mark.parametrize("change", ODD.values(), ids=ODD)
async def test_an_odd_plain_manifest_spoils_nothing(local: Place, change: dict[str, object]) -> None:
    plain = local.with_keys(PLAIN)
    odd, whole = await plain.custody.take(draft(), b"odd"), await plain.custody.take(draft(), b"whole")
    path = local.folder / manifest_path(odd.location)
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **change}))
    await lose(local)
    found = await rebuilt(plain)
    assert [key for key, _ in found.failed] == [manifest_path(odd.location)]
    async with local.catalog.connection() as connection:
        page = await local.catalog.list_artifacts(connection)
    assert [one.file_id for one in page.artifacts] == [whole.file_id]


async def test_a_name_in_a_manifest_leads_out_of_no_folder(local: Place) -> None:
    plain = local.with_keys(PLAIN)
    artifact = await plain.custody.take(draft(), b"content")
    path = local.folder / manifest_path(artifact.location)
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "filename": "../../etc/evil.pdf"}))
    await lose(local)
    assert (await rebuilt(plain)).restored == 1
    assert await local.rows("filename") == [("evil.pdf",)]


async def test_foreign_files_in_the_storage_are_left_alone(local: Place) -> None:
    await local.custody.take(draft(), b"x")
    (local.folder / "notes.txt.waybill").write_text("a person's own")
    (local.folder / "prefect-results").mkdir()
    (local.folder / "prefect-results/x.waybill").write_text("a result")
    await lose(local)
    found = await rebuilt(local)
    assert (found.restored, found.failed) == (1, [])


async def test_an_older_key_still_opens_its_manifests(local: Place) -> None:
    await local.custody.take(draft(), b"x")
    new = X25519Identity.generate()
    await lose(local)
    keys = StorageKeys(recipient=new.recipient, identities=(new, IDENTITY))
    assert (await rebuilt(local.with_keys(keys))).restored == 1
