"""Whole runs of the retention on a storage that refuses deletions: of one object, of all, of a disk that failed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from blocks.access import Actor
from blocks.catalog import Artifact, Catalog
from blocks.errors import ArtifactGone, InvalidSettings
from blocks.retention import RetentionPolicy
from blocks.webhooks.event_links import EventLinks
from tasks.expiry import Report, run_retention
from tests.fault.mounts import can_mount, read_only
from tests.integration.custody_place import Place
from tests.integration.retention_files import expire, local_place, stored
from tests.s3 import S3Server
from tests.s3.fault_proxy import (
    Fault,
    FaultProxy,
    errors_of_keys,
    keys_of_deletion,
    running_fault_proxy,
    wait_until,
)
from tests.stored import stored_paths

# Those with bytes, and all: the S3 server of the tests takes minutes to store a thousand on a busy machine.
STORED, FILES = 20, 1000
_ROWS = """
    insert into artifacts (file_id, state, kind, filename, source_file, document_sha256, sha256, stored_sha256, size,
                           stored_size, location, media_type, expires_at)
    select id, 'available', 'upload', 'report.pdf', '/docs/report.pdf', decode(repeat('d', 64), 'hex'),
           decode(repeat('a', 64), 'hex'), decode(repeat('b', 64), 'hex'), 1, 1,
           'uploads/' || left(id::text, 2) || '/' || replace(id::text, '-', ''),
           'application/pdf', clock_timestamp() - interval '1 second'
      from (select gen_random_uuid() as id from generate_series(1, %s)) as ids
"""

local = local_place


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[FaultProxy]:
    with running_fault_proxy(s3_server.address) as running:
        yield running


@pytest.fixture
async def direct(database_url: str, s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> AsyncIterator[Place]:
    """A bucket, for looking at what is there."""
    async with Catalog.open(database_url) as catalog:
        yield Place.at(catalog, tmp_path, url=f"s3://{s3_bucket}/store", options=s3_server.options)


@pytest.fixture
def place(direct: Place, proxy: FaultProxy, s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> Place:
    """The same bucket, through the proxy that fails."""
    options = {**s3_server.options, "endpoint_url": proxy.address}
    return Place.at(direct.catalog, tmp_path, url=f"s3://{s3_bucket}/store", options=options)


async def run(place: Place) -> Report:
    return await run_retention(place.custody, RetentionPolicy(), by=Actor(actor="cli:tester"), links=EventLinks(None))


async def announce(place: Place, count: int) -> None:
    """Write the rows of expired files whose bytes are gone: to delete a missing object is success."""
    async with place.catalog.connection() as connection:
        await connection.execute(_ROWS.encode(), [count])


def refusing(artifact: Artifact, others: list[Artifact], direct: Place) -> Fault:
    """What a server answers that deletes all objects of a request but that of *artifact*; only *others* have some."""
    refused = f"store/{artifact.location}"
    there = {path for one in (artifact, *others) for path in stored_paths(one)}

    def answer(body: bytes) -> str:
        keys = keys_of_deletion(body)
        asked = {key.removeprefix("store/") for key in keys if key != refused}
        direct.backend.delete_many(sorted(asked & there))
        return errors_of_keys({refused: "AccessDenied"} if refused in keys else {})

    return Fault(answer_by=answer)


async def test_one_of_a_thousand_that_the_server_refuses_is_named_and_goes_with_the_next_run(
    place: Place, direct: Place, proxy: FaultProxy
) -> None:
    await announce(direct, FILES - STORED)
    odd, *others = await stored(direct, STORED)
    await expire(direct, odd, *others)
    proxy.inject("DeleteObjects", refusing(odd, others, direct))
    report = await run(place)
    assert (report.removed_files, report.failed_files, report.is_complete) == (FILES - 1, 1, False)
    (failed,) = report.view()["failed"]
    assert (failed["file_id"], failed["rule"]) == (str(odd.file_id), "expired")
    assert f"cannot delete {odd.location}: the S3 server answered AccessDenied" in failed["error"]
    assert report.failed_share == 1 / FILES
    assert await direct.states() == {"deleted": FILES - 1, "deleting": 1}
    # Swift lists what has just gone for a moment more when it is busy.
    wait_until(lambda: list(direct.backend.paths()) == [odd.location])

    again = await run(place)
    assert (again.failed_files, again.failed_again, again.plan.files) == (1, 1, 0)
    proxy.heal()
    last = await run(place)
    assert (last.finished, last.failed_files, last.is_complete) == (1, 0, True)
    assert await direct.states() == {"deleted": FILES}
    wait_until(direct.nothing_lies_in_the_storage)


async def test_a_bucket_that_takes_no_deletions_is_cleared_when_it_does_again(
    place: Place, direct: Place, proxy: FaultProxy
) -> None:
    *files, stays = await stored(direct, 6)
    await expire(direct, *files)
    proxy.inject("DeleteObjects", Fault(refuse_with=(403, "AccessDenied")))
    await fails_twice(place, files)
    assert await direct.custody.read(stays) == b"content 5"
    proxy.heal()
    await is_finished(place, stays)


if can_mount():

    async def test_a_disk_that_became_read_only_is_cleared_when_it_is_mended(local: Place) -> None:
        *files, stays = await stored(local, 6)
        await expire(local, *files)
        with read_only(local.folder):
            await fails_twice(local, files)
            assert await local.custody.read(stays) == b"content 5"
        await is_finished(local, stays)


async def fails_twice(place: Place, files: list[Artifact]) -> None:
    """The storage takes no deletion: nothing that has expired is readable, and no bytes are lost track of."""
    for _ in range(2):
        with pytest.raises(InvalidSettings, match=r"cannot (delete|remove) blobs"):
            await run(place)
        assert await place.states() == {"available": 1, "deleting": len(files)}
        for artifact in files:
            with pytest.raises(ArtifactGone):
                await place.custody.get(artifact.file_id)
        # Swift lists what has just been made a moment later when it is busy.
        wait_until(lambda: len(place.blobs()) == len(files) + 1)


async def is_finished(place: Place, stays: Artifact) -> None:
    """The next run finishes what those that failed have left."""
    report = await run(place)
    assert (report.finished, report.failed_files, report.plan.files, report.is_complete) == (5, 0, 0, True)
    assert await place.states() == {"available": 1, "deleted": 5}
    wait_until(lambda: len(list(place.backend.paths())) == len(stored_paths(stays)))
    assert place.blobs() == [stays.location]
