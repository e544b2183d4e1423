"""The Prefect tasks of a run: one takes the documents into custody, one runs a stage; each works on one shard.

Owns what every stage shares: reuse, the runner, custody of the output, events and retries. Read it from the top:

1. the two tasks, `take_custody` and `run_stage`;
2. the steps of `run_stage`, in order: `_plan`, `_reuse`, `_reserve`, `_produce`;
3. one document: `_make_output`, which runs the job and stores the output, or `_share_output` of a twin;
4. the inputs of a job, and the state in which a task ends.

A document's failure is data of its shard. Only a transient error makes the task itself fail, so that Prefect retries
it, and then only the documents that have no output yet run again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect import State, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.context import TaskRunContext
from prefect.states import Completed, Failed
from prefect.tasks import Task

from blocks.catalog import Artifact, Connection, Draft, Reservation, StageMark
from blocks.errors import CatalogRefused, StageInputMissing, Transient, WaybillError
from blocks.naming import stage_output_name
from blocks.webhooks.outbox import Event
from tasks.contract import SOURCE, DocumentInfo, Stage
from tasks.document import Deliverable, Document
from tasks.document_events import CUSTODY
from tasks.intake import source_file, take_in
from tasks.job import Job, JobResult
from tasks.run_context import RunContext, Shard
from tasks.stage_key import stage_key

# A dropped connection recovers within seconds, a restarted Postgres within some ten; after that a person is needed.
RETRY_DELAYS_SECONDS: list[float] = [1, 5, 15]

# Prefect's UI and API find task runs by the names of their states; this one has Prefect's type Completed.
REUSED = "Reused"

# How often to check whether another run has finished an output that this run needs too.
OTHER_RUN_POLL_SECONDS = 0.5


def is_transient(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Return Prefect's retry condition: only `Transient` errors of ours, by type."""
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
    await asyncio.gather(*(_guarded(document, CUSTODY, take_in(document, shard.context)) for document in todo))
    reused = sum(1 for document in shard.alive if document.upload and document.upload.reused)
    return _task_state(shard, CUSTODY, reused)


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
    # First the locks, then the search: what another run stores in between is found.
    async with _output_locks(set(keys.values()), context) as held:
        await _reuse(stage, keys, context)
        async with _reserve(stage, keys, held, context) as reserved:
            await _produce(stage, keys, held, reserved, context)
    return _task_state(shard, stage.name, sum(document.outputs[stage.name].reused for document in shard.alive))


# The steps of run_stage


def _plan(stage: Stage[Any], documents: list[Document], context: RunContext) -> dict[Document, str]:
    """Return the stage key of each document; one whose inputs were never made fails here."""
    keys: dict[Document, str] = {}
    for document in documents:
        try:
            inputs = _input_hashes(stage, document)
            keys[document] = stage_key(stage, context.options[stage.name], context.services, inputs)
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
    """Give each document the output that an earlier run has stored under its key, if that output is still valid."""
    if not context.reuse:
        return
    catalog = context.custody.catalog
    async with catalog.connection() as connection:
        known = await catalog.find_reusable(connection, list(set(keys.values())))
    if not known:
        return
    found: dict[Document, Deliverable] = {}
    events: list[Event] = []
    now = await catalog.now()
    async with catalog.transaction() as connection:
        for document, key in keys.items():
            artifact = known.get(key)
            # The next stage has to read the output, so one that cannot be opened is made again.
            if artifact is None or document.info is None or not context.custody.can_read(artifact):
                continue
            if stage.has_effect is not None and not await stage.has_effect(connection, document.info.sha256, key):
                continue
            await context.record_reuse(connection, artifact, document.info.source)
            found[document] = Deliverable(artifact=artifact, reused=True, seconds=0.0)
            events += context.events.completed(document, stage, found[document], now)
        await context.record_events(connection, events)
    context.events.confirm(events)
    for document, output in found.items():
        document.outputs[stage.name] = output


@asynccontextmanager
async def _reserve(
    stage: Stage[Any], keys: Mapping[Document, str], held: set[str], context: RunContext
) -> AsyncGenerator[dict[str, Reservation]]:
    """Announce the shard's missing outputs in one statement, for the block; release those it has not taken out.

    Outputs that this run is making already for another document are left out.
    """
    drafts = {
        key: _draft(stage, document.info, key, context)
        for document, key in keys.items()
        if key in held
        and key not in context.in_progress
        and stage.name not in document.outputs
        and document.info is not None
    }
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
        if document.info is None:
            raise StageInputMissing(f"{document.label} was never taken into custody")
        twin = context.in_progress.get(key)
        if twin is None:
            document.outputs[stage.name] = await _make_output(stage, document, document.info, key, reserved, context)
        else:
            document.outputs[stage.name] = await _share_output(stage, document, document.info, twin, context)

    missing = [(document, key) for document, key in keys.items() if stage.name not in document.outputs]
    await asyncio.gather(*(_guarded(document, stage.name, one(document, key)) for document, key in missing))


async def _guarded(document: Document, where: str, work: Awaitable[None]) -> None:
    """Await *work*; a `WaybillError` becomes the document's own and does not stop the other documents."""
    try:
        await work
    except WaybillError as error:
        document.fail(error, where=where)
        get_run_logger().warning("%s: %s failed: %s", document.label, where, error.message)


# One document


