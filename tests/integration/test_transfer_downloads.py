"""Downloads without HTTP: who can open what is prepared, which bytes are sent, progress, the end, and expiry."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import subprocess
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from blocks.age import HybridIdentity, Recipient, ScryptIdentity, ScryptRecipient, X25519Identity, unseal
from blocks.catalog import Artifact, Catalog, OutputLocks
from blocks.custody.abandoned import remove_abandoned
from blocks.custody.rotate import rotate
from blocks.errors import (
    ArtifactGone,
    BlobMissing,
    ContentMismatch,
    InvalidKey,
    NoMatchingIdentity,
    TransferOver,
)
from blocks.history import Counted, Deadline, read_cutoffs, trim_rows
from blocks.keys import StorageKeys
from blocks.transfers import Transfer, create_transfer, declare_upload, end_transfer, get_transfer, list_transfers
from blocks.transfers.ending import complete_download, end_with_event
from blocks.transfers.expiry import expire_transfers, transfers_to_go
from blocks.transfers.outgoing import entity_tag, open_outgoing
from blocks.transfers.prepare import For, new_upload, prepare_download, record_download
from blocks.transfers.progress import Progress, ProgressWriter
from blocks.webhooks.event_links import EventLinks
from tests.delivery.outbox_place import until
from tests.integration.custody_place import Place, draft
from tests.storage_keys import ENCRYPTED, PLAIN, WRITE_ONLY

CONTENT = os.urandom(3 * 2**20 + 17)
WORKER = X25519Identity.generate()
NO_LINKS = EventLinks(None)


@pytest.fixture
async def place(database_url: str, tmp_path: Path) -> AsyncGenerator[Place]:
    async with Catalog.open(database_url) as catalog:
        yield Place.at(catalog, tmp_path / "store")


def receiver(*recipients: Recipient, **more: Any) -> For:
    return For(recipients=recipients or [WORKER.recipient], requested_by="a test", **more)


async def handed_over(place: Place, artifact: Artifact, *recipients: Recipient, **more: Any) -> Transfer:
    new = await prepare_download(place.custody, artifact, receiver(*recipients, **more))
    async with place.catalog.transaction() as connection:
        return await record_download(connection, new)


async def sent(place: Place, transfer: Transfer, start: int = 0, stop: int | None = None) -> bytes:
    assert transfer.file_id is not None and transfer.size is not None
    artifact = await place.custody.get(transfer.file_id)
    async with open_outgoing(place.custody, transfer, artifact) as outgoing:
        return outgoing.read(start, transfer.size if stop is None else stop)


def opened(sealed: bytes, identity: Any) -> bytes:
    return b"".join(unseal([sealed], [identity]))


async def events(place: Place) -> list[tuple[str, str]]:
    async with place.catalog.connection() as connection:
        cursor = await connection.execute("select event_type, body from webhook_events order by recorded_at")
        return [(row["event_type"], bytes(row["body"]).decode()) for row in await cursor.fetchall()]


async def test_the_receiver_opens_it_with_the_age_command_and_nobody_else_does(place: Place, tmp_path: Path) -> None:
    artifact = await place.custody.take(draft(), CONTENT)
    transfer = await handed_over(place, artifact)
    sealed = await sent(place, transfer)
    # The payload is the stored one, byte for byte.
    assert transfer.header is not None
    assert sealed[len(transfer.header) :] == place.stored_bytes(artifact)[transfer.replaced_bytes :]
    assert len(sealed) == transfer.size and transfer.recipient == WORKER.recipient.text
    assert (transfer.content_size, transfer.content_sha256) == (artifact.size, hashlib.sha256(CONTENT).hexdigest())
    file, key, other = tmp_path / "report.age", tmp_path / "key", tmp_path / "other"
    file.write_bytes(sealed)
    key.write_text(WORKER.text)
    other.write_text(X25519Identity.generate().text)
    age = ["age", "--decrypt", "-i"]
    assert subprocess.run([*age, key, file], capture_output=True, check=True).stdout == CONTENT  # noqa: ASYNC221
    assert subprocess.run([*age, other, file], capture_output=True, check=False).returncode == 1  # noqa: ASYNC221
    with pytest.raises(NoMatchingIdentity):
        opened(sealed, ENCRYPTED.identities[0])


async def test_any_range_is_a_part_of_the_whole(place: Place) -> None:
    transfer = await handed_over(place, await place.custody.take(draft(), CONTENT))
    assert transfer.header is not None and transfer.size is not None
    whole, border = await sent(place, transfer), len(transfer.header)
    for start, stop in [
        (0, 1), (0, border), (border - 1, border + 1), (border, border + 7), (5, 5), (border + 100_000, transfer.size),
        (transfer.size, transfer.size),
    ]:  # fmt: skip
        assert await sent(place, transfer, start, stop) == whole[start:stop]


async def test_several_recipients_a_post_quantum_one_and_a_passphrase(place: Place) -> None:
    artifact = await place.custody.take(draft(), b"content")
    other, hybrid = X25519Identity.generate(), HybridIdentity.generate()
    for_two = await sent(place, await handed_over(place, artifact, WORKER.recipient, other.recipient))
    assert opened(for_two, WORKER) == opened(for_two, other) == b"content"
    assert opened(await sent(place, await handed_over(place, artifact, hybrid.recipient)), hybrid) == b"content"
    by_passphrase = await handed_over(place, artifact, ScryptRecipient("correct horse", log_n=10))
    assert by_passphrase.recipient == "passphrase"
    assert opened(await sent(place, by_passphrase), ScryptIdentity("correct horse")) == b"content"
    with pytest.raises(InvalidKey):
        await handed_over(place, artifact, WORKER.recipient, hybrid.recipient)


async def test_an_empty_file_is_handed_over(place: Place) -> None:
    transfer = await handed_over(place, await place.custody.take(draft(), b""))
    assert transfer.content_size == 0 and opened(await sent(place, transfer), WORKER) == b""


async def test_a_file_that_is_stored_unencrypted_is_sealed_first(place: Place) -> None:
    plain = place.with_keys(PLAIN)
    artifact = await plain.custody.take(draft(), CONTENT)
    for custody in (plain, place):  # encryption is off, and has been turned on since
        transfer = await handed_over(custody, artifact)
        assert transfer.file_id is not None and transfer.file_id != artifact.file_id
        assert (transfer.filename, transfer.content_sha256) == (artifact.filename, artifact.sha256)
        assert opened(await sent(custody, transfer), WORKER) == CONTENT
        copy = await custody.custody.get(transfer.file_id)
        assert (copy.kind, copy.run_id) == ("transfer", None) and copy.expires_at >= transfer.expires_at
    with pytest.raises(NoMatchingIdentity):
        await handed_over(place.with_keys(WRITE_ONLY), artifact)


async def test_a_file_stays_as_long_as_its_download(place: Place) -> None:
    artifact = await place.custody.take(draft(keep_for=timedelta(minutes=1)), b"content")
    transfer = await handed_over(place, artifact, lasts=timedelta(hours=5))
    assert (await place.custody.get(artifact.file_id)).expires_at >= transfer.expires_at
    longer = await place.custody.take(draft(keep_for=timedelta(days=9)), b"content")
    await handed_over(place, longer)
    assert (await place.custody.get(longer.file_id)).expires_at == longer.expires_at


async def test_what_cannot_be_handed_over_says_why(place: Place) -> None:
    artifact = await place.custody.take(draft(), CONTENT)
    with pytest.raises(NoMatchingIdentity, match="has no identity"):
        await handed_over(place.with_keys(WRITE_ONLY), artifact)
    other = StorageKeys(recipient=WORKER.recipient, identities=(WORKER,))
    with pytest.raises(NoMatchingIdentity):
        await handed_over(place.with_keys(other), artifact)
    prepared = await prepare_download(place.custody, artifact, receiver())
    await place.custody.remove(artifact.file_id)
    with pytest.raises(ArtifactGone):
        async with place.catalog.transaction() as connection:
            await record_download(connection, prepared)
    lost = await place.custody.take(draft(), CONTENT)
    place.backend.delete(lost.location)
    with pytest.raises(BlobMissing):
        await handed_over(place, lost)


@pytest.mark.parametrize("damage", ["a shorter file", "another file", "a changed header"])
async def test_damage_is_found_before_the_first_byte_and_recorded(place: Place, damage: str) -> None:
    artifact, other = [await place.custody.take(draft(), CONTENT) for _ in range(2)]
    transfer = await handed_over(place, artifact)
    stored = place.stored_bytes(artifact)
    changed = {
        "a shorter file": stored[:-1],
        "another file": place.stored_bytes(other),
        "a changed header": stored.replace(b"X25519", b"X25518", 1),
    }[damage]
    place.rewrite(artifact, changed)
    with pytest.raises(ContentMismatch):
        await sent(place, transfer)
    found = await place.custody.get(artifact.file_id)
    assert found.damage is not None
    with pytest.raises(ContentMismatch, match="is damaged"):
        await handed_over(place, found)


async def test_a_rotation_of_the_storage_key_changes_no_byte_of_an_open_download(
    place: Place, database_url: str
) -> None:
    artifact = await place.custody.take(draft(), CONTENT)
    transfer = await handed_over(place, artifact)
    before, tag = await sent(place, transfer), entity_tag(transfer)
    newer = HybridIdentity.generate()  # its header has another length
    rotated = place.with_keys(StorageKeys(recipient=newer.recipient, identities=(newer, *ENCRYPTED.identities)))
    async with OutputLocks.open(database_url) as locks:
        await rotate(rotated.custody, locks, on_moved=lambda _: None)
    assert (await place.custody.get(artifact.file_id)).encrypted_for == newer.recipient.text
    async with place.catalog.connection() as connection:
        again = await get_transfer(connection, transfer.transfer_id)
    assert await sent(rotated, again) == before and entity_tag(again) == tag


async def test_a_file_in_another_form_than_prepared_is_not_sent(place: Place, database_url: str) -> None:
    plain = place.with_keys(PLAIN)
    transfer = await handed_over(plain, await plain.custody.take(draft(), CONTENT))
    async with OutputLocks.open(database_url) as locks:  # encrypts the sealed copy once more
        await rotate(place.custody, locks, on_moved=lambda _: None)
    with pytest.raises(TransferOver, match="are others than"):
        await sent(place, transfer)


async def test_progress_is_written_once_a_second_and_the_last_byte_at_once(place: Place) -> None:
    transfer = await handed_over(place, await place.custody.take(draft(), CONTENT))
    assert transfer.size is not None
    written: list[Progress] = []
    # A pause that this test never waits for.
    writer = ProgressWriter(place.catalog, NO_LINKS, observe=written.append, pause_seconds=3600)
    async with writer.following(transfer) as first, writer.following(transfer) as second:
        half = transfer.size // 2
        for at in range(0, half, 1000):
            first.add(at, min(half, at + 1000))
        await asyncio.sleep(0.05)
        assert written == []
        second.add(half, transfer.size)
        await until(lambda: _true(len(written) == 1), "the last byte is written")
    assert written[0].done_bytes == transfer.size and written[0].bytes_per_second
    async with place.catalog.connection() as connection:
        done = await get_transfer(connection, transfer.transfer_id)
    assert (done.state, done.done_bytes, done.sent_bytes) == ("completed", transfer.size, transfer.size)
    (event,) = await events(place)
    assert event[0] == "transfer_completed" and transfer.transfer_id in event[1]
    await writer.close()


async def test_a_range_whose_request_ends_is_written_without_another_request(place: Place) -> None:
    transfer = await handed_over(place, await place.custody.take(draft(), CONTENT))
    writer = ProgressWriter(place.catalog, NO_LINKS, pause_seconds=3600)
    async with writer.following(transfer) as meter:
        meter.add(0, 100)

    async def is_written() -> bool:
        async with place.catalog.connection() as connection:
            return (await get_transfer(connection, transfer.transfer_id)).done_bytes == 100

    await until(is_written, "the range is written")
    async with writer.following(transfer) as meter:
        meter.add(50, 100)
        await writer.flush(transfer.transfer_id)
        assert await is_written()
        meter.add(100, 200)
    await writer.close()
    async with place.catalog.connection() as connection:
        found = await get_transfer(connection, transfer.transfer_id)
    assert (found.state, found.done_bytes, found.sent_bytes) == ("in_progress", 200, 250)


async def test_a_database_that_is_away_costs_no_range(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    transfer = await handed_over(place, await place.custody.take(draft(), CONTENT))
    writer = ProgressWriter(place.catalog, NO_LINKS, pause_seconds=0.01)
    async with place.catalog.connection() as connection:
        await connection.execute("alter table transfers rename to away")
    async with writer.following(transfer) as meter:
        meter.add(0, 100)
        await until(lambda: _true("the progress of transfers waits" in caplog.text), "the first attempt has failed")
        meter.add(100, 200)
    async with place.catalog.connection() as connection:
        await connection.execute("alter table away rename to transfers")

    async def is_written() -> bool:
        async with place.catalog.connection() as connection:
            return (await get_transfer(connection, transfer.transfer_id)).done_bytes == 200

    await until(is_written, "both ranges are written")
    await writer.close()


async def test_a_cancelled_download_is_stopped_and_one_in_its_grace_is_not(place: Place) -> None:
    artifact = await place.custody.take(draft(), CONTENT)
    cancelled, completed = [await handed_over(place, artifact) for _ in range(2)]
    writer = ProgressWriter(place.catalog, NO_LINKS, pause_seconds=3600)
    assert completed.size is not None

    async def send_for_ever() -> None:
        async with writer.following(cancelled) as meter:
            meter.add(0, 100)
            await asyncio.Event().wait()

    sending = asyncio.create_task(send_for_ever())
    async with writer.following(completed) as other:
        await asyncio.sleep(0)
        async with place.catalog.transaction() as connection:
            await end_with_event(connection, cancelled.transfer_id, "cancelled", NO_LINKS)
        await writer.flush(cancelled.transfer_id)
        with pytest.raises(TransferOver):
            await sending
        other.add(0, completed.size)
        await writer.flush(completed.transfer_id)
        other.add(0, 100)
        await writer.flush(completed.transfer_id)
        await asyncio.sleep(0)
    await writer.close()
    assert [name for name, _ in await events(place)] == ["transfer_completed"]


async def test_the_request_that_fails_its_upload_is_not_broken_off(place: Place) -> None:
    new = new_upload(filename="a.md", recipient=None, requested_by="a test", lasts=timedelta(hours=1))
    async with place.catalog.transaction() as connection:
        upload = await create_transfer(connection, new)
    writer = ProgressWriter(place.catalog, NO_LINKS, pause_seconds=3600)
    async with writer.following(upload) as meter:
        meter.add(0, 100)
        async with place.catalog.transaction() as connection:
            await end_transfer(connection, upload.transfer_id, "failed", error="its bytes are wrong")
        await writer.flush(upload.transfer_id)
        await asyncio.sleep(0)  # what it still removes is removed
    await writer.close()


async def test_the_receivers_report_decides(place: Place) -> None:
    artifact = await place.custody.take(draft(), b"content")
    right = {"sha256": artifact.sha256, "size": artifact.size}

    async def complete(transfer: Transfer, **given: Any) -> Transfer:
        async with place.catalog.transaction() as connection:
            return await complete_download(connection, transfer.transfer_id, NO_LINKS, **given)

    one, two, three = [await handed_over(place, artifact) for _ in range(3)]
    done = await complete(one, **right)
    assert (done.state, done.header) == ("completed", None)
    # A gateway that was killed has not written all that it had sent; the receiver has all of it.
    assert (done.done_bytes, done.sent_bytes) == (done.size, 0)
    assert (await complete(one, **right)).state == "completed"
    with pytest.raises(TransferOver):
        await complete(one, sha256="0" * 64, size=artifact.size)
    failed = await complete(two, sha256="0" * 64, size=artifact.size)
    assert failed.state == "failed" and failed.error is not None and "0" * 64 in failed.error
    with pytest.raises(TransferOver):
        await complete(two, **right)
    # Completed by its bytes alone, and the receiver finds that they are wrong.
    async with place.catalog.transaction() as connection:
        await end_with_event(connection, three.transfer_id, "completed", NO_LINKS, keep_header=True)
    assert (await complete(three, sha256=artifact.sha256, size=1)).state == "failed"
    assert sorted(name for name, _ in await events(place)) == [
        "transfer_completed", "transfer_completed", "transfer_failed", "transfer_failed",
    ]  # fmt: skip


async def test_what_is_over_ends_once_with_one_event_and_without_bytes(place: Place) -> None:
    artifact = await place.custody.take(draft(), b"content")
    download = await handed_over(place, artifact)
    (reservation,) = await place.custody.reserve([draft(kind="transfer")])
    place.backend.publish(reservation.location, [b"half of it"])
    async with place.catalog.transaction() as connection:
        upload = await create_transfer(connection, new_upload(filename="a.md", requested_by="a test"))
        assert await declare_upload(connection, upload.transfer_id, file_id=reservation.file_id, size=100)
    assert await transfers_to_go(place.catalog) == []
    async with place.catalog.transaction() as connection:
        await connection.execute("update transfers set expires_at = clock_timestamp() - interval '1 second'")
    assert len(await transfers_to_go(place.catalog)) == 2
    gone = [one for found in await asyncio.gather(*(expire_transfers(place.custody, NO_LINKS) for _ in range(3)))
            for one in found]  # fmt: skip
    assert {one.transfer_id for one in gone} == {download.transfer_id, upload.transfer_id} and len(gone) == 2
    assert [name for name, _ in await events(place)] == ["transfer_failed"] * 2
    assert all('"status":"expired"' in body for _, body in await events(place))
    assert await place.states() == {"available": 1}
    assert place.blobs() == [artifact.location]


async def test_an_upload_that_rests_is_not_abandoned_while_its_transfer_is_open(place: Place) -> None:
    (reservation,) = await place.custody.reserve([draft(kind="transfer")])
    place.custody.open_writes.remove([reservation.file_id])
    async with place.catalog.transaction() as connection:
        upload = await create_transfer(connection, new_upload(filename="a.md", requested_by="a test"))
        assert await declare_upload(connection, upload.transfer_id, file_id=reservation.file_id, size=100)
        await connection.execute("update artifacts set created_at = clock_timestamp() - interval '1 day'")
    assert await remove_abandoned(place.custody) == 0
    async with place.catalog.transaction() as connection:
        await end_transfer(connection, upload.transfer_id, "cancelled")
    assert await remove_abandoned(place.custody) == 1


async def test_a_file_that_is_read_for_a_download_is_leased(place: Place) -> None:
    artifact = await place.custody.take(draft(keep_for=timedelta(minutes=1)), CONTENT)
    transfer = await handed_over(place, artifact, lasts=timedelta(minutes=2))

    async def leases() -> int:
        async with place.catalog.connection() as connection:
            cursor = await connection.execute("select count(*) as leases from artifact_readers")
            return int((await cursor.fetchall())[0]["leases"])

    async with open_outgoing(place.custody, transfer, await place.custody.get(artifact.file_id)) as outgoing:
        assert isinstance(outgoing.stream, io.BufferedReader) and await leases() == 1
    assert await leases() == 0


async def _true(value: bool) -> bool:
    return value


async def test_transfers_that_are_over_go_with_the_history(place: Place) -> None:
    artifact = await place.custody.take(draft(), b"content")
    old, recent, still_open = [await handed_over(place, artifact) for _ in range(3)]
    async with place.catalog.transaction() as connection:
        for transfer in (old, recent):
            await end_transfer(connection, transfer.transfer_id, "cancelled")
        await connection.execute(
            "update transfers set ended_at = ended_at - interval '8 days' where transfer_id = %s", [old.transfer_id]
        )
    week = timedelta(days=7)
    cutoffs, counted = await read_cutoffs(place.catalog, history=week, audit=week), Counted()
    await trim_rows(place.catalog, cutoffs, counted, Deadline(60), dry_run=False)
    assert counted.removed["transfers"] == 1
    async with place.catalog.connection() as connection:
        page = await list_transfers(connection)
    assert [one.transfer_id for one in page.transfers] == [still_open.transfer_id, recent.transfer_id]
