"""process-documents: run documents through the stages, and keep every output in custody.

One run for any number of documents. They are processed in shards; custody and each stage are one task per shard. A
document that fails is reported in the summary and does not stop the others.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from pathlib import PurePosixPath
from typing import Annotated, Any, cast
from uuid import UUID

from blocks.runtime.quick_imports import collected_seldom, quick_imports

with quick_imports():
    from prefect import State, allow_failure, flow, get_run_logger
    from prefect.client.schemas.objects import StateType
    from prefect.context import TagsContext
    from prefect.runtime import flow_run
    from prefect.states import Cancelled, Completed, Failed
    from prefect.tasks import Task
    from prefect.utilities.annotations import quote

    from blocks.errors import RunCancelled, StageFailed, Transient, WaybillError
    from blocks.redaction import LIST_SCHEME
    from blocks.retention.policy import Period
    from blocks.runs.progress import Plan, record_plan
    from blocks.runtime.concurrency import bounded_each
    from blocks.runtime.form_schema import LeftOut, shown_as
    from blocks.runtime.in_words import first_and_more
    from blocks.settings import Settings, current_settings
    from flows.events.hooks import cancel_remote_stages, record_cancellation, record_state
    from flows.processing.batch import Batch, ShardPlan
    from flows.processing.cancellation import noticing_cancellation
    from flows.processing.expected import deliver_expected, errors_delivered
    from flows.processing.failures import record_failures, record_remaining_failures
    from flows.processing.listing import list_sources
    from flows.processing.parameters import Options, Places, ProcessOptions, Sources, Spread, Stages, WebhookUrl
    from flows.processing.previews import Preview, read_previews
    from flows.processing.progress import reported
    from flows.processing.report import RunReport, gateway_url, show_run
    from flows.processing.resources import open_run
    from flows.processing.results import RunResults
    from flows.processing.spread import spread_over
    from flows.processing.summary import RunSummary
    from flows.processing.upload_tasks import (
        begin_upload_tasks,
        end_remaining_upload_tasks,
        leave_out_cancelled,
        try_to_end_upload_tasks,
    )
    from tasks.contract import Stage, StageOptions
    from tasks.document import Document
    from tasks.document_events import CUSTODY
    from tasks.registry import option_name, select_stages
    from tasks.remote.run_on import read_run_on
    from tasks.run_context import RunContext, Shard
    from tasks.sources import SourceReader, display_name
    from tasks.stage_tasks import stage_task, take_custody

# A state's message is one line in Prefect's UI; the summary has all of them.
_MAX_REASONS, _MAX_REASON_CHARS = 5, 300
# A document that fails is in the log of its task too.
_MAX_LOGGED = 200


def run_name() -> str:
    """Return ``report.pdf``, or ``report.pdf and 2 more`` for several sources."""
    parameters = cast("dict[str, Any] | None", flow_run.parameters) or {}
    sources = cast("Sequence[str]", parameters.get("sources") or [])
    if not sources:
        return "no documents"
    text = str(sources[0]).removeprefix(LIST_SCHEME)
    is_bare_id = text.startswith("waybill:") and "/" not in text
    first = text if is_bare_id or not PurePosixPath(text).name else display_name(text)
    return first_and_more(first, len(sources))


# Prefect shows the descriptions of a docstring in the form of a run, and no others.
@flow(
    name="process-documents",
    flow_run_name=run_name,
    persist_result=False,
    on_running=[record_state],
    on_completion=[record_state],
    on_failure=[record_state],
    on_cancellation=[cancel_remote_stages, record_cancellation],
    on_crashed=[record_state],
)
async def process_documents(
    sources: Sources,
    stages: Stages = None,
    options: Options = None,
    reuse: Annotated[bool, shown_as("Reuse outputs")] = True,
    webhook_url: WebhookUrl = None,
    keep_for: Annotated[Period | LeftOut, shown_as("Keep files for")] = None,
    run_on: Places = None,
    time_limit: Annotated[Period | LeftOut, shown_as("Time limit of a stage")] = None,
    spread: Spread = None,
) -> State[RunReport]:
    """Store documents in custody, run each through the stages, store every output, and report all of them.

    Outputs that exist for the same content, options and stage version are reused. The run fails when a document fails;
    the other documents are completed all the same.

    Args:
        sources: What to process: whole paths of files and folders on the machine that runs `waybill up`, globs such as
            `/data/*.pdf`, URLs (`https://`, `s3://`), or `waybill:FILE_ID` for a file that is stored already. For more
            than fit here, `list:` before a file, URL or `waybill:FILE_ID` that has one source on each line.
        stages: The stages to run, by name or by number. They run in their order; all when left out.
        options: Options of each stage. What is left out has its default.
        reuse: Take outputs that are stored already for the same content, options and version of the stage.
        webhook_url: A URL that receives this run's events, in addition to the registered endpoints.
        keep_for: How long the files of this run stay, such as `90d`; as the setting `retention` says when left out.
        run_on: Remote workers by stage: `{"chunker": "gpu-pool"}`, or `{"chunker": {"label": "gpu-pool", "wait": "10m",
            "otherwise": "home"}}`; as the setting `run_on` says when left out.
        time_limit: Processor time that one stage may use on one document, such as `10m`; its size adds to it. As the
            setting `stage_timeout_seconds` says when left out.
        spread: A work pool of Prefect whose workers, on any machine, process the documents in slices.
    """
    started = time.perf_counter()
    settings = current_settings()
    chosen = select_stages(stages)
    run_id = UUID(str(cast("str", flow_run.id)))
    with _prepared(settings) as reader, await list_sources(sources, reader, settings) as found:
        batch = Batch(found, len(chosen))
        opening = open_run(
            settings,
            run_id=run_id,
            attempt=flow_run.run_count,
            documents=len(found),
            stages=chosen,
            options=options_by_stage(chosen, options),
            reuse=reuse,
            webhook_url=webhook_url,
            sources=reader,
            keep_for=keep_for,
            run_on=read_run_on(settings.run_on if run_on is None else run_on),
            time_limit=time_limit,
        )
        try:
            if spread is not None:
                await spread_over(spread, batch, settings, stages=chosen, run_id=run_id, webhook_url=webhook_url)
                previews = dict[Document, Preview]()
            else:
                previews = await _process(batch, opening, settings)
        except RunCancelled as error:
            return Cancelled(message=error.message)
    return await _finish(batch.results, chosen, run_id, previews, time.perf_counter() - started)


@contextmanager
def _prepared(settings: Settings) -> Generator[SourceReader]:
    """Hand over an error that ends the run, and yield what reads its sources.

    The run's tags are not for its tasks: Prefect's engine asks for a concurrency limit for each tag of each task.
    """
    with (
        collected_seldom(),
        errors_delivered(settings.home),
        SourceReader.of(settings) as reader,
        TagsContext(current_tags=set()),
    ):
        yield reader


async def _process(
    batch: Batch, opening: AbstractAsyncContextManager[RunContext], settings: Settings
) -> Mapping[Document, Preview]:
    """Process the documents of the run, and return the previews of the first ones. Raises `RunCancelled`."""
    async with opening as context, reported(batch.counts, context.run_id), noticing_cancellation(context.run_id):
        context.events.tasks = await begin_upload_tasks(context.custody.catalog, context.run_id)
        await process_in_shards(batch, context, settings)
        await record_remaining_failures(batch.results.unrecorded, context)
        await end_remaining_upload_tasks(batch.results.documents, context)
        return await read_previews(batch.results.documents, context)


def options_by_stage(stages: Sequence[Stage[Any]], options: ProcessOptions | None) -> dict[str, StageOptions]:
    """Return the options of each of *stages*: as given, else their defaults."""
    given = options or ProcessOptions()
    return {stage.name: getattr(given, option_name(stage), None) or stage.options() for stage in stages}


async def process_in_shards(batch: Batch, context: RunContext, settings: Settings) -> None:
    """Process the documents of *batch* in shards, and keep the results there."""
    documents = len(batch.sources)
    planned = ShardPlan.of(documents, settings)
    plan = Plan(documents=documents, tasks=planned.shards * (len(context.stages) + 1))
    noted = record_plan(context.run_id, plan, context.custody.catalog)

    async def process(shard: Shard) -> None:
        try:
            await _process_shard(shard)
        finally:
            batch.end(shard)

    await asyncio.gather(noted, bounded_each(planned.concurrent, batch.shards(planned, context), process))


async def _process_shard(shard: Shard) -> None:
    """Run custody and then each stage, for the documents that have not failed."""
    await leave_out_cancelled(shard.documents, shard.context, where=CUSTODY)
    state = await _final_state(take_custody, shard, shard.label)
    await _fail_unfinished(shard, state, CUSTODY)
    for stage in shard.context.stages:
        await leave_out_cancelled(shard.alive, shard.context, where=stage.name)
        if not shard.alive:
            break
        state = await _final_state(stage_task(stage), quote(stage), shard, shard.label, after=state)
        await _fail_unfinished(shard, state, stage.name)
    await try_to_end_upload_tasks(shard.documents, shard.context)


async def _final_state(step: Task[..., Any], *arguments: Any, after: State[None] | None = None) -> State[None]:
    """Return the task's state after its last retry; an error of the task is data here, not an exception.

    *after* is the state of the step before, to which the graph in Prefect's UI draws an arrow.
    """
    arrow = (
        [allow_failure(_mark_of(after))] if after is not None and (after.is_completed() or after.is_failed()) else None
    )
    return await cast("Awaitable[State[None]]", step(*arguments, wait_for=arrow, return_state=True))


def _mark_of(state: State[None]) -> State[None]:
    """Return a state from which Prefect draws the arrow, and reads nothing.

    Of a state that has ended Prefect reads the result, in another event loop while this one waits
    (``findings/order_reads_the_result.sh``). A step may fail for some documents, and the next one works on the others.
    """
    return State(type=StateType.PENDING, name="NotReady", state_details=state.state_details)


async def _fail_unfinished(shard: Shard, state: State[None], where: str) -> None:
    """Fail the documents without the step's result, with the error that stopped the task; record their events."""
    cause = state.data if isinstance(state.data, WaybillError) else None
    for document in shard.alive:
        missing = document.upload is None if where == CUSTODY else where not in document.outputs
        if missing:
            document.fail(cause or StageFailed(f"the task ended as {state.name}: {state.message}"), where=where)
    with suppress(Transient):  # recorded at the end of the run
        await record_failures(shard.documents, shard.context)


