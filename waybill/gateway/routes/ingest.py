"""``POST /ingest/file``: a file into custody, and a run that processes it.

The run is started through Prefect's API with the file's id as its source, as any program may do. What was answered
with 202 has both; where Prefect fails after the file was stored, the file stays, and the answer names it.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any
from uuid import UUID, uuid4

import orjson
from fastapi import APIRouter, Header, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from blocks.access import record
from blocks.access.idempotency import Answered, Claim, record_answer, record_stored
from blocks.catalog import Artifact, Connection
from blocks.errors import InvalidOptions, Transient
from blocks.redaction import custody_source
from waybill.gateway.access import Caller
from waybill.gateway.dependencies import Waybill, Writer
from waybill.gateway.errors import HttpError, json_answer, log
from waybill.gateway.http.form_parsing import (
    read_file_id,
    read_run_options,
    read_run_stages,
    read_webhook_url,
    upload_metadata,
)
from waybill.gateway.http.form_upload import ReceivedForm, received_form
from waybill.gateway.http.idempotency import idempotent, request_taken_over
from waybill.gateway.openapi import errors, form
from waybill.gateway.resources import Resources
from waybill.gateway.routes.uploads import keep
from waybill.gateway.start_run import find_deployment, start_run

router = APIRouter(prefix="/api/v1/ingest", tags=["ingest"])

_FIELDS = {
    "webhook_url": "https://example.org/hook",
    "stages": "1-5",
    "options": '{"chunker": {"max_tokens": 256}}',
    "source_type": "mail",
    "metadata": '{"customer": 7}',
    "file_id": "0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a",
}

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="A request that is sent again under the same key does its work once, and gets the same answer.",
        examples=["order-4711"],
    ),
]


class Ingested(BaseModel):
    """A run was started."""

    task_id: UUID = Field(description="The run: Prefect's flow run id")
    status_url: str = Field(examples=["http://127.0.0.1:8000/api/v1/status/0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a"])
    file_id: UUID = Field(description="The upload in custody")


@router.post(
    "/file",
    status_code=202,
    response_model=Ingested,
    responses=errors(400, 404, 408, 409, 410, 413, 415, 507),
    openapi_extra=form(file_required=False, **_FIELDS),
)
async def ingest(
    request: Request, caller: Writer, resources: Waybill, idempotency_key: IdempotencyKey = None
) -> Response:
    """Take a file into custody, or name one that is there by `file_id`, and start a run that processes it."""
    # Before the file is read: without Prefect, or without the deployment, it would be read for nothing.
    deployment_id = await find_deployment(resources.prefect)
    async with idempotent(resources.custody.catalog, caller.namespace, idempotency_key) as once:
        started = once if isinstance(once, Claim) else None
        stored_before = started is not None and started.file_id is not None
        asked: dict[str, Any] = {}
        async with received_form(
            request,
            resources,
            fields=_FIELDS,
            max_bytes=resources.settings.max_file_mib * 2**20,
            check_field=lambda name, value: asked.update(_read(resources, name, value)),
            store=not isinstance(once, Answered) and not stored_before,
        ) as received:
            wanted = _Wanted(received, asked)
            if isinstance(once, Answered):
                wanted.require(once.fingerprint)
                return _accepted(dict(once.answer), replayed=True)
            artifact = await _file_of(wanted, resources, caller, started)
        run_key = started.run_key if started else f"waybill-{uuid4()}"
        run_id = await _run_of(wanted, resources, deployment_id, artifact, run_key)
        answer = {
            "task_id": str(run_id),
            "status_url": f"{resources.links.base_url}/api/v1/status/{run_id}",
            "file_id": str(artifact.file_id),
        }
        async with resources.custody.catalog.transaction() as connection:
            await record(connection, caller.entry("ingest", file_id=artifact.file_id, run_id=run_id))
            if started is not None:
                await record_answer(connection, started, wanted.fingerprint, answer)
        return _accepted(answer, replayed=False)


class _Wanted:
    """What a request asks for; *asked* as `_read` gives it. Raises `InvalidOptions` when it names no file, or two."""

    def __init__(self, received: ReceivedForm, asked: dict[str, Any]) -> None:
        self.received = received
        self.run = asked
        self.file_id: UUID | None = self.run.pop("file_id", None)
        if (received.content is None) == (self.file_id is None):
            raise InvalidOptions("send a file, or the file_id of one in custody: curl -F 'file=@report.pdf'")
        told = {
            "fields": dict(sorted(received.fields.items())),
            "filename": received.filename,
            "sha256": received.content.sha256 if received.content else None,
        }
        self.fingerprint = hashlib.sha256(orjson.dumps(told)).hexdigest()

    def require(self, fingerprint: str) -> None:
        """Raise `HttpError` unless this is the request that was made before."""
        if fingerprint != self.fingerprint:
            raise HttpError(
                422,
                "IdempotencyKeyReused",
                "this Idempotency-Key was used for another file or other fields; use a new key for a new request",
            )


def _read(resources: Resources, name: str, value: str) -> dict[str, Any]:
    """The run's parameter that a field gives, or `file_id`, by its name; nothing for what is kept with the file.

    Raises what the readers raise.
    """
    if name == "file_id":
        return {name: read_file_id(value.strip())} if value.strip() else {}
    if name == "stages":
        return {name: read_run_stages(value)}
    if name == "options":
        return {name: read_run_options(value)}
    if name == "webhook_url":
        return {name: read_webhook_url(value, resources.guard)}
    upload_metadata({name: value})
    return {}


async def _file_of(wanted: _Wanted, resources: Resources, caller: Caller, started: Claim | None) -> Artifact:
    """The file to be processed, in custody from now on."""
    if started is not None and started.fingerprint is not None and started.file_id is not None:
        wanted.require(started.fingerprint)
        return await resources.custody.get(started.file_id)

    async def note(connection: Connection, artifact: Artifact) -> None:
        if started is not None and not await record_stored(connection, started, wanted.fingerprint, artifact.file_id):
            raise request_taken_over()

    if wanted.file_id is not None:
        known = await resources.custody.get(wanted.file_id)
        async with resources.custody.catalog.connection() as connection:
            await note(connection, known)
        return known
    return await keep(wanted.received, resources, caller, convertible=True, also=note)


async def _run_of(wanted: _Wanted, resources: Resources, deployment_id: UUID, artifact: Artifact, run_key: str) -> UUID:
    parameters = {"sources": [custody_source(artifact.file_id, artifact.source_file)], **wanted.run}
    try:
        return await start_run(resources.prefect, deployment_id, parameters, name=artifact.filename, run_key=run_key)
    except Transient as exc:
        log.error("no run for file %s: %s", artifact.file_id, exc.message)
        raise HttpError(
            503,
            type(exc).__name__,
            "the file is in custody, but no run could be started; send the request again with its file_id instead of "
            "the file, or with the same Idempotency-Key",
            detail={"file_id": str(artifact.file_id)},
            headers={"Retry-After": "5"},
        ) from exc


def _accepted(answer: dict[str, Any], *, replayed: bool) -> Response:
    headers = {"Location": str(answer["status_url"]), **({"Idempotency-Replayed": "true"} if replayed else {})}
    # In one order, also when it comes out of the database.
    return json_answer({name: answer[name] for name in Ingested.model_fields}, status=202, headers=headers)
