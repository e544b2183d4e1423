"""Uploads without HTTP: from the declaration to a file in custody, resumed, verified while they arrive, and refused."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from blocks.access import Actor
from blocks.age import ScryptRecipient, X25519Identity, seal
from blocks.catalog import Catalog
from blocks.catalog.output_locks import OutputLocks
from blocks.custody.abandoned import remove_abandoned
from blocks.custody.sweep import sweep
from blocks.errors import (
    ContentMismatch,
    InvalidOptions,
    StorageUnavailable,
    TooLarge,
    TransferConflict,
    TransferLocked,
    TransferOver,
    UploadRefused,
)
from blocks.keys import StorageKeys
from blocks.storage import SentPart
from blocks.transfers import Transfer, create_transfer, end_transfer, get_transfer
from blocks.transfers import incoming as incoming_module
from blocks.transfers.declaration import Checksum, Declaration
from blocks.transfers.ending import end_with_event
from blocks.transfers.incoming import IncomingUploads
from blocks.transfers.locks import TransferLocks
from blocks.transfers.prepare import new_upload
from blocks.transfers.progress import ProgressWriter
from blocks.webhooks.event_links import EventLinks
from tests.integration.custody_place import Place
from tests.s3 import S3Server
from tests.stack_driver import PATIENCE_SECONDS
from tests.storage_keys import IDENTITY, PLAIN, WRITE_ONLY

CONTENT = os.urandom(3 * 2**20 + 17)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SEALED = b"".join(seal([CONTENT], [IDENTITY.recipient]))
SOMEBODY = X25519Identity.generate()
BY = Actor(actor="a test")
NO_LINKS = EventLinks(None)
MOST_BYTES = 2**30


@pytest.fixture
async def place(database_url: str, tmp_path: Path) -> AsyncGenerator[Place]:
    async with Catalog.open(database_url) as catalog:
        yield Place.at(catalog, tmp_path / "store")


@asynccontextmanager
async def gateway(place: Place, database_url: str, scratch: Path) -> AsyncGenerator[IncomingUploads]:
    """What one gateway process has of uploads."""
    async with OutputLocks.open(database_url) as session:
        progress = ProgressWriter(place.catalog, NO_LINKS)
        uploads = IncomingUploads(
            place.custody, NO_LINKS, progress, TransferLocks(session),
            scratch=scratch, keep_for=timedelta(hours=1), max_bytes=MOST_BYTES,
        )  # fmt: skip
        yield uploads
        uploads.close()
        await progress.close()


@pytest.fixture
async def uploads(place: Place, database_url: str, tmp_path: Path) -> AsyncGenerator[IncomingUploads]:
    async with gateway(place, database_url, tmp_path / "scratch") as opened:
        yield opened


async def prepared(place: Place, **more: Any) -> Transfer:
    async with place.catalog.connection() as connection:
        return await create_transfer(connection, new_upload(filename="report.pdf", requested_by="a test", **more))


async def begun(place: Place, uploads: IncomingUploads, sealed: bytes = SEALED, **more: Any) -> Transfer:
    return await uploads.declare(await prepared(place, **more), Declaration(size=len(sealed)))


async def now(place: Place, transfer: Transfer) -> Transfer:
    async with place.catalog.connection() as connection:
        return await get_transfer(connection, transfer.transfer_id)


async def pieces(content: bytes, step: int = 65_536) -> AsyncIterator[bytes]:
    for start in range(0, len(content), step):
        yield content[start : start + step]


async def broken(content: bytes) -> AsyncIterator[bytes]:
    async for piece in pieces(content):
        yield piece
    raise ConnectionResetError


async def send(uploads: IncomingUploads, transfer: Transfer, content: bytes = SEALED, start: int = 0) -> Any:
    """One request with all the rest."""
    async with uploads.writing(transfer) as writer:
        assert writer.offset == start
        await uploads.receive(writer, pieces(content[start:]))
        return await uploads.complete(writer, by=BY) if writer.is_full else None


async def events(place: Place) -> list[str]:
    async with place.catalog.connection() as connection:
        cursor = await connection.execute("select event_type from webhook_events order by recorded_at")
        return [row["event_type"] for row in await cursor.fetchall()]


def waiting(scratch: Path) -> list[Path]:
    return list(scratch.iterdir()) if scratch.exists() else []


async def nothing_is_left(place: Place, scratch: Path) -> None:
    assert await place.states() == {}
    assert place.nothing_lies_in_the_storage()
    assert waiting(scratch) == []


async def test_an_upload_becomes_a_file_with_its_event_and_its_manifest(place: Place, uploads: IncomingUploads) -> None:
    transfer = await prepared(place, keep_for=timedelta(days=2), content_size=len(CONTENT), content_sha256=SHA256)
    declared = Declaration(
        size=len(SEALED), sha256=hashlib.sha256(SEALED).hexdigest(), filename="../a b.pdf", media_type="text/plain"
    )
    transfer = await uploads.declare(transfer, declared)
    assert (transfer.state, transfer.filename, await uploads.offset(transfer)) == ("in_progress", "a b.pdf", 0)
    made = await send(uploads, transfer)
    assert (made.kind, made.filename, made.media_type) == ("transfer", "a b.pdf", "text/plain")
    assert (made.size, made.sha256, made.document_sha256) == (len(CONTENT), SHA256, SHA256)
    assert made.encrypted_for == IDENTITY.recipient.text and made.metadata == {"transfer_id": transfer.transfer_id}
    assert made.expires_at - made.created_at == timedelta(days=2)
    assert await place.custody.read(made) == CONTENT and await place.custody.verify(made)
    ended = await now(place, transfer)
    assert (ended.state, ended.file_id, ended.done_bytes) == ("completed", made.file_id, len(SEALED))
    assert (ended.content_size, ended.content_sha256) == (len(CONTENT), SHA256)
    assert await events(place) == ["transfer_completed"]
    assert list(place.backend.leftovers()) == [] and len(list(place.backend.paths())) == 2
    with pytest.raises(TransferOver):
        async with uploads.writing(transfer):
            pass


@pytest.mark.parametrize("storage", ["local", "memory", "s3"])
async def test_it_goes_on_in_another_process_where_the_connection_broke(
    database_url: str, tmp_path: Path, storage: str, request: pytest.FixtureRequest
) -> None:
    content = os.urandom(14 * 2**20)
    sealed = b"".join(seal([content], [IDENTITY.recipient]))
    url, options = {"local": (None, {}), "memory": (f"memory://{tmp_path.name}", {})}.get(storage, (None, {}))
    if storage == "s3":
        server: S3Server = request.getfixturevalue("s3_server")
        url, options = f"s3://{server.new_bucket()}/store", server.options
    async with Catalog.open(database_url) as catalog:
        place = Place.at(catalog, tmp_path / "store", url=url, options=options)
        cut = 13 * 2**20 + 5
        async with gateway(place, database_url, tmp_path / "scratch") as first:
            transfer = await begun(place, first, sealed)
            with pytest.raises(ConnectionResetError):
                async with first.writing(transfer) as writer:
                    await first.receive(writer, broken(sealed[:cut]))
            assert await first.offset(transfer) == cut
        async with gateway(place, database_url, tmp_path / "scratch") as second:
            assert await second.offset(transfer) == cut
            made = await send(second, transfer, sealed, cut)
            assert await place.custody.read(made) == content
        assert waiting(tmp_path / "scratch") == []


async def test_it_is_verified_while_it_arrives(place: Place, uploads: IncomingUploads) -> None:
    """What is wrong at the beginning is refused long before the end."""
    changed = bytearray(SEALED * 8)
    changed[1000] ^= 1
    transfer = await begun(place, uploads, bytes(changed))
    sent = 0

    async def until_refused() -> AsyncIterator[bytes]:
        nonlocal sent
        async for piece in pieces(bytes(changed[: 3 * 2**20])):
            sent += len(piece)
            yield piece
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                await asyncio.sleep(0.01)
                yield b"x"
                sent += 1

    with pytest.raises(UploadRefused):
        async with uploads.writing(transfer) as writer:
            await uploads.receive(writer, until_refused())
    assert sent < len(changed) // 2


WRONG: dict[str, tuple[bytes, dict[str, Any], dict[str, Any], str]] = {
    "another sha256": (SEALED, {}, {"sha256": "0" * 64}, "expected sha256"),
    "another content": (SEALED, {}, {"content_sha256": "0" * 64}, "expected sha256"),
    "another content size": (SEALED, {}, {"content_size": 5}, "bytes and got"),
    "agreed otherwise": (SEALED, {"content_sha256": "1" * 64}, {}, "expected sha256"),
    "not sealed": (CONTENT, {}, {}, "not a well-formed age file"),
    "for somebody else": (b"".join(seal([CONTENT], [SOMEBODY.recipient])), {}, {}, "not sealed for the storage key"),
    "with a passphrase": (b"".join(seal([CONTENT], [ScryptRecipient("word", log_n=4)])), {}, {}, "storage key"),
    "header of another file": (
        b"".join(seal([b"other"], [IDENTITY.recipient]))[:184] + SEALED[184:], {}, {}, "chunk",
    ),
    "a flipped bit": (SEALED[:-20] + bytes([SEALED[-20] ^ 1]) + SEALED[-19:], {}, {}, "chunk"),
    "cut": (SEALED[:-100], {}, {}, "chunk"),
    "longer": (SEALED + b"x", {}, {}, "chunk"),
    "unknown and no age file": (CONTENT, {"sealed_for": "unknown"}, {}, "not a well-formed age file"),
    "unknown with another hash": (SEALED, {"sealed_for": "unknown"}, {"sha256": "0" * 64}, "expected sha256"),
    "nothing": (b"", {}, {}, "empty"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
async def test_wrong_bytes_fail_the_upload_and_go(
    place: Place, uploads: IncomingUploads, tmp_path: Path, case: str
) -> None:
    sent, agreed, declared, why = WRONG[case]
    transfer = await uploads.declare(await prepared(place, **agreed), Declaration(size=len(sent), **declared))
    with pytest.raises(UploadRefused, match=why):
        await send(uploads, transfer, sent)
    ended = await now(place, transfer)
    assert (ended.state, ended.file_id) == ("failed", None) and why in str(ended.error)
    assert await events(place) == ["transfer_failed"]
    await nothing_is_left(place, tmp_path / "scratch")


async def test_wrong_bytes_go_from_s3_too(database_url: str, tmp_path: Path, s3_server: S3Server) -> None:
    url = f"s3://{s3_server.new_bucket()}/store"
    async with Catalog.open(database_url) as catalog:
        place = Place.at(catalog, tmp_path / "store", url=url, options=s3_server.options)
        async with gateway(place, database_url, tmp_path / "scratch") as uploads:
            changed = SEALED[:-20] + bytes([SEALED[-20] ^ 1]) + SEALED[-19:]
            transfer = await begun(place, uploads, changed)
            with pytest.raises(UploadRefused, match="chunk"):
                await send(uploads, transfer, changed)
            assert (await now(place, transfer)).state == "failed"
            await nothing_is_left(place, tmp_path / "scratch")


async def test_what_is_for_somebody_else_is_kept_as_it_comes(place: Place, uploads: IncomingUploads) -> None:
    sealed = b"".join(seal([CONTENT], [SOMEBODY.recipient]))
    transfer = await begun(place, uploads, sealed, sealed_for="unknown", sha256=hashlib.sha256(sealed).hexdigest())
    made = await send(uploads, transfer, sealed)
    assert made.encrypted_for is None and await place.custody.read(made) == sealed


@pytest.mark.parametrize(("keys", "sent"), [(PLAIN, CONTENT), (WRITE_ONLY, SEALED)], ids=["encryption off", "intake"])
async def test_machines_that_decrypt_nothing(
    place: Place, database_url: str, tmp_path: Path, keys: StorageKeys, sent: bytes
) -> None:
    async with gateway(place.with_keys(keys), database_url, tmp_path / "scratch") as uploads:
        if keys is WRITE_ONLY:
            with pytest.raises(InvalidOptions, match="declare size and sha256"):
                await begun(place, uploads, sent)
        transfer = await prepared(place, content_size=len(CONTENT), content_sha256=SHA256)
        made = await send(uploads, await uploads.declare(transfer, Declaration(size=len(sent))), sent)
    assert await place.custody.read(made) == CONTENT and made.sha256 == SHA256


async def test_a_declaration_that_is_not_what_was_agreed_is_refused(place: Place, uploads: IncomingUploads) -> None:
    with pytest.raises(TooLarge):
        await uploads.declare(await prepared(place), Declaration(size=MOST_BYTES + 1))
    agreed = await prepared(place, size=10, sha256="1" * 64)
    for wrong in (Declaration(size=11), Declaration(size=10, sha256="2" * 64)):
        with pytest.raises(TransferConflict):
            await uploads.declare(agreed, wrong)
    assert await place.states() == {}
    with pytest.raises(TransferConflict, match="not been declared"):
        async with uploads.writing(agreed):
            pass


async def test_declared_again_it_begins_again(place: Place, uploads: IncomingUploads) -> None:
    transfer = await begun(place, uploads)
    async with uploads.writing(transfer) as writer:
        await uploads.receive(writer, pieces(b"x" * 2_000_000))
    again = await uploads.declare(await now(place, transfer), Declaration(size=len(SEALED)))
    assert again.file_id == transfer.file_id and await uploads.offset(again) == 0
    assert await place.states() == {"pending": 1}
    with pytest.raises(TransferConflict):
        await uploads.declare(again, Declaration(size=len(SEALED) + 1))
    made = await send(uploads, again)
    assert await place.custody.read(made) == CONTENT


async def test_only_one_writes_whichever_process_it_is_in(
    place: Place, uploads: IncomingUploads, database_url: str, tmp_path: Path
) -> None:
    transfer = await begun(place, uploads)
    async with gateway(place, database_url, tmp_path / "scratch") as other:
        async with uploads.writing(transfer) as writer:
            await writer.write(SEALED[:100])
            for gate in (uploads, other):
                with pytest.raises(TransferLocked):
                    async with gate.writing(transfer):
                        pass
        async with other.writing(transfer) as writer:
            assert writer.offset == 100
        await send(uploads, transfer, SEALED, 100)


async def test_a_request_with_a_wrong_checksum_leaves_nothing(place: Place, uploads: IncomingUploads) -> None:
    transfer = await begun(place, uploads)
    first, rest = SEALED[:2_000_000], SEALED[2_000_000:]
    async with uploads.writing(transfer) as writer:
        wrong = Checksum(algorithm="sha1", digest=b"0" * 20)
        with pytest.raises(ContentMismatch):
            await uploads.receive_checked(writer, pieces(first), wrong)
        with pytest.raises(TooLarge):
            await uploads.receive_checked(writer, pieces(SEALED + b"x"), wrong)
        assert writer.offset == 0
        right = Checksum(algorithm="sha1", digest=hashlib.sha1(first, usedforsecurity=False).digest())
        assert await uploads.receive_checked(writer, pieces(first), right) == len(first)
        right = Checksum(algorithm="md5", digest=hashlib.md5(rest, usedforsecurity=False).digest())
        await uploads.receive_checked(writer, pieces(rest), right)
        made = await uploads.complete(writer, by=BY)
    assert await place.custody.read(made) == CONTENT


async def test_it_is_completed_when_that_was_interrupted(
    place: Place, uploads: IncomingUploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes are in place and the manifest is written, and the catalogue goes away: the next look completes it."""

    async def away(*_: Any, **__: Any) -> Any:
        raise StorageUnavailable("away")

    transfer = await begun(place, uploads)
    monkeypatch.setattr(incoming_module, "end_with_event", away)
    with pytest.raises(StorageUnavailable):
        await send(uploads, transfer)
    monkeypatch.undo()
    assert (await now(place, transfer)).state == "in_progress"
    assert await uploads.offset(transfer) == len(SEALED)
    made = await uploads.finish_interrupted(transfer, by=BY)
    assert await place.custody.read(made) == CONTENT
    assert (await now(place, transfer)).state == "completed"


