"""The gateway behind nginx and Caddy, with the configuration that the documentation shows.

Only addresses, TLS and places of logs are exchanged: both listen on loopback, without TLS, and write below the test's
folder.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway import Gateway, error_of, running_gateway
from tests.shared_servers import shared_prefect
from tests.stack_driver import PATIENCE_SECONDS, PREFECT_AUTH, unused_port

MIB = 1024 * 1024
PAGE = Path(__file__).parents[2] / "docs" / "http.md"
INGEST = "/api/v1/ingest/file"
UPLOAD = "/api/v1/files/upload"


@dataclass(frozen=True)
class Proxied:
    """A gateway, and a client whose requests go through a proxy in front of it."""

    gateway: Gateway
    client: httpx.AsyncClient
    url: str
    log: Callable[[], str]


def shown(kind: str) -> str:
    """The configuration on the page for *kind*."""
    (found,) = re.findall(rf"^```{kind}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return str(found)


def exchanged(text: str, *pairs: tuple[str, str]) -> str:
    for written, real in pairs:
        assert written in text, f"the page does not have {written!r} any more"
        text = text.replace(written, real)
    return text


def nginx_configuration(folder: Path, port: int, gateway: str) -> tuple[list[str], Path]:
    site = exchanged(
        re.sub(r"^ *ssl_.*\n", "", shown("nginx"), flags=re.MULTILINE),
        ("127.0.0.1:8000", gateway), ("listen 443 ssl", f"listen 127.0.0.1:{port}"), ("/var/log/nginx", str(folder)),
    )  # fmt: skip
    places = "".join(
        f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log {folder}/nginx.log warn;\n"
        f"events {{}}\nhttp {{\n{places}{site}}}\n"
    )
    return ["-p", str(folder), "-c", str(configuration)], folder / "waybill.log"


def caddy_configuration(folder: Path, port: int, gateway: str) -> tuple[list[str], Path]:
    site = exchanged(
        shown("caddy"), ("127.0.0.1:8000", gateway), ("files.example.org", f"http://127.0.0.1:{port}"),
    )  # fmt: skip
    configuration = folder / "Caddyfile"
    # Its own API would listen on a fixed port.
    configuration.write_text(site.replace("{\n", "{\n\tadmin off\n\tauto_https off\n", 1))
    return ["run", "--config", str(configuration), "--adapter", "caddyfile"], folder / "output"


PROXIES: dict[str, Callable[[Path, int, str], tuple[list[str], Path]]] = {
    "nginx": nginx_configuration,
    "caddy": caddy_configuration,
}


@asynccontextmanager
async def running_proxy(
    kind: str, program: str, folder: Path, port: int, gateway: str
) -> AsyncGenerator[Callable[[], str]]:
    """The proxy in front of the gateway at *gateway*, for this block; its log."""
    folder.mkdir()  # noqa: ASYNC240 - a test's own
    arguments, log = PROXIES[kind](folder, port, gateway)
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen([program, *arguments], env=environment, cwd=folder, stdout=output, stderr=output)  # noqa: ASYNC220
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                assert process.poll() is None, (folder / "output").read_text()
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    break
        yield log.read_text
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


@pytest.fixture(scope="module")
async def prefect_api(run_folder: Path) -> AsyncGenerator[str]:
    """A Prefect server that has the deployment; nobody serves it, so runs wait."""
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    from flows.process import process_documents

    address = shared_prefect(run_folder)
    with temporary_settings(updates={PREFECT_API_URL: address, PREFECT_API_AUTH_STRING: PREFECT_AUTH}):
        await (await process_documents.ato_deployment(name="waybill")).apply()
        yield address


@pytest.fixture(params=list(PROXIES))
async def proxied(
    request: pytest.FixtureRequest, database_url: str, tmp_path: Path, prefect_api: str
) -> AsyncGenerator[Proxied]:
    kind = request.param
    # Debian puts nginx where other users than root do not look.
    program = shutil.which(kind, path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip(f"{kind} is not installed; 'make test' installs it where it may")
    port = unused_port()
    url = f"http://127.0.0.1:{port}"
    async with (
        running_gateway(
            database_url, tmp_path / "home", prefect_api=prefect_api, public_url=url, max_file_mib=1, max_upload_mib=16
        ) as gateway,
        running_proxy(kind, program, tmp_path / kind, port, gateway.url.removeprefix("http://")) as log,
        httpx.AsyncClient(base_url=url, timeout=PATIENCE_SECONDS) as client,
    ):
        yield Proxied(gateway, client, url, log)


async def test_an_upload_and_ranges_of_its_download_pass_through(proxied: Proxied) -> None:
    headers, content = await proxied.gateway.headers(), os.urandom(9 * MIB + 5)
    stored = await proxied.client.post(UPLOAD, files={"file": ("a.bin", content)}, headers=headers)
    assert stored.status_code == 201, stored.text
    sha256 = hashlib.sha256(content).hexdigest()
    assert (stored.json()["size"], stored.json()["sha256"]) == (len(content), sha256)
    assert stored.headers["location"].startswith(f"{proxied.url}/api/v1/files/metadata/")

    file_id = stored.json()["file_id"]
    path = f"/api/v1/files/download/{file_id}"
    whole = await proxied.client.get(path, headers=headers)
    assert (whole.status_code, whole.headers["content-length"], whole.headers["etag"]) == (
        200, str(len(content)), f'"{sha256}"',
    )  # fmt: skip
    assert whole.content == content
    for asked, part in (("0-99", content[:100]), (f"{5 * MIB}-", content[5 * MIB :]), ("-7", content[-7:])):
        condition = {"Range": f"bytes={asked}", "If-Range": whole.headers["etag"]}
        answer = await proxied.client.get(path, headers={**headers, **condition})
        assert (answer.status_code, answer.content) == (206, part)
        assert answer.headers["content-range"].endswith(f"/{len(content)}")
    beyond = await proxied.client.get(path, headers={**headers, "Range": f"bytes={len(content)}-"})
    assert (beyond.status_code, error_code(beyond)) == (416, "RangeNotSatisfiable")
    seen = await proxied.client.get(path, headers={**headers, "If-None-Match": whole.headers["etag"]})
    assert (seen.status_code, seen.content) == (304, b"")
    head = await proxied.client.head(path, headers=headers)
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(content)))


async def test_a_link_leads_through_the_proxy_and_its_token_is_not_logged(proxied: Proxied) -> None:
    headers = await proxied.gateway.headers()
    artifact = await proxied.gateway.put(b"words")
    shared = await proxied.client.post(
        f"/api/v1/files/{artifact.file_id}/share", json={"expires_in": "5m"}, headers=headers
    )
    link = shared.json()["url"]
    assert link.startswith(f"{proxied.url}/")
    answer = await proxied.client.get(link)
    assert (answer.status_code, answer.content) == (200, b"words")
    await asyncio.sleep(0.2)  # until the line is written
    assert "token" not in proxied.log() and "eyJ" not in proxied.log()


async def test_an_ingest_that_is_repeated_is_one_run(proxied: Proxied) -> None:
    headers = {**await proxied.gateway.headers(), "Idempotency-Key": "order-4711"}

    async def ingest(content: bytes = b"# A note\n") -> httpx.Response:
        return await proxied.client.post(INGEST, files={"file": ("note.md", content)}, headers=headers)

    first, again, other = await ingest(), await ingest(), await ingest(b"# Another\n")
    assert first.status_code == 202, first.text
    assert (again.status_code, again.text) == (202, first.text)
    assert ("idempotency-replayed" in first.headers, again.headers["idempotency-replayed"]) == (False, "true")
    assert first.json()["status_url"] == first.headers["location"]
    assert first.headers["location"].startswith(f"{proxied.url}/api/v1/status/")
    assert (other.status_code, error_code(other)) == (422, "IdempotencyKeyReused")
    together = await asyncio.gather(*(ingest() for _ in range(5)))
    assert {answer.text for answer in together} == {first.text}


async def test_what_the_gateway_refuses_reaches_a_client_that_still_sends(proxied: Proxied) -> None:
    key = await proxied.gateway.headers()
    for headers, path, size, expected in (
        ({}, UPLOAD, 4 * MIB, (401, "NotAuthenticated")),
        (key, UPLOAD, 20 * MIB, (413, "TooLarge")),
        (key, INGEST, 4 * MIB, (413, "TooLarge")),
        (key, INGEST, 1000 * MIB, (413, "TooLarge")),
    ):
        status, received, body = await refused(proxied, path, size, headers)
        assert (status, json.loads(body)["error"]["code"]) == expected
        assert re.fullmatch(r"[0-9a-f]{32}", received["x-request-id"])


async def test_request_ids_pass_through_in_both_directions(proxied: Proxied) -> None:
    made = await proxied.client.get("/health")
    assert (made.status_code, made.json()) == (200, {"status": "ok"})
    assert re.fullmatch(r"[0-9a-f]{32}", made.headers["x-request-id"])
    given = await proxied.client.get("/api/v1/files/list", headers={"X-Request-ID": "order-4711.a"})
    assert (given.status_code, given.headers["x-request-id"]) == (401, "order-4711.a")


async def test_forged_addresses_are_ignored(proxied: Proxied) -> None:
    headers = {
        **await proxied.gateway.headers(),
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Host": "evil.example.org",
        "X-Forwarded-Proto": "ftp",
        "Forwarded": "for=203.0.113.9;host=evil.example.org",
    }
    stored = await proxied.client.post(UPLOAD, files={"file": ("a.bin", b"words")}, headers=headers)
    assert stored.headers["location"].startswith(f"{proxied.url}/")
    (entry,) = await proxied.gateway.audited("upload")
    assert str(entry["client"]).startswith("127.0.0.1")


def error_code(answer: httpx.Response) -> str:
    """As `tests.gateway.error_of`; nginx says who it is."""
    answer.headers.pop("server", None)
    return error_of(answer)


async def refused(proxied: Proxied, path: str, size: int, headers: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    """The answer to a form of *size* bytes, by a client that sends on until it is answered or cut off."""
    url = httpx.URL(proxied.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.md"\r\n\r\n'
    lines = [
        f"POST {path} HTTP/1.1", f"Host: {url.netloc.decode()}", f"Content-Length: {size}",
        "Content-Type: multipart/form-data; boundary=x",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]  # fmt: skip
    writer.write("\r\n".join([*lines, "", ""]).encode() + part)

    async def send_on() -> None:
        left = size - len(part)
        while left > 0:
            writer.write(bytes(min(left, 64 * 1024)))
            await writer.drain()
            left -= 64 * 1024

    sending = asyncio.create_task(send_on())
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            first, *rest = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
            found = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
            body = await reader.readexactly(int(found["content-length"]))
        return int(first.split()[1]), found, body
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        writer.transport.abort()
