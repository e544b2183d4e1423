"""The clients that people have: tus-js-client, Uppy, tuspy and curl upload, are cut off, and go on by themselves."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tusclient.client import TusClient

from blocks.age import seal
from tests.gateway import Gateway, running_gateway
from tests.storage_keys import IDENTITY
from tests.webhooks.node_packages import node_packages, run_node

MIB = 2**20
CONTENT = os.urandom(6 * MIB + 17)
SEALED = b"".join(seal([CONTENT], [IDENTITY.recipient]))
SCRIPT = Path(__file__).parent.parent / "gateway" / "upload_with_clients.mjs"
# With all that they need, so that nothing is chosen at the time of installing.
PACKAGES = (
    "@transloadit/prettier-bytes@2.0.0", "@uppy/core@6.3.1", "@uppy/tus@6.0.0", "buffer-from@1.1.2",
    "classnames@2.5.1", "combine-errors@3.0.3", "custom-error-instance@2.1.1", "eventemitter3@5.0.4",
    "graceful-fs@4.2.12", "is-network-error@1.3.2", "is-stream@2.0.1", "js-base64@3.9.7", "lodash@4.18.1",
    "lodash._baseiteratee@4.7.0", "lodash._basetostring@4.12.0", "lodash._baseuniq@4.6.0", "lodash._createset@4.0.3",
    "lodash._root@3.0.1", "lodash._stringtopath@4.8.0", "lodash.throttle@4.1.1", "lodash.uniqby@4.5.0",
    "mime-match@1.0.2", "namespace-emitter@2.0.1", "nanoid@6.0.2", "p-queue@9.3.5", "p-retry@8.0.1",
    "p-timeout@7.0.2", "preact@10.29.8", "proper-lockfile@4.1.2", "querystringify@2.2.0", "requires-port@1.0.0",
    "retry@0.12.0", "signal-exit@3.0.7", "tagged-tag@1.0.0", "tus-js-client@4.3.1", "type-fest@5.10.0",
    "url-parse@1.5.10", "wildcard@1.1.2",
)  # fmt: skip


@pytest.fixture
async def gateway(database_url: str, tmp_path: Path) -> AsyncGenerator[Gateway]:
    async with running_gateway(database_url, tmp_path / "home") as running:
        yield running


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    (file := tmp_path / "report.age").write_bytes(SEALED)
    return file


async def prepared(gateway: Gateway) -> dict[str, Any]:
    wanted = {"direction": "upload", "filename": "report.pdf"}
    answer = await gateway.client.post("/api/v1/transfers", json=wanted, headers=await gateway.headers("write"))
    return answer.json()


async def completed(gateway: Gateway, upload: dict[str, Any]) -> dict[str, Any]:
    """The upload is completed with the right content; its status."""
    headers = await gateway.headers("read")
    url = f"/api/v1/transfers/{upload['transfer_id']}/status"
    status = (await gateway.client.get(url, headers=headers)).json()
    assert status["state"] == "completed", status
    content = await gateway.client.get(f"/api/v1/files/download/{status['file_id']}", headers=headers)
    assert content.content == CONTENT
    return status


@asynccontextmanager
async def cut_off(gateway: Gateway, after: list[int]) -> AsyncGenerator[str]:
    """An address of the gateway that breaks the connection in which the next of *after* is reached, in bytes sent."""
    host, port = gateway.url.removeprefix("http://").split(":")

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, counts: bool) -> None:
        passed = 0
        with suppress(OSError):
            while piece := await reader.read(65_536):
                passed += len(piece)
                writer.write(piece)
                await writer.drain()
                if counts and after and passed >= after[0]:
                    after.pop(0)
                    break
        writer.transport.abort()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, int(port))
        ways = [pass_on(reader, back, True), pass_on(there, writer, False)]
        await asyncio.wait([asyncio.create_task(way) for way in ways], return_when=asyncio.FIRST_COMPLETED)
        for one in (writer, back):
            one.transport.abort()

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@pytest.mark.parametrize(
    "case",
    [
        {"client": "tus", "protocol": "tus-v1"},
        {"client": "tus", "protocol": "tus-v1", "chunkSize": 2 * MIB},
        {"client": "tus", "protocol": "tus-v1", "uploadDataDuringCreation": True, "chunkSize": 2 * MIB},
        {"client": "tus", "protocol": "ietf-draft-03"},
        {"client": "tus", "protocol": "ietf-draft-05", "chunkSize": 2 * MIB},
        {"client": "uppy"},
        {"client": "uppy", "chunkSize": 2 * MIB},
    ],
    ids=lambda case: "-".join(str(value) for value in case.values()),
)
async def test_clients_in_javascript_go_on_by_themselves(gateway: Gateway, sealed: Path, case: dict[str, Any]) -> None:
    upload = await prepared(gateway)
    packages = await asyncio.to_thread(node_packages, PACKAGES)
    after = [1_300_000, 1_700_000]
    async with cut_off(gateway, after) as address:
        given = {
            "packages": str(packages), "url": upload["url"].replace(gateway.url, address), "token": upload["token"],
            "file": str(sealed), "size": len(SEALED), **case,
        }  # fmt: skip
        said = json.loads(await asyncio.to_thread(run_node, SCRIPT, stdin=json.dumps(given)))
    assert said["ok"], said
    begun_again = case.get("uploadDataDuringCreation") and said["seen"].count("POST 201") == 1
    assert after == [] and (begun_again or "HEAD 200" in said["seen"]), said
    status = await completed(gateway, upload)
    assert status["filename"] == f"by {case['client']}.bin" and status["media_type"] == f"text/x-{case['client']}"


async def test_tuspy_with_checksums(gateway: Gateway, sealed: Path) -> None:
    upload = await prepared(gateway)

    def run() -> None:
        client = TusClient(upload["url"], headers={"Authorization": f"Bearer {upload['token']}"})
        with sealed.open("rb") as file:
            given = {"file_stream": file, "chunk_size": 2 * MIB, "upload_checksum": True}
            first = client.uploader(**given, metadata={"filename": "b.bin"})
            first.upload(stop_at=3 * MIB)
            # Another process, which knows the address alone.
            again = client.uploader(**given, url=first.url, retries=3, retry_delay=1)
            assert again.offset == 3 * MIB
            again.upload()

    await asyncio.to_thread(run)
    assert (await completed(gateway, upload))["filename"] == "b.bin"


async def test_curl_sends_it_whole(gateway: Gateway, sealed: Path) -> None:
    upload = await prepared(gateway)
    command = ["curl", "-sS", "-f", "-T", str(sealed), "-H", f"Authorization: Bearer {upload['token']}", upload["url"]]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
    assert done.returncode == 0 and json.loads(done.stdout)["state"] == "completed", done.stderr
    await completed(gateway, upload)