async def test_clean_ups_spare_it_while_it_is_open_and_take_it_afterwards(
    place: Place, uploads: IncomingUploads, tmp_path: Path
) -> None:
    transfer = await begun(place, uploads)
    async with uploads.writing(transfer) as writer:
        await uploads.receive(writer, pieces(SEALED[:1_500_000]))
    async with place.catalog.connection() as connection:
        await connection.execute("update artifacts set created_at = created_at - interval '2 days'")
    for file in place.folder.rglob("*.partial"):
        os.utime(file, (0, 0))
    assert await remove_abandoned(place.custody) == 0
    await sweep(place.custody, dry_run=False)
    assert await uploads.offset(transfer) == 1_500_000
    async with place.catalog.transaction() as connection:
        cancelled = await end_with_event(connection, transfer.transfer_id, "cancelled", NO_LINKS)
    assert cancelled is not None
    await uploads.give_up(cancelled)
    await uploads.give_up(cancelled)
    await nothing_is_left(place, tmp_path / "scratch")


async def test_one_that_is_cancelled_while_it_arrives_leaves_nothing(
    place: Place, uploads: IncomingUploads, tmp_path: Path
) -> None:
    transfer = await begun(place, uploads)
    with pytest.raises(TransferOver):
        async with uploads.writing(transfer) as writer:
            await uploads.receive(writer, pieces(SEALED))
            async with place.catalog.transaction() as connection:
                assert await end_transfer(connection, transfer.transfer_id, "cancelled")
            await uploads.give_up(await now(place, transfer))
            await uploads.complete(writer, by=BY)
    await nothing_is_left(place, tmp_path / "scratch")


