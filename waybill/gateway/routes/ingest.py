"""``POST /ingest/file``: store a file and start a run that processes it.

The run is started through Prefect's API with the file's id as its source, as any other program could do. A 202 means
that the file is in custody, and that its run is queued or recorded to be started: small files that come in soon after
each other share one (`waybill.gateway.ingest_window`). If Prefect fails after the file was stored, the file stays and
the response names it.
"""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from blocks.access import READ, WRITE, record
from blocks.access.idempotency import Answered, Claim, record_answer
from blocks.catalog import Artifact, Connection
from blocks.errors import InvalidOptions, Permanent, Transient
from blocks.runs.upload_tasks import add_task
from blocks.webhooks.registration import set_run_webhook
from blocks.webhooks.secrets import SecretBox
from waybill.gateway.access import Caller
from waybill.gateway.dependencies import GatewayResources, Writer
from waybill.gateway.errors import HttpError, json_response, log
from waybill.gateway.http.form_parsing import RUN_FIELDS, check_upload_field, read_file_id, read_run_field
from waybill.gateway.http.idempotency import IdempotencyKey, idempotent, note_stored, require_same, stored_answer
from waybill.gateway.openapi import errors, form
from waybill.gateway.resources import Resources
from waybill.gateway.routes.form_upload import UploadForm, keep, upload_form
from waybill.gateway.run_starts import start_run
from waybill.services.run_options import check_remote_stages

router = APIRouter(prefix="/api/v1/ingest", tags=["ingest"])

_FIELDS = {
    **RUN_FIELDS,
    "source_type": "mail",
    "metadata": '{"customer": 7}',
    "file_id": "0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a",
}


class Ingested(BaseModel):
    """The file is in custody and will be processed."""

    task_id: UUID = Field(
        description="Id of the run: Prefect's flow run id, or an id of its own for an upload that shares a run"
    )
    status_url: str = Field(examples=["http://127.0.0.1:8000/api/v1/status/0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a"])
    file_id: UUID = Field(description="Id of the file in custody")


@router.post(
    "/file",
    status_code=202,
    response_model=Ingested,
    responses=errors(400, 404, 408, 409, 410, 413, 415, 507),
    openapi_extra=form(file_required=False, **_FIELDS),
)
async def ingest(
    request: Request, caller: Writer, resources: GatewayResources, idempotency_key: IdempotencyKey = None
) -> Response:
    """Store a file, or name a stored one with `file_id`, and start a run that processes it."""
    # Before the file is received: without Prefect or the deployment it would be received in vain.
    deployment_id = await resources.window.deployment_id()
    # The first time it takes half a second.
    await asyncio.to_thread(import_module, "tasks.registry")
    async with idempotent(resources.custody.catalog, caller.namespace, idempotency_key) as outcome:
        held = outcome if isinstance(outcome, Claim) else None
        stored_before = held is not None and held.file_id is not None
        parameters: dict[str, Any] = {}
        async with upload_form(
            request,
            resources,
            caller.namespace,
            fields=_FIELDS,
            max_bytes=resources.settings.max_file_mib * 2**20,
            check_field=lambda name, value: parameters.update(_parse(resources, name, value)),
            store=not isinstance(outcome, Answered) and not stored_before,
        ) as form:
            ingestion = _Ingestion(form, parameters)
            check_remote_stages(parameters.get("run_on"), parameters.get("options") or {})
            if ingestion.file_id is not None and parameters.get("webhook_url"):
                # The events link to the outputs of a file that this key may only know by its id.
                await resources.gate.require(request, caller, WRITE, READ)
            if isinstance(outcome, Answered):
                catalog = resources.custody.catalog
                known = await stored_answer(catalog, outcome, ingestion.fingerprint, Ingested)
                return _accepted(resources, known, replayed=True)
            artifact = await _store(ingestion, resources, caller, held)
        # What an earlier try has begun, it may have begun with a run of its own.
        is_shared = not stored_before and resources.window.shares(artifact.size)
        if is_shared:
            task_id = uuid4()
        else:
            run_key = held.run_key if held else f"waybill-{uuid4()}"
            task_id = await _start(ingestion, resources, deployment_id, artifact, run_key)
        answer = {
            "task_id": str(task_id),
            "status_url": f"{resources.links.base_url}/api/v1/status/{task_id}",
            "file_id": str(artifact.file_id),
        }
        async with resources.custody.catalog.transaction() as connection:
            if is_shared:
                await _share(connection, ingestion, resources, artifact, task_id)
            await record(connection, caller.entry("ingest", file_id=artifact.file_id, run_id=task_id))
            if held is not None:
                await record_answer(connection, held, ingestion.fingerprint, answer)
        if is_shared:
            resources.window.added()
        return _accepted(resources, answer, replayed=False)


