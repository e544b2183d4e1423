"""The Prefect tasks of a run: one takes the documents into custody, one runs a stage; each works on one shard.

Owns what every stage shares: reuse, reservations, retries, and the state that Prefect shows. Read it from the top: the
two tasks, `take_custody` and `run_stage`; then the steps of `run_stage` in order, `_plan`, `_reuse`, `_reserve` and
`_produce`; then the state of a task. `tasks.stage_output` makes the output of one document.

A document's failure is data of its shard. Only a transient error makes the task itself fail, so that Prefect retries
it, and then only the documents that have no output yet run again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from typing import Any

from prefect import State, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.context import TaskRunContext
from prefect.states import Completed, Failed
from prefect.tasks import Task

from blocks.catalog import Artifact, Connection, Draft, Reservation
from blocks.errors import CatalogRefused, Transient, WaybillError
from blocks.webhooks.outbox import Event
from tasks.contract import Stage
from tasks.document import Deliverable, Document
from tasks.document_events import CUSTODY
from tasks.intake import take_in
from tasks.losses import summary
from tasks.outcome import described
from tasks.run_context import RunContext, Shard
from tasks.stage_key import key_of, stage_material
from tasks.stage_output import input_hashes, make_output, output_draft, share_output

# A dropped connection recovers within seconds, a restarted Postgres within some ten; after that a person is needed.
RETRY_DELAYS_SECONDS: list[float] = [1, 5, 15]

# Prefect's UI and API find task runs by the names of their states; this one has Prefect's type Completed.
REUSED = "Reused"

# How often to check whether another run has finished an output that this run needs too.
OTHER_RUN_POLL_SECONDS = 0.5

# Prefect drops a log record of more than a megabyte, or of what it is set to.
MOST_RECORD_CHARS = 20_000


def is_transient(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Return whether Prefect retries the task: only for our `Transient` errors, decided by type."""
    return isinstance(state.data, Transient)


@task(
    name=CUSTODY,
    task_run_name="0-custody {label}",
    retries=len(RETRY_DELAYS_SECONDS),
    retry_delay_seconds=RETRY_DELAYS_SECONDS,
    retry_condition_fn=is_transient,
    cache_policy=NO_CACHE,
    persist_result=False,
)
async def take_custody(shard: Shard, label: str) -> State[None]:
    """Store each document of the shard as an upload, or find it stored already."""
    shard.forget_transient_errors(where=CUSTODY)
    todo = [document for document in shard.alive if document.upload is None]
    for document, error in (await take_in(todo, shard.context)).items():
        _fail(document, error, CUSTODY)
    reused = sum(1 for document in shard.alive if document.upload and document.upload.reused)
    return _task_state(shard, CUSTODY, reused)


# Prefect reads the source of the function again for each task that is made of it.
@lru_cache(maxsize=64)
def stage_task(stage: Stage[Any]) -> Task[..., Any]:
    """Return the Prefect task for *stage*, named so that people see stage and document: ``3-chunker report.pdf``."""
    return run_stage.with_options(name=stage.name, task_run_name=f"{stage.number}-{stage.name} {{label}}")


@task(
    retries=len(RETRY_DELAYS_SECONDS),
    retry_delay_seconds=RETRY_DELAYS_SECONDS,
    retry_condition_fn=is_transient,
    cache_policy=NO_CACHE,
    persist_result=False,
)
async def run_stage(stage: Stage[Any], shard: Shard, label: str) -> State[None]:
    """Run every living document of the shard through *stage*: reuse its output, or make and store it.

    Ends as `Reused` when nothing had to run and nothing failed, as `Failed` when no document has an output, else as
    `Completed` with the counts. Raises the transient error of a document when there is one, for Prefect to retry.
    """
    context = shard.context
    shard.forget_transient_errors(where=stage.name)
    keys = _plan(stage, [document for document in shard.alive if stage.name not in document.outputs], context)
    await _reuse(stage, keys, context)
    missing = {document: key for document, key in keys.items() if stage.name not in document.outputs}
    if missing:
        # After the locks another search: an output that another run has stored in between is found.
        async with _output_locks(set(missing.values()), context) as held:
            await _reuse(stage, missing, context)
            async with _reserve(stage, missing, held, context) as reserved:
                await _produce(stage, missing, held, reserved, context)
    return _task_state(shard, stage.name, sum(document.outputs[stage.name].reused for document in shard.alive))


def _plan(stage: Stage[Any], documents: list[Document], context: RunContext) -> dict[Document, str]:
    """Return the stage key of each document; one whose inputs were never made fails here."""
    keys: dict[Document, str] = {}
    if not documents:
        return keys
    try:
        material = stage_material(stage, context.options[stage.name], context.services)
    except WaybillError as error:
        for document in documents:
            document.fail(error, where=stage.name)
        return keys
    for document in documents:
        try:
            keys[document] = key_of(material, input_hashes(stage, document))
        except WaybillError as error:
            document.fail(error, where=stage.name)
    return keys


@asynccontextmanager
async def _output_locks(keys: set[str], context: RunContext) -> AsyncGenerator[set[str]]:
    """Yield the keys whose outputs this run makes: those whose locks it gets, or all when nothing is to be reused."""
    if not context.reuse:
        yield keys
        return
    held = await context.locks.try_acquire(keys)
    try:
        yield held
    finally:
        await context.locks.release(held)


