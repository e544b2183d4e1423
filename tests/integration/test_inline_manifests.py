"""A small encrypted file is one object: its manifest is in the header, and everything that needs it finds it there."""

from __future__ import annotations

import io
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from blocks.age import Attachment, X25519Identity, read_header, rewrap, seal_whole, unseal_whole
from blocks.catalog import Artifact, Catalog, OutputLocks
from blocks.custody.inline_manifest import STANZA_TYPE, WHOLE_BYTES, inline_manifest, read_inline_manifest
from blocks.custody.lost_key import has_sealed_manifest
from blocks.custody.manifest import is_manifest_path
from blocks.custody.rebuild import Rebuilt, rebuild
from blocks.custody.rotate import rotate
from blocks.custody.sweep import SweepLimits, sweep
from blocks.errors import AuthenticationFailed, MalformedManifest, NoMatchingIdentity
from blocks.keys import StorageKeys
from blocks.storage import new_blob_path
from tests.integration.custody_place import Place, draft
from tests.storage_keys import ENCRYPTED, IDENTITY

NEW = X25519Identity.generate()
ROTATED = StorageKeys(recipient=NEW.recipient, identities=(NEW, IDENTITY))
NEW_ONLY = StorageKeys(recipient=NEW.recipient, identities=(NEW,))
STRANGER = StorageKeys(recipient=NEW.recipient, identities=(X25519Identity.generate(),))
NOW = SweepLimits(min_age=timedelta(0), upload_age=timedelta(0))


@pytest.fixture
async def catalog(database_url: str) -> AsyncIterator[Catalog]:
    async with Catalog.open(database_url) as catalog:
        yield catalog


@pytest.fixture(params=["local", "memory"])
def place(request: pytest.FixtureRequest, catalog: Catalog, tmp_path: Path) -> Place:
    url = f"memory://{uuid4()}" if request.param == "memory" else None
    return Place.at(catalog, tmp_path / "store", url=url)


@pytest.fixture
def local(catalog: Catalog, tmp_path: Path) -> Place:
    return Place.at(catalog, tmp_path / "store")


async def lose_rows(place: Place) -> None:
    async with place.catalog.connection() as connection:
        await connection.execute("delete from artifacts")


async def rebuilt(place: Place, *, dry_run: bool = False) -> Rebuilt:
    return await rebuild(place.custody, accept_plain=False, dry_run=dry_run, on_progress=lambda _, __: None)


def note(content: bytes, artifact: Artifact, keys: StorageKeys = ENCRYPTED) -> bytes:
    """The blob that somebody makes who knows the public key, with what *artifact* says of it."""
    assert keys.recipient is not None
    return b"".join(seal_whole(content, [keys.recipient], inline_manifest(artifact)))


async def test_one_object_is_stored_and_gives_nothing_away(place: Place) -> None:
    wanted = replace(draft(kind="stage_output"), source_file="/docs/secret-merger.pdf", metadata={"pages": 3})
    artifact = await place.custody.take(wanted, b"the secret merger")
    assert (list(place.backend.paths()), artifact.manifest) == ([artifact.location], "inline")
    stored = place.stored_bytes(artifact)
    for word in (b"secret", b"merger", b"report.pdf", artifact.sha256.encode()):
        assert word not in stored
    assert await place.custody.read(artifact) == b"the secret merger"
    assert read_inline_manifest(place.backend, artifact.location, ENCRYPTED) == artifact


@pytest.mark.parametrize("size", [0, 1, 65_536, WHOLE_BYTES])
async def test_up_to_a_mebibyte_it_is_inline_from_bytes_and_from_a_file(
    local: Place, tmp_path: Path, size: int
) -> None:
    content = b"x" * size
    (tmp_path / "source").write_bytes(content)
    for source in (content, tmp_path / "source"):
        artifact = await local.custody.take(draft(), source)
        assert artifact.manifest == "inline"
        assert await local.custody.read(artifact) == content
        assert read_inline_manifest(local.backend, artifact.location, ENCRYPTED) == artifact


