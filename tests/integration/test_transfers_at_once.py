"""Many transfers at the same time, by several workers, through one gateway: none is lost, mixed up or left open."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from blocks.age import parse_recipient
from blocks.hand_over import Declared, download, upload
from blocks.hand_over.session import WorkerSession
from tests.gateway import Gateway, running_gateway
from tests.gateway.remote_worker import enrolled

WORKERS, DOWNLOADS, UPLOADS = 8, 20, 20
SIZE = 1_000_000


@pytest.fixture
async def gateway(database_url: str, tmp_path: Path) -> AsyncGenerator[Gateway]:
    async with running_gateway(database_url, tmp_path / "home") as running:
        yield running


async def prepared(gateway: Gateway, **wanted: Any) -> dict[str, Any]:
    answer = await gateway.client.post("/api/v1/transfers", json=wanted, headers=await gateway.headers())
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_forty_transfers_at_once_by_eight_workers_all_complete(gateway: Gateway, tmp_path: Path) -> None:
    workers = [await enrolled(gateway, tmp_path / f"worker-{n}", "gpu", name=f"gpu-{n}") for n in range(WORKERS)]
    contents = [os.urandom(SIZE) for _ in range(DOWNLOADS + UPLOADS)]
    transfers: list[dict[str, Any]] = []
    for number, content in enumerate(contents):
        if number < DOWNLOADS:
            file_id = str((await gateway.put(content)).file_id)
            worker = workers[number % WORKERS].config.name
            transfers.append(await prepared(gateway, direction="download", file_id=file_id, worker=worker))
        else:
            (tmp_path / f"sent-{number}").write_bytes(content)
            transfers.append(await prepared(gateway, direction="upload", filename=f"{number}.bin"))

    async def run(number: int) -> None:
        made, worker = transfers[number], workers[number % WORKERS]
        if number < DOWNLOADS:
            await fetch(gateway, worker, made, tmp_path / f"received-{number}")
        else:
            await send(made, tmp_path / f"sent-{number}", contents[number])

    await asyncio.gather(*map(run, range(len(contents))))

    headers = await gateway.headers()
    for number, (content, made) in enumerate(zip(contents, transfers, strict=True)):
        path = f"/api/v1/transfers/{made['transfer_id']}/status"
        status = (await gateway.client.get(path, headers=headers)).json()
        assert (status["state"], status["bytes_done"], status["error"]) == ("completed", status["size"], None), number
        if number < DOWNLOADS:
            found = (tmp_path / f"received-{number}").read_bytes()
        else:
            found = (await gateway.client.get(f"/api/v1/files/download/{status['file_id']}", headers=headers)).content
        assert hashlib.sha256(found).hexdigest() == hashlib.sha256(content).hexdigest(), number
    assert (gateway.resources.readers.free, gateway.resources.uploads.free) == (
        gateway.resources.readers.count,
        gateway.resources.uploads.count,
    )


async def fetch(gateway: Gateway, worker: WorkerSession, made: dict[str, Any], target: Path) -> None:
    await download(gateway.client, made["url"], made["token"], target, identities=[worker.identity])


async def send(made: dict[str, Any], source: Path, content: bytes) -> None:
    recipients = [parse_recipient(made["recipient"])]
    declared = Declared(content_sha256=hashlib.sha256(content).hexdigest())
    await upload(made["url"], made["token"], source, recipients=recipients, declared=declared)
