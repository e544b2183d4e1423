"""Uploads of transfers over HTTP: who may send, tus to the letter, the IETF draft, PUT, and parts put into S3."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import math
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx
import jwt
import pytest

from blocks.age import seal
from blocks.links.tokens import issue
from blocks.storage import open_backend
from blocks.transfers import end_transfer, progress
from blocks.transfers.incoming_writer import IncomingWriter
from tests.gateway import Gateway, running_gateway
from tests.gateway.place import error_of
from tests.s3 import S3Server
from tests.stack_driver import PATIENCE_SECONDS
from tests.storage_keys import IDENTITY
from waybill.gateway import silent_senders

T = TypeVar("T")

CONTENT = os.urandom(3 * 2**20 + 17)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SEALED = b"".join(seal([CONTENT], [IDENTITY.recipient]))
TUS = {"Tus-Resumable": "1.0.0"}
BYTES = {"Content-Type": "application/offset+octet-stream"}


@pytest.fixture
async def gateway(database_url: str, tmp_path: Path) -> AsyncGenerator[Gateway]:
    async with running_gateway(
        database_url, tmp_path / "home", cors_origins=("https://app.example.org",), requests_per_minute=1_000_000
    ) as running:
        yield running


class Upload:
    """A prepared upload, and what its sender has of it."""

    def __init__(self, gateway: Gateway, prepared: dict[str, Any]) -> None:
        self.gateway, self.id, self.token = gateway, prepared["transfer_id"], prepared["token"]
        self.url = prepared["url"]
        self.authorization = {"Authorization": f"Bearer {self.token}"}

    async def send(self, method: str, headers: dict[str, str] | None = None, content: Any = None) -> httpx.Response:
        given = {**self.authorization, **TUS, **(headers or {})}
        given = {name: value for name, value in given.items() if value}
        return await self.gateway.client.request(method, self.url, headers=given, content=content)

    async def create(self, size: int = len(SEALED), /, **headers: str) -> httpx.Response:
        return await self.send("POST", {"Upload-Length": str(size)} | headers)

    async def patch(self, offset: int, content: Any, /, **headers: str) -> httpx.Response:
        return await self.send("PATCH", {**BYTES, "Upload-Offset": str(offset), **headers}, content)

    async def offset(self) -> int:
        return int((await self.send("HEAD")).headers["upload-offset"])

    async def status(self) -> dict[str, Any]:
        return (await self.gateway.client.get(f"/api/v1/transfers/{self.id}/status", headers=self.authorization)).json()

    async def content(self) -> bytes:
        """What the file in custody has, once the upload is completed."""
        status = await self.status()
        assert status["state"] == "completed", status
        headers = await self.gateway.headers("read")
        return (await self.gateway.client.get(f"/api/v1/files/download/{status['file_id']}", headers=headers)).content


async def prepared(gateway: Gateway, **more: Any) -> Upload:
    wanted = {"direction": "upload", "filename": "report.pdf", **more}
    answer = await gateway.client.post("/api/v1/transfers", json=wanted, headers=await gateway.headers("write"))
    assert answer.status_code == 201, answer.text
    return Upload(gateway, answer.json())


async def becomes(ask: Callable[[], Awaitable[T]], wanted: Callable[[T], bool]) -> T:
    """The first answer that is as it should be."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if wanted(found := await ask()):
                return found
            await asyncio.sleep(0.01)


def encoded(**pairs: str) -> str:
    return ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in pairs.items())


# Who may send ---------------------------------------------------------------------------------------------------------


