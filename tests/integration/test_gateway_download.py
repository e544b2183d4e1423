"""Downloads over HTTP: a real server on loopback, a real catalogue, real curl, and clients that mean no good."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
import socket
import subprocess
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx
import psycopg
import pytest

from blocks.access import revoke_key
from blocks.catalog import Artifact
from blocks.errors import InvalidOptions, InvalidSettings
from blocks.keys import StorageKeys
from blocks.links import DOWNLOAD_PATH, direct_link
from blocks.links.public_url import note_gateway, public_url
from blocks.links.signing_keys import LinkKeys
from blocks.links.tokens import issue
from blocks.settings import Settings
from blocks.storage import Backend, open_backend
from blocks.storage.local import LocalBackend
from tests.gateway import CONTENT, Gateway, error_of, running_gateway
from tests.s3 import S3Server
from tests.stack_driver import PATIENCE_SECONDS
from tests.storage_keys import ENCRYPTED, PLAIN
from waybill.gateway.app import create_app
from waybill.gateway.http import content_response
from waybill.gateway.http.content_response import SLICE_BYTES
from waybill.gateway.lookups import Lookups
from waybill.process.gateway_socket import address_of, bound_to, exposure, listen

MIB = 1024 * 1024
HOUR = timedelta(hours=1)


class WatchedBackend(LocalBackend):
    """A folder that counts what is read from it and what is still open."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.bytes_read = 0
        self.open_files = 0

    def open(self, key: str) -> BinaryIO:
        watched = self
        inner = super().open(key)
        self.open_files += 1

        class Stream:
            def read(self, size: int = -1) -> bytes:
                found = inner.read(size)
                watched.bytes_read += len(found)
                return found

            def close(self) -> None:
                if not inner.closed:
                    watched.open_files -= 1
                inner.close()

            def __getattr__(self, name: str) -> Any:
                return getattr(inner, name)

            def __enter__(self) -> Any:
                return self

            def __exit__(self, *_: object) -> None:
                self.close()

        return cast("BinaryIO", Stream())


Start = Callable[..., Awaitable[Gateway]]


@pytest.fixture
async def start(database_url: str, tmp_path: Path) -> AsyncGenerator[Start]:
    """Starts gateways that end with the test."""
    async with AsyncExitStack() as until_done:

        async def begin(
            *, keys: StorageKeys = ENCRYPTED, backend: Backend | None = None, redirects: bool = False
        ) -> Gateway:
            opening = running_gateway(
                database_url, tmp_path / "home", backend=backend, keys=keys, presigned_redirects=redirects
            )
            return await until_done.enter_async_context(opening)

        yield begin


@pytest.fixture
async def gateway(start: Start) -> Gateway:
    return await start()


async def in_thread(*command: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    return await asyncio.to_thread(
        lambda: subprocess.run(command, capture_output=True, timeout=PATIENCE_SECONDS, **options)
    )


async def eventually(condition: Callable[[], bool], what: str) -> None:
    for _ in range(int(PATIENCE_SECONDS * 100)):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"after {PATIENCE_SECONDS} s it is still not so that {what}")


# A link gives the file ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [ENCRYPTED, PLAIN], ids=["encrypted", "plain"])
async def test_a_link_gives_exactly_the_content_with_its_type_and_name(start: Start, keys: StorageKeys) -> None:
    gateway = await start(keys=keys)
    for content in (b"", b"x", CONTENT[: 64 * 1024], CONTENT[:MIB], CONTENT):
        artifact = await gateway.put(content, name="Übersicht \u202e2026.html", media_type="text/html; charset=utf-8")
        for method in ("GET", "HEAD"):
            answer = await gateway.client.request(method, gateway.link(artifact))
            assert answer.status_code == 200
            assert answer.content == (content if method == "GET" else b"")
            headers = dict(answer.headers)
            headers.pop("date")
            assert len(headers.pop("x-request-id")) == 32
            assert headers == {
                "content-length": str(len(content)),
                "content-type": "text/html; charset=utf-8",
                "content-disposition": 'attachment; filename="Ubersicht 2026.html"; '
                "filename*=UTF-8''%C3%9Cbersicht%202026.html",
                "etag": f'"{hashlib.sha256(content).hexdigest()}"',
                "accept-ranges": "bytes",
                "cache-control": "private, no-store",
                "referrer-policy": "no-referrer",
                "x-content-type-options": "nosniff",
                "content-security-policy": "default-src 'none'; sandbox",
            }


async def test_an_odd_media_type_or_name_of_a_row_cannot_break_the_headers(gateway: Gateway) -> None:
    artifact = await gateway.put(b"x", name='a"\r\nX-Evil: 1', media_type="text/plain\r\nX-Evil: 1")
    answer = await gateway.get(gateway.link(artifact))
    assert answer.status_code == 200
    assert "x-evil" not in answer.headers
    assert answer.headers["content-type"] == "application/octet-stream"


