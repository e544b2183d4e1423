"""The documents of a run exist while their shard does."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from blocks.settings import Settings
from flows.processing import results
from flows.processing.batch import NAMED_CONCURRENT, NAMED_DOCUMENTS, Batch, ShardPlan
from tasks.document import Document
from tasks.sources import Source, SourceList

STAGES = 5


def batch_of(count: int, tmp_path: Path) -> Batch:
    paths = [Path(f"/in/{number}.md") for number in range(count)]
    found = (Source(text=str(path), path=path, name=path.name) for path in paths)
    return Batch(SourceList(found, scratch=tmp_path), STAGES)


def context() -> Any:
    return SimpleNamespace(events=SimpleNamespace(leave=lambda _: None))


def settings(shard_size: int, at_once: int) -> Settings:
    return cast("Settings", SimpleNamespace(shard_size=shard_size, shards_at_once=at_once))


@pytest.mark.parametrize("count", [1, NAMED_DOCUMENTS, NAMED_DOCUMENTS + 1, 80, 81, 1000, 1003])
def test_shards_are_of_even_size_and_have_each_document_once_in_order(count: int, tmp_path: Path) -> None:
    batch = batch_of(count, tmp_path)
    plan = ShardPlan.of(count, settings(40, 2))
    shards = list(batch.shards(plan, context()))
    documents = [document for shard in shards for document in shard.documents]
    assert [document.index for document in documents] == list(range(count))
    assert [document.label for document in documents] == [f"{number}.md" for number in range(count)]
    assert len(shards) == plan.shards
    sizes = {len(shard.documents) for shard in shards}
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= 40
    assert plan.concurrent == (NAMED_CONCURRENT if count <= NAMED_DOCUMENTS else 2)


def test_a_shard_that_has_ended_leaves_memory_but_for_what_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "WHOLE", 10)
    monkeypatch.setattr(results, "FIRST", 3)
    batch = batch_of(400, tmp_path)
    alive: list[weakref.ref[Document]] = []
    most = 0
    for shard in batch.shards(ShardPlan.of(400, settings(40, 2)), context()):
        alive += [weakref.ref(document) for document in shard.documents]
        batch.end(shard)
        del shard
        gc.collect()
        most = max(most, sum(one() is not None for one in alive))
    assert len(alive) == 400
    assert most == 3
    assert len(batch.results.documents) == 3