async def hostile_tokens(gateway: Gateway, upload: Upload) -> dict[str, tuple[str, int]]:
    other = await prepared(gateway)
    key = gateway.keys.signing_key()

    def signed(**more: Any) -> str:
        now = int(time.time())
        claims = {"iss": "waybill", "aud": "waybill-gateway", "sub": upload.id, "scope": "transfer-upload"}
        claims |= {"iat": now, "exp": now + 600, **more}
        return jwt.encode(claims, key.secret, algorithm="HS256", headers={"kid": key.id})

    header, payload, signature = upload.token.split(".")
    unsigned = (
        base64.urlsafe_b64encode(b'{"alg":"none","kid":"%s","typ":"JWT"}' % key.id.encode()).rstrip(b"=").decode()
    )
    expired, _ = issue(
        key=key, scope="transfer-upload", subject=upload.id, expires_at=datetime.now(UTC) - timedelta(seconds=40),
        clock=lambda: datetime.now(UTC) - timedelta(hours=1),
    )  # fmt: skip
    return {
        "of another transfer": (other.token, 403),
        "of the other direction": (signed(scope="transfer-download"), 403),
        "of a file": (signed(scope="download"), 403),
        "for a worker": (signed(aud="worker:gpu-1"), 403),
        "for another audience": (signed(aud=["waybill-gateway", "x"]), 403),
        "without an audience": (signed(aud=None), 403),
        "signed by another": (jwt.encode({"sub": upload.id}, "k" * 32, headers={"kid": key.id}), 403),
        "alg none": (f"{unsigned}.{payload}.", 403),
        "alg none with a signature": (f"{unsigned}.{payload}.{signature}", 403),
        "altered": (f"{header}.{payload[:-4]}AAAA.{signature}", 403),
        "lasting too long": (signed(exp=int(time.time()) + 10**8), 403),
        "from the future": (signed(iat=int(time.time()) + 600, exp=int(time.time()) + 900), 403),
        "expired": (expired, 410),
        "no token": ("", 401),
        "an API key": (await gateway.key(), 401),
    }


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE", "HEAD"])
async def test_no_byte_is_read_before_the_token_is_right(gateway: Gateway, method: str) -> None:
    upload = await prepared(gateway)
    await upload.create()
    for case, (token, status) in (await hostile_tokens(gateway, upload)).items():
        read = False

        async def body() -> AsyncIterator[bytes]:
            nonlocal read
            read = True
            yield SEALED[:1000]

        headers = {
            "Authorization": f"Bearer {token}" if token else "", "Expect": "100-continue", **BYTES,
            "Upload-Offset": "0", "Upload-Length": "1000", "Content-Length": "1000",
        }  # fmt: skip
        bodiless = method in {"DELETE", "HEAD"}
        if bodiless:
            headers |= {"Expect": "", "Content-Length": "", "Content-Type": ""}
        answer = await upload.send(method, headers, None if bodiless else SEALED[:1000])
        wanted = 423 if (method, case) == ("HEAD", "expired") else status
        assert answer.status_code == wanted, f"{case}: {answer.status_code} {answer.text}"
        assert answer.headers["tus-resumable"] == "1.0.0"
        if wanted == 423:
            assert int(answer.headers["retry-after"]) > 0
        if status == 401:
            assert answer.headers["www-authenticate"] == "Bearer"
        assert await upload.offset() == 0
    assert (await upload.status())["state"] == "in_progress"


async def test_a_token_in_the_url_goes_with_the_location(gateway: Gateway) -> None:
    upload = await prepared(gateway)
    url, headers = f"{upload.url}?token={upload.token}", {**TUS, "Upload-Length": str(len(SEALED))}
    created = await gateway.client.post(url, headers=headers)
    assert created.headers["location"] == f"/api/v1/transfers/{upload.id}/upload?token={upload.token}"
    sent = {**TUS, **BYTES, "Upload-Offset": "0"}
    assert (await gateway.client.patch(created.headers["location"], headers=sent, content=SEALED)).status_code == 204
    assert await upload.content() == CONTENT


@pytest.mark.parametrize("end", ["completed", "cancelled", "failed", "expired"])
async def test_what_is_over_takes_nothing(gateway: Gateway, end: str) -> None:
    upload = await prepared(gateway)
    await upload.create(len(SEALED))
    if end == "completed":
        assert (await upload.patch(0, SEALED)).status_code == 204
    elif end == "failed":
        assert error_of(await upload.patch(0, CONTENT + b"x" * (len(SEALED) - len(CONTENT)))) == "UploadRefused"
    elif end == "cancelled":
        assert (await upload.send("DELETE")).status_code == 204
    async with gateway.custody.catalog.connection() as connection:
        if end == "expired":
            await connection.execute("update transfers set expires_at = clock_timestamp() - interval '1 second'")
    assert (await upload.status())["state"] == end
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        answer = await upload.send(
            method, {**BYTES, "Upload-Offset": "0", "Upload-Length": "10"}, None if method == "DELETE" else b"x" * 10
        )
        assert answer.status_code == 410, f"{method}: {answer.text}"
    # Whoever has lost the last answer learns that all is well; for a while.
    assert (await upload.send("HEAD")).status_code == (200 if end == "completed" else 410)
    if end == "completed":
        assert await upload.offset() == len(SEALED)
        again = await upload.patch(len(SEALED), b"")
        assert (again.status_code, again.headers["upload-offset"]) == (204, str(len(SEALED)))
        async with gateway.custody.catalog.connection() as connection:
            await connection.execute("update transfers set ended_at = ended_at - interval '10 minutes'")
        assert (await upload.send("HEAD")).status_code == 410