async def test_many_at_once_all_get_their_own_file(gateway: Gateway) -> None:
    files = [(content := os.urandom(700_000 + number), await gateway.put(content)) for number in range(8)]
    answers = await asyncio.gather(*(gateway.get(gateway.link(artifact)) for _, artifact in files * 4))
    assert [answer.content for answer in answers] == [content for content, _ in files * 4]


@pytest.mark.parametrize("keys", [ENCRYPTED, PLAIN], ids=["encrypted", "plain"])
async def test_ranges_give_the_bytes_that_they_name(start: Start, keys: StorageKeys) -> None:
    gateway = await start(keys=keys)
    artifact = await gateway.put()
    link, size, tag = gateway.link(artifact), len(CONTENT), f'"{artifact.sha256}"'
    parts = {
        "bytes=0-0": (0, 1),
        "bytes=0-": (0, size),
        "bytes=65535-65536": (65535, 65537),
        f"bytes={MIB - 1}-{2 * MIB}": (MIB - 1, 2 * MIB + 1),
        f"bytes={size - 1}-": (size - 1, size),
        "bytes=-1": (size - 1, size),
        f"bytes=-{size * 2}": (0, size),
        f"bytes=5-{size * 2}": (5, size),
    }
    for asked, (first, stop) in parts.items():
        answer = await gateway.get(link, Range=asked, If_Range=tag)
        assert (asked, answer.status_code) == (asked, 206)
        assert answer.headers["content-range"] == f"bytes {first}-{stop - 1}/{size}"
        assert answer.headers["content-length"] == str(stop - first)
        assert answer.headers["etag"] == tag
        assert answer.content == CONTENT[first:stop]
    whole: list[dict[str, str]] = [
        {"Range": "bytes=0-1,3-4"},
        {"Range": "bytes=4-2"},
        {"Range": "lines=1-2"},
        {"Range": "bytes=0-1", "If-Range": '"other"'},
        {"Range": "bytes=0-1", "If-Range": f"W/{tag}"},
        {"Range": f"bytes={size}-", "If-Range": '"other"'},
    ]
    for headers in whole:
        answer = await gateway.client.get(link, headers=headers)
        assert (headers, answer.status_code) == (headers, 200)
        assert "content-range" not in answer.headers
        assert answer.content == CONTENT
    for asked in (f"bytes={size}-", "bytes=-0", "bytes=99999999999-"):
        answer = await gateway.get(link, Range=asked)
        assert (answer.status_code, error_of(answer)) == (416, "RangeNotSatisfiable")
        assert answer.headers["content-range"] == f"bytes */{size}"
    head = await gateway.client.head(link, headers={"Range": "bytes=0-1"})
    assert (head.status_code, head.headers["content-length"]) == (200, str(size))


async def test_a_client_that_has_the_content_gets_no_second_copy(gateway: Gateway) -> None:
    artifact = await gateway.put()
    link, tag = gateway.link(artifact), f'"{artifact.sha256}"'
    for having in (tag, f"W/{tag}", "*", f'"x", {tag}'):
        for method in ("GET", "HEAD"):
            answer = await gateway.client.request(method, link, headers={"If-None-Match": having, "Range": "bytes=0-1"})
            assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
    assert (await gateway.get(link, If_None_Match='"x"')).status_code == 200
    assert (await gateway.get(link, If_Match=tag)).status_code == 200
    refused = await gateway.get(link, If_Match='"x"', If_None_Match=tag)
    assert (refused.status_code, error_of(refused)) == (412, "PreconditionFailed")


async def test_curl_resumes_byte_for_byte_and_saves_under_the_name(gateway: Gateway, curl: str, tmp_path: Path) -> None:
    artifact = await gateway.put(name="../../Jahresbericht 2026.pdf")
    link = gateway.link(artifact)
    part = tmp_path / "part"
    for had in (0, 1, 65_536, MIB, 2 * MIB + 5, len(CONTENT) - 1):
        part.write_bytes(CONTENT[:had])
        done = await in_thread(curl, "-sfS", "-C", "-", "-o", str(part), link)
        assert (done.returncode, done.stderr) == (0, b"")
        assert part.read_bytes() == CONTENT
    for spec, expected in (("0-9", CONTENT[:10]), ("-7", CONTENT[-7:]), ("3145728-", CONTENT[3145728:])):
        done = await in_thread(curl, "-sfS", "-r", spec, link)
        assert done.stdout == expected
    done = await in_thread(curl, "-sfSOJ", link, cwd=tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "Jahresbericht 2026.pdf").read_bytes() == CONTENT


# Links that give nothing ----------------------------------------------------------------------------------------------