async def _share_output(
    stage: Stage[Any], document: Document, info: DocumentInfo, twin: asyncio.Future[Artifact], context: RunContext
) -> Deliverable:
    """Wait for the output that this run is making for the same content under another name, and deliver it too."""
    output = Deliverable(artifact=await asyncio.shield(twin), reused=True, seconds=0.0)
    events = context.events.completed(document, stage, output, await context.custody.catalog.now())
    await context.deliver_stored(output, info.source, events)
    return output


async def _make_output(
    stage: Stage[Any],
    document: Document,
    info: DocumentInfo,
    key: str,
    reserved: dict[str, Reservation],
    context: RunContext,
) -> Deliverable:
    """Make and store the output, as the one that documents with the same key wait for."""
    made: asyncio.Future[Artifact] = asyncio.get_running_loop().create_future()
    context.in_progress[key] = made
    try:
        output = await _run_and_store(stage, document, info, key, reserved, context)
    except BaseException as error:
        # A retry may succeed, so the failure goes to the documents that wait now and is then forgotten.
        del context.in_progress[key]
        if isinstance(error, WaybillError):
            made.set_exception(error)
            made.exception()  # mark as retrieved: there may be no twin to do it
        else:
            made.cancel()
        raise
    made.set_result(output.artifact)
    return output


async def _run_and_store(
    stage: Stage[Any],
    document: Document,
    info: DocumentInfo,
    key: str,
    reserved: dict[str, Reservation],
    context: RunContext,
) -> Deliverable:
    """Run the job, then store its output and record the events in the transaction that makes it available."""
    options = context.options[stage.name]
    target = context.scratch / f"{document.index}{stage.suffix}"
    job = Job(
        stage_name=stage.name,
        stage_key=key,
        document=info,
        files=await _input_files(stage, document, context),
        options=options.model_dump(mode="json"),
        target=target,
    )
    result = await context.runner.run(job)
    # Reserved with the shard, or else by itself. Taken out only now, because what is left there is released.
    if key in reserved:
        reservation = reserved.pop(key)
    else:
        (reservation,) = await context.custody.reserve([_draft(stage, info, key, context)])
    draft = replace(reservation.draft, metadata=result.metadata, report=_report(stage, job, result))
    events: list[Event] = []

    async def make_available(connection: Connection, artifact: Artifact) -> Artifact:
        output = Deliverable(artifact=artifact, reused=False, seconds=result.seconds)
        events.extend(context.events.completed(document, stage, output, artifact.created_at))
        return await context.make_available_and_tell(connection, artifact, events)

    artifact = await context.custody.fill(reservation, target, draft=draft, make_available=make_available)
    context.events.confirm(events)
    document.files[stage.name] = target
    return Deliverable(artifact=artifact, reused=False, seconds=result.seconds)


def _draft(stage: Stage[Any], info: DocumentInfo, key: str, context: RunContext) -> Draft:
    """Return what is known of an output before it is made."""
    return Draft(
        kind="stage_output",
        filename=stage_output_name(info.name, stage.suffix),
        source_file=info.source,
        document_sha256=info.sha256,
        media_type=stage.media_type,
        keep_for=context.keep_for,
        stage=StageMark(number=stage.number, name=stage.name, key=key),
        run_id=context.run_id,
    )


def _report(stage: Stage[Any], job: Job, result: JobResult) -> dict[str, Any]:
    return {
        "stage_version": stage.version,
        "options": dict(job.options),
        "inputs": sorted(job.files),
        "seconds": round(result.seconds, 4),
        "worker_peak_memory_bytes": result.peak_memory_bytes,
        "warnings": list(result.warnings),
    }


# Inputs, and the state of the task


def _chosen_inputs(stage: Stage[Any], document: Document) -> list[str]:
    """Return, for each `Read` of the stage, the input that serves it. Raises `StageInputMissing`."""
    chosen: list[str] = []
    for read in stage.reads:
        name = next((name for name in read.any_of if name == SOURCE or name in document.outputs), None)
        if name is not None:
            chosen.append(name)
        elif read.required:
            raise StageInputMissing(
                f"{stage.name} reads the output of {' or '.join(read.any_of)}, which this run neither makes nor finds; "
                "ask for the earlier stages too"
            )
    return chosen


def _input_hashes(stage: Stage[Any], document: Document) -> dict[str, str]:
    if document.info is None:
        raise StageInputMissing(f"{document.label} was never taken into custody")
    return {
        name: document.info.sha256 if name == SOURCE else document.outputs[name].artifact.sha256
        for name in _chosen_inputs(stage, document)
    }


async def _input_files(stage: Stage[Any], document: Document, context: RunContext) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for name in _chosen_inputs(stage, document):
        if name == SOURCE:
            files[name] = await source_file(document, context)
            continue
        if name not in document.files:
            artifact = document.outputs[name].artifact
            target = context.scratch / f"{document.index}-{artifact.file_id}"
            await context.custody.fetch(artifact, target)
            document.files[name] = target
        files[name] = document.files[name]
    return files


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
    done = len(shard.alive)
    message = f"{done} of {len(shard.documents)} documents, {reused} reused"
    if failed_here:
        message += "; failed: " + "; ".join(f"{d.label}: {d.error}" for d in failed_here[:5])
    if failed_here and not done:
        return Failed(message=message)
    if done and reused == done and not failed_here:
        return Completed(name=REUSED, message=message)
    return Completed(message=message)
