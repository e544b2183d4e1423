"""The `artifact-store` block as Prefect's result storage: from a loop and without one, on every kind of storage."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import cloudpickle
import pytest
from prefect.filesystems import WritableFileSystem
from prefect.results import ResultStore
from pydantic import ValidationError

from blocks.errors import BlobMissing, InvalidSettings, UnsafeKey
from blocks.storage import open_backend
from blocks.storage.block import ArtifactStore
from tests.unit.test_storage_keys import HOSTILE_KEYS

SECRET = "hunter2"


@pytest.fixture(params=["path", "file-url", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    url = {
        "path": str(tmp_path / "store"),
        "file-url": f"file://{tmp_path}/store",
        "memory": f"memory://{uuid4().hex}",
    }[request.param]
    return ArtifactStore(url=url)


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if not path.is_dir()]


@pytest.mark.parametrize("content", [b"", b"result", os.urandom(3_000_000)], ids=len)
async def test_a_result_is_written_and_read_from_a_loop(store: ArtifactStore, content: bytes) -> None:
    await store.awrite_path("key", content)
    assert await store.aread_path("key") == content
    # Without the "a", Prefect's dispatch gives the same coroutines where a loop runs.
    await store.write_path("other", content)  # type: ignore[misc]
    assert await store.read_path("other") == content  # type: ignore[misc]


@pytest.mark.parametrize("content", [b"", b"result", os.urandom(3_000_000)], ids=len)
def test_a_result_is_written_and_read_without_a_loop(store: ArtifactStore, content: bytes) -> None:
    store.write_path("key", content)
    assert store.read_path("key") == content


async def test_a_later_result_replaces_an_earlier_one(store: ArtifactStore) -> None:
    await store.awrite_path("folder/key", b"earlier and longer")
    await store.awrite_path("folder/key", b"later")
    assert await store.aread_path("folder/key") == b"later"


async def test_a_result_that_is_not_there_is_told(store: ArtifactStore) -> None:
    with pytest.raises(BlobMissing):
        await store.aread_path("missing")


async def test_a_hostile_result_key_is_refused(store: ArtifactStore, tmp_path: Path, subtests: pytest.Subtests) -> None:
    for name, key in HOSTILE_KEYS.items():
        with subtests.test(name):
            for attempt in (store.awrite_path(key, b"evil"), store.aread_path(key)):
                with pytest.raises(UnsafeKey):
                    await attempt
            assert files_in(tmp_path) == []


async def test_results_lie_apart_from_artifacts(store: ArtifactStore) -> None:
    await store.awrite_path("outputs/3f/3f2a", b"a result with the name of an artifact")
    store.backend.publish("outputs/3f/3f2a", [b"artifact"])
    assert await store.aread_path("outputs/3f/3f2a") == b"a result with the name of an artifact"
    assert sorted(store.backend.paths()) == ["outputs/3f/3f2a", "prefect-results/outputs/3f/3f2a"]


async def test_many_results_at_once(store: ArtifactStore) -> None:
    await asyncio.gather(*(store.awrite_path(f"{number}", f"{number}".encode()) for number in range(50)))
    assert await asyncio.gather(*(store.aread_path(f"{number}") for number in range(50))) == [
        f"{number}".encode() for number in range(50)
    ]


def test_one_block_serves_many_threads(store: ArtifactStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: store.write_path("same", f"{number}".encode() * 10_000), range(40)))
    assert len(set(store.read_path("same"))) <= 2  # one writer's digits, never a mixture


async def test_prefect_keeps_and_finds_its_records_in_the_block(store: ArtifactStore) -> None:
    store._block_document_id = uuid4()  # as a saved block has it; Prefect gives keys of unsaved ones no meaning
    results = ResultStore(result_storage=store, cache_result_in_memory=False)
    assert not await results.aexists("report")
    await results.awrite({"pages": 3}, key="report")
    assert await results.aexists("report")
    assert (await results.aread("report")).result == {"pages": 3}


def test_prefect_keeps_and_finds_its_records_without_a_loop(store: ArtifactStore) -> None:
    store._block_document_id = uuid4()
    results = ResultStore(result_storage=store, cache_result_in_memory=False)
    assert not results.exists("report")
    results.write({"pages": 3}, key="report")
    assert results.exists("report")
    assert results.read("report").result == {"pages": 3}


def test_the_block_is_what_prefect_asks_of_a_result_storage(store: ArtifactStore) -> None:
    assert isinstance(store, WritableFileSystem)
    assert {"read-path", "write-path"} <= set(store.get_block_capabilities())
    assert ArtifactStore.get_block_type_slug() == "artifact-store"


def test_the_backend_is_that_of_the_url(tmp_path: Path) -> None:
    ArtifactStore(url=str(tmp_path)).backend.publish("outputs/x", [b"x"])
    with open_backend(str(tmp_path)).open("outputs/x") as stream:
        assert stream.read() == b"x"


def test_the_block_goes_to_another_process_and_still_works(store: ArtifactStore) -> None:
    store.write_path("key", b"content")
    again = cloudpickle.loads(cloudpickle.dumps(store))
    assert again.read_path("key") == b"content"


def test_options_stay_secret(tmp_path: Path) -> None:
    store = ArtifactStore.model_validate({"url": str(tmp_path), "options": {"password": SECRET}})
    assert store.options.get_secret_value() == {"password": SECRET}
    for shown in (repr(store), str(store), store.model_dump_json(), str(store.model_dump())):
        assert SECRET not in shown


@pytest.mark.parametrize("url", ["nosuchscheme://x", ""])
def test_a_url_without_a_driver_is_told_when_it_is_used(url: str) -> None:
    with pytest.raises(InvalidSettings):
        _ = ArtifactStore(url=url).backend


def test_a_block_without_a_url_is_refused() -> None:
    with pytest.raises(ValidationError):
        ArtifactStore.model_validate({})
