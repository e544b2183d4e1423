"""A worker process seals and stores its output itself, with the public key alone; what it leaves can be undone."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from blocks.catalog import Artifact, Catalog
from blocks.errors import StageFailed, StageOutOfMemory
from tasks.contract import Services
from tasks.job import Job, JobResult
from tests.integration.custody_place import Place, draft
from tests.integration.test_pool import attempts, begun, hostile_pool, job
from tests.storage_keys import IDENTITY


@pytest.fixture(params=["local", "memory"])
async def place(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> AsyncIterator[Place]:
    url = f"memory://{uuid4()}" if request.param == "memory" else None
    async with Catalog.open(database_url) as catalog:
        yield Place.at(catalog, tmp_path / "store", url=url)


async def kept(place: Place, folder: Path, text: str) -> Job:
    """A job whose output the worker is to store."""
    (reservation,) = await place.custody.reserve([draft(kind="stage_output")])
    described = replace(reservation.draft, report={"stage_version": "1"})
    return replace(job(folder, text), keep=place.custody.order(reservation, described, folder / f"{text}.sealed"))


async def available(place: Place, result: JobResult) -> Artifact:
    assert result.filled is not None
    artifact = await place.custody.finish(result.filled)
    place.backend.sync_folders([artifact.location])
    return await place.custody.make_available(artifact)


async def undo(place: Place, given: Job) -> None:
    assert given.keep is not None
    await place.custody.undo(given.keep.reservation.file_id, given.keep.reservation.location)


async def test_what_a_worker_has_stored_becomes_readable_with_its_report(place: Place, tmp_path: Path) -> None:
    async with hostile_pool(tmp_path, sealing=place.custody.sealing) as pool:
        jobs = [await kept(place, tmp_path, f"text {number}") for number in range(20)]
        results = await asyncio.gather(*(pool.run(one) for one in jobs))
    assert await place.states() == {"pending": 20}
    for one, result in zip(jobs, results, strict=True):
        artifact = await available(place, result)
        assert await place.custody.read(artifact) == one.target.read_bytes() == one.target.stem.upper().encode()
        assert artifact.metadata == result.metadata
        assert artifact.report == {
            "stage_version": "1",
            "seconds": round(result.seconds, 4),
            "worker_peak_memory_bytes": result.peak_memory_bytes,
            "warnings": [],
        }
    assert len(place.blobs()) == 20


async def test_a_worker_has_neither_identity_nor_credentials(place: Place, tmp_path: Path) -> None:
    services = Services(home=tmp_path, sealing=place.custody.sealing)
    given = pickle.dumps((services, await kept(place, tmp_path, "text")))
    assert place.custody.keys.identities == (IDENTITY,)
    assert IDENTITY.recipient.text.encode() in given
    for secret in (IDENTITY.text.encode(), IDENTITY._secret_key.private_bytes_raw(), b"AGE-SECRET-KEY"):
        assert secret not in given
    assert b"postgresql" not in given
    assert b"memory://" not in given


async def test_a_large_output_is_left_to_the_process_of_the_run(place: Place, tmp_path: Path) -> None:
    async with hostile_pool(tmp_path, sealing=place.custody.sealing) as pool:
        result = await pool.run(await kept(place, tmp_path, "bulky"))
    assert result.filled is None
    assert (tmp_path / "bulky.out").stat().st_size == 2 * 2**20
    assert place.nothing_lies_in_the_storage()


async def test_a_worker_that_is_killed_after_it_has_stored_repeats_the_job_and_leaves_one_file(
    place: Place, tmp_path: Path
) -> None:
    async with hostile_pool(tmp_path, sealing=place.custody.sealing) as pool:
        result = await pool.run(await kept(place, tmp_path, "vanish once"))
    assert await place.states() == {"pending": 1}
    artifact = await available(place, result)
    assert list(artifact.warnings) == ["repeated: the first worker process died (exit code -9)"]
    assert await place.custody.read(artifact) == b"VANISH ONCE"
    assert place.blobs() == [artifact.location]
    assert not list(place.backend.leftovers())


@pytest.mark.parametrize(("behaviour", "expected"), [("vanish always", StageOutOfMemory), ("raise", StageFailed)])
async def test_a_job_that_fails_leaves_nothing_once_its_reservation_is_undone(
    place: Place, tmp_path: Path, behaviour: str, expected: type[Exception]
) -> None:
    async with hostile_pool(tmp_path, sealing=place.custody.sealing) as pool:
        given = await kept(place, tmp_path, behaviour)
        with pytest.raises(expected):
            await pool.run(given)
        assert await place.states() == {"pending": 1}
        await undo(place, given)
    assert await place.states() == {}
    assert place.nothing_lies_in_the_storage()


async def test_a_job_whose_caller_is_cancelled_stores_nothing_afterwards(place: Place, tmp_path: Path) -> None:
    async with hostile_pool(tmp_path, sealing=place.custody.sealing, workers=1) as pool:
        (tmp_path / "go linger first").touch()
        await pool.run(job(tmp_path, "linger first"))
        given = [await kept(place, tmp_path, text) for text in ("linger long", "quick", "behind")]
        long, quick, behind = [asyncio.ensure_future(pool.run(one)) for one in given]
        await begun(tmp_path, 2)
        quick.cancel()
        long.cancel()
        ended = await asyncio.gather(long, quick, return_exceptions=True)
        assert [type(one) for one in ended] == [asyncio.CancelledError] * 2
        for one in given[:2]:
            await undo(place, one)
        (tmp_path / "go").touch()
        artifact = await available(place, await behind)
    assert not artifact.warnings
    assert await place.states() == {"available": 1}
    assert place.blobs() == [artifact.location]
    assert [text for text, _ in attempts(tmp_path)] == ["linger first", "linger long"]
