"""``waybill process``: leave the run to a running `waybill up`, or run the flow in this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from blocks.durations import read_time_limit
from blocks.errors import RunCancelled, SourceNotFound, WaybillError
from blocks.redaction import LIST_SCHEME
from blocks.runtime.clock import seconds_since_start
from blocks.runtime.quick_imports import quick_imports
from blocks.settings import current_settings, prefect_api_url
from waybill.commands.arguments import (
    AsJson,
    KeepFor,
    check_webhook_url,
    options_text,
    read_keep_for,
    this_account,
)
from waybill.commands.output import print_json, progress_bar
from waybill.commands.process_report import print_report
from waybill.commands.session import report_new_key, run_work, stack_session, warn_of_lost_records

if TYPE_CHECKING:
    from uuid import UUID

    from prefect import State

    from blocks.runs.ownership import Owner
    from blocks.settings import Settings
    from waybill.commands.process_lists import Given
    from waybill.stack import StackAddresses

RunOnPairs = Annotated[
    list[str] | None,
    typer.Option(metavar="STAGE=LABEL", help="Run a stage on remote workers with a label; may be repeated."),
]
Lists = Annotated[
    list[str] | None,
    typer.Option("--from", metavar="LIST", help="A file or URL with one source on each line; - is standard input."),
]
TimeLimit = Annotated[
    str | None,
    typer.Option(metavar="10m", help="Processor time of a stage on one document, to which its size adds; else as set."),
]


def process(
    sources: Annotated[
        list[str] | None, typer.Argument(metavar="SOURCE...", help="Files, folders, globs or fsspec URLs.")
    ] = None,
    lists: Lists = None,
    stages: Annotated[
        str | None, typer.Option(metavar="1-5", help="Stages to run, such as 1-3 or 1,3-5. All when left out.")
    ] = None,
    options: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help='Options by stage: {"chunker": {"max_tokens": 200}}.')
    ] = None,
    no_reuse: Annotated[bool, typer.Option("--no-reuse", help="Make every output again.")] = False,
    webhook_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Also send this run's events there, next to registered endpoints."),
    ] = None,
    keep_for: KeepFor = None,
    time_limit: TimeLimit = None,
    run_on: RunOnPairs = None,
    spread: Annotated[
        str | None, typer.Option(metavar="POOL", help="Let the workers of a Prefect work pool process the documents.")
    ] = None,
    files: Annotated[bool, typer.Option("--files", help="List every output, not only every document.")] = False,
    as_json: AsJson = False,
) -> int:
    """Process documents through the stages and keep every output.

    Outputs that exist for the same content and the same options are reused. A document that fails is reported and does
    not stop the others. After an interruption run the same again: it continues from what is stored.

    Examples: waybill process report.pdf / waybill process letters/ --stages 1-3 / waybill process 'data/*.docx' --json
    / find data -name '*.pdf' | waybill process --from -
    """
    with quick_imports():
        from waybill.commands.process_by_up import run_by_up

    _check_durations(keep_for, time_limit)
    check_webhook_url(webhook_url)
    numbers = _read_stages(stages) if stages is not None else None
    given, places = _read_options(options, run_on or [])
    found = _read_sources(sources or [], lists or [])
    parameters: dict[str, Any] = {
        "sources": found.typed,
        "stages": numbers,
        "options": given,
        "reuse": not no_reuse,
        "webhook_url": webhook_url,
        "keep_for": keep_for,
        "time_limit": time_limit,
        "run_on": places,
        "spread": spread,
    }
    # A list is stored by the process that runs it, which so may have a storage of its own.
    by_up = None if found.listed else run_by_up(parameters)
    report, addresses = by_up or _run_here(parameters, found)
    if as_json:
        print_json(report)
    else:
        print_report(report, addresses, total_seconds=seconds_since_start(), with_files=files)
    return 0 if report["state"] == "completed" else 1


def _run_here(parameters: dict[str, Any], given: Given) -> tuple[dict[str, Any], StackAddresses]:
    """Run the flow in this process, on servers that run already or are started."""
    from waybill.services.storage_probe import check_storage_answers

    # Read before the stack sets them: None means a server that this command starts.
    named_api = prefect_api_url()
    own_database = current_settings().database_url is None
    check_storage_answers(current_settings())
    with stack_session(prefect=True, makes_home=True) as (settings, addresses):
        with quick_imports():
            import_module("flows.process")  # with Prefect: most of what this command spends
            from waybill.services.register_blocks import register_blocks

        warn_of_lost_records(named_api)
        if (webhook_url := parameters["webhook_url"]) is not None:
            _check_webhook(webhook_url, settings, own_database=own_database)
        if parameters["spread"] is not None or settings.dask is not None:
            asyncio.run(_check_machines(settings, addresses, parameters["spread"]))
        started = time.perf_counter()
        asyncio.run(register_blocks(settings, on_new_key=report_new_key))
        if given.listed:
            parameters = {**parameters, "sources": [*given.typed, run_work(_store_list(given, settings))]}
        with progress_bar("processing") as show:
            report = run_work(_run_and_report(parameters, settings, show, started))
    return report, addresses


async def _check_machines(settings: Settings, addresses: StackAddresses, pool: str | None) -> None:
    """Report machines that cannot be reached now; each document would wait for them, and fail."""
    from blocks.runs.prefect_api import PrefectApi
    from waybill.services.machines_probe import check_machines

    async with PrefectApi.open(addresses.prefect_api_url) as prefect, prefect.client() as client:
        await check_machines(client, settings, pool)


async def _store_list(given: Given, settings: Settings) -> str:
    """Store the sources that are no parameters of the run; return the source that names their list."""
    from blocks.open_custody import open_block_custody
    from waybill.services.source_lists import store_list

    async with open_block_custody(settings) as custody:
        return await store_list(custody, given.listed, name=given.name, by=this_account())


async def _run_and_report(parameters: dict[str, Any], settings: Settings, show: Any, started: float) -> dict[str, Any]:
    """Run the flow and a dispatcher, wait a bounded time for the last webhooks, and return the run's report."""
    from blocks.runs.ownership import read_owner
    from blocks.webhooks.dispatch import DispatcherThread
    from flows.events.endpoint_blocks import try_to_sync_endpoint_blocks
    from flows.events.reconcile_loop import try_to_reconcile

    await try_to_sync_endpoint_blocks(settings)
    async with DispatcherThread.open(settings) as dispatcher:
        state = await _run_flow(parameters, show, await read_owner(settings))
        seconds = time.perf_counter() - started
        # Records also the events of killed runs, which this run has cleared up after.
        await try_to_reconcile(settings)
        dispatcher.only_run = state.state_details.flow_run_id
    waiting = await _count_waiting(settings, state.state_details.flow_run_id)
    if state.is_cancelled():
        raise RunCancelled(state.message or "the run was cancelled")
    result = await state.aresult(raise_on_failure=False)
    if isinstance(result, Mapping):
        return {**cast("Mapping[str, Any]", result), "seconds": round(seconds, 3), "webhooks_waiting": waiting}
    if isinstance(result, WaybillError):
        raise result
    raise WaybillError(f"the run ended as {state.name}: {state.message}")


