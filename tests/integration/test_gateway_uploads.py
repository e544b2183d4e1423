"""Files into custody over HTTP: what is taken in, what is refused and how, and that nothing is left of what was not."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import math
import os
import zipfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from blocks.custody.manifest import is_manifest_path
from blocks.keys import StorageKeys
from blocks.postgres import connect
from tests.gateway import Gateway, error_of, running_gateway
from tests.stack_driver import PATIENCE_SECONDS
from tests.storage_keys import ENCRYPTED, PLAIN
from waybill.gateway.http.multipart import MAX_AROUND_BYTES
from waybill.gateway.resources import MOST_UPLOADS
from waybill.gateway.routes import form_upload
from waybill.gateway.server.client_limits import TransportLimits

UPLOAD = "/api/v1/files/upload"
MIB = 1024 * 1024
PDF = b"%PDF-1.7\n" + b"x" * 100
Start = Callable[..., Awaitable[Gateway]]


@pytest.fixture
async def start(database_url: str, tmp_path: Path) -> AsyncGenerator[Start]:
    """Starts gateways that end with the test."""
    async with AsyncExitStack() as until_done:

        async def begin(**options: Any) -> Gateway:
            opening = running_gateway(database_url, tmp_path / "home", **options)
            return await until_done.enter_async_context(opening)

        yield begin


@pytest.fixture
async def gateway(start: Start) -> Gateway:
    return await start()


async def upload(gateway: Gateway, content: bytes, name: str = "report.pdf", **fields: str) -> httpx.Response:
    headers = await gateway.headers("write")
    return await gateway.client.post(UPLOAD, files={"file": (name, content)}, data=fields, headers=headers)


async def raw(gateway: Gateway, body: bytes, content_type: str) -> httpx.Response:
    headers = {**await gateway.headers("write"), "Content-Type": content_type}
    return await gateway.client.post(UPLOAD, content=body, headers=headers)


async def assert_nothing_is_left(gateway: Gateway) -> None:
    """No row and no blob, whatever came in."""
    async with gateway.custody.catalog.connection() as connection:
        cursor = await connection.execute("select count(*) as rows from artifacts")
        found = await cursor.fetchone()
    assert found == {"rows": 0}
    assert list(gateway.custody.backend.paths()) == []
    assert list(gateway.custody.backend.leftovers()) == []


# What cannot be stored now --------------------------------------------------------------------------------------------


async def test_without_the_storage_key_an_upload_is_503_and_nothing_is_stored(start: Start, tmp_path: Path) -> None:
    gateway = await start(keys=StorageKeys(recipient=None, missing=tmp_path / "storage-identity"))
    answer = await upload(gateway, PDF)
    assert (answer.status_code, error_of(answer)) == (503, "StorageKeyMissing")
    assert answer.headers["retry-after"] == "5"
    await assert_nothing_is_left(gateway)


async def test_a_full_disk_of_the_database_is_507_and_nothing_is_stored(gateway: Gateway) -> None:
    with connect(gateway.database_url, autocommit=True) as connection:
        connection.execute(
            "create function disk_is_full() returns trigger language plpgsql as "
            "$$ begin raise exception 'could not extend file' using errcode = 'disk_full'; end $$"
        )
        connection.execute(
            "create trigger disk_is_full before insert or update on artifacts execute function disk_is_full()"
        )
        answer = await upload(gateway, PDF)
        assert (answer.status_code, error_of(answer)) == (507, "CatalogFull")
        await assert_nothing_is_left(gateway)
        connection.execute("drop function disk_is_full() cascade")
    assert (await upload(gateway, PDF)).status_code == 201


# What is taken in -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [ENCRYPTED, PLAIN], ids=["encrypted", "plain"])
@pytest.mark.parametrize("size", [1, 64 * 1024, MIB, 9 * MIB + 17])
async def test_what_is_sent_is_what_is_in_custody(start: Start, keys: StorageKeys, size: int) -> None:
    gateway = await start(keys=keys)
    content = os.urandom(size)
    answer = await upload(gateway, content, "Übersicht 2026.bin", metadata='{"customer": 7}', source_type="mail")
    assert answer.status_code == 201
    told = answer.json()
    assert told["sha256"] == hashlib.sha256(content).hexdigest()
    assert (told["size"], told["filename"], told["kind"]) == (size, "Übersicht 2026.bin", "upload")
    assert told["metadata"] == {"customer": 7, "source_type": "mail"}
    assert answer.headers["location"] == f"{gateway.url}/api/v1/files/metadata/{told['file_id']}"
    back = await gateway.client.get(f"/api/v1/files/download/{told['file_id']}", headers=await gateway.headers("read"))
    assert back.content == content
    (row,) = await gateway.audited("upload")
    assert (str(row["file_id"]), row["detail"]) == (told["file_id"], {"filename": "Übersicht 2026.bin", "size": size})


def office_file() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("[Content_Types].xml", '<Types><Override PartName="/word/document.xml"/></Types>')
        archive.writestr("_rels/.rels", "<x/>")
        archive.writestr("word/document.xml", "<x/>" + "y" * 200_000)
    return packed.getvalue()


@pytest.mark.parametrize("keys", [ENCRYPTED, PLAIN], ids=["encrypted", "plain"])
@pytest.mark.parametrize(
    ("content", "name", "media_type"),
    [
        (PDF, "letter.txt", "application/pdf"),
        (b"# A heading\n\nand text\n", "notes.md", "text/markdown"),
        (office_file(), "a.bin", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        (b"\x7fELF" + bytes(100), "report.pdf", "application/octet-stream"),
        (b"", "empty.pdf", "application/octet-stream"),
    ],
)
async def test_the_type_is_that_of_the_content_and_not_of_the_name(
    start: Start, keys: StorageKeys, content: bytes, name: str, media_type: str
) -> None:
    gateway = await start(keys=keys)
    answer = await upload(gateway, content, name)
    assert (answer.status_code, answer.json()["media_type"].partition(";")[0]) == (201, media_type)


async def test_with_the_public_key_alone_files_still_come_in(start: Start) -> None:
    gateway = await start(keys=StorageKeys(recipient=ENCRYPTED.recipient, identities=()))
    for content, name, media_type in (
        (PDF, "a.bin", "application/pdf"),
        (office_file(), "a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        (PDF + bytes(200_000), "a.bin", "application/pdf"),
    ):
        answer = await upload(gateway, content, name)
        assert (answer.status_code, answer.json()["media_type"]) == (201, media_type)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("/etc/shadow", "shadow"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("C:\\Users\\ada\\report.pdf", "report.pdf"),
        ("..", "unnamed"),
        ("a\r\nX-Evil: 1.pdf", "aX-Evil_ 1.pdf"),
        ("\u202egnp.exe", "gnp.exe"),
        ("x" * 900 + ".pdf", "x" * 196 + ".pdf"),
        ('quo"ted.pdf', "quo_ted.pdf"),
    ],
)
async def test_a_hostile_name_is_cleaned_and_never_a_path(gateway: Gateway, sent: str, kept: str) -> None:
    answer = await upload(gateway, PDF, sent)
    assert (answer.status_code, answer.json()["filename"]) == (201, kept)
    (key,) = [key for key in list(gateway.custody.backend.paths()) if not is_manifest_path(key)]
    assert kept.partition(".")[0] not in key


async def test_a_name_in_the_form_of_another_client_keeps_its_extension(gateway: Gateway) -> None:
    # As .NET's MultipartFormDataContent writes it.
    names = b"filename=\"=?utf-8?B?w5xiZXJzaWNodC5tZA==?=\"; filename*=utf-8''%C3%9Cbersicht.md"
    part = b"Content-Type: text/markdown\r\nContent-Disposition: form-data; name=file; " + names
    answer = await raw(gateway, form(part + b"\r\n\r\n# A heading\n\nand text\n"), FORM)
    stored = answer.json()
    assert (stored["filename"], stored["media_type"].partition(";")[0]) == ("Übersicht.md", "text/markdown")


async def test_many_at_once_all_arrive(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    # A busy machine takes its time with them.
    monkeypatch.setattr(form_upload, "_SLOT_WAIT_SECONDS", PATIENCE_SECONDS)
    # More than there are places for.
    contents = [os.urandom(MIB // 2 + number) for number in range(MOST_UPLOADS + 16)]
    answers = await asyncio.gather(*(upload(gateway, content, f"{n}.bin") for n, content in enumerate(contents)))
    assert [answer.json()["sha256"] for answer in answers] == [hashlib.sha256(c).hexdigest() for c in contents]


# What is refused ------------------------------------------------------------------------------------------------------


def form(*parts: bytes, boundary: bytes = b"xx", end: bytes = b"--xx--\r\n") -> bytes:
    return b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + end


FILE = b'Content-Disposition: form-data; name="file"; filename="a.pdf"\r\n\r\n' + PDF
FORM = "multipart/form-data; boundary=xx"
METADATA = b'Content-Disposition: form-data; name="metadata"\r\n\r\n'
LONG_NAME = b'Content-Disposition: form-data; name="file"; filename="' + b"a" * 1100 + b'"\r\n\r\nx'


async def test_a_body_that_is_no_proper_form_is_refused_and_nothing_is_kept(
    gateway: Gateway, subtests: pytest.Subtests
) -> None:
    for body, content_type, status, code in [
        (b"{}", "application/json", 415, "UnsupportedMediaType"),
        (b"", "", 415, "UnsupportedMediaType"),
        (form(FILE), "multipart/form-data", 400, "MalformedForm"),
        (form(FILE), f"multipart/form-data; boundary={'x' * 71}", 400, "MalformedForm"),
        (b"no form at all", FORM, 400, "MalformedForm"),
        (form(FILE, end=b""), FORM, 400, "MalformedForm"),
        (form(FILE)[:60], FORM, 400, "MalformedForm"),
        (b"", FORM, 400, "MalformedForm"),
        (form(b"X: y\r\n\r\nz"), FORM, 400, "MalformedForm"),
        (form(b"X: " + b"y" * 10_000 + b"\r\n\r\nz"), FORM, 400, "MalformedForm"),
        (form(METADATA + b"{}"), FORM, 422, "InvalidOptions"),
        (form(b'Content-Disposition: form-data; name="file"\r\n\r\nx'), FORM, 422, "InvalidOptions"),
        (form(b'Content-Disposition: form-data; name="other"\r\n\r\nx', FILE), FORM, 422, "InvalidOptions"),
        (form(FILE, FILE), FORM, 422, "InvalidOptions"),
        (form(*[METADATA + b"{}"] * 1000), FORM, 422, "InvalidOptions"),
        (form(METADATA + b"[" * 70_000, FILE), FORM, 413, "FieldTooLarge"),
        (form(METADATA + b"\xff", FILE), FORM, 422, "InvalidOptions"),
        (form(METADATA + b'"a\x00"', FILE), FORM, 422, "InvalidOptions"),
        (form(LONG_NAME), FORM, 422, "InvalidOptions"),
    ]:
        with subtests.test(body=body, content_type=content_type, status=status, code=code):
            answer = await raw(gateway, body, content_type)
            assert (answer.status_code, error_of(answer)) == (status, code)
            await assert_nothing_is_left(gateway)


async def test_a_thousand_parts_are_not_worked_through(gateway: Gateway) -> None:
    parts = [b'Content-Disposition: form-data; name="n%d"; filename="x"\r\n\r\nx' % number for number in range(1000)]
    answer = await raw(gateway, form(*parts), FORM)
    assert (answer.status_code, error_of(answer)) == (422, "InvalidOptions")
    await assert_nothing_is_left(gateway)


async def test_metadata_that_is_no_small_json_object_is_refused(gateway: Gateway, subtests: pytest.Subtests) -> None:
    for metadata in [
        "[]",
        "7",
        "not json",
        '{"a":',
        "NaN",
        '{"a": NaN}',
        '{"a": "' + "x" * 9000 + '"}',
        '{"a": "\\ud800"}',
        "[" * 5000,
        '{"a":' * 33 + "1" + "}" * 33,
        '{"a":' * 1000 + "1" + "}" * 1000,
        '{"a":' + "[" * 32 + "]" * 32 + "}",
    ]:
        with subtests.test(metadata=metadata):
            answer = await upload(gateway, PDF, metadata=metadata)
            assert (answer.status_code, error_of(answer)) == (422, "InvalidOptions")
            await assert_nothing_is_left(gateway)


async def test_metadata_of_any_kind_comes_back(gateway: Gateway) -> None:
    given = {"text": "ü\u0000\n", "big": 2**63, "nested": [{"a": [None, True, 1.5]}], "": "empty name"}
    answer = await upload(gateway, PDF, metadata=json.dumps(given))
    # U+0000 is what Postgres cannot keep.
    assert (answer.status_code, answer.json()["metadata"]) == (201, {**given, "text": "ü\n"})
    deep = '{"a":' * 32 + "[]" + "}" * 32
    for levels, status in ((deep.replace("[]", "1"), 201), (deep, 422)):
        assert (await upload(gateway, PDF, metadata=levels)).status_code == status


async def endless(piece: bytes, times: int) -> AsyncGenerator[bytes]:
    yield b"--xx\r\n" + FILE
    for _ in range(times):
        yield piece
    yield b"\r\n--xx--\r\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [(b"", b"--xx\r\n" + FILE + b"\r\n--xx--"), (b"--xx\r\n" + FILE + b"\r\n--xx--\r\n", b""), (b"--xx", b"")],
    ids=["in front of the form", "behind it", "behind a boundary"],
)
@pytest.mark.parametrize("declared", [True, False], ids=["Content-Length", "chunked"])
async def test_what_stands_beside_the_parts_has_an_end(
    gateway: Gateway, before: bytes, after: bytes, declared: bool
) -> None:
    filling = (b"-" if before == b"--xx" else b"\r\n") * MAX_AROUND_BYTES

    async def in_pieces() -> AsyncGenerator[bytes]:
        for piece in (before, filling, after):
            if piece:
                yield piece

    headers = {**await gateway.headers("write"), "Content-Type": FORM}
    body = before + filling + after if declared else in_pieces()
    answer = await gateway.client.post(UPLOAD, content=body, headers=headers)
    assert (answer.status_code, error_of(answer)) == (413, "FormTooLarge")
    await assert_nothing_is_left(gateway)


@pytest.mark.parametrize("declared", [True, False], ids=["Content-Length", "chunked"])
async def test_what_is_too_large_is_refused_as_soon_as_that_shows(start: Start, declared: bool) -> None:
    gateway = await start(max_upload_mib=2)
    headers = {**await gateway.headers("write"), "Content-Type": FORM}
    if declared:
        answer = await upload(gateway, bytes(5 * MIB))
    else:
        answer = await gateway.client.post(UPLOAD, content=endless(bytes(MIB), 8), headers=headers)
    assert (answer.status_code, error_of(answer)) == (413, "TooLarge")
    await assert_nothing_is_left(gateway)
    assert (await upload(gateway, bytes(2 * MIB))).status_code == 201


async def test_only_types_that_are_allowed_come_in(start: Start) -> None:
    gateway = await start(allowed_types=("application/pdf", "image/*"))
    assert (await upload(gateway, PDF)).status_code == 201
    assert (await upload(gateway, b"\x89PNG\r\n\x1a\n" + bytes(50), "a.pdf")).status_code == 201
    before = sorted(gateway.custody.backend.paths())
    for content in (b"text only", b"\x7fELF" + bytes(50)):
        answer = await upload(gateway, content, "a.pdf")
        assert (answer.status_code, error_of(answer)) == (415, "TypeNotAllowed")
    assert sorted(gateway.custody.backend.paths()) == before


async def test_a_sender_who_leaves_in_the_middle_leaves_nothing(gateway: Gateway) -> None:
    key = await gateway.key("write")
    host, port = gateway.url.removeprefix("http://").split(":")
    for sent in (10, 3 * MIB):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            f"POST {UPLOAD} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: {FORM}\r\n"
            f"Content-Length: {20 * MIB}\r\n\r\n".encode()
        )
        writer.write(b"--xx\r\n" + FILE + os.urandom(sent))
        await writer.drain()
        await _until_rows(gateway, 1)
        writer.close()
        del reader
        await _until_rows(gateway, 0)
        await assert_nothing_is_left(gateway)


async def test_slow_uploads_are_bounded_and_take_nothing_from_downloads_and_other_keys(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However slow they are, none is given up for its silence.
    gateway = await start(limits=TransportLimits(body_silence_seconds=math.inf, pace_window_seconds=math.inf))
    artifact = await gateway.put(b"content")
    key = await gateway.key("write")
    host, port = gateway.url.removeprefix("http://").split(":")
    writers: list[asyncio.StreamWriter] = []
    readers: list[asyncio.StreamReader] = []
    for _ in range(MOST_UPLOADS):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            f"POST {UPLOAD} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: {FORM}\r\n"
            f"Content-Length: {20 * MIB}\r\n\r\n".encode()
            + b"--xx\r\n" + FILE
        )  # fmt: skip
        writers.append(writer)
        readers.append(reader)
    await _until_rows(gateway, MOST_UPLOADS + 1)
    sent = {"files": {"file": ("a.pdf", PDF)}, "headers": {"Authorization": f"Bearer {key}"}}
    answer = await gateway.client.post(UPLOAD, **sent)
    assert (answer.status_code, error_of(answer)) == (503, "TooManyUploads")
    assert answer.headers["retry-after"] == "5"
    assert (await gateway.get(gateway.link(artifact))).content == b"content"
    # Another key gets a place from the one that has more than its share.
    monkeypatch.setattr(form_upload, "_SLOT_WAIT_SECONDS", PATIENCE_SECONDS)
    assert (await upload(gateway, PDF)).status_code == 201
    assert gateway.resources.uploads.held() == {key.split("_")[1]: MOST_UPLOADS - 1}
    heads = [asyncio.create_task(reader.readuntil(b"\r\n\r\n")) for reader in readers]
    async with asyncio.timeout(PATIENCE_SECONDS):
        done, _ = await asyncio.wait(heads, return_when=asyncio.FIRST_COMPLETED)
    (displaced,) = [task.result().lower() for task in done]
    assert displaced.startswith(b"http/1.1 503 ")
    assert b"retry-after: 5" in displaced and b"connection: close" in displaced
    for writer in writers:
        writer.close()
    await asyncio.gather(*heads, return_exceptions=True)
    await _until_rows(gateway, 2)
    assert (await gateway.client.post(UPLOAD, **sent)).status_code == 201


async def _until_rows(gateway: Gateway, count: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await _rows(gateway) != count:  # noqa: ASYNC110 - it is in the process under test
            await asyncio.sleep(0.01)


async def _rows(gateway: Gateway) -> int:
    async with gateway.custody.catalog.connection() as connection:
        found = await (await connection.execute("select count(*) as rows from artifacts")).fetchone()
    assert found is not None
    return int(found["rows"])


async def test_a_key_without_the_scope_is_refused_before_anything_is_read(gateway: Gateway) -> None:
    answer = await gateway.client.post(UPLOAD, files={"file": ("a.pdf", PDF)}, headers=await gateway.headers("read"))
    assert (answer.status_code, error_of(answer)) == (403, "ScopeMissing")
    await assert_nothing_is_left(gateway)
