"""Prefect tasks that keep their results in the `artifact-store` block, on a real server."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect import flow, task
from prefect.cache_policies import INPUTS

from blocks.storage import open_backend
from blocks.storage.block import ArtifactStore


@pytest.fixture
async def saved(prefect_server: str, tmp_path: Path) -> ArtifactStore:
    """A block document on the server, with a secret option; loaded as another process would."""
    del prefect_server
    name = f"test-{uuid4().hex[:8]}"
    block = ArtifactStore.model_validate({"url": str(tmp_path / "store"), "options": {"password": "hunter2"}})
    await block.save(name)  # type: ignore[misc]
    return await ArtifactStore.aload(name)


async def test_a_saved_block_comes_back_with_its_secrets(saved: ArtifactStore, tmp_path: Path) -> None:
    assert saved.url == str(tmp_path / "store")
    assert saved.options.get_secret_value() == {"password": "hunter2"}


async def test_a_result_is_kept_in_the_block_and_found_again(saved: ArtifactStore, tmp_path: Path) -> None:
    calls: list[int] = []

    @task(persist_result=True, result_storage=saved, cache_policy=INPUTS)
    async def double(number: int) -> int:
        calls.append(number)
        return 2 * number

    @task(persist_result=True, result_storage=saved, result_storage_key="named/{parameters[number]}.json")
    def triple(number: int) -> int:
        return 3 * number

    @flow
    async def run() -> list[Any]:
        return [await double(21), await double(21), triple(7)]

    assert await run() == [42, 42, 21]
    assert calls == [21]
    keys = sorted(open_backend(str(tmp_path / "store")).paths())
    assert len(keys) == 2
    assert "prefect-results/named/7.json" in keys
    assert await run() == [42, 42, 21]
    assert calls == [21]


async def test_a_result_key_that_climbs_writes_nothing_outside_the_store(saved: ArtifactStore, tmp_path: Path) -> None:
    @task(persist_result=True, result_storage=saved, result_storage_key="../../escaped")
    async def climb() -> str:
        return "x"

    @flow
    async def run() -> str:
        return await climb()

    assert await run() == "x"
    assert files_in(tmp_path) == []


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if not path.is_dir()]
