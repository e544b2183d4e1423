"""Record the events of documents that failed for good.

A failed document has no file whose transaction could record the event too. It is recorded after the stage and, when the
database is down then (which may be the reason of the failure), again at the end of the run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from prefect import get_run_logger

from blocks.errors import Transient
from tasks.document import Document
from tasks.run_context import RunContext
from tasks.stage_tasks import RETRY_DELAYS_SECONDS


async def record_failures(documents: Sequence[Document], context: RunContext) -> None:
    """Record an event for each of *documents* that failed and has none yet. Raises `CatalogUnavailable`."""
    failed = [document for document in documents if document.failed and not document.failure_recorded]
    if not failed:
        return
    catalog = context.custody.catalog
    now = await catalog.now()
    events = [event for document in failed for event in context.events.failed(document, now)]
    async with catalog.transaction() as connection:
        await context.record_events(connection, events)
    context.events.confirm(events)
    for document in failed:
        document.failure_recorded = True


async def record_remaining_failures(documents: Sequence[Document], context: RunContext) -> None:
    """Retry recording failure events after each of the retry pauses; then log a warning. Never raises `Transient`."""
    for pause_seconds in (*RETRY_DELAYS_SECONDS, None):
        try:
            await record_failures(documents, context)
        except Transient as error:
            get_run_logger().warning("some failed documents have no event yet: %s", error.message)
        else:
            return
        if pause_seconds is not None:
            await asyncio.sleep(pause_seconds)
