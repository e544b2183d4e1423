"""What every stage shares: reuse, the worker, custody, retries, and how a stage shows in Prefect.

One Prefect task per stage and shard. A document's failure is data of its shard; only transient errors make the task
itself fail, so that Prefect retries it, and then only the documents that have no output yet run again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
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
from tasks.run_context import RunContext, Shard
from tasks.stage_key import stage_key
from tasks.worker import Job, JobResult

# A dropped connection is back in seconds, a restarted Postgres in some ten; after that a person is needed.
RETRY_DELAYS_SECONDS: list[float] = [1, 5, 15]

# Prefect's UI and API find task runs by the names of their states; this one has Prefect's type Completed.
REUSED = "Reused"

# How often to look whether another run has finished an output that this one needs too.
OTHER_RUN_POLL_SECONDS = 0.5


def is_transient(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Prefect's retry condition: only our own `Transient` errors, by type."""
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
    return _verdict(shard, CUSTODY, reused)


def stage_task(stage: Stage[Any]) -> Task[..., Any]:
    """The Prefect task for *stage*, named so that a person knows stage and document: ``3-chunker report.pdf``."""
    return run_stage.with_options(name=stage.name, task_run_name=f"{stage.number}-{stage.name} {{label}}")


@task(
    retries=len(RETRY_DELAYS_SECONDS),
    retry_delay_seconds=RETRY_DELAYS_SECONDS,
    retry_condition_fn=is_transient,
    cache_policy=NO_CACHE,
    persist_result=False,
)
async def run_stage(stage: Stage[Any], shard: Shard, label: str) -> State[None]:
    """Bring every living document of the shard through *stage*: reuse its output, or make and store it.

    Ends as `Reused` when nothing had to run and nothing failed, as `Failed` when no document came through, else as
    `Completed` with the counts. Raises the transient error of a document when there is one, for Prefect to retry.
    """
    context = shard.context
    shard.forget_transient_errors(where=stage.name)
    todo = [document for document in shard.alive if stage.name not in document.outputs]
    keys = _plan(stage, todo, context)
    if not context.reuse:
        await _produce_all(stage, keys, set(keys.values()), context)
    else:
        # First the locks, then the look: what another run stores in between is found.
        held = await context.locks.try_acquire(set(keys.values()))
        try:
            await _reuse(stage, keys, context)
            await _produce_all(stage, keys, held, context)
        finally:
            await context.locks.release(held)
    delivered = [document.outputs[stage.name] for document in shard.alive]
    return _verdict(shard, stage.name, sum(1 for delivery in delivered if delivery.reused))


def _plan(stage: Stage[Any], documents: list[Document], context: RunContext) -> dict[Document, str]:
    """The stage key of each document; one whose inputs were never made fails here."""
    keys: dict[Document, str] = {}
    for document in documents:
        try:
            inputs = _input_hashes(stage, document)
            keys[document] = stage_key(stage, context.options[stage.name], context.services, inputs)
        except WaybillError as error:
            document.fail(error, where=stage.name)
    return keys


async def _reuse(stage: Stage[Any], keys: Mapping[Document, str], context: RunContext) -> None:
    """Give each document the output that an earlier run has made under the same key, where it still holds."""
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
            # What cannot be read is of no use to the stages after this one: it is made anew.
            if artifact is None or document.info is None or not context.custody.can_read(artifact):
                continue
            if stage.has_effect is not None and not await stage.has_effect(connection, document.info.sha256, key):
                continue
            await context.record_reuse(connection, artifact, document.info.source)
            found[document] = Deliverable(artifact=artifact, reused=True, seconds=0.0)
            events += context.events.completed(document, stage, found[document], now)
        await context.tell(connection, events)
    context.events.told(events)
    for document, delivery in found.items():
        document.outputs[stage.name] = delivery


async def _produce_all(stage: Stage[Any], keys: Mapping[Document, str], held: set[str], context: RunContext) -> None:
    """Make what is missing; what another run is making under a lock is waited for."""
    missing = [(document, key) for document, key in keys.items() if stage.name not in document.outputs]
    reserved = await _reserve(stage, {key: document for document, key in missing if key in held}, context)

    async def one(document: Document, key: str) -> None:
        while key not in held and stage.name not in document.outputs:
            await asyncio.sleep(OTHER_RUN_POLL_SECONDS)
            held.update(await context.locks.try_acquire({key} - held))
            await _reuse(stage, {document: key}, context)
        if stage.name not in document.outputs:
            await _produce(stage, document, key, reserved, context)

    try:
        await asyncio.gather(*(_guarded(document, stage.name, one(document, key)) for document, key in missing))
    finally:
        await context.custody.release(list(reserved.values()))


