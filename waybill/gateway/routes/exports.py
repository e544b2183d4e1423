"""``/exports``: start, list, read and remove export jobs. Files in custody are downloaded like all others.

A small table is exported while its client waits; anything else is a run of the deployment ``export-table``, started
through Prefect's API. Responses are those of ``waybill export ... --json``, without the location of the stored bytes.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response
from prefect.exceptions import ObjectNotFound
from pydantic import BaseModel, ConfigDict, Field

from blocks.access import ADMIN, READ
from blocks.access.idempotency import Answered, Claim, record_answer
from blocks.catalog import Connection
from blocks.errors import DeploymentMissing, InvalidOptions, Transient
from blocks.exports import TABLES, ExportJob, ExportRequest, fail_pending, set_run
from blocks.exports.request import MAX_QUERY_CHARS
from blocks.runs.deployment import find_deployment
from blocks.runs.deployment_names import EXPORT_DEPLOYMENT
from blocks.settings import Settings
from tasks.export_job import ExportTools, run_export
from tasks.export_source import check_request, is_small_table
from waybill.gateway.dependencies import GatewayResources, Reader, Writer
from waybill.gateway.errors import HttpError, json_response, log
from waybill.gateway.http.bounded_json import BODY_STATUSES, JsonRoute
from waybill.gateway.http.idempotency import IdempotencyKey, idempotent, stored_answer
from waybill.gateway.http.params import After, Duration, Limit, Text, duration
from waybill.gateway.openapi import errors
from waybill.gateway.resources import Resources
from waybill.services.exports import (
    add_export,
    export_file,
    read_export,
    read_exports,
    remove_export,
    require_file,
)

router = APIRouter(prefix="/api/v1/exports", tags=["exports"], route_class=JsonRoute)

# HTTP clients and people wait this long without a thought; what takes longer becomes a run.
_NOW_SECONDS = 2.0
# Long enough to begin a download; a new one is made whenever the job is read.
_LINK_LASTS = timedelta(hours=1)

JobState = Literal["pending", "running", "completed", "failed", "cancelled", "deleted"]
JobId = Annotated[str, Path(max_length=40, description="Id of the job.", examples=["exp_0123456789abcdef"])]


class NewExport(BaseModel):
    """A table of the catalogue, the rows of a query, or a csv or parquet file; and the form of the result."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"export_type": "documents", "format": "xlsx"},
                {"export_type": "titles", "format": "csv", "query": "select title from documents"},
            ]
        },
    )

    export_type: Text = Field(
        max_length=64, description=f"{', '.join(TABLES)}; with a query or an input, any name", examples=["documents"]
    )
    format: Literal["csv", "json", "jsonl", "xlsx", "parquet"] = "csv"
    compression: Literal["gzip", "zstd"] | None = None
    query: Text | None = Field(
        default=None, max_length=MAX_QUERY_CHARS, description="SQL, run read-only; needs the scope admin"
    )
    database: Text | None = Field(
        default=None, max_length=64, description="Name of a connection of the settings; the catalogue if left out"
    )
    input: Text | None = Field(
        default=None, max_length=8192, description="A csv or parquet file that runs may read; needs the scope admin"
    )
    keep_for: Duration | None = Field(default=None, description="How long the file is kept; else as the settings say")
    encrypt_for: list[Text] = Field(
        default=[], max_length=20, description="Age recipients (age1...), or storage for the storage key"
    )
    safe_formulas: bool = Field(
        default=False, description="In csv, put ' before text that a spreadsheet would run as a formula"
    )


class Export(BaseModel):
    """An export job."""

    job_id: str = Field(examples=["exp_0123456789abcdef"])
    export_type: str = Field(examples=["documents"])
    format: str = Field(examples=["csv"])
    compression: str | None
    state: JobState
    filename: str | None = Field(examples=["documents_exp_0123456789abcdef_20260301_120000.csv"])
    file_id: UUID | None = Field(description="Id of the file in custody; null while there is none, or it is elsewhere")
    rows: int = Field(description="Rows written so far")
    rows_expected: int | None = Field(description="Null where the number is not known")
    progress: float | None = Field(description="0 to 1 by rows; null where the number of rows is not known")
    size: int | None
    sha256: str | None
    encrypted: bool
    notes: list[str] = Field(description="What the format could not hold as it was")
    error: str | None
    run_id: UUID | None = Field(description="The run that works on it")
    requested_by: str = Field(examples=["key:0123456789ab"])
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    expires_at: datetime | None
    status_url: str = Field(examples=["http://127.0.0.1:8000/api/v1/exports/exp_0123456789abcdef"])


