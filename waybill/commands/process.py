"""``waybill process``: run the flow in this process, on a stack that runs already or is started."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from blocks.errors import InvalidOptions, SourceNotFound, WaybillError
from blocks.settings import current_settings, prefect_api_url
from waybill.commands.arguments import AsJson, KeepFor, read_keep_for
from waybill.commands.output import human_size, print_json, print_line, print_notice, print_table, progress_bar
from waybill.commands.session import report_new_key, run_work, stack_session, warn_of_lost_records

if TYPE_CHECKING:
    from prefect import State

    from blocks.runs.ownership import Owner
    from blocks.settings import Settings
    from waybill.stack import StackAddresses

# With more documents than this the table would scroll away; failures, warnings and sums are shown instead.
MAX_DOCUMENTS_IN_TABLE = 40


RunOnPairs = Annotated[
    list[str] | None,
    typer.Option(metavar="STAGE=LABEL", help="Run a stage on remote workers with a label; may be repeated."),
]


def process(
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE...", help="Files, folders, globs or fsspec URLs.")],
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
    run_on: RunOnPairs = None,
    as_json: AsJson = False,
) -> int:
    """Process documents through the stages and keep every output.

    Outputs that exist for the same content and the same options are reused. A document that fails is reported and does
    not stop the others. After an interruption run the same again: it continues from what is stored.

    Examples: waybill process report.pdf / waybill process letters/ --stages 1-3 / waybill process 'data/*.docx' --json
    """
    from waybill.services.run_options import read_stages

    read_keep_for(keep_for)  # a mistake is reported before anything is started
    numbers = read_stages(stages) if stages is not None else None
    given, places = _read_options(options, run_on or [])
    _check_sources(sources)
    # Read before the stack sets them: None means a server that this command starts.
    named_api = prefect_api_url()
    own_database = current_settings().database_url is None
    with stack_session(prefect=True) as (settings, addresses):
        from waybill.services.register_blocks import register_blocks

        warn_of_lost_records(named_api)
        if webhook_url is not None:
            from waybill.services.webhooks import check_run_url

            # Reported now; the run would only log it.
            asyncio.run(check_run_url(settings, webhook_url, own_database=own_database))
        parameters: dict[str, Any] = {
            "sources": [_absolute(source) for source in sources],
            "stages": numbers,
            "options": given,
            "reuse": not no_reuse,
            "webhook_url": webhook_url,
            "keep_for": keep_for,
            "run_on": places,
        }
        started = time.perf_counter()
        asyncio.run(register_blocks(settings, on_new_key=report_new_key))
        with progress_bar("processing") as show:
            report = run_work(_run_and_report(parameters, settings, show, started))
    if as_json:
        print_json(report)
    else:
        _print_report(report, addresses)
    return 0 if report["state"] == "completed" else 1


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
    result = await state.aresult(raise_on_failure=False)
    if isinstance(result, dict):
        return {**cast("dict[str, Any]", result), "seconds": round(seconds, 3)}
    if isinstance(result, WaybillError):
        raise result
    raise WaybillError(f"the run ended as {state.name}: {state.message}")


async def _run_flow(parameters: dict[str, Any], show: Any, owner: Owner) -> State[Any]:
    from prefect import tags

    from blocks.runs.prefect_api import while_server_restarts
    from flows.process import process_documents
    from flows.processing.progress import Progress, progress_listener

    def listen(progress: Progress) -> None:
        failed = f", {progress.failed} failed" if progress.failed else ""
        show(progress.percent, f"{progress.finished} of {progress.documents} documents{failed}")

    progress_listener.set(listen)
    with tags(owner.tag):
        # Repeated before the run exists; once it does, Prefect's client waits for the server.
        return await while_server_restarts(
            lambda: cast("Awaitable[State[Any]]", process_documents(**parameters, return_state=True))
        )


def _read_options(path: Path | None, run_on: list[str]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the options of the stages in the file, and where stages run: as *run_on*, or else the file, says."""
    from waybill.services.run_options import check_remote_stages, read_options_and_run_on, read_run_on_pairs

    try:
        text = path.read_text(encoding="utf-8") if path is not None else "{}"
    except OSError as exc:
        raise InvalidOptions(f"cannot read {path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise InvalidOptions(f"{path} is not JSON: {exc}") from exc
    options, places = read_options_and_run_on(text, str(path))
    places = read_run_on_pairs(run_on) if run_on else places
    check_remote_stages(places, options)
    return options, places


def _check_sources(sources: list[str]) -> None:
    """Report a mistyped path, or a source that no run may read, before anything is started."""
    from tasks.sources import SourceReader, check_sources, names_nothing

    with SourceReader.of(current_settings()) as reader:
        check_sources(sources, reader)
    missing = [source for source in sources if names_nothing(source)]
    if missing:
        raise SourceNotFound(f"no such file, folder or match: {', '.join(missing)}")


def _absolute(source: str) -> str:
    """Return a local path in full: the flow may run in another folder."""
    from tasks.sources import local_path

    return source if "://" in source or source.startswith("waybill:") else str(local_path(source).absolute())


def _print_report(report: dict[str, Any], addresses: StackAddresses) -> None:
    documents: list[dict[str, Any]] = report["documents"]
    if len(documents) <= MAX_DOCUMENTS_IN_TABLE:
        columns = ("document", "stage", "output", "size", "seconds", "reused", "warnings")
        shown = columns if report["warning_summary"] else columns[:-1]
        rows = [row[: len(shown)] for document in documents for row in _rows(document)]
        print_table(shown, rows, numeric=("size", "seconds"))
    else:
        _print_warnings(documents)
    failed = [document for document in documents if document["state"] == "failed"]
    for document in failed:
        print_notice(f"failed: {document['source']}: {document['error']}")
    artifacts = [artifact for document in documents for artifact in document["artifacts"]]
    reused = sum(1 for artifact in artifacts if artifact["reused"])
    typer.echo(
        f"\n{len(documents) - len(failed)} of {len(documents)} documents completed in {report['seconds']:.1f} s; "
        f"{len(artifacts) - reused} files made, {reused} reused."
    )
    if report["warning_summary"]:
        print_line(report["warning_summary"])
    typer.echo(
        f"Files:   waybill files list --run {report['run_id']}\n"
        f"Search:  waybill search 'your question'\n"
        f"Run:     waybill up, then {_run_page(addresses, report['run_id'])}"
    )


def _print_warnings(documents: list[dict[str, Any]]) -> None:
    """Print what each document lacks, where the table of all outputs would be too long."""
    rows = [
        (Path(document["source"]).name, lacking)
        for document in documents
        if (lacking := _in_short(warning for artifact in document["artifacts"] for warning in artifact["warnings"]))
    ]
    if not rows:
        return
    print_table(("document", "warnings"), rows[:MAX_DOCUMENTS_IN_TABLE])
    more = len(rows) - MAX_DOCUMENTS_IN_TABLE
    if more > 0:
        typer.echo(f"{more} more documents have warnings: --json has all of them")


def _in_short(warnings: Iterable[str]) -> str:
    from tasks.losses import summary

    return summary(warnings).partition(": ")[2]


def _run_page(addresses: StackAddresses, run_id: str) -> str:
    # A server that this command started is gone in a moment; `waybill up` serves the same history on its usual port.
    ours = "prefect" in addresses.started or addresses.prefect_ui_url is None
    base = "http://127.0.0.1:4200" if ours else addresses.prefect_ui_url
    return f"{base}/runs/flow-run/{run_id}"


def _rows(document: dict[str, Any]) -> list[tuple[str, ...]]:
    name = Path(document["source"]).name
    rows = [
        (
            name,
            f"{artifact['stage']} {artifact['stage_name']}",
            artifact["filename"],
            human_size(artifact["size"]),
            "" if artifact["reused"] else f"{artifact['seconds']:.2f}",
            "reused" if artifact["reused"] else "",
            _in_short(artifact["warnings"]),
        )
        for artifact in document["artifacts"]
        if artifact["kind"] == "stage_output"
    ]
    if document["state"] == "failed":
        rows.append((name, "failed", "", "", "", "", ""))
    return rows