async def _reserve(stage: Stage[Any], by_key: Mapping[str, Document], context: RunContext) -> dict[str, Reservation]:
    """Announce the outputs of a shard in one statement; those that this run is making already are left out."""
    drafts = {
        key: _draft(stage, document.info, key, context)
        for key, document in by_key.items()
        if key not in context.in_progress and document.info is not None
    }
    try:
        reservations = await context.custody.reserve(list(drafts.values())) if drafts else []
    except CatalogRefused:
        return {}  # one of them cannot be catalogued; alone, each fails or passes for itself
    return dict(zip(drafts, reservations, strict=True))


async def _produce(
    stage: Stage[Any], document: Document, key: str, reserved: dict[str, Reservation], context: RunContext
) -> None:
    """Make the output, or take over the one that this run is making for the same content under another name."""
    if document.info is None:
        raise StageInputMissing(f"{document.label} was never taken into custody")
    twin = context.in_progress.get(key)
    if twin is not None:
        delivery = Deliverable(artifact=await asyncio.shield(twin), reused=True, seconds=0.0)
        catalog = context.custody.catalog
        events = context.events.completed(document, stage, delivery, await catalog.now())
        async with catalog.transaction() as connection:
            await context.record_reuse(connection, delivery.artifact, document.info.source)
            await context.tell(connection, events)
        context.events.told(events)
        document.outputs[stage.name] = delivery
        return
    made: asyncio.Future[Artifact] = asyncio.get_running_loop().create_future()
    context.in_progress[key] = made
    try:
        delivery = await _run_and_store(stage, document, document.info, key, reserved, context)
    except BaseException as error:
        # A second try may succeed, so a failure is handed to those who wait now and then forgotten.
        del context.in_progress[key]
        if isinstance(error, WaybillError):
            made.set_exception(error)
            made.exception()  # mark as seen: there may be no twin to look at it
        else:
            made.cancel()
        raise
    made.set_result(delivery.artifact)
    document.outputs[stage.name] = delivery


async def _run_and_store(
    stage: Stage[Any],
    document: Document,
    info: DocumentInfo,
    key: str,
    reserved: dict[str, Reservation],
    context: RunContext,
) -> Deliverable:
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
    result = await context.pool.run(job)
    # Reserved with the shard, or by itself where that was not possible. Taken out only now: what is left is released.
    if key in reserved:
        reservation = reserved.pop(key)
    else:
        (reservation,) = await context.custody.reserve([_draft(stage, info, key, context)])
    draft = replace(reservation.draft, metadata=result.metadata, report=_report(stage, job, result))
    events: list[Event] = []

    async def make_available(connection: Connection, artifact: Artifact) -> Artifact:
        delivery = Deliverable(artifact=artifact, reused=False, seconds=result.seconds)
        events.extend(context.events.completed(document, stage, delivery, artifact.created_at))
        return await context.make_available_and_tell(connection, artifact, events)

    artifact = await context.custody.fill(reservation, target, draft=draft, make_available=make_available)
    context.events.told(events)
    document.files[stage.name] = target
    return Deliverable(artifact=artifact, reused=False, seconds=result.seconds)


def _draft(stage: Stage[Any], info: DocumentInfo, key: str, context: RunContext) -> Draft:
    """What is known of an output before it is made."""
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


def _chosen_inputs(stage: Stage[Any], document: Document) -> list[str]:
    """For each `Read` of the stage the name that serves it. Raises `StageInputMissing`."""
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


async def _guarded(document: Document, where: str, work: Awaitable[None]) -> None:
    """Await *work*; an error of ours becomes the document's own and stops nothing else."""
    try:
        await work
    except WaybillError as error:
        document.fail(error, where=where)
        get_run_logger().warning("%s: %s failed: %s", document.label, where, error.message)


def _verdict(shard: Shard, where: str, reused: int) -> State[None]:
    """The task's state, told so that the counts can be read in Prefect's UI. Raises the first transient error."""
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
