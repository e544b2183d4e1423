"""``waybill export`` and ``waybill exports list|show|rm``: tables, queries and files as one file that expires."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blocks.durations import parse_duration
from blocks.errors import InvalidOptions, WaybillError
from blocks.runtime.in_words import size
from blocks.settings import current_settings
from waybill.commands.arguments import AsJson, Force, replaceable, this_account, typed_path
from waybill.commands.output import human_time, print_json, print_line, print_notice, progress_bar
from waybill.commands.session import report_new_key, run_work, stack_session, with_catalog, with_custody
from waybill.commands.tables import print_table
from waybill.services.storage_probe import check_storage_answers

if TYPE_CHECKING:
    from blocks.catalog import Catalog
    from blocks.custody import Custody
    from blocks.exports import ExportJob, ExportRequest, Page
    from blocks.settings import Settings
    from tasks.export_progress import Progress

_FORMATS = "csv, json, jsonl, xlsx or parquet"
# Prefect lists two hundred runs in a tenth of a second or so; a busy server takes seconds.
_PREFECT_SECONDS = 300.0

JobId = Annotated[str, typer.Argument(metavar="JOB_ID", help="The job's id, as 'exports list' shows it.")]
JobIds = Annotated[list[str], typer.Argument(metavar="JOB_ID...", help="Job ids, as 'exports list' shows them.")]


ExportType = Annotated[
    str,
    typer.Argument(
        metavar="TYPE",
        help="documents, chunks, facts, entities, artifacts, deliveries, events or runs; any name with --query or "
        "--input.",
    ),
]
Format = Annotated[str, typer.Option("--format", metavar="FORMAT", help=f"{_FORMATS}.")]
Query = Annotated[str | None, typer.Option(metavar="SQL", help="Export the rows of this query, run read-only.")]
Database = Annotated[
    str | None,
    typer.Option(
        metavar="URL|NAME", help="Where the query runs: a URL, or a name in export_databases. Else the catalogue."
    ),
]
Input = Annotated[
    str | None,
    typer.Option("--input", metavar="SOURCE", help="Export this csv or parquet file: path, URL, waybill:ID."),
]
Compress = Annotated[str | None, typer.Option(metavar="gzip|zstd", help="Compress the file.")]
KeepFor = Annotated[str | None, typer.Option(metavar="24h", help="How long it is kept; else as configured.")]
EncryptFor = Annotated[
    list[str] | None,
    typer.Option(metavar="RECIPIENT", help="Encrypt for this age recipient, or 'storage'. May be repeated."),
]
SafeFormulas = Annotated[
    bool,
    typer.Option("--safe-formulas", help="In csv, put ' before text that a spreadsheet would run as a formula."),
]
Output = Annotated[str | None, typer.Option("-o", "--output", metavar="PATH", help="Also write the file here.")]


def export(
    export_type: ExportType,
    format_: Format = "csv",
    query: Query = None,
    database: Database = None,
    input_: Input = None,
    compress: Compress = None,
    keep_for: KeepFor = None,
    encrypt_for: EncryptFor = None,
    safe_formulas: SafeFormulas = False,
    output: Output = None,
    force: Force = False,
    as_json: AsJson = False,
) -> int:
    """Export a table, a query or a file as one file that expires.

    The file is kept in custody, or below WAYBILL_EXPORT_STORAGE_PATH where that is set.

    Examples: waybill export documents --format xlsx / waybill export facts --format parquet --compress zstd /
    waybill export titles --query "select title from documents" -o titles.csv
    """
    from blocks.exports import ExportRequest

    request = ExportRequest(
        export_type=export_type,
        format=format_,
        compression=compress,
        query=query,
        database=database,
        input=None if input_ is None else _in_full(input_),
        keep_for=parse_duration(keep_for) if keep_for is not None else None,
        encrypt_for=tuple(encrypt_for or ()),
        safe_formulas=safe_formulas,
    )
    if output == "-":
        raise InvalidOptions("an export is a file: name one with -o, or print it with 'waybill files get FILE_ID -o -'")
    target = replaceable(typed_path(output).absolute(), force=force) if output is not None else None
    needs_prefect = request.is_table and request.export_type == "runs"
    check_storage_answers(current_settings())
    with (
        stack_session(prefect=needs_prefect, makes_home=True) as (settings, addresses),
        progress_bar("exporting") as show,
    ):
        job, location = run_work(_export(request, settings, addresses.prefect_api_url, target, show))
    shown = {**job.as_json(), "location": location}
    if as_json:
        print_json(shown)
    elif job.state == "completed":
        print_line(f"{job.rows:,} rows, {size(job.size or 0)}: {job.filename}")
        print_line(f"Job:   waybill exports show {job.job_id}")
        print_line(f"File:  {_where(shown, target)}, until {human_time(str(shown['expires_at']))}")
    if job.state != "completed":
        print_notice(f"waybill: {job.outcome}: {job.error}" if job.error else f"waybill: {job.outcome}")
        return 1
    for note in job.notes:
        print_notice(note)
    return 0


def list_exports(
    state: Annotated[
        str | None, typer.Option(help="Only pending, running, completed, failed, cancelled or deleted ones.")
    ] = None,
    export_type: Annotated[
        str | None, typer.Option("--type", metavar="TYPE", help="Only exports of this type.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many exports on one page.")] = 100,
    after: Annotated[str | None, typer.Option(help="Continue a list: the 'next' of the page before.")] = None,
    as_json: AsJson = False,
) -> int:
    """List exports, newest first."""
    from blocks.exports import STATES

    if state is not None and state not in STATES:
        raise InvalidOptions(f"an export is {', '.join(STATES)}, never {state!r}")

    async def work(catalog: Catalog, settings: Settings) -> Page:
        from waybill.services.exports import read_exports

        return await read_exports(catalog, settings, state=state, export_type=export_type, limit=limit, after=after)

    page = with_catalog(work)
    if as_json:
        print_json({"exports": [job.as_json() for job in page.jobs], "next": page.next})
        return 0
    print_table(
        ("job", "type", "format", "state", "rows", "size", "created", "expires", "file"),
        [_row(job) for job in page.jobs],
        numeric=("rows", "size"),
        cut=("file",),
        spare=("file", "expires", "created", "rows", "size"),
    )
    if page.next:
        print_notice(f"more: waybill exports list ... --after {page.next}")
    return 0


def show(job_id: JobId, as_json: AsJson = False) -> int:
    """Show an export: its state, rows, file, and when that expires."""

    async def work(catalog: Catalog, settings: Settings) -> dict[str, Any]:
        from waybill.services.exports import location_of, read_export

        job = await read_export(catalog, settings, job_id)
        return {**job.as_json(), "location": location_of(job)}

    shown = with_catalog(work)
    if as_json:
        print_json(shown)
        return 0
    for name, value in shown.items():
        if value not in (None, "", [], {}):
            print_line(f"{name:14} {value}")
    return 0


def rm(job_ids: JobIds, as_json: AsJson = False) -> int:
    """Cancel exports that are under way, and delete the files of finished ones."""

    async def work(custody: Custody, settings: Settings) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
        from waybill.services.exports import remove_export

        removed: list[dict[str, Any]] = []
        failed: list[dict[str, str]] = []
        for job_id in job_ids:
            try:
                job = await remove_export(custody, settings, job_id, by=this_account())
            except WaybillError as error:
                failed.append({"job_id": job_id, "error": error.message})
            else:
                removed.append(job.as_json())
        return removed, failed

    removed, failed = with_custody(work, reaches_storage=True)
    if as_json:
        print_json({"removed": removed, "failed": failed})
    for job in [] if as_json else removed:
        print_line(f"{job['job_id']} is {job['state']}")
    for one in failed:
        print_notice(f"waybill: {one['job_id']}: {one['error']}")
    return 1 if failed else 0


async def _export(
    request: ExportRequest, settings: Settings, api_url: str | None, target: Path | None, show: Any
) -> tuple[ExportJob, str | None]:
    from blocks.open_custody import open_custody
    from tasks.export_job import ExportTools, run_export
    from waybill.services.exports import add_export, location_of

    def on_progress(progress: Progress) -> None:
        percent = 100.0 * progress.rows / progress.rows_expected if progress.rows_expected else 0.0
        show(percent, f"{progress.rows:,} rows")

    async with open_custody(settings, on_new_key=report_new_key) as custody:
        job = await add_export(custody.catalog, settings, request, by=this_account())
        tools = ExportTools(custody=custody, settings=settings, open_runs=lambda: _open_runs(custody, api_url))
        job = await run_export(job.job_id, tools, request=request, on_progress=on_progress)
        if target is not None and job.state == "completed":
            await _copy(job, custody, settings, target)
        return job, location_of(job)


async def _open_runs(custody: Custody, api_url: str | None) -> Any:
    from blocks.runs.ownership import catalogue_id
    from blocks.runs.prefect_api import PrefectApi
    from tasks.export_runs import read_runs

    async with custody.catalog.connection() as connection:
        catalogue = await catalogue_id(connection)
    async with PrefectApi.open(api_url) as prefect, prefect.client(seconds=_PREFECT_SECONDS) as client:
        return await read_runs(client, catalogue=catalogue)


async def _copy(job: ExportJob, custody: Custody, settings: Settings, target: Path) -> None:
    """Write the file of *job* to *target* too, whole or not at all."""
    if job.file_id is not None:
        await custody.fetch(await custody.get(job.file_id), target)
        return
    await asyncio.to_thread(_copy_from_place, job, settings, target)


def _in_full(source: str) -> str:
    """Return a source as it is recorded with the job."""
    from tasks.sources import absolute_source

    return absolute_source(source)


def _copy_from_place(job: ExportJob, settings: Settings, target: Path) -> None:
    from blocks.exports.place import ExportPlace
    from blocks.runtime.atomic_file import atomic_file
    from blocks.runtime.write_errors import write_errors

    if job.path is None:
        raise AssertionError("unreachable: a completed job has a file")
    place, name = ExportPlace.holding(settings, job.path, job.job_id)
    with write_errors(target), atomic_file(target) as stream:
        for piece in place.read(name):
            stream.write(piece)


def _where(shown: dict[str, Any], target: Path | None) -> str:
    kept = f"waybill files get {shown['file_id']}" if shown["file_id"] else str(shown["location"])
    return f"{target}; {kept}" if target is not None else kept


def _row(job: ExportJob) -> tuple[str, ...]:
    return (
        job.job_id,
        job.export_type,
        job.format if job.compression is None else f"{job.format} {job.compression}",
        job.state,
        f"{job.rows:,}",
        size(job.size) if job.size is not None else "",
        human_time(job.created_at.isoformat()),
        human_time(job.expires_at.isoformat()) if job.expires_at else "",
        job.filename or "",
    )