async def test_hostile_links_each_get_their_status_and_nothing_else(gateway: Gateway) -> None:
    artifact, other = await gateway.put(), await gateway.put(b"another")
    good = gateway.link(artifact)
    base, token = good.split("?token=")
    head, claims, signature = token.split(".")
    stranger = LinkKeys(gateway.stored(artifact).parents[3] / "other-keys").signing_key()
    forged, _ = issue(
        key=stranger, scope="download", subject=str(artifact.file_id), expires_at=datetime.now(UTC) + HOUR
    )
    old, _ = issue(
        key=gateway.keys.signing_key(),
        scope="download",
        subject=str(artifact.file_id),
        expires_at=datetime.now(UTC) - timedelta(seconds=1),
        clock=lambda: datetime.now(UTC) - HOUR,
    )
    cases = {
        "no token": (base, 401, "NotAuthenticated"),
        "empty token": (f"{base}?token=", 401, "NotAuthenticated"),
        "token under another name": (f"{base}?Token={token}", 401, "NotAuthenticated"),
        "no token for what is not there": (f"{gateway.url}{DOWNLOAD_PATH}/{uuid4()}", 401, "NotAuthenticated"),
        "nonsense": (f"{base}?token=nonsense", 403, "LinkInvalid"),
        "NUL": (f"{base}?token=%00", 403, "LinkInvalid"),
        "not UTF-8": (f"{base}?token=%ff%fe", 403, "LinkInvalid"),
        "16 kB": (f"{base}?token={'A' * 16_000}", 403, "LinkInvalid"),
        "60 kB": (f"{base}?token={'A' * 60_000}", 414, "UriTooLong"),
        "signed with another key": (f"{base}?token={forged}", 403, "LinkInvalid"),
        "alg none": (f"{base}?token=eyJhbGciOiJub25lIn0.{claims}.", 403, "LinkInvalid"),
        "without signature": (f"{base}?token={head}.{claims}.", 403, "LinkInvalid"),
        "signature changed": (f"{base}?token={head}.{claims}.{'A' * len(signature)}", 403, "LinkInvalid"),
        "good one first, nonsense last": (f"{good}&token=x", 403, "LinkInvalid"),
        "of another file": (good.replace(str(artifact.file_id), str(other.file_id)), 403, "LinkInvalid"),
        "of another file that is not there": (good.replace(str(artifact.file_id), str(uuid4())), 403, "LinkInvalid"),
        "for something else": (gateway.link(artifact, scope="transfer-up"), 403, "LinkInvalid"),
        "expired": (f"{base}?token={old}", 410, "LinkExpired"),
        "expired and altered": (f"{base}?token={old[:-4]}AAAA", 403, "LinkInvalid"),
        "good, of nothing": (gateway.link(uuid4()), 404, "ArtifactNotFound"),
        "id is no id": (f"{gateway.url}{DOWNLOAD_PATH}/7?token={token}", 422, "InvalidRequest"),
        "id is a path": (f"{gateway.url}{DOWNLOAD_PATH}/..%2f..%2fetc%2fpasswd?token={token}", 404, "NotFound"),
        "id with a slash": (good.replace("?", "/?"), 404, "NotFound"),
        "no id": (f"{gateway.url}{DOWNLOAD_PATH}/?token={token}", 404, "NotFound"),
        "another path": (f"{gateway.url}/nowhere", 404, "NotFound"),
        "a schema": (f"{gateway.url}/openapi.json", 404, "NotFound"),
    }
    found: dict[str, tuple[int, str]] = {}
    for name, (url, _, _) in cases.items():
        answer = await gateway.get(url)
        found[name] = (answer.status_code, error_of(answer))
        head_only = await gateway.client.head(url)
        assert (name, head_only.status_code, head_only.content) == (name, answer.status_code, b"")
    assert found == {name: (status, code) for name, (_, status, code) in cases.items()}
    assert (await gateway.get(base)).headers["www-authenticate"] == "Bearer"
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        answer = await gateway.client.request(method, good)
        assert (answer.status_code, error_of(answer)) == (405, "MethodNotAllowed")
        assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert (await gateway.get(good)).content == CONTENT


async def test_an_expired_or_deleted_file_is_gone_whatever_the_link_says(gateway: Gateway) -> None:
    deleted = await gateway.put()
    await gateway.custody.remove(deleted.file_id)
    expired = await gateway.put(keep_for=timedelta(milliseconds=1))
    for artifact in (deleted, expired):
        answer = await gateway.get(gateway.link(artifact))
        assert (answer.status_code, error_of(answer)) == (410, "ArtifactGone")


async def test_a_link_never_outlives_its_file(gateway: Gateway) -> None:
    artifact = await gateway.put(keep_for=timedelta(minutes=5))
    link = gateway.links.to_download(artifact, HOUR)
    assert link.capped
    assert link.expires_at == artifact.expires_at.replace(microsecond=0)
    assert not gateway.links.to_download(artifact, timedelta(minutes=4)).capped
    assert link.url not in repr(link)
    with pytest.raises(InvalidOptions, match="30d at most"):
        gateway.links.to_download(artifact, timedelta(days=31))


