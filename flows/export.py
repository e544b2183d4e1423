"""export-table: write a table, a query or a file to one file, which is kept until it expires.

The work is `tasks.export_job`. The flow shows how far it is in Prefect's UI and links to the file. A run whose process
died is begun again and takes its job over. What is away for a moment is waited for (`tasks.export_retries`).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any, Literal, cast
from uuid import UUID

from prefect import Flow, State, flow, get_client, get_run_logger
from prefect.artifacts import acreate_markdown_artifact, acreate_progress_artifact, aupdate_progress_artifact
from prefect.client.schemas.objects import FlowRun
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed
from pydantic import Field, WithJsonSchema

from blocks.catalog import Artifact
from blocks.custody import Custody
from blocks.durations import DURATION_PATTERN, parse_duration
from blocks.errors import WaybillError
from blocks.exports import ExportJob, ExportRequest, cancel_job, check_job_id, create_job
from blocks.exports.request import JOB_ID_PATTERN, MAX_QUERY_CHARS, NAME_PATTERN, STORAGE, TABLES
from blocks.open_custody import open_block_custody
from blocks.postgres import single_connection
from blocks.runs.ownership import catalogue_id
from blocks.runs.run_artifacts import export_key, progress_key
from blocks.runtime.background_tasks import running
from blocks.runtime.form_schema import LeftOut, shown_as
from blocks.settings import Settings, current_settings
from blocks.webhooks.event_links import EventLinks
from tasks.export_job import ExportTools, run_export
from tasks.export_progress import Progress
from tasks.export_retries import retried
from tasks.export_source import check_request

# Each update is a request and a row in Prefect's database.
_ARTIFACT_INTERVAL_SECONDS = 2.0
# Prefect answers in milliseconds; its client repeats a request for a minute, and a progress is not worth that.
_ARTIFACT_SECONDS = 5.0

_Format = Literal["csv", "json", "jsonl", "xlsx", "parquet"]
_Compression = Annotated[Literal["gzip", "zstd"], Field(title="Compressed")]


def _text(title: str, **keywords: Any) -> WithJsonSchema:
    return WithJsonSchema({"title": title, "type": "string", **keywords})


# What Prefect's API checks. The rest is checked where a request is made, `ExportRequest`, also for the other callers.
_Query = Annotated[str, _text("SQL", minLength=1, maxLength=MAX_QUERY_CHARS)]
_Database = Annotated[str, _text("A connection", pattern=f"^{NAME_PATTERN}$")]
_Input = Annotated[str, _text("A file", minLength=1)]
_KeepFor = Annotated[str, _text("A period", pattern=DURATION_PATTERN)]
_Recipient = Annotated[str, _text("A recipient", pattern=f"^(age1.+|{STORAGE})$")]
_EncryptFor = Annotated[list[_Recipient], Field(title="Recipients")]
_JobId = Annotated[str, _text("A job", pattern=f"^{JOB_ID_PATTERN}$")]


def run_name() -> str:
    """Return ``documents as csv``."""
    parameters = cast("Mapping[str, Any] | None", flow_run.parameters) or {}
    return f"{parameters.get('export_type', 'documents')} as {parameters.get('format', 'csv')}"


async def cancel_export(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Cancel the job of a run that is being cancelled. Never fails: a job without a process fails by itself."""
    settings = current_settings()
    job_id = _job_id(flow_run.parameters, flow_run.id)
    with suppress(WaybillError):
        async with single_connection(settings.required_database_url) as connection:
            keep_failed = settings.retention.period("failed")
            await cancel_job(connection, job_id, error="its run was cancelled", keep_failed=keep_failed)


# Prefect shows the descriptions of a docstring in the form of a run, and no others.
@flow(name="export-table", flow_run_name=run_name, persist_result=False, on_cancellation=[cancel_export])
async def export_table(
    export_type: Annotated[
        str, shown_as("What to export", pattern=f"^{NAME_PATTERN}$", examples=[*TABLES])
    ] = "documents",
    format: Annotated[_Format, shown_as("Format")] = "csv",  # noqa: A002 - the name that users know it by
    compression: Annotated[_Compression | LeftOut, shown_as("Compression")] = None,
    query: Annotated[_Query | LeftOut, shown_as("Query")] = None,
    database: Annotated[_Database | LeftOut, shown_as("Database")] = None,
    input: Annotated[_Input | LeftOut, shown_as("Input file")] = None,  # noqa: A002
    keep_for: Annotated[_KeepFor | LeftOut, shown_as("Keep the file for")] = None,
    encrypt_for: Annotated[_EncryptFor | LeftOut, shown_as("Encrypt for")] = None,
    safe_formulas: Annotated[bool, shown_as("Safe formulas")] = False,
    job_id: Annotated[_JobId | LeftOut, shown_as("Job")] = None,
) -> State[dict[str, Any]]:
    """Export a table, a query or a file as one file, keep it until it expires, and link to it.

    The file is in custody, or below WAYBILL_EXPORT_STORAGE_PATH where that is set. Consumers are notified by
    export_completed and export_failed.

    Args:
        export_type: documents, chunks, facts, entities, artifacts, deliveries, events or runs; any name with a query
            or an input.
        format: The form of the file.
        compression: How the file is compressed; not at all when left out.
        query: SQL, run read-only; on the catalogue unless a database is named.
        database: Name of a connection of the setting export_databases. A URL is refused, because runs are stored.
        input: A csv or parquet file to export, given as a path, a URL or waybill:FILE_ID.
        keep_for: How long the file is kept, such as 24h or 7d; as the settings say when left out.
        encrypt_for: Age recipients (age1...) to encrypt for, or storage for the storage key.
        safe_formulas: In csv, put ' before text that a spreadsheet would run as a formula.
        job_id: Id of a job that is recorded already; the other fields are then those of the job.
    """
    request = None
    if job_id is None:
        request = ExportRequest(
            export_type=export_type,
            format=format,
            compression=compression,
            query=query,
            database=database,
            input=input,
            keep_for=parse_duration(keep_for) if keep_for else None,
            encrypt_for=tuple(encrypt_for or ()),
            safe_formulas=safe_formulas,
        )
    settings = current_settings()
    run_id = UUID(str(cast("str", flow_run.id)))
    # A catalogue that is away when the job begins or ends: the job is the run's own, so nothing is done twice.
    job = await retried(lambda: _export(job_id, request, settings, run_id), name=f"flow_run={run_id}")
    return _outcome(job)