class _Ingestion:
    """A received form with the run *parameters* of its fields. Raises `InvalidOptions` unless it names one file."""

    def __init__(self, form: UploadForm, parameters: dict[str, Any]) -> None:
        self.form = form
        self.file_id: UUID | None = parameters.pop("file_id", None)
        self.parameters = parameters
        if (form.content is None) == (self.file_id is None):
            raise InvalidOptions(
                "send either a file, as 'curl -F file=@report.pdf' does, or the file_id of one in custody"
            )
        self.fingerprint = form.fingerprint()


def _parse(resources: Resources, name: str, value: str) -> dict[str, Any]:
    """Parse a field into a parameter of the run or `file_id`; only check one that is stored with the file.

    Raises what `form_parsing` raises.
    """
    if name == "file_id":
        return {name: read_file_id(value.strip())} if value.strip() else {}
    if name in RUN_FIELDS:
        return read_run_field(name, value, resources.guard)
    check_upload_field(name, value)
    return {}


async def _store(ingestion: _Ingestion, resources: Resources, caller: Caller, held: Claim | None) -> Artifact:
    """Return the file to process, stored now, by an earlier try of the same request, or before."""
    if held is not None and held.file_id is not None:
        require_same(held.fingerprint, ingestion.fingerprint)
        return await resources.custody.get(held.file_id)

    async def note(connection: Connection, artifact: Artifact) -> None:
        await note_stored(connection, held, ingestion.fingerprint, artifact)

    if ingestion.file_id is not None:
        known = await resources.custody.get(ingestion.file_id)
        async with resources.custody.catalog.connection() as connection:
            await note(connection, known)
        return known
    return await keep(ingestion.form, resources, caller, convertible=True, also=note)


async def _share(
    connection: Connection, ingestion: _Ingestion, resources: Resources, artifact: Artifact, task_id: UUID
) -> None:
    """Record that the file waits for a run that it shares: from the commit on it will be processed."""
    url = ingestion.parameters.get("webhook_url")
    if url:
        try:
            # A savepoint: no webhook keeps a document from being processed.
            async with connection.transaction():
                await set_run_webhook(connection, SecretBox.of(resources.settings), run_id=task_id, url=url)
        except Permanent as error:
            log.error("no events of upload %s are sent to its webhook_url: %s", task_id, error.message)
    await add_task(
        connection,
        task_id=task_id,
        file_id=artifact.file_id,
        source_file=artifact.source_file,
        filename=artifact.filename,
        parameters={name: value for name, value in ingestion.parameters.items() if name != "webhook_url"},
    )


async def _start(
    ingestion: _Ingestion, resources: Resources, deployment_id: UUID, artifact: Artifact, run_key: str
) -> UUID:
    """Start a run on *artifact* and return its id. With the same *run_key* it is the same run."""
    try:
        return await start_run(resources.prefect, deployment_id, [artifact], ingestion.parameters, run_key=run_key)
    except Transient as exc:
        log.error("cannot start a run for file %s: %s", artifact.file_id, exc)
        raise HttpError(
            503,
            type(exc).__name__,
            "the file is in custody, but no run could be started; send the request again with its file_id instead of "
            "the file, or with the same Idempotency-Key",
            detail={"file_id": str(artifact.file_id)},
        ) from exc


def _accepted(resources: Resources, answer: dict[str, Any], *, replayed: bool) -> Response:
    location = f"{resources.links.base_url}/api/v1/status/{answer['task_id']}"
    headers = {"Location": location, **({"Idempotency-Replayed": "true"} if replayed else {})}
    # The fields in a fixed order, also when they come from the database.
    return json_response({name: answer[name] for name in Ingested.model_fields}, status=202, headers=headers)