async def _finish(
    results: RunResults,
    stages: Sequence[Stage[Any]],
    run_id: UUID,
    previews: Mapping[Document, Preview],
    seconds: float,
) -> State[RunReport]:
    failed = [document for document in results.documents if document.failed]
    for document in failed[:_MAX_LOGGED]:
        get_run_logger().error("%s failed in %s: %s", document.source.text, document.failed_in, document.error)
    run = RunSummary(
        run_id=run_id,
        results=results,
        stage_names=[stage.name for stage in stages],
        seconds=seconds,
        previews=previews,
        gateway=gateway_url(current_settings()),
    )
    await show_run(run)
    report = results.report(run_id, seconds)
    await deliver_expected(report)
    message = f"{results.expected - results.failed} of {results.expected} documents completed"
    if warnings := results.warning_summary:
        message += f"; {warnings}"
    if not results.failed:
        return Completed(message=message, data=RunReport(report))
    return Failed(message=f"{message}; failed: {_reasons(failed, results)}", data=RunReport(report))


def _reasons(failed: Sequence[Document], results: RunResults) -> str:
    """Return why documents failed, for the state of the run: of the first few, then how many more."""
    shown = failed[:_MAX_REASONS]
    # Left out where it is too long, and not cut: a part of a name would not be found when the document is forgotten.
    reasons = [f" ({one.error})" if len(str(one.error)) <= _MAX_REASON_CHARS else "" for one in shown]
    parts = [f"{one.label} in {one.failed_in}{reason}" for one, reason in zip(shown, reasons, strict=True)]
    more = results.failed_besides(shown)
    return "; ".join([*parts, f"and {more} more"] if more else parts)
