"""Custody on a real S3 server that fails, and a writer that is killed in the middle of an upload."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from blocks.catalog import Catalog
from blocks.errors import StorageUnavailable
from tests.integration.custody_place import Place, draft
from tests.s3 import S3Server
from tests.s3.fault_proxy import BLACK_HOLE, SERVICE_UNAVAILABLE, FaultProxy, running_fault_proxy
from tests.s3.pauses import watch_pauses
from tests.stack_driver import PATIENCE_SECONDS
from tests.storage_keys import ENCRYPTED, IDENTITY

MIB = 2**20
SIZE_MIB = 40
# The bar for a server that answers 503 for ever, of pauses between attempts; clearing up included.
MAX_REFUSED_SECONDS = 30


@pytest.fixture
async def catalog(database_url: str) -> AsyncIterator[Catalog]:
    async with Catalog.open(database_url) as opened:
        yield opened


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[FaultProxy]:
    with running_fault_proxy(s3_server.address) as running:
        yield running


@pytest.fixture
def direct(catalog: Catalog, s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> Place:
    return Place.at(catalog, tmp_path / "store", ENCRYPTED, f"s3://{s3_bucket}/custody", s3_server.options)


@pytest.fixture
def through_proxy(catalog: Catalog, s3_server: S3Server, s3_bucket: str, proxy: FaultProxy, tmp_path: Path) -> Place:
    options = {**s3_server.options, "endpoint_url": proxy.address}
    return Place.at(catalog, tmp_path / "store", ENCRYPTED, f"s3://{s3_bucket}/custody", options)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(os.urandom(MIB) * SIZE_MIB)
    return path


async def test_a_server_that_answers_503_for_ever_leaves_no_row_no_object_and_no_upload(
    through_proxy: Place, direct: Place, proxy: FaultProxy, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.inject("UploadPart", SERVICE_UNAVAILABLE)
    pauses = watch_pauses(monkeypatch)
    with pytest.raises(StorageUnavailable, match="ServiceUnavailable"):
        await through_proxy.custody.take(draft(), source)
    assert 0 < pauses.seconds < MAX_REFUSED_SECONDS
    # Swift lists what has just gone for a moment more.
    await eventually(direct.nothing_lies_in_the_storage)
    assert await direct.states() == {}


async def test_a_part_that_is_refused_twice_does_no_harm(
    through_proxy: Place, direct: Place, proxy: FaultProxy, source: Path
) -> None:
    proxy.inject("UploadPart", SERVICE_UNAVAILABLE, times=2)
    artifact = await through_proxy.custody.take(draft(), source)
    assert await direct.custody.verify(artifact) is True


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.005)


_WRITER = """
import asyncio, json, sys
from datetime import timedelta
from pathlib import Path
from uuid import UUID
from blocks.age import X25519Identity
from blocks.catalog import Catalog, Draft
from blocks.custody import Custody
from blocks.keys import StorageKeys
from blocks.storage import open_backend

database_url, url, options, source, run_id, identity = sys.argv[1:]

async def main():
    draft = Draft(kind="upload", filename="x", source_file="x", document_sha256="d" * 64, media_type="x/y",
                  keep_for=timedelta(days=1), run_id=UUID(run_id))
    keys = StorageKeys(recipient=X25519Identity.from_text(identity).recipient)
    async with Catalog.open(database_url) as catalog:
        custody = Custody(catalog=catalog, backend=open_backend(url, json.loads(options)), keys=keys)
        await custody.take(draft, Path(source))

asyncio.run(main())
"""


@pytest.mark.parametrize("parts", [1, 2])
async def test_what_a_writer_that_was_killed_in_mid_upload_has_sent_is_unreadable_and_swept(
    direct: Place, proxy: FaultProxy, s3_server: S3Server, s3_bucket: str, database_url: str, source: Path, parts: int
) -> None:
    """SIGKILL while parts are on the server and the upload is not complete."""
    run_id = uuid4()
    options: dict[str, Any] = {**s3_server.options, "endpoint_url": proxy.address}
    arguments = (database_url, f"s3://{s3_bucket}/custody", json.dumps(options), str(source), str(run_id))
    # The upload hangs before its end, so that the kill comes in the middle of it, and not after.
    proxy.inject("CompleteMultipartUpload", BLACK_HOLE)
    writer = await asyncio.create_subprocess_exec(sys.executable, "-c", _WRITER, *arguments, IDENTITY.text)
    try:
        await eventually(lambda: proxy.count("UploadPart") >= parts)
    finally:
        writer.send_signal(signal.SIGKILL)
        await writer.wait()
    # Swift lists what has just been made a moment later.
    await eventually(lambda: len(list(direct.backend.leftovers())) == 1)
    assert list(direct.backend.paths()) == []
    assert await direct.states() == {"pending": 1}

    assert await direct.custody.recover_run(run_id) == 1
    await eventually(direct.nothing_lies_in_the_storage)
    assert await direct.states() == {}
