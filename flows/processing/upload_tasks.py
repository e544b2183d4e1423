"""The uploads that share a run: each one's task begins with the run, and ends with its own document.

Does nothing in a run of other sources. A run knows by its idempotency key that uploads share it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from uuid import UUID

from prefect import get_run_logger
from prefect.context import FlowRunContext
from prefect.runtime import flow_run

from blocks.catalog import Catalog, RunCounts, run_counts
from blocks.errors import RunCancelled, Transient
from blocks.redaction import without_signature
from blocks.runs.upload_task_events import task_event
from blocks.runs.upload_tasks import Ended, UploadTask, begin_tasks, end_tasks, is_shared, tasks_of_runs
from blocks.runtime.in_words import shortened
from blocks.webhooks.outbox import Event
from tasks.document import Document
from tasks.losses import summary
from tasks.run_context import RunContext
from tasks.stage_tasks import RETRY_DELAYS_SECONDS

_MAX_MESSAGE_CHARS = 1000


async def begin_upload_tasks(catalog: Catalog, run_id: UUID) -> dict[UUID, UUID]:
    """Return the tasks of the uploads that share this run, by the file; they are running now."""
    context = FlowRunContext.get()
    run_key = context.flow_run.idempotency_key if context is not None and context.flow_run is not None else None
    if run_key is None or not is_shared(run_key):
        return {}
    async with catalog.transaction() as connection:
        tasks = await begin_tasks(connection, run_key, run_id)
    return {task.file_id: task.task_id for task in tasks}


async def leave_out_cancelled(documents: Sequence[Document], context: RunContext, *, where: str) -> None:
    """Fail the documents whose task was cancelled, so that no further stage works on them."""
    if not context.events.tasks:
        return
    with suppress(Transient):  # looked at again before the next stage
        async with context.custody.catalog.connection() as connection:
            tasks = (await tasks_of_runs(connection, [context.run_id])).get(context.run_id, [])
        cancelled = {task.file_id for task in tasks if task.state == "cancelled"}
        for document in documents:
            if document.source.file_id in cancelled and not document.failed:
                document.fail(RunCancelled("its upload was cancelled"), where=where)
                # Its task has the event of the cancellation.
                document.failure_recorded = True


async def end_upload_tasks(documents: Sequence[Document], context: RunContext) -> None:
    """End the tasks of the *documents* that are done or have failed, with their events. Raises `CatalogUnavailable`."""
    ended = [one for document in documents if (one := _ended(document, context)) is not None]
    if not ended:
        return
    async with context.custody.catalog.transaction() as connection:
        events: list[Event] = []
        for task in await end_tasks(connection, ended):
            events.append(_event(task, context, await run_counts(connection, task.task_id)))
        await context.record_events(connection, events)


async def try_to_end_upload_tasks(documents: Sequence[Document], context: RunContext) -> None:
    """The same, while the catalogue answers: what is missing is made up for by `end_remaining_upload_tasks`."""
    with suppress(Transient):
        await end_upload_tasks(documents, context)


async def end_remaining_upload_tasks(documents: Sequence[Document], context: RunContext) -> None:
    """End the tasks that are left, with a retry after each of the pauses; then log a warning."""
    for pause_seconds in (*RETRY_DELAYS_SECONDS, None):
        try:
            await end_upload_tasks(documents, context)
        except Transient as error:
            get_run_logger().warning("some uploads are not reported as done yet: %s", error.message)
        else:
            return
        if pause_seconds is not None:
            await asyncio.sleep(pause_seconds)


def _ended(document: Document, context: RunContext) -> Ended | None:
    file_id = document.source.file_id
    task_id = context.events.tasks.get(file_id) if file_id is not None else None
    if task_id is None or isinstance(document.error, RunCancelled):
        return None
    if document.failed:
        reason = without_signature(document.error.message) if document.error else "it failed"
        message = shortened(f"failed in {document.failed_in}: {reason}", _MAX_MESSAGE_CHARS)
        return Ended(task_id=task_id, state="failed", message=message)
    if any(stage.name not in document.outputs for stage in context.stages):
        return None
    warnings = summary(document.warnings())
    message = f"1 of 1 documents completed{f'; {warnings}' if warnings else ''}"
    return Ended(task_id=task_id, state="completed", message=message)


def _event(task: UploadTask, context: RunContext, counts: RunCounts) -> Event:
    at = task.ended_at or task.created_at
    attempt = int(flow_run.run_count)
    return task_event(
        task,
        task.state,
        at,
        # Each attempt that fails is an event of its own; success is one event in all attempts.
        identity=() if task.state == "completed" else (attempt,),
        message=task.message or task.state,
        progress=1.0,
        counts=counts,
        attempt=attempt,
        # After all of its document, whose events may be ahead of the clock by as many microseconds.
        sequence=(context.events.sequence(at) + 1) & ~1,
    )
