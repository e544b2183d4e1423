"""The gateway is killed with -9 in the middle of uploads: what it has reported is there, and the upload goes on."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from blocks.access import create_key
from blocks.age import parse_recipient, seal
from blocks.catalog import Catalog
from tests.gateway.process import ServerProcess, gateway_process
from tests.s3 import S3Server
from tests.stack_driver import PATIENCE_SECONDS, eventually

MIB = 2**20
CONTENT = os.urandom(30 * MIB + 17)
TUS = {"Tus-Resumable": "1.0.0"}
BYTES = {**TUS, "Content-Type": "application/offset+octet-stream"}
SEED = int(os.environ.get("WAYBILL_TEST_SEED", "2026"))


@pytest.fixture(params=["local", "s3", "memory"])
def variables(request: pytest.FixtureRequest) -> dict[str, str]:
    """Where the gateways keep files. With `memory` an upload waits in the home until its last byte."""
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3_server")
        url = f"s3://{server.new_bucket()}/store"
        return {"WAYBILL_STORAGE_URL": url, "WAYBILL_STORAGE_OPTIONS": json.dumps(server.options)}
    return {"WAYBILL_STORAGE_URL": "memory://uploads"} if request.param == "memory" else {}


async def headers_of_key(database_url: str) -> dict[str, str]:
    async with Catalog.open(database_url) as catalog, catalog.connection() as connection:
        made = await create_key(connection, name="a test", scopes=["read", "write"])
    return {"Authorization": f"Bearer {made.text}"}


def client(gateway: ServerProcess, headers: dict[str, str]) -> httpx.Client:
    return httpx.Client(base_url=gateway.url, headers=headers, timeout=PATIENCE_SECONDS)


def offset_of(there: httpx.Client, path: str) -> int:
    """What `HEAD` says, as soon as the lock of the killed gateway is gone."""
    answers: list[httpx.Response] = []

    def known() -> bool:
        answers.append(there.head(path, headers=TUS))
        return answers[-1].status_code != 423

    eventually(known, "HEAD answers")
    assert answers[-1].status_code == 200, there.get(path.replace("/upload", "/status")).text
    return int(answers[-1].headers["upload-offset"])


def arrived(there: httpx.Client, path: str, goal: int) -> int:
    """How many bytes are reported as durable, once there are *goal*."""
    reported = 0

    def enough() -> bool:
        nonlocal reported
        reported = offset_of(there, path)
        return reported >= goal

    eventually(enough, f"{goal} bytes have arrived")
    return reported


def send_slowly(gateway: ServerProcess, path: str, token: str, offset: int, rest: bytes) -> None:
    """Send a PATCH until the connection breaks or all is sent; the answer is not read."""
    host, port = gateway.url.removeprefix("http://").split(":")
    head = (
        f"PATCH {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nTus-Resumable: 1.0.0\r\n"
        f"Content-Type: application/offset+octet-stream\r\nUpload-Offset: {offset}\r\n"
        f"Content-Length: {len(rest)}\r\n\r\n"
    )
    with socket.create_connection((host, int(port))) as connection:
        try:
            connection.sendall(head.encode())
            for start in range(0, len(rest), 65_536):
                connection.sendall(rest[start : start + 65_536])
                time.sleep(0.002)
            connection.recv(1)
        except OSError:
            return  # killed


async def test_it_goes_on_after_each_kill(database_url: str, tmp_path: Path, variables: dict[str, str]) -> None:
    moments = random.Random(SEED)
    print(f"seed {SEED}")
    home = tmp_path / "home"
    home.mkdir()
    key = await headers_of_key(database_url)
    upload: dict[str, Any] = {}
    sealed, path, reported = b"", "", 0
    for _ in range(3):
        with gateway_process(home, database_url, **variables) as gateway, client(gateway, key) as there:
            if not upload:
                wanted = {"direction": "upload", "filename": "report.pdf"}
                upload = there.post("/api/v1/transfers", json=wanted).json()
                sealed = b"".join(seal([CONTENT], [parse_recipient(upload["recipient"])]))
                path = httpx.URL(upload["url"]).path
            there.headers = {"Authorization": f"Bearer {upload['token']}"}
            if not reported:
                created = there.post(path, headers={**TUS, "Upload-Length": str(len(sealed))})
                assert created.status_code == 201, created.text
            offset = offset_of(there, path)
            assert offset >= reported
            rest = sealed[offset:]
            sender = threading.Thread(target=send_slowly, args=(gateway, path, upload["token"], offset, rest))
            sender.start()
            reported = arrived(there, path, min(offset + moments.randrange(1, 7 * MIB), len(sealed) - 1))
            longest = max(timed(lambda there=there: there.get("/health")) for _ in range(5))
            print(f"killed at {reported} of {len(sealed)}; /health took {longest * 1000:.0f} ms at most")
            os.kill(gateway.pid, signal.SIGKILL)
            sender.join()
    with gateway_process(home, database_url, **variables) as gateway, client(gateway, key) as there:
        token = {"Authorization": f"Bearer {upload['token']}"}
        there.headers = token
        offset = offset_of(there, path)
        assert offset >= reported
        if offset < len(sealed):
            answer = there.patch(path, headers={**BYTES, "Upload-Offset": str(offset)}, content=sealed[offset:])
            assert (answer.status_code, answer.headers.get("upload-offset")) == (204, str(len(sealed))), answer.text
        there.headers = key
        status = there.get(f"/api/v1/transfers/{upload['transfer_id']}/status").json()
        assert (status["state"], status["bytes_done"]) == ("completed", len(sealed)), status
        assert status["content_sha256"] == hashlib.sha256(CONTENT).hexdigest()
        assert there.get(f"/api/v1/files/download/{status['file_id']}").content == CONTENT
    waiting = home / "incoming"
    assert not waiting.exists() or not list(waiting.iterdir())


def timed(act: Any) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began