async def test_a_rotation_leaves_links_alone_and_a_revocation_ends_them_at_once(gateway: Gateway) -> None:
    link = gateway.link(await gateway.put())
    elsewhere = LinkKeys(gateway.stored(await gateway.put()).parents[3] / "link-keys")
    elsewhere.rotate()
    assert (await gateway.get(link)).status_code == 200
    elsewhere.rotate(revoke=True)
    answer = await gateway.get(link)
    assert (answer.status_code, error_of(answer)) == (403, "LinkInvalid")


async def test_keys_that_become_readable_for_others_stop_the_links(gateway: Gateway) -> None:
    artifact = await gateway.put()
    link = gateway.link(artifact)
    (gateway.stored(artifact).parents[3] / "link-keys").chmod(0o644)
    answer = await gateway.get(link)
    assert (answer.status_code, error_of(answer)) == (503, "InvalidSettings")


async def test_no_token_reaches_a_log(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    artifact = await gateway.put()
    link = gateway.link(artifact)
    await gateway.get(link)
    await gateway.get(f"{link}x")
    await gateway.get(gateway.link(uuid4()))
    gateway.stored(artifact).unlink()
    assert (await gateway.get(link)).status_code == 500
    raw = socket.create_connection(urlsplit(gateway.url).netloc.split(":"))
    with raw:
        raw.sendall(f"GET {link} HTTP/1.1\r\n\0: bad\r\n\r\n".encode())
        assert b"400" in await asyncio.to_thread(raw.recv, 1000)
    ours = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    assert any("BlobMissing" in record.getMessage() for record in ours)
    assert "eyJ" not in "\n".join(logging.Formatter().format(record) for record in ours)


# By key ---------------------------------------------------------------------------------------------------------------


async def test_a_key_gives_the_file_if_it_may_read(gateway: Gateway) -> None:
    artifact = await gateway.put()
    path = f"{DOWNLOAD_PATH}/{artifact.file_id}"
    for scopes in (("read",), ("admin",), ("read", "write", "admin")):
        for method in ("GET", "HEAD"):
            answer = await gateway.client.request(method, path, headers=await gateway.headers(*scopes))
            assert (scopes, answer.status_code) == (scopes, 200)
            assert answer.content == (CONTENT if method == "GET" else b"")
    mine = await gateway.headers("read")
    part = await gateway.client.get(path, headers={**mine, "Range": "bytes=7-8", "If-Range": f'"{artifact.sha256}"'})
    assert (part.status_code, part.content) == (206, CONTENT[7:9])
    revoked = await gateway.headers("read")
    key = revoked["Authorization"].removeprefix("Bearer ")
    assert (await gateway.client.get(path, headers=revoked)).status_code == 200
    async with gateway.custody.catalog.connection() as connection:
        await revoke_key(connection, key.split("_")[1])
    refused: dict[str, tuple[dict[str, str], int, str]] = {
        "write alone": (await gateway.headers("write"), 403, "ScopeMissing"),
        "revoked": (revoked, 401, "NotAuthenticated"),
        "unknown": ({"Authorization": f"Bearer wb_{'0' * 12}_{'0' * 64}"}, 401, "NotAuthenticated"),
        "a secret that is not its own": (
            {"Authorization": mine["Authorization"][:-64] + "0" * 64},
            401,
            "NotAuthenticated",
        ),
        "another scheme": ({"Authorization": f"Basic {key}"}, 401, "NotAuthenticated"),
        "nothing": ({}, 401, "NotAuthenticated"),
    }
    for name, (headers, status, code) in refused.items():
        for address in (path, f"{DOWNLOAD_PATH}/{uuid4()}"):  # whether there is such a file is not for everybody
            answer = await gateway.client.get(address, headers=headers)
            assert (name, answer.status_code, error_of(answer)) == (name, status, code)
            assert CONTENT[:100] not in answer.content
    wrong_link = await gateway.client.get(f"{path}?token=x", headers=mine)
    assert (wrong_link.status_code, error_of(wrong_link)) == (403, "LinkInvalid"), "a link counts before a key"


async def test_who_got_what_is_in_the_audit_log_and_who_got_nothing_is_not(gateway: Gateway) -> None:
    artifact = await gateway.put()
    path, tag = f"{DOWNLOAD_PATH}/{artifact.file_id}", f'"{artifact.sha256}"'
    mine = await gateway.headers("read")
    key_id = mine["Authorization"].split("_")[1]
    got_nothing: list[tuple[str, str, dict[str, str], int]] = [
        ("HEAD", path, {}, 200),
        ("GET", path, {"If-None-Match": tag}, 304),
        ("GET", path, {"If-Match": '"x"'}, 412),
        ("GET", path, {"Range": f"bytes={len(CONTENT)}-"}, 416),
        ("GET", f"{DOWNLOAD_PATH}/{uuid4()}", {}, 404),
        ("GET", f"{path}?token=x", {}, 403),
    ]
    for method, address, headers, status in got_nothing:
        assert (await gateway.client.request(method, address, headers={**mine, **headers})).status_code == status
    assert await gateway.audited("download") == []
    answers = [
        await gateway.client.get(path, headers=mine),
        await gateway.client.get(path, headers={**mine, "Range": "bytes=1-9"}),
        await gateway.client.get(gateway.link(artifact)),
    ]
    rows = await gateway.audited("download")
    assert [row["detail"] for row in rows] == [{}, {"from": 1, "to": 10}, {}]
    assert [row["actor"] for row in rows] == [f"key:{key_id}", f"key:{key_id}", "link"]
    assert [row["request_id"] for row in rows] == [answer.headers["x-request-id"] for answer in answers]
    assert {(row["file_id"], row["client"]) for row in rows} == {(artifact.file_id, "127.0.0.1")}


async def test_many_at_once_each_have_their_line_in_the_audit_log(gateway: Gateway) -> None:
    files = [await gateway.put(os.urandom(100)) for _ in range(10)]
    keys = [await gateway.headers("read") for _ in range(5)]
    asked = [(artifact, key) for artifact in files for key in keys]
    answers = await asyncio.gather(
        *(gateway.client.get(f"{DOWNLOAD_PATH}/{artifact.file_id}", headers=key) for artifact, key in asked)
    )
    assert {hashlib.sha256(answer.content).hexdigest() for answer in answers} == {one.sha256 for one in files}
    rows = await gateway.audited("download")
    expected = [
        (answer.headers["x-request-id"], artifact.file_id, f"key:{key['Authorization'].split('_')[1]}")
        for answer, (artifact, key) in zip(answers, asked, strict=True)
    ]
    assert sorted((row["request_id"], row["file_id"], row["actor"]) for row in rows) == sorted(expected)


async def test_nothing_is_given_out_that_cannot_be_noted(gateway: Gateway) -> None:
    artifact = await gateway.put()
    async with gateway.custody.catalog.connection() as connection:
        await connection.execute("alter table audit_log rename to away")
    try:
        answer = await gateway.get(gateway.link(artifact))
        assert answer.status_code >= 500
        assert CONTENT[:100] not in answer.content
    finally:
        async with gateway.custody.catalog.connection() as connection:
            await connection.execute("alter table away rename to audit_log")
    assert (await gateway.get(gateway.link(artifact))).content == CONTENT


# What goes wrong behind the gateway -----------------------------------------------------------------------------------


def flipped(at: float) -> Callable[[bytes], bytes]:
    def change(stored: bytes) -> bytes:
        place = min(int(len(stored) * at), len(stored) - 1)
        return stored[:place] + bytes([stored[place] ^ 1]) + stored[place + 1 :]

    return change


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a bit in the middle": flipped(0.6),
    "a bit near the end": flipped(0.999999),
    "the last bit": flipped(1.0),
    "cut in the middle": lambda stored: stored[: len(stored) // 2],
    "one byte less": lambda stored: stored[:-1],
    "one byte more": lambda stored: stored + b"\0",
    "two pieces swapped": lambda stored: (
        stored[:MIB] + stored[2 * MIB : 3 * MIB] + stored[MIB : 2 * MIB] + stored[3 * MIB :]
    ),
}


@pytest.mark.parametrize("keys", [ENCRYPTED, PLAIN], ids=["encrypted", "plain"])
async def test_a_damaged_file_never_ends_cleanly(start: Start, keys: StorageKeys) -> None:
    gateway = await start(keys=keys)
    for name, damage in DAMAGES.items():
        artifact = await gateway.put()
        stored = gateway.stored(artifact)
        stored.write_bytes(damage(stored.read_bytes()))
        got = bytearray()
        try:
            async with gateway.client.stream("GET", gateway.link(artifact)) as answer:
                if answer.status_code == 500:  # it showed before anything was sent
                    await answer.aread()
                    assert (name, error_of(answer)) == (name, "ContentMismatch")
                    continue
                async for piece in answer.aiter_raw():
                    got += piece
        except httpx.RemoteProtocolError:
            assert len(got) < len(CONTENT)
            assert keys is PLAIN or got == CONTENT[: len(got)], "what was not authenticated was released"
        else:
            pytest.fail(f"{name}: a clean end after {len(got)} bytes")


async def test_curl_is_told_of_a_break(gateway: Gateway, curl: str, tmp_path: Path) -> None:
    artifact = await gateway.put()
    stored = gateway.stored(artifact)
    stored.write_bytes(flipped(0.9)(stored.read_bytes()))
    done = await in_thread(curl, "-sSf", "-o", str(tmp_path / "got"), gateway.link(artifact))
    assert (done.returncode, b"bytes remaining to read" in done.stderr) == (18, True)


async def test_a_break_is_seen_on_the_bare_connection(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    artifact = await gateway.put()
    stored = gateway.stored(artifact)
    stored.write_bytes(flipped(0.9)(stored.read_bytes()))
    parts = urlsplit(gateway.link(artifact))

    def talk() -> bytes:
        with socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE_SECONDS) as raw:
            raw.sendall(f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            received = bytearray()
            while piece := raw.recv(MIB):
                received += piece
        return bytes(received)

    head, _, body = (await asyncio.to_thread(talk)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert f"content-length: {len(CONTENT)}".encode() in head
    assert b"chunked" not in head
    assert 0 < len(body) < len(CONTENT)
    assert body == CONTENT[: len(body)]
    assert (await gateway.get(f"{gateway.url}/health")).status_code == 200
    assert "eyJ" not in caplog.text
    async with gateway.custody.catalog.connection() as connection:
        cursor = await connection.execute("select damage from artifacts where file_id = %s", [artifact.file_id])
        assert "changed" in (await cursor.fetchone() or {})["damage"], "the catalogue knows of it"


async def begun(gateway: Gateway, artifact: Artifact) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A download of which the head and a little of the content have been read."""
    parts = urlsplit(gateway.link(artifact))
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    return reader, writer


async def readers_of(gateway: Gateway, artifact: Artifact) -> int:
    async with gateway.custody.catalog.connection() as connection:
        cursor = await connection.execute("select from artifact_readers where file_id = %s", [artifact.file_id])
        return len(await cursor.fetchall())


async def test_a_file_removed_during_its_download_is_received_whole_or_the_connection_breaks(
    start: Start, tmp_path: Path, s3_server: S3Server, s3_bucket: str
) -> None:
    content = os.urandom(MIB) * 48
    gateway = await start(backend=WatchedBackend(tmp_path / "watched"))
    artifact = await gateway.put(content)
    reader, writer = await begun(gateway, artifact)
    assert await readers_of(gateway, artifact) == 1
    await gateway.custody.remove(artifact.file_id)
    received = await reader.read()
    while piece := await reader.read():
        received += piece
    # The file stays open unless this client was too slow for it, on a busy machine.
    assert received == content or len(received) < len(content)
    writer.close()
    # A client that stops reading for a while has its file closed, but not its lease: a retention waits for it.
    slow = await gateway.put(content)
    reader, writer = await begun(gateway, slow)
    backend = cast("WatchedBackend", gateway.custody.backend)
    await eventually(lambda: backend.open_files == 0, "the file is closed")
    assert await readers_of(gateway, slow) == 1
    await gateway.custody.remove(slow.file_id)
    with pytest.raises(asyncio.IncompleteReadError):
        await reader.readexactly(len(content))
    writer.close()
    on_s3 = await start(backend=open_backend(f"s3://{s3_bucket}/files", s3_server.options))
    artifact = await on_s3.put(content)
    reader, writer = await begun(on_s3, artifact)
    await on_s3.custody.remove(artifact.file_id)
    with pytest.raises(asyncio.IncompleteReadError):
        await reader.readexactly(len(content))
    writer.close()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await readers_of(on_s3, artifact):  # noqa: ASYNC110 - it is in the database
            await asyncio.sleep(0.02)


async def test_damage_that_shows_at_the_beginning_is_told_with_a_status(gateway: Gateway) -> None:
    artifact = await gateway.put(CONTENT[:1000])
    stored = gateway.stored(artifact)
    whole = stored.read_bytes()
    for damaged in (flipped(0.01)(whole), flipped(0.99)(whole), b"", whole[:50]):
        stored.write_bytes(damaged)
        answer = await gateway.get(gateway.link(artifact))
        assert (answer.status_code, error_of(answer)) == (500, "ContentMismatch")
    stored.unlink()
    answer = await gateway.get(gateway.link(artifact))
    assert (answer.status_code, error_of(answer)) == (500, "BlobMissing")


async def test_a_restart_of_the_database_costs_no_request(gateway: Gateway) -> None:
    link = gateway.link(await gateway.put())
    with psycopg.connect(gateway.database_url, autocommit=True) as connection:
        connection.execute(
            # And wait until each is gone: until then a request may still be answered.
            "select pg_terminate_backend(pid, %s) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()",
            [int(1000 * PATIENCE_SECONDS)],
        )
    # Connections that ended while they were idle are replaced before they are used.
    for _ in range(3):
        assert (await gateway.get(link)).content == CONTENT


async def test_what_nobody_foresaw_is_an_answer_without_a_traceback(gateway: Gateway) -> None:
    link = gateway.link(await gateway.put())
    app = create_app(replace(gateway.resources, lookups=cast("Lookups", None)))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport) as client:
        answer = await client.get(link)
    assert (answer.status_code, error_of(answer)) == (500, "InternalError")


# Clients --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [ENCRYPTED, PLAIN], ids=["encrypted", "plain"])
async def test_a_slow_client_is_not_read_ahead_of_and_one_that_leaves_ends_the_reading(
    start: Start, tmp_path: Path, keys: StorageKeys
) -> None:
    backend = WatchedBackend(tmp_path / "watched")
    gateway = await start(backend=backend, keys=keys)
    size = 96 * MIB
    artifact = await gateway.put(os.urandom(MIB) * 96)
    parts = urlsplit(gateway.link(artifact))
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=MIB)
    writer.write(f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await reader.readexactly(MIB)
    await eventually(lambda: backend.bytes_read > 0, "reading has begun")
    settled, seen = 0, -1

    def is_settled() -> bool:
        nonlocal settled, seen
        is_same = backend.bytes_read == seen and not reading_threads()
        settled, seen = (settled + 1 if is_same else 0), backend.bytes_read
        return settled >= 50

    # A thread that the machine holds up reads nothing either, but it is not done.
    await eventually(is_settled, "nothing more is read, and whoever does not read holds no thread")
    # What lies in the sockets' buffers of this machine, and a few pieces in the gateway.
    assert seen < size / 2
    assert backend.open_files == 1
    assert (await gateway.get(f"{gateway.url}/health")).json() == {"status": "ok"}
    writer.transport.abort()
    await eventually(lambda: backend.open_files == 0, "the file is closed")
    assert backend.bytes_read <= seen + 2 * MIB
    await eventually(lambda: not reading_threads(), "no thread is left")


def reading_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "prefetch"]


async def test_the_end_of_the_gateway_breaks_what_is_under_way(start: Start) -> None:
    gateway = await start(keys=PLAIN)
    gateway.server.config.timeout_graceful_shutdown = 0
    artifact = await gateway.put(os.urandom(MIB) * 64)
    parts = urlsplit(gateway.link(artifact))
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=MIB)
    writer.write(f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    received = len(await reader.readexactly(MIB))
    gateway.server.should_exit = True
    # Until then it would be read to its end on a busy machine.
    await eventually(lambda: not gateway.server.server_state.tasks, "the answer is broken off")
    async with asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            while received < artifact.size:
                received += len(await reader.readexactly(MIB))
    writer.close()


# The storage itself ---------------------------------------------------------------------------------------------------


async def test_with_redirects_on_plain_files_on_s3_come_from_there(
    start: Start, s3_server: S3Server, s3_bucket: str
) -> None:
    backend = open_backend(f"s3://{s3_bucket}/files", s3_server.options)
    gateway = await start(keys=PLAIN, backend=backend, redirects=True)
    artifact = await gateway.put(name="Übersicht.pdf")
    link = gateway.link(artifact)
    answer = await gateway.get(link)
    assert (answer.status_code, answer.content) == (307, b"")
    location = answer.headers["location"]
    assert location.startswith(s3_server.address)
    assert parse_qs(urlsplit(location).query)["X-Amz-Expires"] == ["300"]
    there = await gateway.get(location, Range="bytes=5-9")
    assert (there.status_code, there.content) == (206, CONTENT[5:10])
    assert there.headers["content-disposition"].startswith("attachment;")
    short = await gateway.get(gateway.link(artifact, timedelta(seconds=60)))
    assert int(parse_qs(urlsplit(short.headers["location"]).query)["X-Amz-Expires"][0]) <= 60
    # HEAD is answered here: a link is signed for one method.
    head = await gateway.client.head(link)
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(CONTENT)))
    # A redirect is for those who may read only.
    assert (await gateway.get(f"{link}x")).status_code == 403


async def test_a_direct_link_is_the_storages_own_and_ends_with_the_file(
    start: Start, s3_server: S3Server, s3_bucket: str
) -> None:
    backend = open_backend(f"s3://{s3_bucket}/files", s3_server.options)
    gateway = await start(keys=PLAIN, backend=backend)
    artifact = await gateway.put(keep_for=timedelta(hours=2))
    link = await asyncio.to_thread(direct_link, backend, artifact, HOUR)
    assert link is not None and not link.capped
    assert timedelta(minutes=59) < link.expires_at - datetime.now(UTC) <= HOUR
    answer = await gateway.get(link.url)
    assert (answer.content, answer.headers["content-type"]) == (CONTENT, "application/pdf")
    longer = await asyncio.to_thread(direct_link, backend, artifact, 3 * HOUR)
    assert longer is not None and longer.capped
    assert longer.expires_at <= artifact.expires_at
    with pytest.raises(InvalidOptions, match="7d"):
        direct_link(backend, artifact, timedelta(days=8))
    sealed = await start(keys=ENCRYPTED, backend=backend)
    assert direct_link(backend, await sealed.put(), HOUR) is None
    local = await start(keys=PLAIN)
    assert direct_link(local.custody.backend, await local.put(), HOUR) is None


async def test_nobody_is_sent_to_bytes_that_only_waybill_can_open(
    start: Start, s3_server: S3Server, s3_bucket: str
) -> None:
    backend = open_backend(f"s3://{s3_bucket}/files", s3_server.options)
    gateway = await start(keys=ENCRYPTED, backend=backend, redirects=True)
    answer = await gateway.get(gateway.link(await gateway.put()), Range="bytes=100000-1100000")
    assert (answer.status_code, answer.content) == (206, CONTENT[100000:1100001])
    off = await start(keys=PLAIN, backend=backend)
    assert (await off.get(off.link(await off.put()))).content == CONTENT
    local = await start(keys=PLAIN, redirects=True)
    assert (await local.get(local.link(await local.put()))).content == CONTENT


# Where it listens -----------------------------------------------------------------------------------------------------


def test_a_port_that_is_taken_or_an_address_of_elsewhere_is_told_with_what_to_change() -> None:
    with listen("127.0.0.1", 0) as taken:
        with pytest.raises(InvalidSettings, match=r"taken.*--port"):
            listen("127.0.0.1", int(taken.getsockname()[1]))
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address_of(taken))
    for host in ("192.0.2.1", "no.such.host.invalid", "", "a\0b", "ü" * 100):
        with pytest.raises(InvalidSettings, match="--host"):
            listen(host or "256.256.256.256", 0)
    with listen("0.0.0.0", 0) as everywhere:  # noqa: S104
        assert address_of(everywhere).startswith("http://127.0.0.1:")


def test_links_begin_where_the_gateway_listens_unless_the_user_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WAYBILL_PUBLIC_URL", raising=False)
    settings = Settings(home=tmp_path)
    assert public_url(settings) == "http://127.0.0.1:8000"
    forget_first = note_gateway(tmp_path, "http://127.0.0.1:1111")
    forget_second = note_gateway(tmp_path, "http://127.0.0.1:2222")
    assert public_url(settings) == "http://127.0.0.1:2222"
    assert (
        public_url(Settings(home=tmp_path, public_url="https://files.example.org/w/")) == "https://files.example.org/w"
    )
    forget_second()
    assert public_url(settings) == "http://127.0.0.1:1111"
    forget_first()
    assert public_url(settings) == "http://127.0.0.1:8000"
    (tmp_path / "gateway-url").write_bytes(b"\xff\0 nonsense")
    assert public_url(settings) == "http://127.0.0.1:8000"
    for wrong in (
        "ftp://x",
        "x",
        "http://",
        "http://u:p@x",
        "http://x?y",
        "http://x#y",
        "http://x:99999",
        "http://x y",
    ):
        with pytest.raises(InvalidSettings, match="WAYBILL_PUBLIC_URL"):
            public_url(Settings(home=tmp_path, public_url=wrong))


async def test_readers_that_do_not_read_hold_next_to_nothing_and_get_everything_in_the_end(gateway: Gateway) -> None:
    content = os.urandom(12 * 1024 * 1024 + 17)  # more than the kernel buffers
    link = urlsplit(gateway.link(await gateway.put(content)))
    request = f"GET {link.path}?{link.query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    sockets: list[socket.socket] = []
    loop = asyncio.get_running_loop()
    for _ in range(4):
        sockets.append(one := socket.socket())
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.setblocking(False)
        await loop.sock_connect(one, (link.hostname, link.port))
        await loop.sock_sendall(one, request)
    readers = gateway.resources.readers

    def settled() -> bool:
        held = sum(readers.held().values())
        return held == len(sockets) and readers.buffered_bytes <= SLICE_BYTES * held

    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not settled():  # noqa: ASYNC110 - it is in the gateway
                await asyncio.sleep(0.05)
        unsent = [one.transport.get_write_buffer_size() for one in gateway.server.server_state.connections]
        assert max(unsent) <= SLICE_BYTES + 1024
        await asyncio.sleep(1.5 * content_response._CLOSE_SECONDS)
        received = bytearray()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while piece := await loop.sock_recv(sockets[0], 1024 * 1024):
                received += piece
        assert bytes(received).partition(b"\r\n\r\n")[2] == content
    finally:
        for one in sockets:
            one.close()


@pytest.mark.parametrize(
    ("host", "shown", "for_this_machine"),
    [
        ("127.0.0.1", "http://127.0.0.1:", "http://127.0.0.1:"),
        ("localhost", "http://", "http://"),
        ("::1", "http://[::1]:", "http://[::1]:"),
        ("0.0.0.0", "http://0.0.0.0:", "http://127.0.0.1:"),  # noqa: S104 - no one connects
        ("::", "http://[::]:", "http://[::1]:"),
    ],
)
def test_a_gateway_says_where_it_listens_and_warns_where_other_machines_reach_it(
    host: str, shown: str, for_this_machine: str
) -> None:
    with listen(host, 0) as listener:
        assert bound_to(listener).startswith(shown)
        assert address_of(listener).startswith(for_this_machine)
        warning = exposure(Settings(), listener)
        if host in {"127.0.0.1", "localhost", "::1"}:
            assert warning is None
        else:
            assert warning is not None and bound_to(listener) in warning
            assert "TLS" in warning and "WAYBILL_PUBLIC_URL" in warning
            named = Settings(public_url="https://files.example.org")
            assert "WAYBILL_PUBLIC_URL" not in (exposure(named, listener) or "")
