"""``POST /runs``: start a run on any number of sources, here or spread over the workers of a work pool.

Sources are named in a field, or in a file that has one on each line. The file is checked as it arrives, and stays in
custody for a week as the list that the run reads: a run's parameters hold 512 KiB. A source other than a file in
custody is read with the rights of the account that runs `waybill up`, so that only a key with `admin` may name one.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from blocks.access import ADMIN, READ, WRITE, record
from blocks.access.idempotency import Answered, Claim, record_answer
from blocks.catalog import Artifact, Connection
from blocks.errors import InvalidOptions, Transient
from blocks.redaction import CUSTODY_SCHEME, LIST_SCHEME, custody_source, list_source
from blocks.runs.work_pools import check_pool
from blocks.runtime.in_words import first_and_more
from tasks.sources import check_text, display_name
from tasks.sources.source_lists import MEDIA_TYPE, read_list
from waybill.gateway.access import Caller
from waybill.gateway.dependencies import GatewayResources, Writer
from waybill.gateway.errors import HttpError, json_response, log
from waybill.gateway.http.form_parsing import RUN_FIELDS, read_flag, read_run_field
from waybill.gateway.http.idempotency import IdempotencyKey, idempotent, note_stored, require_same, stored_answer
from waybill.gateway.openapi import errors, form
from waybill.gateway.resources import Resources
from waybill.gateway.routes.form_upload import UploadForm, upload_form
from waybill.gateway.run_starts import start_run_on
from waybill.services.files import recorded_upload
from waybill.services.run_options import check_remote_stages
from waybill.services.source_lists import MOST_LIST_BYTES, NAMES_PLACES, ListCheck, list_draft

router = APIRouter(prefix="/api/v1/runs", tags=["runs"])

_FIELDS = {
    "sources": "waybill:0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a",
    "spread": "documents",
    "reuse": "true",
    **RUN_FIELDS,
}
# A list without a name of its own.
_LIST = "sources"


class Started(BaseModel):
    """The run is queued."""

    task_id: UUID = Field(description="Prefect's flow run id")
    status_url: str = Field(examples=["http://127.0.0.1:8000/api/v1/status/0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a"])
    sources: int = Field(description="How many sources were named: a folder is one", examples=[100_000])
    list_source: str | None = Field(
        description="The source that stands for the list, for a week: it starts another run on the same sources",
        examples=["list:waybill:0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a/letters.txt"],
    )


@dataclass
class _Wanted:
    """What a form asks for: the *parameters* of a run, and what names its sources."""

    check: ListCheck
    form: UploadForm = field(default_factory=UploadForm)
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])
    # Of the field alone.
    sources: list[str] = field(default_factory=list[str])
    stored_list: Artifact | None = None

    @property
    def count(self) -> int:
        return len(self.sources) + self.check.sources

    def take(self, resources: Resources, name: str, value: str) -> None:
        """Take one field of the form. Raises what reading it raises."""
        if name == "sources":
            self.sources = _read_sources(value)
        elif name == "reuse":
            self.parameters |= read_flag(name, value)
        elif name == "spread":
            self.parameters |= {name: value.strip()} if value.strip() else {}
        else:
            self.parameters |= read_run_field(name, value, resources.guard)

    def of_run(self) -> dict[str, Any]:
        """Return the parameters of the run."""
        further = [_source_of(self.stored_list)] if self.stored_list is not None else []
        return {"sources": [*self.sources, *further], **self.parameters}

    @property
    def name(self) -> str:
        first = self.sources[0] if self.sources else self.form.filename or _LIST
        return first_and_more(display_name(first), self.count)


@router.post(
    "",
    status_code=202,
    response_model=Started,
    responses=errors(400, 404, 408, 409, 410, 413, 415, 507),
    openapi_extra=form(file_required=False, **_FIELDS),
)
async def start(
    request: Request, caller: Writer, resources: GatewayResources, idempotency_key: IdempotencyKey = None
) -> Response:
    """Start a run on sources in custody; with the scope `admin` also on files, folders, buckets and URLs.

    They are lines of the field `sources`, or of a list that is sent as `file`.
    """
    # Before the list is received: without Prefect or the deployment it would be received in vain.
    deployment_id = await resources.window.deployment_id()
    # The first time it takes half a second.
    await asyncio.to_thread(import_module, "tasks.registry")
    async with idempotent(resources.custody.catalog, caller.namespace, idempotency_key) as outcome:
        held = outcome if isinstance(outcome, Claim) else None
        stored_before = held is not None and held.file_id is not None
        wanted = _Wanted(ListCheck("the list"))
        async with upload_form(
            request,
            resources,
            caller.namespace,
            fields=_FIELDS,
            max_bytes=min(MOST_LIST_BYTES, resources.settings.max_file_mib * 2**20),
            check_field=lambda name, value: wanted.take(resources, name, value),
            check_piece=wanted.check.feed,
            store=not isinstance(outcome, Answered) and not stored_before,
        ) as wanted.form:
            await _check(request, wanted, resources, caller)
            if isinstance(outcome, Answered):
                fingerprint = wanted.form.fingerprint(request.url.path)
                known = await stored_answer(resources.custody.catalog, outcome, fingerprint, Started)
                return _accepted(resources, known, replayed=True)
            await _store(request, wanted, resources, caller, held)
        return await _begin(request, wanted, resources, caller, deployment_id, held)


def _read_sources(text: str) -> list[str]:
    """Return the sources of the field: one on each line, as in a list. Raises `InvalidOptions`."""
    sources = list(read_list([text.encode()], "sources"))
    for source in sources:
        check_text(source.removeprefix(LIST_SCHEME))
    return sources


async def _check(request: Request, wanted: _Wanted, resources: Resources, caller: Caller) -> None:
    """Refuse what the run could not be, or what the key may not start. Raises `InvalidOptions`, `HttpError` (403)."""
    if wanted.form.content is not None:
        wanted.check.end()
    if not wanted.count:
        raise InvalidOptions(
            "name the sources: one on each line of the field sources, or of a list: 'curl -F file=@list.txt'"
        )
    check_remote_stages(wanted.parameters.get("run_on"), wanted.parameters.get("options") or {})
    if wanted.check.names_places or not await _all_in_custody(wanted.sources, resources):
        await resources.gate.require(request, caller, ADMIN)
    if wanted.parameters.get("webhook_url"):
        # The events link to the outputs of files that this key may only know by their ids.
        await resources.gate.require(request, caller, WRITE, READ)
    if (pool := wanted.parameters.get("spread")) is not None:
        async with resources.prefect.client() as client:
            await check_pool(client, pool)


async def _all_in_custody(sources: list[str], resources: Resources) -> bool:
    """Return whether *sources* name files in custody only, and lists that are known to name nothing else."""
    for source in sources:
        named = source.removeprefix(LIST_SCHEME)
        if not named.startswith(CUSTODY_SCHEME):
            return False
        if named != source and not await _is_harmless(named, resources):
            return False
    return True


async def _is_harmless(named: str, resources: Resources) -> bool:
    artifact = await resources.custody.get(UUID(named.removeprefix(CUSTODY_SCHEME).partition("/")[0]))
    # Only the gateway gives a list this type and this note together.
    return artifact.media_type == MEDIA_TYPE and artifact.metadata.get(NAMES_PLACES) is False


async def _store(request: Request, wanted: _Wanted, resources: Resources, caller: Caller, held: Claim | None) -> None:
    """Keep the list, if there is one that no earlier try of the request has kept."""
    fingerprint = wanted.form.fingerprint(request.url.path)
    if held is not None and held.file_id is not None:
        require_same(held.fingerprint, fingerprint)
        wanted.stored_list = await resources.custody.get(held.file_id)
        return
    upload, content = wanted.form.upload, wanted.form.content
    if upload is None or content is None:
        return
    draft = replace(
        list_draft(wanted.form.filename or _LIST),
        document_sha256=content.sha256,
        metadata={NAMES_PLACES: wanted.check.names_places, "sources": wanted.check.sources},
    )

    async def note(connection: Connection, artifact: Artifact) -> None:
        await note_stored(connection, held, fingerprint, artifact)

    made = recorded_upload(resources.custody, also=note, by=caller)
    wanted.stored_list = await upload.keep(draft, make_available=made)


async def _begin(
    request: Request,
    wanted: _Wanted,
    resources: Resources,
    caller: Caller,
    deployment_id: UUID,
    held: Claim | None,
) -> Response:
    """Start the run; with the same claim it is the same run."""
    kept = wanted.stored_list
    run_key = held.run_key if held else f"waybill-{uuid4()}"
    try:
        task_id = await start_run_on(
            resources.prefect, deployment_id, wanted.of_run(), name=wanted.name, run_key=run_key
        )
    except Transient as exc:
        if kept is None:
            raise
        log.error("cannot start a run for the list %s: %s", kept.file_id, exc)
        raise HttpError(
            503,
            type(exc).__name__,
            "the list is in custody, but no run could be started; send the request again with the same "
            "Idempotency-Key, or with detail.list_source as its sources",
            detail={"list_source": _source_of(kept)},
        ) from exc
    answer = {
        "task_id": str(task_id),
        "status_url": f"{resources.links.base_url}/api/v1/status/{task_id}",
        "sources": wanted.count,
        "list_source": _source_of(kept) if kept is not None else None,
    }
    async with resources.custody.catalog.transaction() as connection:
        entry = caller.entry(
            "run_started",
            file_id=kept.file_id if kept is not None else None,
            run_id=task_id,
            detail={"sources": wanted.count, "spread": wanted.parameters.get("spread")},
        )
        await record(connection, entry)
        if held is not None:
            await record_answer(connection, held, wanted.form.fingerprint(request.url.path), answer)
    return _accepted(resources, answer, replayed=False)


def _source_of(kept: Artifact) -> str:
    return list_source(custody_source(kept.file_id, kept.source_file))


def _accepted(resources: Resources, answer: dict[str, Any], *, replayed: bool) -> Response:
    location = f"{resources.links.base_url}/api/v1/status/{answer['task_id']}"
    headers = {"Location": location, **({"Idempotency-Replayed": "true"} if replayed else {})}
    # The fields in a fixed order, also when they come from the database.
    return json_response({name: answer[name] for name in Started.model_fields}, status=202, headers=headers)
