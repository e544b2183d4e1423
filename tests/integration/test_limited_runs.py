"""Runs respect Prefect's global concurrency limits for the language model and for the storage, together with others."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.states import State
from pydantic import SecretStr

from blocks.language_model.block import LanguageModel
from blocks.prefect_blocks import BLOCK_NAME
from blocks.settings import current_settings
from blocks.storage.s3.backend import S3Backend
from flows.process import process_documents
from tests.integration.conftest import Workspace
from tests.integration.language_model_server import Reply, Server
from tests.s3 import S3Server
from tests.shared_servers import PREFECT_ALONE

# A test saves the block that names the language model, and limits that hold for every run.
pytestmark = PREFECT_ALONE

NOTHING_FOUND = Reply({"facts": [], "entities": []}, hang_seconds=0.05)
# Some passages each, so that one document alone would have several requests under way.
TEXT = "\n\n".join(
    f"# Depot {n}\n\n" + f"The depot of line {n} holds {n + 2} railcars of steel. " * 40 for n in range(8)
)


@pytest.fixture
async def limits(client: PrefectClient) -> AsyncIterator[None]:
    """Limits of one request and one transfer at a time, for all runs of the server."""
    names = ("waybill-language-model", "waybill-storage")
    for name in names:
        await client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=1))
    yield
    assert [(await client.read_global_concurrency_limit_by_name(name)).active_slots for name in names] == [0, 0]
    for name in names:
        await client.delete_global_concurrency_limit_by_name(name)


@pytest.fixture
def model(prefect_server: str) -> Iterator[Server]:
    del prefect_server
    with Server() as running:
        running.replies = [NOTHING_FOUND]
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        block = LanguageModel(base_url=running.url, model="stub-1", api_key=SecretStr("none"))
        block.save(BLOCK_NAME, overwrite=True, _sync=True)
        yield running
        LanguageModel.delete(BLOCK_NAME, _sync=True)
        running.stopping.set()
        running.shutdown()
        thread.join()


async def process(*sources: Path, **more: Any) -> State[Any]:
    run = process_documents(sources=[str(one) for one in sources], return_state=True, **more)
    return await cast("Awaitable[State[Any]]", run)


async def ask(workspace: Workspace, run: str) -> State[Any]:
    documents = [workspace.write(f"{run}-{n}.md", f"{TEXT}\n\nOf {run} {n}.\n") for n in range(2)]
    options = {"chunker": {"embeddings": False}, "fact_generator": {"batch_tokens": 256}}
    return await process(*documents, stages=[1, 2, 3, 4], options=options)


async def test_runs_together_ask_the_model_as_often_at_a_time_as_the_limit_says(
    workspace: Workspace, model: Server, limits: None
) -> None:
    states = await asyncio.gather(ask(workspace, "first"), ask(workspace, "second"))
    assert [state.type.value for state in states] == ["COMPLETED", "COMPLETED"]
    assert len(model.requests) > 8
    assert model.most_at_once == 1


async def test_without_a_limit_one_document_has_several_requests_under_way(workspace: Workspace, model: Server) -> None:
    assert (await ask(workspace, "alone")).is_completed()
    assert model.most_at_once > 1


async def test_runs_together_use_the_storage_as_often_at_a_time_as_the_limit_says(
    workspace: Workspace, s3_server: S3Server, s3_bucket: str, limits: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYBILL_STORAGE_URL", f"s3://{s3_bucket}/store")
    monkeypatch.setenv("WAYBILL_STORAGE_OPTIONS", json.dumps(dict(s3_server.options)))
    current_settings.cache_clear()
    lock, under_way, seen = threading.Lock(), [0], list[int]()
    publish = S3Backend.publish

    def counted(self: S3Backend, *arguments: Any, **more: Any) -> Any:
        with lock:
            under_way[0] += 1
            seen.append(under_way[0])
        try:
            return publish(self, *arguments, **more)
        finally:
            with lock:
                under_way[0] -= 1

    monkeypatch.setattr(S3Backend, "publish", counted)
    documents = [workspace.write(f"{n}.md", f"# Report {n}\n") for n in range(8)]
    states = await asyncio.gather(process(*documents[:4], stages=[6]), process(*documents[4:], stages=[6]))
    assert [state.type.value for state in states] == ["COMPLETED", "COMPLETED"]
    assert len(seen) >= 16 and max(seen) == 1
