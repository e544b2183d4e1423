"""The documents of a run: made from the sources shard by shard when their shard begins, and let go when it has ended.

So the memory of a run depends on the shards that are under way, and not on the number of its documents.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from blocks.naming import clean_display_name
from blocks.settings import Settings
from flows.processing.results import RunResults
from tasks.document import Document
from tasks.intake import forget_files
from tasks.run_context import RunContext, Shard
from tasks.sources import SourceList, display_name
from tasks.step_counts import StepCounts

# Up to this many documents each is a shard of its own, so that Prefect's UI shows every document by name.
NAMED_DOCUMENTS = 16
# Concurrent shards of that kind: enough to keep the worker processes busy.
NAMED_CONCURRENT = 8


@dataclass(frozen=True, kw_only=True)
class ShardPlan:
    """How many shards a run has, of even size, and how many of them are processed concurrently."""

    shards: int
    concurrent: int

    @classmethod
    def of(cls, documents: int, settings: Settings) -> ShardPlan:
        """Return the plan for that number of documents."""
        if documents <= NAMED_DOCUMENTS:
            return cls(shards=documents, concurrent=NAMED_CONCURRENT)
        # A multiple of the concurrency, so that all of it is used until the end.
        concurrent = settings.shards_at_once
        shards = -(-documents // (settings.shard_size * concurrent)) * concurrent
        return cls(shards=shards, concurrent=concurrent)


class Batch:
    """The documents of one run, as sources before their shard and as results after it."""

    def __init__(self, sources: SourceList, stages: int) -> None:
        self.sources = sources
        self.counts = StepCounts(documents=len(sources), stages=stages)
        self.results = RunResults(len(sources))

    def shards(self, plan: ShardPlan, context: RunContext) -> Iterator[Shard]:
        """Yield the shards one by one, each with its documents; take them from here when they can be processed."""
        for number in range(plan.shards):
            start, stop = (-(-len(self.sources) * one // plan.shards) for one in (number, number + 1))
            if start < stop:
                # Not kept in a variable: the documents belong to their shard alone.
                yield Shard(self._documents(start, stop), context, number=number + 1, of=plan.shards)

    def end(self, shard: Shard) -> None:
        """Keep what is needed of a shard's documents, and remove their local copies."""
        for document in shard.documents:
            forget_files(document)
            shard.context.events.leave(document)
        self.results.add(shard.documents)
        # Contexts of Prefect's tasks have the shard, and timers that were cancelled keep these until their time.
        shard.documents = []

    def _documents(self, start: int, stop: int) -> list[Document]:
        return [
            Document(
                index=index,
                source=source,
                label=clean_display_name(source.name or display_name(source.text)),
                counts=self.counts,
            )
            for index, source in enumerate(self.sources[start:stop], start)
        ]
