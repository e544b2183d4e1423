"""What the tasks of one run share: its context, and the shards of documents that they work on.

Plain mutable objects of one process, passed from task to task; the lasting record is the catalogue's. Prefect treats
them as opaque parameters, so nothing here is copied, hashed or sent to its server.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID

from blocks.catalog import Artifact, Connection, OutputLocks
from blocks.catalog.keeping import extend_all
from blocks.custody import Custody
from blocks.custody.committer import Committer
from blocks.errors import Transient, WaybillError
from blocks.runs.global_limit import GlobalLimit
from blocks.webhooks.event_links import EventLinks
from blocks.webhooks.outbox import Event, add_events, make_available_with_events
from tasks.contract import Services, Stage, StageOptions
from tasks.document import Document
from tasks.document_events import DocumentEvents
from tasks.job import StageRunner
from tasks.remote.runner import RemoteRunner
from tasks.sources import SourceReader

# Outputs that are remembered after they were made. A shard looks into the catalogue milliseconds before it begins to
# make what it has not found there; what another shard makes in between is among these.
LAST_MADE = 1000


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of Prefect for all machines, which it may not have: for the language model, and for S3 and its like."""

    language_model: GlobalLimit
    storage: GlobalLimit


class OutputsUnderWay:
    """The outputs that a run is making, by stage key: the same content under two names is worked on once.

    The last `LAST_MADE` that were made are kept too. Earlier ones are found in the catalogue, so that the memory of a
    run does not grow with its documents.
    """

    def __init__(self) -> None:
        self._by_key: dict[str, asyncio.Future[Artifact]] = {}
        self._made: deque[str] = deque()

    def __contains__(self, key: str) -> bool:
        return key in self._by_key

    def get(self, key: str) -> asyncio.Future[Artifact] | None:
        """Return the future of the output with *key*, if it is being made or was made last."""
        return self._by_key.get(key)

    @asynccontextmanager
    async def making(self, key: str) -> AsyncGenerator[asyncio.Future[Artifact]]:
        """Announce that the output with *key* is being made; the block sets the future, which fails where it does."""
        made: asyncio.Future[Artifact] = asyncio.get_running_loop().create_future()
        self._by_key[key] = made
        try:
            yield made
        except BaseException as error:
            # A retry may succeed, so the failure is passed to the documents that wait now and is then forgotten.
            del self._by_key[key]
            if isinstance(error, WaybillError):
                made.set_exception(error)
                made.exception()  # mark as retrieved: there may be no twin to do it
            else:
                made.cancel()
            raise
        self._made.append(key)
        if len(self._made) > LAST_MADE:
            del self._by_key[self._made.popleft()]


@dataclass(frozen=True, kw_only=True, eq=False)
class RunContext:
    """What one run works with."""

    run_id: UUID
    custody: Custody
    committer: Committer[Event]
    locks: OutputLocks
    runner: StageRunner
    # By stage name, for the stages that this run was asked to run on remote workers.
    remote: Mapping[str, RemoteRunner]
    sources: SourceReader
    services: Services
    scratch: Path
    stages: tuple[Stage[Any], ...]
    options: Mapping[str, StageOptions]
    reuse: bool
    upload_period: timedelta
    output_period: timedelta
    # What this run was asked to keep its files for; what it reuses stays at least that long.
    keep_for: timedelta | None
    max_file_bytes: int
    events: DocumentEvents
    links: EventLinks
    limits: Limits
    outputs: OutputsUnderWay = field(default_factory=OutputsUnderWay)

    @cached_property
    def plain_options(self) -> Mapping[str, dict[str, Any]]:
        """The options of each stage as plain JSON, by its name. Shared by all jobs, which leave them as they are."""
        return {name: options.model_dump(mode="json") for name, options in self.options.items()}

    async def record_reuses(self, connection: Connection, uses: Sequence[tuple[Artifact, str]]) -> None:
        """Record that this run delivers files that were stored already, each for its source. Idempotent.

        With `keep_for` the files then stay for that long at least.
        """
        files = [(artifact.file_id, source_file) for artifact, source_file in uses]
        await self.custody.catalog.record_uses(connection, run_id=self.run_id, uses=files, reused=True)
        if self.keep_for is not None:
            await extend_all(connection, [file_id for file_id, _ in files], self.keep_for)

    async def deliver_stored(self, uses: Sequence[tuple[Artifact, str]], events: Sequence[Event]) -> None:
        """Record, in one transaction, that this run delivers stored files, each for its source, and the events."""
        async with self.custody.catalog.transaction() as connection:
            await self.record_reuses(connection, uses)
            await self.record_events(connection, events)
        self.events.confirm(events)

    async def keep(self, artifact: Artifact, events: Sequence[Event]) -> Artifact:
        """Make a stored file available and record its events, both or neither, together with other files of the run."""
        made = await self.committer.keep(artifact, events)
        self.events.confirm(events)
        return made

    async def record_events(self, connection: Connection, events: Sequence[Event]) -> None:
        """Record *events* in the caller's transaction. Idempotent by their ids."""
        await add_events(connection, events, self.links.to_payload)


def committer_of(custody: Custody, links: EventLinks) -> Committer[Event]:
    """Return what makes the files of a run available, with their events."""

    async def record(
        connection: Connection, files: Sequence[tuple[Artifact, Sequence[Event]]]
    ) -> Mapping[UUID, Artifact]:
        return await make_available_with_events(custody.catalog, connection, files, links.to_payload)

    return Committer(custody, record)


class Shard:
    """The documents that one stage task works on, and the run that they belong to.

    A plain class, not a dataclass: Prefect walks through dataclasses that are passed to a task.
    """

    def __init__(self, documents: list[Document], context: RunContext, *, number: int = 1, of: int = 1) -> None:
        self.documents = documents
        self.context = context
        self._place = f"shard {number} of {of}, "

    @property
    def alive(self) -> list[Document]:
        """The documents that have not failed."""
        return [document for document in self.documents if not document.failed]

    @property
    def label(self) -> str:
        """The document's name, or how many there are: what people see in the name of a task run."""
        if len(self.documents) == 1:
            return self.documents[0].label
        return f"({self._place}{len(self.documents)} documents)"

    def forget_transient_errors(self, *, where: str) -> None:
        """Let documents that failed in *where* with a transient error take part in it again."""
        for document in self.documents:
            if document.failed_in == where and isinstance(document.error, Transient):
                document.retry()