async def _export(job_id: str | None, request: ExportRequest | None, settings: Settings, run_id: UUID) -> ExportJob:
    async with open_block_custody(settings) as custody:
        if request is not None:
            job_id = await _record(custody, settings, request, run_id)
        async with _shown(run_id) as show:
            tools = ExportTools(custody=custody, settings=settings, open_runs=lambda: _open_runs(custody))
            job = await run_export(check_job_id(str(job_id)), tools, run_id=run_id, on_progress=show)
        artifact = await custody.get(job.file_id) if job.file_id and job.state == "completed" else None
        await _add_result(job, artifact, settings, run_id)
    return job


def _job_id(parameters: Mapping[str, Any], run_id: UUID) -> str:
    """Return the id of a run's job; one that is begun again has the same."""
    return str(parameters.get("job_id") or f"exp_{hashlib.sha256(run_id.bytes).hexdigest()[:16]}")


async def _record(custody: Custody, settings: Settings, request: ExportRequest, run_id: UUID) -> str:
    request.check_storable()
    check_request(settings, request)
    keep_for = request.keep_for or settings.retention.period("export")
    async with custody.catalog.connection() as connection:
        made = await create_job(
            connection,
            _job_id({}, run_id),
            request,
            keep_for=keep_for,
            requested_by=f"run:{run_id}",
            run_id=run_id,
        )
    return made.job_id


async def _open_runs(custody: Custody) -> Any:
    from tasks.export_runs import read_runs

    async with custody.catalog.connection() as connection:
        catalogue = await catalogue_id(connection)
    async with get_client() as client:
        return await read_runs(client, catalogue=catalogue)


@asynccontextmanager
async def _shown(run_id: UUID) -> AsyncGenerator[Any]:
    """Show the progress in Prefect's UI; yield what is called with it. One task updates: concurrent updates race."""
    seen: list[Progress] = []
    artifact_id: UUID | None = None

    async def update() -> None:
        nonlocal artifact_id
        percent, text = _progress(seen[-1] if seen else Progress())
        # It is only shown: a server that does not answer must neither fail the run nor hold it up.
        with suppress(Exception):
            async with asyncio.timeout(_ARTIFACT_SECONDS):
                if artifact_id is None:
                    artifact_id = await acreate_progress_artifact(percent, key=progress_key(run_id), description=text)
                else:
                    await aupdate_progress_artifact(artifact_id, percent, description=text)

    async def update_forever() -> None:
        while True:
            await asyncio.sleep(_ARTIFACT_INTERVAL_SECONDS)
            await update()

    await update()
    try:
        async with running(update_forever()):
            yield seen.append
    finally:
        await update()


def _progress(progress: Progress) -> tuple[float, str]:
    """Return percent and a text; without a known number of rows the percent stays at 0 until the end."""
    if not progress.rows_expected:
        return 0.0, f"{progress.rows:,} rows"
    percent = min(100.0, 100.0 * progress.rows / progress.rows_expected)
    return round(percent, 1), f"{progress.rows:,} of {progress.rows_expected:,} rows"


async def _add_result(job: ExportJob, artifact: Artifact | None, settings: Settings, run_id: UUID) -> None:
    if job.state != "completed":
        return
    link = EventLinks.of(settings).to_file(artifact) if artifact is not None else None
    name = f"[{job.filename}]({link})" if link else f"`{job.filename}`"
    lines = [
        f"# Export of {job.export_type}",
        "",
        f"{name}: {job.rows:,} rows, {job.size:,} bytes, kept until {job.expires_at:%Y-%m-%d %H:%M} UTC.",
        "",
        *(f"- {note}" for note in job.notes),
    ]
    try:
        await acreate_markdown_artifact(
            key=export_key(run_id), markdown="\n".join(lines), description="The exported file"
        )
    except Exception as error:  # noqa: BLE001 - it only shows what is stored
        get_run_logger().warning("the result page is missing: %s", error)


def _outcome(job: ExportJob) -> State[dict[str, Any]]:
    data = job.as_json()
    if job.state == "completed":
        return Completed(message=f"{job.rows:,} rows in {job.filename}", data=data)
    if job.state == "cancelled":
        return Cancelled(message=job.error or "the export was cancelled", data=data)
    return Failed(message=job.error or job.outcome, data=data)