async def test_an_unknown_transfer(gateway: Gateway) -> None:
    upload = await prepared(gateway)
    for odd in ("trf_0000000000000000", "trf_x", "x" * 41, "%00"):
        url = upload.url.replace(upload.id, odd)
        answer = await gateway.client.head(url, headers={**TUS, **upload.authorization})
        assert answer.status_code in {404, 422}, odd


# tus ------------------------------------------------------------------------------------------------------------------


async def test_what_the_server_can_do(gateway: Gateway) -> None:
    upload = await prepared(gateway)
    answer = await gateway.client.options(upload.url)
    assert answer.status_code == 204
    assert answer.headers["tus-version"] == answer.headers["tus-resumable"] == "1.0.0"
    assert answer.headers["tus-extension"] == "creation,creation-with-upload,expiration,checksum,termination"
    assert answer.headers["tus-checksum-algorithm"] == "sha1,sha256,md5"
    assert int(answer.headers["tus-max-size"]) == 16384 * 2**20


async def test_browsers_of_other_sites_may_speak_it(gateway: Gateway) -> None:
    upload = await prepared(gateway)
    asked = ["authorization", "content-type", "tus-resumable", "upload-offset", "upload-length", "upload-metadata",
             "upload-checksum", "upload-draft-interop-version", "upload-complete"]  # fmt: skip
    origin = {"Origin": "https://app.example.org"}
    for method in ("POST", "PATCH", "HEAD", "DELETE", "PUT"):
        preflight = {
            **origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": ", ".join(asked)
        }  # fmt: skip
        answer = await gateway.client.options(upload.url, headers=preflight)
        assert answer.status_code == 200, answer.text
        allowed = answer.headers["access-control-allow-headers"].lower()
        assert method in answer.headers["access-control-allow-methods"] and all(name in allowed for name in asked)
    created = await upload.create(**origin)
    exposed = created.headers["access-control-expose-headers"].lower()
    for name in ("location", "upload-offset", "upload-length", "tus-resumable", "upload-expires", "retry-after"):
        assert name in exposed


