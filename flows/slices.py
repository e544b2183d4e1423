"""process-slice: what a machine of a work pool runs for a run that is spread over machines; started by its parent.

It is process-documents for the sources of one slice. Its events are those of its parent, its files are its own and its
parent's, and its result is in the row of the slice.
"""

from __future__ import annotations

from typing import Annotated, Any, cast
from uuid import UUID

from prefect import State, flow, get_run_logger
from prefect.context import TagsContext
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from blocks.catalog import Catalog
from blocks.errors import InvalidSettings, RunCancelled
from blocks.retention.policy import Period
from blocks.runs.slices import Record, claim, complete, slice_exists
from blocks.runtime.form_schema import LeftOut, shown_as
from blocks.settings import Settings, current_settings
from flows.events.hooks import cancel_remote_stages
from flows.process import options_by_stage, process_in_shards
from flows.processing.batch import Batch
from flows.processing.cancellation import noticing_cancellation_of
from flows.processing.failures import record_remaining_failures
from flows.processing.parameters import Options, Places, Stages
from flows.processing.progress import reported
from flows.processing.resources import open_run
from flows.processing.slice_results import result_of
from flows.processing.slice_storage import check_settings, check_storage
from tasks.registry import select_stages
from tasks.remote.run_on import read_run_on
from tasks.run_context import RunContext
from tasks.sources import SourceList, SourceReader
from tasks.sources.records import from_record

# Of Postgres's integers.
_MOST = 2**31 - 1


@flow(name="process-slice", persist_result=False, on_cancellation=[cancel_remote_stages])
async def process_slice(
    parent: Annotated[UUID, shown_as("Run")],
    number: Annotated[int, shown_as("Slice", minimum=1, maximum=_MOST)],
    attempt: Annotated[int, shown_as("Attempt", minimum=1, maximum=_MOST)],
    stages: Stages = None,
    options: Options = None,
    reuse: Annotated[bool, shown_as("Reuse outputs")] = True,
    keep_for: Annotated[Period | LeftOut, shown_as("Keep files for")] = None,
    run_on: Places = None,
    time_limit: Annotated[Period | LeftOut, shown_as("Time limit of a stage")] = None,
) -> State[dict[str, Any]]:
    """Process the documents of one slice of a run. Started by that run, never by people.

    Args:
        parent: The run whose documents these are.
        number: The number of the slice.
        attempt: How often the slice has been started, with this time.
        stages: As of the parent, like all that follow.
        options: Options of each stage.
        reuse: Take outputs that are stored already.
        keep_for: How long the files stay.
        run_on: Remote workers by stage.
        time_limit: Processor time that one stage may use on one document.
    """
    settings = current_settings()
    check_settings(settings)
    chosen = select_stages(stages)
    run_id = UUID(str(cast("str", flow_run.id)))
    async with Catalog.open(settings.required_database_url) as catalog:
        records = await _claimed(catalog, parent, number, attempt=attempt, run_id=run_id)
    if records is None:
        return Completed(name="Superseded", message="Another attempt has this slice, or it has ended.")
    with (
        SourceReader.of(settings) as reader,
        TagsContext(current_tags=set()),
        SourceList(map(from_record, records), scratch=reader.scratch) as found,
    ):
        batch = Batch(found, len(chosen))
        opening = open_run(
            settings,
            run_id=run_id,
            attempt=attempt,
            documents=len(found),
            stages=chosen,
            options=options_by_stage(chosen, options),
            reuse=reuse,
            webhook_url=None,
            sources=reader,
            keep_for=keep_for,
            run_on=read_run_on(settings.run_on if run_on is None else run_on),
            time_limit=time_limit,
            parent=parent,
        )
        try:
            async with opening as context, reported(batch.counts, run_id), noticing_cancellation_of(parent):
                await _process(batch, context, settings)
                is_ours = await _complete(context, parent, number, batch)
        except RunCancelled as error:
            return Cancelled(message=error.message)
    return _outcome(batch, is_ours=is_ours)


async def _claimed(catalog: Catalog, parent: UUID, number: int, *, attempt: int, run_id: UUID) -> list[Record] | None:
    """Return the sources of the slice. Raises `InvalidSettings` when this worker's catalogue has no such slice."""
    async with catalog.connection() as connection:
        records = await claim(connection, parent, number, attempt=attempt, run_id=run_id)
        if records is None and not await slice_exists(connection, parent, number):
            raise InvalidSettings(
                f"the catalogue of this worker has no slice {number} of run {parent}: WAYBILL_DATABASE_URL must name "
                "the database that the run uses"
            )
    return records


async def _process(batch: Batch, context: RunContext, settings: Settings) -> None:
    await check_storage(context.custody, settings)
    await process_in_shards(batch, context, settings)
    await record_remaining_failures(batch.results.unrecorded, context)


async def _complete(context: RunContext, parent: UUID, number: int, batch: Batch) -> bool:
    """Record the result of the slice; return whether this run still had it."""
    if (confirm := context.custody.confirm) is not None:
        await confirm()
    async with context.custody.catalog.connection() as connection:
        return await complete(connection, parent, number, context.run_id, result_of(batch.results))


def _outcome(batch: Batch, *, is_ours: bool) -> State[dict[str, Any]]:
    results = batch.results
    message = f"{results.expected - results.failed} of {results.expected} documents completed"
    if not is_ours:
        return Completed(name="Superseded", message=f"{message}, and another attempt has this slice")
    get_run_logger().info("%s", message)
    if results.failed:
        return Failed(message=message)
    return Completed(message=message)