async def test_what_is_larger_or_says_more_has_its_manifest_beside_it(local: Place, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"x" * (WHOLE_BYTES + 1))
    large = [await local.custody.take(draft(), one) for one in (b"x" * (WHOLE_BYTES + 1), tmp_path / "source")]
    report = {str(number): uuid4().hex for number in range(3000)}
    wordy = await local.custody.take(replace(draft(), report=report), b"x")
    assert {one.manifest for one in (*large, wordy)} == {"separate"}
    assert len(local.blobs()) == 3
    await lose_rows(local)
    assert (await rebuilt(local)).restored == 3


async def test_a_lost_catalogue_comes_back_from_the_blobs_alone(place: Place) -> None:
    plain = replace(draft(kind="stage_output"), metadata={"title": "A\x00B", "ratio": float("nan")}, run_id=uuid4())
    before = [await place.custody.take(plain, b"output"), await place.custody.take(draft(), b"")]
    await lose_rows(place)
    assert (await rebuilt(place, dry_run=True)).restored == 2
    found = await rebuilt(place)
    assert (found.restored, found.known, found.failed, found.blobs_without_manifest) == (2, 0, [], [])
    for artifact in before:
        assert await place.custody.get(artifact.file_id) == artifact
        assert await place.custody.verify(artifact)
    assert (await rebuilt(place)).known == 2


@pytest.mark.parametrize("change", ["cut", "flipped", "longer", "header", "moved"])
async def test_a_changed_blob_restores_nothing(local: Place, change: str) -> None:
    artifact = await local.custody.take(draft(), b"content" * 100)
    other = await local.custody.take(draft(), b"another content")
    stored = local.stored_bytes(artifact)
    changed = {
        "cut": stored[:-1],
        "flipped": stored[:-1] + bytes([stored[-1] ^ 1]),
        "longer": stored + b"x",
        "header": stored.replace(b"waybill-manifest ", b"waybill-manifest A", 1),
        "moved": local.stored_bytes(other),
    }[change]
    local.rewrite(artifact, changed)
    await lose_rows(local)
    found = await rebuilt(local)
    assert (found.restored, [path for path, _ in found.failed]) == (1, [artifact.location])


async def test_a_blob_without_any_manifest_is_reported_as_before(local: Place) -> None:
    (reservation,) = await local.custody.reserve([draft()])
    artifact = await local.custody.fill(reservation, iter([b"in pieces"]))
    local.backend.delete(f"{artifact.location}.waybill")
    await lose_rows(local)
    found = await rebuilt(local)
    assert (found.restored, found.failed, found.blobs_without_manifest) == (0, [], [artifact.location])


async def test_the_senders_header_of_a_transfer_says_nothing(local: Place) -> None:
    """Its sender makes the header, and may know the path: what it claims of the file must not become a row."""
    path = new_blob_path("transfer", uuid4())
    real = await local.custody.take(draft(kind="stage_output"), b"x")
    for kind in ("transfer", "stage_output"):
        forged = replace(real, location=path, kind=kind, file_id=uuid4())
        local.backend.publish(path, [note(b"x", forged)], replace=True)
        with pytest.raises(MalformedManifest):
            read_inline_manifest(local.backend, path, ENCRYPTED)
    await lose_rows(local)
    found = await rebuilt(local)
    assert (found.restored, [failed for failed, _ in found.failed]) == (1, [path])


async def test_one_that_describes_another_content_or_is_no_manifest_is_refused(local: Place) -> None:
    artifact = await local.custody.take(draft(), b"content")
    local.rewrite(artifact, note(b"another", artifact))
    with pytest.raises(MalformedManifest, match="the content"):
        read_inline_manifest(local.backend, artifact.location, ENCRYPTED)
    for text in (b"", b"not deflated", b"x\x9c\x03\x00\x00\x00\x00\x01"):
        sealed = b"".join(seal_whole(b"content", [IDENTITY.recipient], Attachment(STANZA_TYPE, text)))
        local.rewrite(artifact, sealed)
        with pytest.raises(MalformedManifest):
            read_inline_manifest(local.backend, artifact.location, ENCRYPTED)
    with pytest.raises(NoMatchingIdentity):
        read_inline_manifest(local.backend, artifact.location, STRANGER)


