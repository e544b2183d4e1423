"""One document's output of one stage: its inputs, the job that makes it, and how it is stored.

Start at `make_output`. A worker process stores a small output itself; this process stores a large one, and one that a
remote worker has made. The output becomes available in the transaction that records its events; documents of the same
run with the same stage key wait for it (`share_output`). Which outputs are needed, and locked, is decided in
`tasks.stage_tasks`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

from blocks.catalog import Artifact, Draft, Reservation, StageMark
from blocks.errors import RemoteFailed, StageInputMissing
from blocks.naming import stage_output_name
from tasks.contract import SOURCE, DocumentInfo, Stage
from tasks.document import Deliverable, Document
from tasks.intake import source_file
from tasks.job import Job, JobResult
from tasks.run_context import RunContext


def input_hashes(stage: Stage[Any], document: Document) -> dict[str, str]:
    """Return the sha256 of each input, by its name. Raises `StageInputMissing`."""
    if document.info is None:
        raise StageInputMissing(f"{document.label} was never taken into custody")
    return {
        name: document.info.sha256 if name == SOURCE else document.outputs[name].artifact.sha256
        for name in _chosen_inputs(stage, document)
    }


def output_draft(stage: Stage[Any], info: DocumentInfo, key: str, context: RunContext) -> Draft:
    """Return what is known of an output before it is made."""
    return Draft(
        kind="stage_output",
        filename=stage_output_name(info.name, stage.suffix),
        source_file=info.source,
        document_sha256=info.sha256,
        media_type=stage.media_type,
        keep_for=context.output_period,
        stage=StageMark(number=stage.number, name=stage.name, key=key),
        run_id=context.run_id,
    )


async def make_output(
    stage: Stage[Any],
    document: Document,
    info: DocumentInfo,
    key: str,
    reserved: dict[str, Reservation],
    context: RunContext,
) -> Deliverable:
    """Run the job, store its output and record the events with it; documents with the same key wait meanwhile."""
    async with context.outputs.making(key) as made:
        # With the shard, or else by itself.
        if key in reserved:
            reservation = reserved.pop(key)
        else:
            (reservation,) = await context.custody.reserve([output_draft(stage, info, key, context)])
        target = context.scratch / f"{document.index}{stage.suffix}"
        started = time.perf_counter()
        async with _undone_after_error(reservation, context):
            options = context.plain_options[stage.name]
            draft = replace(reservation.draft, report=_known_report(stage, document, options))
            job = Job(
                stage_name=stage.name,
                stage_key=key,
                document=info,
                files={},
                options=options,
                target=target,
                keep=context.custody.order(reservation, draft, target.with_name(f"{target.name}.sealed")),
            )
            result = await _run(stage, document, job, context)
        waiting_seconds = max(0.0, time.perf_counter() - started - result.seconds)

        async def make_available(artifact: Artifact) -> Artifact:
            output = Deliverable(artifact=artifact, reused=False, seconds=result.seconds, worker=result.worker)
            return await context.keep(artifact, context.events.completed(document, stage, output, artifact.created_at))

        if result.filled is None:
            draft = replace(draft, metadata=result.stored_metadata, report=result.stored_report(draft.report))
            artifact = await context.custody.fill(reservation, target, draft=draft, make_available=make_available)
        else:
            artifact = await context.custody.finish(result.filled)
            async with _undone_after_error(reservation, context):
                artifact = await make_available(artifact)
        document.files[stage.name] = target
        made.set_result(artifact)
    return Deliverable(
        artifact=artifact,
        reused=False,
        seconds=result.seconds,
        worker=result.worker,
        waiting_seconds=waiting_seconds,
    )


async def share_output(
    stage: Stage[Any], document: Document, info: DocumentInfo, twin: asyncio.Future[Artifact], context: RunContext
) -> Deliverable:
    """Wait for the output that this run is making for the same content under another name, and deliver it too."""
    output = Deliverable(artifact=await asyncio.shield(twin), reused=True, seconds=0.0)
    events = context.events.completed(document, stage, output, await context.custody.catalog.now())
    await context.deliver_stored([(output.artifact, info.source)], events)
    return output


@asynccontextmanager
async def _undone_after_error(reservation: Reservation, context: RunContext) -> AsyncGenerator[None]:
    """Undo the reservation where the block fails, with what a worker may have stored of it."""
    try:
        yield
    except BaseException:
        await context.custody.undo(reservation.file_id, reservation.location)
        raise


async def _run(stage: Stage[Any], document: Document, job: Job, context: RunContext) -> JobResult:
    """Run *job* where this run was asked to: here, or on a remote worker, which fetches the inputs itself."""
    remote = context.remote.get(stage.name)
    if remote is not None:
        try:
            return await remote.run(replace(job, inputs=_input_ids(stage, document)))
        except RemoteFailed as error:
            if not remote.may_run_at_home:
                raise
            job = replace(job, warnings=(f"run at home: {error.message}",))
    job = replace(job, files=await _input_files(stage, document, context))
    if stage.asks_model is None or not stage.asks_model(context.options[stage.name], context.services):
        return await context.runner.run(job)
    async with context.limits.language_model.slots() as slots:
        return await context.runner.run(replace(job, requests_at_once=slots))


def _known_report(stage: Stage[Any], document: Document, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of an output before it is made."""
    return {
        "stage_version": stage.version,
        "options": dict(options),
        "inputs": sorted(_chosen_inputs(stage, document)),
    }


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


def _input_ids(stage: Stage[Any], document: Document) -> dict[str, UUID]:
    """Return the file id of each input, by its name."""
    if document.upload is None:
        raise StageInputMissing(f"{document.label} was never taken into custody")
    stored = {SOURCE: document.upload, **document.outputs}
    return {name: stored[name].artifact.file_id for name in _chosen_inputs(stage, document)}


async def _input_files(stage: Stage[Any], document: Document, context: RunContext) -> dict[str, Path]:
    """Return a local copy of each input, by its name; fetched from custody once per run."""
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
