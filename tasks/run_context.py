"""What the tasks of one run share, and the state of the documents they work on.

Plain mutable objects of one process, handed from task to task: the record that lasts is the catalogue's. Prefect sees
them as opaque parameters, so nothing here is copied, hashed or sent to its server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from blocks.catalog import Artifact, Connection, OutputLocks
from blocks.custody import Custody
from blocks.errors import Transient
from blocks.webhooks.event_links import EventLinks
from blocks.webhooks.outbox import Event, add_events, make_available_and_tell
from tasks.contract import Services, Stage, StageOptions
from tasks.document import Document
from tasks.document_events import DocumentEvents
from tasks.pool import WorkerPool


@dataclass(frozen=True, kw_only=True, eq=False)
class RunContext:
    """What one run works with."""

    run_id: UUID
    custody: Custody
    locks: OutputLocks
    pool: WorkerPool
    services: Services
    scratch: Path
    stages: tuple[Stage[Any], ...]
    options: Mapping[str, StageOptions]
    reuse: bool
    keep_for: timedelta
    max_file_bytes: int
    events: DocumentEvents
    links: EventLinks
    # Outputs being made in this run, by stage key: the same content under two names is worked on once.
    in_progress: dict[str, asyncio.Future[Artifact]] = field(default_factory=dict[str, "asyncio.Future[Artifact]"])

    async def record_reuse(self, connection: Connection, artifact: Artifact, source_file: str) -> None:
        """Note that this run delivers, for *source_file*, a file that was there already. Idempotent."""
        await self.custody.catalog.record_use(
            connection, run_id=self.run_id, artifact=artifact, source_file=source_file, reused=True
        )

    async def make_available_and_tell(
        self, connection: Connection, artifact: Artifact, events: Sequence[Event]
    ) -> Artifact:
        """Make a file available and record what consumers are told of it: both or neither."""
        return await make_available_and_tell(self.custody.catalog, connection, artifact, events, self.links.to_payload)

    async def tell(self, connection: Connection, events: Sequence[Event]) -> None:
        """Record what consumers are told, in the caller's transaction. Idempotent by the events' ids."""
        await add_events(connection, events, self.links.to_payload)


class Shard:
    """The documents that one stage task works on together, and the run they belong to.

    A plain class, not a dataclass: Prefect walks through dataclasses that are given to a task.
    """

    def __init__(self, documents: list[Document], context: RunContext) -> None:
        self.documents = documents
        self.context = context

    @property
    def alive(self) -> list[Document]:
        """Those that have not failed."""
        return [document for document in self.documents if not document.failed]

    @property
    def label(self) -> str:
        """The document's name, or how many there are: what a person sees in the name of a task run."""
        if len(self.documents) == 1:
            return self.documents[0].label
        return f"({len(self.documents)} documents)"

    def forget_transient_errors(self, *, where: str) -> None:
        """Let documents that failed in *where* with an error that may pass take part in it again."""
        for document in self.documents:
            if document.failed_in == where and isinstance(document.error, Transient):
                document.error = document.failed_in = None