async def test_a_rotation_writes_it_anew_and_only_the_new_key_reads_it(place: Place, database_url: str) -> None:
    before = await place.custody.take(replace(draft(), metadata={"pages": 3}), b"content")
    old_bytes = place.stored_bytes(before)
    after = place.with_keys(ROTATED)
    async with OutputLocks.open(database_url) as locks:
        await rotate(after.custody, locks, on_moved=lambda _: None)
    current = await after.custody.get(before.file_id)
    assert (current.manifest, current.encrypted_for) == ("inline", NEW.recipient.text)
    assert current.location != before.location
    assert list(place.backend.paths()) == [current.location]
    new_bytes = place.stored_bytes(current)
    with pytest.raises(NoMatchingIdentity):
        read_inline_manifest(place.backend, current.location, ENCRYPTED)
    assert read_inline_manifest(place.backend, current.location, NEW_ONLY) == replace(current, verified_at=None)
    # With a fresh salt, since the file's own key is the same.
    assert _stanza(old_bytes) != _stanza(new_bytes)
    await lose_rows(place)
    assert (await rebuilt(place.with_keys(NEW_ONLY))).restored == 1


def _stanza(sealed: bytes) -> tuple[str, ...]:
    header, _ = read_header(io.BytesIO(sealed))
    return header.stanzas[1].arguments


async def test_a_header_for_others_has_no_manifest(local: Place) -> None:
    artifact = await local.custody.take(draft(), b"content")
    stored = local.stored_bytes(artifact)
    _, _, header = unseal_whole(stored, [IDENTITY], STANZA_TYPE)
    receiver = X25519Identity.generate()
    handed_over = rewrap(header, [IDENTITY], [receiver.recipient]) + stored[len(header) :]
    assert unseal_whole(handed_over, [receiver], STANZA_TYPE)[:2] == (b"content", None)


async def test_a_deletion_asks_for_one_object(local: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = await local.custody.take(draft(), b"content")
    deleted: list[str] = []
    delete = local.backend.delete
    monkeypatch.setattr(local.backend, "delete", lambda path, **more: deleted.append(path) or delete(path, **more))
    await local.custody.remove(artifact.file_id)
    assert deleted == [artifact.location]
    assert local.nothing_lies_in_the_storage()


async def test_a_sweep_spares_what_a_rebuild_can_restore(place: Place) -> None:
    kept = await place.custody.take(draft(), b"kept")
    lost = await place.custody.take(draft(), b"its row is lost")
    damaged = await place.custody.take(draft(), b"its row is lost, and its content is changed")
    place.rewrite(damaged, place.stored_bytes(damaged)[:-1])
    async with place.catalog.connection() as connection:
        ids = [lost.file_id, damaged.file_id]
        await connection.execute("delete from artifacts where file_id = any(%s)", [ids])
    for _ in range(2):
        report = await sweep(place.custody, limits=NOW)
        assert (report.removed.count, report.untouched.by_what) == (0, {"restorable": 1, "unreadable": 1})
    stranger = await sweep(place.with_keys(STRANGER).custody, limits=replace(NOW, upload_age=timedelta(days=1)))
    assert stranger.stopped is not None and "a key that is not here" in stranger.stopped
    report = await sweep(place.custody, limits=replace(NOW, restorable=True))
    assert report.removed.count == 2
    assert list(place.backend.paths()) == [kept.location]


async def test_a_key_is_missed_where_only_headers_show_that_there_was_one(local: Place, tmp_path: Path) -> None:
    assert not has_sealed_manifest(local.backend)
    artifact = await local.custody.take(draft(), b"content")
    assert not any(map(is_manifest_path, local.backend.paths()))
    assert has_sealed_manifest(local.backend)
    local.rewrite(artifact, b"plain")
    assert not has_sealed_manifest(local.backend)
    shutil.rmtree(local.folder)


async def test_a_stanza_of_another_file_is_refused(local: Place) -> None:
    first, second = await local.custody.take(draft(), b"first"), await local.custody.take(draft(), b"second")
    one, two = local.stored_bytes(first), local.stored_bytes(second)
    start, end = (text.index(b"-> waybill-manifest") for text in (one, two))
    mixed = one[:start] + two[end:]
    local.rewrite(first, mixed)
    with pytest.raises((MalformedManifest, AuthenticationFailed)):
        read_inline_manifest(local.backend, first.location, ENCRYPTED)