async def _reuse(stage: Stage[Any], keys: Mapping[Document, str], context: RunContext) -> None:
    """Give each document the output that is stored under its key, if that output is still valid.

    One of an earlier run only where this run is to reuse them; one that it has made itself in any case.
    """
    if not keys:
        return
    catalog = context.custody.catalog
    of_run = None if context.reuse else context.run_id
    async with catalog.connection() as connection:
        known = await catalog.find_reusable(connection, list(set(keys.values())), of_run=of_run)
    if not known:
        return
    now = await catalog.now()
    async with catalog.transaction() as connection:
        found = await _valid(stage, keys, known, connection, context)
        events: list[Event] = []
        for document, output in found.items():
            events += context.events.completed(document, stage, output, now)
        if found:
            uses = [(output.artifact, document.taken.source) for document, output in found.items()]
            await context.record_reuses(connection, uses)
        await context.record_events(connection, events)
    context.events.confirm(events)
    for document, output in found.items():
        document.deliver(stage.name, output)


async def _valid(
    stage: Stage[Any],
    keys: Mapping[Document, str],
    known: Mapping[str, Artifact],
    connection: Connection,
    context: RunContext,
) -> dict[Document, Deliverable]:
    """Return those of the *known* outputs that serve: the next stage can open them, and their effect is still there."""
    found = {
        document: Deliverable(artifact=known[key], reused=True, seconds=0.0)
        for document, key in keys.items()
        if key in known and context.custody.can_read(known[key])
    }
    if stage.has_effect is None or not found:
        return found
    wanted = {document: (document.taken.sha256, keys[document]) for document in found}
    there = set(await stage.has_effect(connection, set(wanted.values())))
    return {document: output for document, output in found.items() if wanted[document] in there}


@asynccontextmanager
async def _reserve(
    stage: Stage[Any], keys: Mapping[Document, str], held: set[str], context: RunContext
) -> AsyncGenerator[dict[str, Reservation]]:
    """Announce the shard's missing outputs in one statement, for the block; release those it has not taken out.

    Outputs that this run is making already for another document are left out.
    """
    drafts: dict[str, Draft] = {}
    for document, key in keys.items():
        wanted = key in held and key not in context.outputs and stage.name not in document.outputs
        # Of documents with the same content the first one makes the output (`_produce`), so it is that one's.
        if wanted and key not in drafts:
            drafts[key] = output_draft(stage, document.taken, key, context)
    reserved: dict[str, Reservation] = {}
    if drafts:
        # If the catalogue refuses one of them, each document reserves its own and passes or fails by itself.
        with suppress(CatalogRefused):
            reserved = dict(zip(drafts, await context.custody.reserve(list(drafts.values())), strict=True))
    try:
        yield reserved
    finally:
        await context.custody.release(list(reserved.values()))


async def _produce(
    stage: Stage[Any],
    keys: Mapping[Document, str],
    held: set[str],
    reserved: dict[str, Reservation],
    context: RunContext,
) -> None:
    """Make the missing outputs, concurrently; wait for those that another run holds the lock of."""

    async def one(document: Document, key: str) -> None:
        while key not in held and stage.name not in document.outputs:
            await asyncio.sleep(OTHER_RUN_POLL_SECONDS)
            held.update(await context.locks.try_acquire({key} - held))
            await _reuse(stage, {document: key}, context)
        if stage.name in document.outputs:
            return
        twin = context.outputs.get(key)
        if twin is None:
            output = await make_output(stage, document, document.taken, key, reserved, context)
        else:
            output = await share_output(stage, document, document.taken, twin, context)
        document.deliver(stage.name, output)

    missing = [(document, key) for document, key in keys.items() if stage.name not in document.outputs]
    await asyncio.gather(*(_guarded(document, stage.name, one(document, key)) for document, key in missing))


async def _guarded(document: Document, where: str, work: Awaitable[None]) -> None:
    """Await *work*; a `WaybillError` becomes the document's own and does not stop the other documents."""
    try:
        await work
    except WaybillError as error:
        _fail(document, error, where)


def _fail(document: Document, error: WaybillError, where: str) -> None:
    document.fail(error, where=where)
    get_run_logger().warning("%s: %s failed: %s", document.label, where, error.message)


def _task_state(shard: Shard, where: str, reused: int) -> State[None]:
    """Return the state of the task, with the counts for Prefect's UI. Raises the first transient error."""
    task_run = TaskRunContext.get()
    if task_run is not None:
        for document in shard.documents:
            document.task_run_ids[where] = str(task_run.task_run.id)
    failed_here = [document for document in shard.documents if document.error and document.failed_in == where]
    for document in failed_here:
        if isinstance(document.error, Transient):
            raise document.error
    _log_what_was_made(shard.alive, where)
    done = len(shard.alive)
    message = f"{done} of {len(shard.documents)} documents, {reused} reused"
    outputs = [document.outputs[where] for document in shard.alive if where in document.outputs]
    if workers := sorted({output.worker for output in outputs if output.worker}):
        message += f", on {', '.join(workers)}"
    if warnings := summary(warning for output in outputs for warning in output.artifact.warnings):
        message += f"; {warnings}"
    if failed_here:
        message += "; failed: " + "; ".join(f"{d.label}: {d.error}" for d in failed_here[:5])
    if failed_here and not done:
        return Failed(message=message)
    if done and reused == done and not failed_here:
        return Completed(name=REUSED, message=message)
    return Completed(message=message)


def _log_what_was_made(documents: Sequence[Document], where: str) -> None:
    """Log a line for each of *documents*, in few records: each record costs Prefect's client and server a millisecond.

    A name is whole in its record, in which `waybill forget` finds it.
    """
    record: list[str] = []
    for line in (described(document, where) for document in documents):
        if record and sum(map(len, record)) + len(line) > MOST_RECORD_CHARS:
            get_run_logger().info("%s", "\n".join(record))
            record = []
        record.append(line)
    if record:
        get_run_logger().info("%s", "\n".join(record))
