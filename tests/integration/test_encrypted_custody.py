"""What encryption adds to custody: who can read, what is found, and what the storage alone gives away."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocks.age import X25519Identity, read_header, seal, unseal
from blocks.catalog import Artifact, Catalog
from blocks.catalog.maintenance import longest_unverified
from blocks.custody import Custody
from blocks.custody.manifest import manifest_path, read_manifest
from blocks.custody.verify import Finding, verify_many
from blocks.errors import AuthenticationFailed, ContentMismatch, MalformedAgeFile, MalformedManifest, NoMatchingIdentity
from blocks.keys import StorageKeys
from blocks.storage import CHUNK_BYTES
from tests.integration.custody_place import Place, draft
from tests.storage_keys import ENCRYPTED, IDENTITY, PLAIN, WRITE_ONLY

AGE_CHUNK = 64 * 1024
SEALED_CHUNK = AGE_CHUNK + 16
CONTENT = os.urandom(5 * AGE_CHUNK + 17)


@pytest.fixture
async def catalog(database_url: str) -> AsyncIterator[Catalog]:
    async with Catalog.open(database_url) as opened:
        yield opened


@pytest.fixture
def place(catalog: Catalog, tmp_path: Path) -> Place:
    return Place.at(catalog, tmp_path / "store")


@pytest.fixture(params=["local", "s3"])
def anywhere(request: pytest.FixtureRequest, catalog: Catalog, tmp_path: Path) -> Place:
    if request.param == "local":
        return Place.at(catalog, tmp_path / "store")
    server = request.getfixturevalue("s3_server")
    url = f"s3://{request.getfixturevalue('s3_bucket')}/custody"
    return Place.at(catalog, tmp_path / "store", url=url, options=server.options)


async def take(place: Place, content: bytes = CONTENT) -> Artifact:
    return await place.custody.take(draft(), content)


# Who can read ---------------------------------------------------------------------------------------------------------


async def test_what_is_stored_is_an_age_file_for_the_storage_key(place: Place) -> None:
    artifact = await take(place)
    stored = place.stored(artifact).read_bytes()
    _, header = read_header(io.BytesIO(stored))
    assert b"".join(unseal([stored], [IDENTITY])) == CONTENT
    assert artifact.encrypted_for == IDENTITY.recipient.text
    assert artifact.header_sha256 == hashlib.sha256(header).hexdigest()


@pytest.mark.usefixtures("manifests_beside")
async def test_the_storage_alone_gives_away_no_content_and_no_name(place: Place) -> None:
    """A reader of the storage learns sizes and times; not even which recipient it is all for."""
    artifact = await place.custody.take(replace(draft(), source_file="/docs/secret-merger.pdf"), b"the secret merger")
    blob, manifest = place.stored(artifact), place.folder / manifest_path(artifact.location)
    lying_there = blob.read_bytes() + manifest.read_bytes() + "".join(map(str, place.folder.rglob("*"))).encode()
    for word in (b"secret", b"merger", b"report.pdf", IDENTITY.recipient.text.encode(), artifact.sha256.encode()):
        assert word not in lying_there


async def test_each_file_has_a_key_of_its_own(place: Place) -> None:
    first, second = await take(place), await take(place)
    assert first.sha256 == second.sha256
    assert first.stored_sha256 != second.stored_sha256
    assert first.header_sha256 != second.header_sha256


async def test_the_public_key_alone_stores_and_cannot_read(place: Place, tmp_path: Path) -> None:
    writer = place.with_keys(WRITE_ONLY)
    artifact = await take(writer)
    for attempt in (writer.custody.read(artifact), writer.custody.fetch(artifact, tmp_path / "out")):
        with pytest.raises(NoMatchingIdentity, match="WAYBILL_STORAGE_IDENTITY_FILE"):
            await attempt
    with pytest.raises(NoMatchingIdentity):
        async with writer.custody.open_content(artifact):
            pass
    assert not (tmp_path / "out").exists()
    assert await place.custody.read(artifact) == CONTENT
    assert (await place.custody.get(artifact.file_id)).damage is None


async def test_another_key_opens_nothing_and_says_which_one_is_missing(place: Place) -> None:
    artifact = await take(place)
    other = X25519Identity.generate()
    stranger = place.with_keys(StorageKeys(recipient=other.recipient, identities=(other,)))
    with pytest.raises(NoMatchingIdentity, match=IDENTITY.recipient.text):
        await stranger.custody.read(artifact)


async def test_stored_bytes_are_verified_without_any_key(place: Place) -> None:
    artifact = await take(place)
    scrubber = place.with_keys(PLAIN)
    assert await scrubber.custody.verify(artifact) is False
    assert await place.custody.verify(artifact) is True
    flip(place.stored(artifact), -1)
    with pytest.raises(ContentMismatch):
        await scrubber.custody.verify(artifact)


async def test_files_from_before_encryption_are_read_beside_those_after(place: Place) -> None:
    before = await take(place.with_keys(PLAIN))
    after = await take(place)
    assert (before.encrypted_for, before.sha256) == (None, before.stored_sha256)
    assert await place.custody.read(before) == await place.custody.read(after) == CONTENT


async def test_a_key_that_was_added_while_a_process_runs_is_found(place: Place) -> None:
    new = X25519Identity.generate()
    keys = StorageKeys(recipient=new.recipient, identities=(new, IDENTITY))
    artifact = await take(place.with_keys(keys))
    running = Custody(catalog=place.catalog, backend=place.backend, keys=ENCRYPTED, reload_keys=lambda: keys)
    assert await running.read(artifact) == CONTENT
    async with running.open_content(artifact) as content:
        assert b"".join(content.read_range(0, 3)) == CONTENT[:3]


# What is found --------------------------------------------------------------------------------------------------------


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def payload_start(content: bytes) -> int:
    _, header = read_header(io.BytesIO(content))
    return len(header) + 16


def swap_chunks(content: bytes) -> bytes:
    start = payload_start(content)
    first, second = content[start : start + SEALED_CHUNK], content[start + SEALED_CHUNK : start + 2 * SEALED_CHUNK]
    return content[:start] + second + first + content[start + 2 * SEALED_CHUNK :]


def other_header(content: bytes) -> bytes:
    """The header of another file for the same key: it opens, and its file key is the wrong one."""
    another = b"".join(seal([CONTENT], [IDENTITY.recipient]))
    return another[: payload_start(another)] + content[payload_start(content) :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "header flipped": lambda content: content[:30] + bytes([content[30] ^ 1]) + content[31:],
    "wrapped key flipped": lambda content: content[:90] + bytes([content[90] ^ 1]) + content[91:],
    "first chunk flipped": lambda content: content[:300] + bytes([content[300] ^ 1]) + content[301:],
    "last tag flipped": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "cut at a chunk boundary": lambda content: content[: payload_start(content) + 2 * SEALED_CHUNK],
    "cut by one byte": lambda content: content[:-1],
    "one byte appended": lambda content: content + b"\x00",
    "two chunks swapped": swap_chunks,
    "emptied": lambda _: b"",
    "only the header": lambda content: content[: payload_start(content)],
    "another file's header": other_header,
    "encrypted anew for the same key": lambda _: b"".join(seal([CONTENT], [IDENTITY.recipient])),
    "encrypted for another key": lambda _: b"".join(seal([CONTENT], [X25519Identity.generate().recipient])),
    "decrypted": lambda _: CONTENT,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
async def test_any_change_is_found_before_a_wrong_byte_is_released(
    anywhere: Place, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    place = anywhere
    artifact = await take(place)
    place.rewrite(artifact, damage(place.stored_bytes(artifact)))
    with pytest.raises(ContentMismatch):
        await place.custody.fetch(artifact, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ContentMismatch):
        await place.custody.verify(artifact)
    released = b""
    with pytest.raises(ContentMismatch):
        async with place.custody.open_content(artifact) as content:
            for piece in content.read_range(0, content.size):
                released += piece
    assert CONTENT.startswith(released)
    assert len(released) < len(CONTENT)
    damaged = await place.custody.get(artifact.file_id)
    assert damaged.damaged_at is not None
    assert "have changed" in (damaged.damage or "")


async def test_two_files_whose_bytes_were_exchanged_are_both_found_whatever_is_read_of_them(anywhere: Place) -> None:
    """Both are sound age files for the right key and of the same size; only the catalogue knows which is which."""
    place = anywhere
    first, second = await take(place), await take(place, CONTENT[::-1])
    one, two = place.stored_bytes(first), place.stored_bytes(second)
    place.rewrite(first, two)
    place.rewrite(second, one)
    for artifact in (first, second):
        with pytest.raises(ContentMismatch, match="header"):
            async with place.custody.open_content(artifact) as content:
                list(content.read_range(10, 20))


async def test_damage_is_not_reused_and_a_restored_file_loses_its_mark(place: Place) -> None:
    artifact = await place.custody.take(draft(kind="stage_output"), CONTENT)
    stored = place.stored(artifact)
    right = stored.read_bytes()

    async def reusable() -> bool:
        async with place.catalog.connection() as connection:
            return bool(await place.catalog.find_reusable(connection, ["c" * 64]))

    assert await reusable()
    flip(stored, 400)
    with pytest.raises(ContentMismatch):
        await place.custody.read(artifact)
    assert not await reusable()
    stored.write_bytes(right)
    await place.custody.verify(artifact)
    assert await reusable()
    assert (await place.custody.get(artifact.file_id)).damaged_at is None


async def test_a_missing_blob_is_marked_and_a_missing_key_is_not(place: Place) -> None:
    missing, kept = await take(place), await take(place)
    place.stored(missing).unlink()
    findings = {finding.artifact.file_id: finding for finding in await look_through(place.with_keys(WRITE_ONLY))}
    assert findings[missing.file_id].outcome == "damaged"
    assert (findings[kept.file_id].outcome, findings[kept.file_id].content_checked) == ("verified", False)
    assert (await place.custody.get(missing.file_id)).damaged_at is not None


# Looking through all of it --------------------------------------------------------------------------------------------


async def look_through(place: Place, limit: int | None = None) -> list[Finding]:
    return [finding async for finding in verify_many(place.custody, longest_unverified(place.catalog, limit))]


async def test_all_files_are_verified_once_and_the_longest_unverified_come_first(place: Place) -> None:
    artifacts = [await take(place, f"file {number}".encode()) for number in range(450)]
    flip(place.stored(artifacts[7]), -1)
    findings = await look_through(place)
    assert sorted(finding.artifact.file_id for finding in findings) == sorted(one.file_id for one in artifacts)
    assert [finding.artifact.file_id for finding in findings if finding.outcome == "damaged"] == [artifacts[7].file_id]

    newest = await take(place, b"never looked at")
    sampled = await look_through(place, limit=2)
    assert {finding.artifact.file_id for finding in sampled} == {artifacts[7].file_id, newest.file_id}
    third = await look_through(place, limit=2)
    assert newest.file_id not in {finding.artifact.file_id for finding in third}


async def test_files_that_go_while_all_are_verified_are_no_findings(place: Place) -> None:
    artifacts = [await take(place, f"file {number}".encode()) for number in range(20)]
    findings: list[Finding] = []
    async for finding in verify_many(place.custody, longest_unverified(place.catalog)):
        findings.append(finding)
        if len(findings) == 1:
            for artifact in artifacts:
                await place.custody.remove(artifact.file_id)
    assert {finding.outcome for finding in findings} == {"verified"}


# Ranges ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [ENCRYPTED, PLAIN], ids=["encrypted", "plain"])
async def test_any_range_is_a_slice_of_the_content(place: Place, keys: StorageKeys) -> None:
    chosen = place.with_keys(keys)
    large = os.urandom(2 * CHUNK_BYTES + 5)
    for content in (b"", b"x", CONTENT, large):
        artifact = await take(chosen, content)
        async with chosen.custody.open_content(artifact) as opened:
            assert opened.size == len(content)

            @settings(max_examples=60)
            @given(st.data())
            def check(data: st.DataObject) -> None:
                start = data.draw(st.integers(0, len(content)))  # noqa: B023 - called within the turn
                stop = data.draw(st.integers(start, len(content)))  # noqa: B023
                assert b"".join(opened.read_range(start, stop)) == content[start:stop]  # noqa: B023

            check()
            with pytest.raises(ValueError, match="range"):
                next(opened.read_range(0, len(content) + 1))


# Manifests ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("manifests_beside")
async def test_a_manifest_describes_its_file_and_only_the_key_reads_it(place: Place) -> None:
    wanted = replace(draft(kind="stage_output"), metadata={"title": "A\x00B", "ratio": float("nan"), "pages": 3})
    artifact = await place.custody.take(wanted, CONTENT)
    manifest = (place.folder / manifest_path(artifact.location)).read_bytes()
    assert read_manifest(manifest, ENCRYPTED, accept_plain=False) == artifact
    with pytest.raises(NoMatchingIdentity):
        read_manifest(manifest, WRITE_ONLY, accept_plain=True)
    for changed in (manifest[:-1], manifest + b"x", manifest[:-1] + bytes([manifest[-1] ^ 1])):
        with pytest.raises((MalformedManifest, AuthenticationFailed, MalformedAgeFile)):
            read_manifest(changed, ENCRYPTED, accept_plain=True)


@settings(max_examples=200)
@given(st.one_of(st.binary(max_size=400), st.text(max_size=400).map(str.encode)))
def test_whatever_lies_in_a_manifests_place_is_refused_as_one(content: bytes) -> None:
    with pytest.raises(MalformedManifest):
        read_manifest(content, ENCRYPTED, accept_plain=True)


async def test_a_manifest_that_is_not_encrypted_counts_only_when_asked_for(place: Place) -> None:
    artifact = await take(place.with_keys(PLAIN))
    manifest = (place.folder / manifest_path(artifact.location)).read_bytes()
    with pytest.raises(MalformedManifest, match="--accept-plain"):
        read_manifest(manifest, ENCRYPTED, accept_plain=False)
    assert read_manifest(manifest, ENCRYPTED, accept_plain=True) == artifact