async def _count_waiting(settings: Settings, run_id: UUID | None) -> int:
    """Return how many webhooks of the run are still to be delivered; 0 where the database does not say."""
    from blocks.postgres import single_connection
    from blocks.webhooks.outbox.delivery_log import count_waiting

    if run_id is None:
        return 0
    try:
        async with single_connection(settings.required_database_url) as connection:
            return await count_waiting(connection, run_id)
    except WaybillError:
        return 0


async def _run_flow(parameters: dict[str, Any], show: Any, owner: Owner) -> State[Any]:
    from prefect import tags

    from blocks.runs.prefect_api import while_server_restarts
    from flows.process import process_documents
    from flows.processing.progress import Progress, progress_listener

    def listen(progress: Progress) -> None:
        show(progress.percent, progress.note)

    progress_listener.set(listen)
    with tags("waybill", owner.tag):
        # Repeated before the run exists; once it does, Prefect's client waits for the server.
        return await while_server_restarts(
            lambda: cast("Awaitable[State[Any]]", process_documents(**parameters, return_state=True))
        )


def _read_stages(text: str) -> list[int]:
    # Imports the stages, for their numbers.
    from waybill.services.run_options import read_stages

    return read_stages(text)


def _read_options(path: Path | None, run_on: list[str]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the options of the stages in the file, and where stages run: as *run_on*, or else the file, says."""
    if path is None and not run_on:
        return {}, None
    # Imports the stages, for what their options are.
    from waybill.services.run_options import check_remote_stages, read_options_and_run_on, read_run_on_pairs

    text = options_text(path) if path is not None else "{}"
    options, places = read_options_and_run_on(text, str(path))
    places = read_run_on_pairs(run_on) if run_on else places
    check_remote_stages(places, options)
    return options, places


def _read_sources(sources: list[str], lists: list[str]) -> Given:
    """Return what the sources and lists mean. Reports a mistake before anything is started."""
    from waybill.commands.process_lists import read_given

    if not sources and not lists:
        raise typer.BadParameter("name at least one, or a list of them with --from", param_hint="'SOURCE...'")
    _check_sources([one for one in sources if not one.startswith(LIST_SCHEME)])
    return read_given(sources, lists)


def _check_sources(sources: list[str]) -> None:
    """Report a mistyped path, or a source that no run may read, before anything is started."""
    from tasks.sources import SourceReader, check_sources, names_nothing

    with SourceReader.of(current_settings()) as reader:
        check_sources(sources, reader)
    missing = [source for source in sources if names_nothing(source)]
    if missing:
        raise SourceNotFound(f"no such file, folder or match: {', '.join(missing)}")


def _check_durations(keep_for: str | None, time_limit: str | None) -> None:
    """Report a mistake before anything is started."""
    read_keep_for(keep_for)
    read_time_limit("--time-limit", time_limit)


def _check_webhook(url: str, settings: Settings, *, own_database: bool) -> None:
    """Refuse an unusable URL now; the run would only log it."""
    from waybill.services.webhooks import check_run_url

    asyncio.run(check_run_url(settings, url, own_database=own_database))