async def test_what_waits_for_an_upload_that_is_over_is_cleared_away(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    async with Catalog.open(database_url) as catalog:
        place = Place.at(catalog, tmp_path / "store", url=f"memory://{tmp_path.name}")
        async with gateway(place, database_url, scratch) as uploads:
            kept, over = await begun(place, uploads), await begun(place, uploads)
            for transfer in (kept, over):
                async with uploads.writing(transfer) as writer:
                    await uploads.receive(writer, pieces(SEALED[:1_500_000]))
            async with catalog.connection() as connection:
                await end_transfer(connection, over.transfer_id, "cancelled")
            assert len(waiting(scratch)) == 2
            await uploads.clear_scratch()
            assert len(waiting(scratch)) == 2  # too young
            for file in waiting(scratch):
                os.utime(file, (0, 0))
            await uploads.clear_scratch()
            assert len(waiting(scratch)) == 1
            made = await send(uploads, kept, SEALED, 1_500_000)
            assert await place.custody.read(made) == CONTENT


async def test_parts_that_the_sender_puts_into_s3_itself(
    database_url: str, tmp_path: Path, s3_server: S3Server, place: Place, uploads: IncomingUploads
) -> None:
    with pytest.raises(TransferConflict, match="S3"):
        await uploads.presigned_parts(await begun(place, uploads), [1], expires_in=timedelta(minutes=1))
    url = f"s3://{s3_server.new_bucket()}/store"
    on_s3 = Place.at(place.catalog, tmp_path / "other", url=url, options=s3_server.options)
    async with (
        gateway(on_s3, database_url, tmp_path / "scratch") as there,
        httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client,
    ):
        transfer = await begun(on_s3, there)
        count, (part,) = await there.presigned_parts(transfer, [1], expires_in=timedelta(minutes=1))
        assert (count, part.size) == (1, len(SEALED))
        with pytest.raises(TransferConflict, match="part 1"):
            await there.check_parts(transfer, [])
        answer = await client.put(part.url, content=SEALED)
        await there.check_parts(transfer, [SentPart(number=1, etag=answer.headers["etag"])])
        made = await there.finish_interrupted(transfer, by=BY)
        assert await on_s3.custody.read(made) == CONTENT and made.sha256 == SHA256