class ExportDetails(Export):
    """An export job, and a link to its file that works without an API key for an hour."""

    download_url: str | None


class ExportList(BaseModel):
    """One page of export jobs, newest first."""

    exports: list[Export]
    next: str | None = Field(examples=["MjAyNi0x..."], description="`after` of the next page; null on the last page")


class ExportRemoved(BaseModel):
    """What a key without the scope `read` learns of a job that it removed."""

    model_config = ConfigDict(extra="forbid")

    job_id: str
    state: JobState


class _Recorded(BaseModel):
    """What is stored as the response of a request: the job that it recorded."""

    job_id: str


_NOT_DONE: dict[int | str, dict[str, Any]] = {
    202: {"model": ExportDetails, "description": "A run exports it; `status_url` says how far it is"}
}


@router.post("", status_code=201, responses=_NOT_DONE | errors(*BODY_STATUSES, 409), response_model=ExportDetails)
async def start(
    request: Request,
    caller: Reader,
    resources: GatewayResources,
    wanted: NewExport,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Export a table, a query or a file. A small table is done when this returns (201); anything else is a run (202).

    A query or an input needs a key with the scope `admin`. A query runs read-only: on a database that the settings
    name, or on views of the catalogue. Repeated with the same `Idempotency-Key`, this returns the job of the first
    request.
    """
    if wanted.query is not None or wanted.input is not None:
        await resources.gate.require(request, caller, ADMIN)
    asked = _asked(wanted, resources.settings)
    catalog = resources.custody.catalog
    fingerprint = hashlib.sha256(b"export " + orjson.dumps(wanted.model_dump(mode="json"))).hexdigest()
    async with idempotent(catalog, caller.namespace, idempotency_key) as outcome:
        if isinstance(outcome, Answered):
            known = await stored_answer(catalog, outcome, fingerprint, _Recorded)
            job = await read_export(catalog, resources.settings, known["job_id"])
            if job.state == "failed" and job.run_id is None:
                raise _failed(job)
            if job.state == "pending" and job.run_id is None:  # the gateway that recorded it was killed
                job = await _as_run(resources, job, await _deployment(resources), may_repeat=True)
            return await _answer(resources, job, replayed=True)

        async def note(connection: Connection, made: ExportJob) -> None:
            if isinstance(outcome, Claim):
                await record_answer(connection, outcome, fingerprint, {"job_id": made.job_id})

        small = not resources.small_exports.locked() and await is_small_table(resources.settings, asked)
        # Before the job is recorded: without Prefect or the deployment it would wait in vain.
        deployment_id = None if small else await _deployment(resources)
        job = await add_export(catalog, resources.settings, asked, by=caller, also=note)
        if small:
            job = await _now(resources, job)
        if job.state == "pending":
            deployment_id = deployment_id or await _deployment(resources)
            job = await _as_run(resources, job, deployment_id, may_repeat=idempotency_key is not None)
    return await _answer(resources, job, replayed=False)


@router.get("", responses=errors(), response_model=ExportList)
async def list_exports(
    _: Reader,
    resources: GatewayResources,
    state: Annotated[JobState | None, Query(description="Only jobs in this state.")] = None,
    export_type: Annotated[Text | None, Query(max_length=64, description="Only exports of this type.")] = None,
    limit: Limit = 100,
    after: After = None,
) -> Response:
    """List export jobs, newest first, also those whose files are gone."""
    page = await read_exports(
        resources.custody.catalog, resources.settings, state=state, export_type=export_type, limit=limit, after=after
    )
    return json_response({"exports": [_shown(resources, job) for job in page.jobs], "next": page.next})


@router.get("/{job_id}", responses=errors(404, 410), response_model=ExportDetails)
async def read(_: Reader, resources: GatewayResources, job_id: JobId) -> Response:
    """Return a job: its state, how far it is, and a link to its file. 410 when the file has expired or was deleted."""
    job = require_file(await read_export(resources.custody.catalog, resources.settings, job_id))
    return json_response(await _details(resources, job))


@router.delete("/{job_id}", responses=errors(404, 409, 410), response_model=Export | ExportRemoved)
async def remove(caller: Writer, resources: GatewayResources, job_id: JobId) -> Response:
    """Cancel a job that is not done, or delete the file of one that is. A pinned file is refused (409)."""
    job = await remove_export(resources.custody, resources.settings, job_id, by=caller)
    shown = _shown(resources, job)
    if not caller.allows(READ):
        shown = {name: shown[name] for name in ExportRemoved.model_fields}
    return json_response(shown)


def _asked(wanted: NewExport, settings: Settings) -> ExportRequest:
    """Return the checked request. Raises `InvalidOptions`."""
    found = ExportRequest(
        export_type=wanted.export_type,
        format=wanted.format,
        compression=wanted.compression,
        query=wanted.query,
        database=wanted.database,
        input=wanted.input,
        keep_for=None if wanted.keep_for is None else duration(wanted.keep_for),
        encrypt_for=tuple(wanted.encrypt_for),
        safe_formulas=wanted.safe_formulas,
    )
    found.check_storable()
    check_request(settings, found)
    return found


async def _deployment(resources: Resources) -> UUID:
    return await find_deployment(
        resources.prefect, resources.custody.catalog, resources.settings.home, wanted=EXPORT_DEPLOYMENT
    )


async def _now(resources: Resources, job: ExportJob) -> ExportJob:
    """Export a small table in this process. One that takes too long is given back. Raises `HttpError` when it fails."""
    async with resources.small_exports:
        tools = ExportTools(custody=resources.custody, settings=resources.settings)
        done = await run_export(job.job_id, tools, wait_seconds=_NOW_SECONDS)
    if done.state == "failed":
        raise _failed(done)
    return done


def _failed(job: ExportJob) -> HttpError:
    return HttpError(422, "ExportFailed", job.error or job.outcome, detail={"job_id": job.job_id})


async def _as_run(resources: Resources, job: ExportJob, deployment_id: UUID, *, may_repeat: bool) -> ExportJob:
    """Start a run that exports, and return the job. With *may_repeat* a job whose run did not start waits for that.

    The same job is the same run. Raises `HttpError` (503).
    """
    parameters = {"export_type": job.export_type, "format": job.format, "job_id": job.job_id}
    catalog = resources.custody.catalog
    try:
        async with resources.prefect.client() as client:
            run = await client.create_flow_run_from_deployment(
                deployment_id, parameters=parameters, idempotency_key=f"waybill-{job.job_id}"
            )
    except (Transient, ObjectNotFound) as exc:
        log.error("cannot start a run for export %s: %s", job.job_id, exc)
        if not may_repeat:
            keep_failed = resources.settings.retention.period("failed")
            async with catalog.connection() as connection:
                await fail_pending(connection, job.job_id, error="no run could be started", keep_failed=keep_failed)
        kind = DeploymentMissing if isinstance(exc, ObjectNotFound) else type(exc)
        message = (
            "no run could be started for this export; send the request again, with the same Idempotency-Key if any"
        )
        raise HttpError(503, kind.__name__, message, detail={"job_id": job.job_id}) from exc
    async with catalog.connection() as connection:
        await set_run(connection, job.job_id, run.id)
    return await read_export(catalog, resources.settings, job.job_id)


async def _answer(resources: Resources, job: ExportJob, *, replayed: bool) -> Response:
    shown = await _details(resources, job)
    headers = {"Location": shown["status_url"], **({"Idempotency-Replayed": "true"} if replayed else {})}
    return json_response(shown, status=201 if job.state == "completed" else 202, headers=headers)


async def _details(resources: Resources, job: ExportJob) -> dict[str, Any]:
    artifact = await export_file(resources.custody, job)
    link = None
    with suppress(InvalidOptions):  # it expires in this moment
        if artifact is not None:
            link = (await asyncio.to_thread(resources.links.to_download, artifact, _LINK_LASTS)).url
    return {**_shown(resources, job), "download_url": link}


def _shown(resources: Resources, job: ExportJob) -> dict[str, Any]:
    view = {**job.as_json(), "status_url": f"{resources.links.base_url}{router.prefix}/{job.job_id}"}
    # Without what was asked for: the text of an administrator's query is not for every key that may read.
    return {name: view[name] for name in Export.model_fields}