async def test_an_upload_in_pieces(gateway: Gateway) -> None:
    upload = await prepared(gateway)
    created = await upload.create(**{"Upload-Metadata": encoded(filename="b ä.txt", filetype="text/plain")})
    assert created.status_code == 201
    assert created.headers["location"] == f"/api/v1/transfers/{upload.id}/upload"
    expires = datetime.strptime(created.headers["upload-expires"], "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    assert timedelta(minutes=50) < expires - datetime.now(UTC) < timedelta(minutes=61)
    looked = await upload.send("HEAD")
    assert (looked.status_code, looked.headers["cache-control"]) == (200, "no-store")
    assert (looked.headers["upload-offset"], looked.headers["upload-length"]) == ("0", str(len(SEALED)))
    assert encoded(filename="b ä.txt") in looked.headers["upload-metadata"]
    position = 0
    for size in (1, 100_000, 2_000_000, len(SEALED)):
        piece = SEALED[position : position + size]
        answer = await upload.patch(position, piece)
        position += len(piece)
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["upload-offset"] == str(position) and answer.headers["tus-resumable"] == "1.0.0"
    assert await upload.content() == CONTENT
    status = await upload.status()
    assert (status["filename"], status["media_type"]) == ("b ä.txt", "text/plain")
    assert (status["content_sha256"], status["bytes_done"], status["progress"]) == (SHA256, len(SEALED), 1.0)
    (entry,) = await gateway.audited("upload")
    assert entry["detail"]["transfer_id"] == upload.id and entry["actor"] == "transfer"


async def test_the_first_bytes_may_come_with_the_creation(gateway: Gateway) -> None:
    upload = await prepared(gateway)
    headers = {"Upload-Length": str(len(SEALED)), **BYTES}
    created = await upload.send("POST", headers, SEALED[:1_500_000])
    assert (created.status_code, created.headers["upload-offset"]) == (201, "1500000")
    # Begun again, it begins again.
    created = await upload.send("POST", headers, SEALED)
    assert (created.status_code, created.headers["upload-offset"]) == (201, str(len(SEALED)))
    assert await upload.content() == CONTENT


async def test_what_tus_refuses(gateway: Gateway) -> None:
    upload = await prepared(gateway)
    assert (await upload.send("HEAD")).status_code == 404  # not begun
    old = await upload.create(**{"Tus-Resumable": "0.2.2"})
    assert (old.status_code, old.headers["tus-version"], error_of(old)) == (412, "1.0.0", "UnsupportedVersion")
    assert (await upload.send("POST", {"Upload-Length": "10", "Tus-Resumable": ""})).status_code == 412
    odd: list[dict[str, str]] = [
        {"Upload-Length": ""}, {"Upload-Length": "-1"}, {"Upload-Length": "x"},
        {"Upload-Length": "", "Upload-Defer-Length": "1"},
        {"Upload-Metadata": "filename !"}, {"Upload-Metadata": "a YQ==,a YQ=="},
        {"Upload-Metadata": encoded(sha256="x")}, {"Upload-Metadata": encoded(filename="a\0b")},
        {"Upload-Metadata": "a " + "A" * 9000}, {"Upload-Metadata": encoded(content_size="9" * 19)},
    ]  # fmt: skip
    for headers in odd:
        answer = await upload.send("POST", {"Upload-Length": "10", **headers})
        assert answer.status_code == 400, headers
    large = await upload.create(16384 * 2**20 + 1)
    assert (large.status_code, error_of(large)) == (413, "TooLarge")
    assert (await upload.create()).status_code == 201
    assert (await upload.create(5)).status_code == 409  # another upload
    assert (await upload.patch(0, b"x", **{"Content-Type": "text/plain"})).status_code == 415
    assert (await upload.patch(0, b"x", **{"Tus-Resumable": "2.0.0"})).status_code == 412
    assert (await upload.patch(0, b"x", **{"Upload-Offset": ""})).status_code == 400
    assert (await upload.patch(0, b"x", **{"Upload-Offset": "one"})).status_code == 400
    assert (await upload.patch(0, SEALED[:10])).headers["upload-offset"] == "10"
    for wrong in (0, 9, 11):
        answer = await upload.patch(wrong, b"x")
        assert (answer.status_code, answer.headers["upload-offset"], error_of(answer)) == (409, "10", "WrongOffset")
    assert error_of(await upload.patch(10, SEALED)) == "TooLarge"

    async def unannounced() -> AsyncIterator[bytes]:
        yield SEALED[10:]
        yield b"xyz"

    longer = await upload.patch(10, unannounced())
    assert longer.status_code == 413
    assert await upload.offset() <= len(SEALED)


async def test_a_checksum_of_each_request(gateway: Gateway) -> None:
    upload = await prepared(gateway)
    await upload.create()
    position = 0
    for algorithm in ("sha1", "sha256", "md5"):
        piece = SEALED[position : position + 1_000_000]
        digest = hashlib.new(algorithm, piece, usedforsecurity=False).digest()
        right = f"{algorithm} {base64.b64encode(digest).decode()}"
        wrong = await upload.patch(position, piece[:-1] + b"?", **{"Upload-Checksum": right})
        assert (wrong.status_code, error_of(wrong)) == (460, "ChecksumMismatch")
        assert await upload.offset() == position
        answer = await upload.patch(position, piece, **{"Upload-Checksum": right})
        position += len(piece)
        assert (answer.status_code, answer.headers["upload-offset"]) == (204, str(position))
    for odd in ("crc32 AAAA", "sha1", "sha1 ???"):
        answer = await upload.patch(position, SEALED[position:], **{"Upload-Checksum": odd})
        assert answer.status_code == (400 if odd != "sha1" else 460), odd
    assert (await upload.patch(position, SEALED[position:])).status_code == 204
    assert await upload.content() == CONTENT


async def test_clients_that_can_only_post(gateway: Gateway) -> None:
    upload = await prepared(gateway)
    await upload.create()
    meant = {**BYTES, "Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
    assert (await upload.send("POST", meant, SEALED[:1000])).status_code == 204
    assert await upload.offset() == 1000
    assert (await upload.send("POST", {"X-HTTP-Method-Override": "DELETE"})).status_code == 204
    assert (await upload.status())["state"] == "cancelled"


async def test_two_at_once_and_what_has_arrived_of_a_broken_one(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silent_senders, "SILENT_SECONDS", math.inf)
    upload = await prepared(gateway)
    await upload.create()
    released, begun = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield SEALED[:1_100_000]
        begun.set()
        await released.wait()
        raise ConnectionResetError

    first = asyncio.create_task(upload.patch(0, slow()))
    await begun.wait()
    await becomes(upload.offset, lambda offset: offset > 0)
    second = await upload.patch(await upload.offset(), b"x")
    assert (second.status_code, error_of(second)) == (423, "TransferLocked")
    assert int(second.headers["retry-after"]) > 0
    # Answered while the first one still sends.
    assert (await gateway.client.get("/health")).status_code == 200
    assert not first.done()
    released.set()
    with pytest.raises((ConnectionResetError, httpx.TransportError)):
        await first
    answer = await becomes(lambda: upload.patch(1_100_000, SEALED[1_100_000:]), lambda one: one.status_code != 423)
    assert answer.status_code == 204, answer.text
    assert await upload.content() == CONTENT


@pytest.mark.parametrize("end", ["cancelled", "terminated", "revoked elsewhere"])
async def test_what_its_sender_had_sent_goes_with_an_upload_that_is_ended_meanwhile(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(progress, "_LOOK_SECONDS", 0.1 if end == "revoked elsewhere" else 3600)
    upload = await prepared(gateway)
    await upload.create()
    arrived = asyncio.Event()
    write = IncomingWriter.write

    async def noted(writer: IncomingWriter, piece: bytes) -> None:
        await write(writer, piece)
        arrived.set()

    monkeypatch.setattr(IncomingWriter, "write", noted)
    url = httpx.URL(upload.url)
    reader, sender = await asyncio.open_connection(url.host, url.port)
    headers = {**upload.authorization, **TUS, **BYTES, "Upload-Offset": "0", "Content-Length": str(len(SEALED))}
    lines = [f"PATCH {url.path} HTTP/1.1", "Host: waybill", *(f"{name}: {value}" for name, value in headers.items())]
    sender.write("\r\n".join([*lines, "", ""]).encode() + SEALED[:1000])
    await arrived.wait()
    if end == "cancelled":
        key = await gateway.headers("write")
        assert (await gateway.client.delete(f"/api/v1/transfers/{upload.id}", headers=key)).status_code == 200
    elif end == "terminated":
        assert (await upload.send("DELETE")).status_code == 204
    else:
        async with gateway.custody.catalog.transaction() as connection:
            await end_transfer(connection, upload.id, "cancelled", error="the worker was revoked")
    assert (await reader.readline()).startswith(b"HTTP/1.1 410 ")
    sender.close()
    assert [found for found in (tmp_path / "home/store").rglob("*") if found.is_file()] == []
    async with gateway.custody.catalog.connection() as connection:
        assert (await (await connection.execute("select from artifacts")).fetchall()) == []


async def test_a_sender_that_comes_back_on_another_connection(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old connection looks alive, and nothing comes on it: it holds up nobody for longer than its silence."""
    monkeypatch.setattr(silent_senders, "SILENT_SECONDS", math.inf)
    taken = 0
    write = IncomingWriter.write

    async def noted(writer: IncomingWriter, piece: bytes) -> None:
        nonlocal taken
        await write(writer, piece)
        taken += len(piece)

    async def taken_in() -> int:
        return taken

    monkeypatch.setattr(IncomingWriter, "write", noted)
    upload = await prepared(gateway)
    await upload.create()
    host, port = gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = {**upload.authorization, **TUS, **BYTES, "Upload-Offset": "0", "Content-Length": str(len(SEALED))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    writer.write(f"PATCH /api/v1/transfers/{upload.id}/upload HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode())
    writer.write(SEALED[:1_300_000])
    # It is silent from then on.
    await becomes(taken_in, lambda count: count == 1_300_000)
    assert (await upload.patch(0, b"x")).status_code == 423
    monkeypatch.setattr(silent_senders, "SILENT_SECONDS", 0.0)
    offset = await becomes(upload.offset, lambda offset: offset == 1_300_000)
    answer = await becomes(lambda: upload.patch(offset, SEALED[offset:]), lambda one: one.status_code != 423)
    assert answer.status_code == 204, answer.text
    assert b" 503 " in await reader.readline()
    writer.close()
    assert await upload.content() == CONTENT


async def test_a_look_in_the_moment_of_the_completion(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between what the catalogue says and what the storage says the last request completes the upload."""
    upload = await prepared(gateway)
    await upload.create()
    look = gateway.resources.incoming.offset

    async def completed_meanwhile(transfer: Any) -> int:
        monkeypatch.undo()
        assert (await upload.patch(0, SEALED)).status_code == 204
        return await look(transfer)

    monkeypatch.setattr(gateway.resources.incoming, "offset", completed_meanwhile)
    looked = await upload.send("HEAD")
    assert (looked.status_code, looked.headers["upload-offset"]) == (200, str(len(SEALED)))


async def test_wrong_bytes_are_refused_with_their_reason(gateway: Gateway) -> None:
    other = b"".join(seal([b"another file"], [IDENTITY.recipient]))
    for sent, declared in (
        (SEALED, {"content_sha256": "0" * 64}),
        (SEALED, {"content_size": "5"}),
        (SEALED, {"sha256": "0" * 64}),
        (other[:184] + SEALED[184:], {}),
        (CONTENT, {}),
    ):
        upload = await prepared(gateway)
        await upload.create(len(sent), **{"Upload-Metadata": encoded(**declared)})
        answer = await upload.patch(0, sent)
        assert (answer.status_code, error_of(answer)) == (422, "UploadRefused"), declared
        status = await upload.status()
        assert status["state"] == "failed" and status["file_id"] is None and status["error"]
    assert not [path for path in (gateway.resources.settings.home / "store").rglob("*") if path.is_file()]


# The IETF draft, PUT, and parts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["5", "6"])
async def test_the_ietf_draft(gateway: Gateway, version: str) -> None:
    upload = await prepared(gateway)
    draft = {"Tus-Resumable": "", "Upload-Draft-Interop-Version": version}
    created = await upload.send("POST", {**draft, "Upload-Complete": "?0", "Upload-Length": str(len(SEALED))})
    assert (created.status_code, created.headers["upload-complete"]) == (201, "?0")
    assert created.headers["upload-draft-interop-version"] == version and "tus-resumable" not in created.headers
    type_ = {"Content-Type": "application/partial-upload"} if version == "6" else {}
    part = {**draft, **type_, "Upload-Offset": "0", "Upload-Complete": "?0"}
    sent = await upload.send("PATCH", part, SEALED[:1_000_000])
    assert (sent.status_code, sent.headers["upload-offset"], sent.headers["upload-complete"]) == (204, "1000000", "?0")
    if version == "6":
        assert (await upload.send("PATCH", {**part, "Content-Type": "text/plain"}, b"x")).status_code == 415
    early = await upload.send("PATCH", {**part, "Upload-Offset": "1000000", "Upload-Complete": "?1"}, b"x")
    assert early.status_code == 400
    conflict = await upload.send("PATCH", {**part, "Upload-Offset": "5"}, b"x")
    assert (conflict.status_code, conflict.headers["upload-offset"]) == (409, "1000000")
    looked = await upload.send("HEAD", draft)
    assert (looked.headers["upload-offset"], looked.headers["upload-complete"]) == ("1000000", "?0")
    last = {**part, "Upload-Offset": "1000000", "Upload-Complete": "?1"}
    ended = await upload.send("PATCH", last, SEALED[1_000_000:])
    assert (ended.status_code, ended.headers["upload-complete"]) == (204, "?1")
    assert await upload.content() == CONTENT
    assert (await upload.send("HEAD", {**draft, "Upload-Draft-Interop-Version": "99"})).status_code == 400


async def test_the_ietf_draft_in_one_request(gateway: Gateway) -> None:
    upload = await prepared(gateway)
    headers = {"Tus-Resumable": "", "Upload-Draft-Interop-Version": "6", "Upload-Complete": "?1"}
    answer = await upload.send("POST", headers, SEALED)
    assert (answer.status_code, answer.headers["upload-complete"]) == (201, "?1")
    assert await upload.content() == CONTENT


async def test_put_whole_and_the_rest(gateway: Gateway) -> None:
    upload = await prepared(gateway)

    async def unannounced() -> AsyncIterator[bytes]:
        yield SEALED

    assert error_of(await upload.send("PUT", {"Tus-Resumable": ""}, unannounced())) == "LengthRequired"
    answer = await upload.send("PUT", {"Tus-Resumable": ""}, SEALED)
    assert (answer.status_code, answer.json()["state"]) == (201, "completed")
    assert await upload.content() == CONTENT
    upload = await prepared(gateway, size=len(SEALED))
    await upload.patch(0, SEALED[:1000])
    total = len(SEALED)
    for odd in ("bytes 1000-1001/5", f"bytes */{total}", "x", f"bytes 1000-{total - 1}/{total + 5}"):
        assert (await upload.send("PUT", {"Content-Range": odd}, SEALED[1000:])).status_code == 400, odd
    rest = await upload.send("PUT", {"Content-Range": f"bytes 1000-{total - 1}/{total}"}, SEALED[1000:])
    assert rest.status_code == 201 and await upload.content() == CONTENT


async def test_a_put_that_broke_begins_again(gateway: Gateway) -> None:
    upload = await prepared(gateway, sealed_for="unknown")
    await upload.create()
    await upload.patch(0, SEALED[:1000] + b"y" * 1_100_000)
    assert (await upload.send("PUT", {}, SEALED)).status_code == 201
    assert await upload.content() == SEALED


async def test_parts_that_its_sender_puts_into_s3(database_url: str, tmp_path: Path, s3_server: S3Server) -> None:
    content = os.urandom(15 * 2**20)
    sealed = b"".join(seal([content], [IDENTITY.recipient]))
    backend = open_backend(f"s3://{s3_server.new_bucket()}/store", s3_server.options)
    async with running_gateway(database_url, tmp_path / "home", backend=backend) as gateway:
        upload = await prepared(gateway)

        async def ask(what: str, body: dict[str, Any]) -> httpx.Response:
            return await gateway.client.post(f"{upload.url}/{what}", json=body, headers=upload.authorization)

        links = (await ask("parts", {"numbers": [1, 2], "size": len(sealed)})).json()
        assert links["part_count"] == 2
        ended = []
        for part in links["parts"]:
            assert (await ask("complete", {"parts": ended})).status_code == 409
            piece = sealed[part["offset"] : part["offset"] + part["size"]]
            answer = await gateway.client.put(part["url"], content=piece)
            ended.append({"number": part["number"], "etag": answer.headers["etag"]})
        assert error_of(await ask("parts", {"numbers": [3]})) == "InvalidOptions"
        assert (await ask("complete", {"parts": [{**ended[0], "etag": "x"}, ended[1]]})).status_code == 409
        completed = await ask("complete", {"parts": ended})
        assert (completed.status_code, completed.json()["state"]) == (200, "completed"), completed.text
        assert await upload.content() == content


async def test_what_waits_for_an_upload_that_is_over_goes_without_another_upload(
    database_url: str, tmp_path: Path
) -> None:
    left = tmp_path / "home/incoming" / f"{'0' * 32}.0.tail"
    left.parent.mkdir(parents=True)
    left.write_bytes(SEALED)
    os.utime(left, (0, 0))
    async with running_gateway(database_url, tmp_path / "home"):

        async def is_gone() -> bool:
            return not left.exists()

        assert await becomes(is_gone, lambda gone: gone)


async def test_parts_need_s3(gateway: Gateway) -> None:
    upload = await prepared(gateway)
    answer = await gateway.client.post(
        f"{upload.url}/parts", json={"numbers": [1], "size": 10}, headers=upload.authorization
    )
    assert (answer.status_code, error_of(answer)) == (409, "TransferConflict")
