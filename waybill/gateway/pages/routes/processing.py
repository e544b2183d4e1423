"""``/upload``: the files of one form become one run."""

from __future__ import annotations

import asyncio
from importlib import import_module
from uuid import UUID, uuid4

from fastapi import APIRouter, Request
from fastapi.responses import Response

from blocks.access import WRITE, record
from blocks.catalog import Artifact
from blocks.errors import Transient
from blocks.runs.deployment import find_deployment
from waybill.gateway.access import Caller
from waybill.gateway.dependencies import GatewayResources
from waybill.gateway.errors import HttpError, log
from waybill.gateway.pages.rendering import page, see_other
from waybill.gateway.pages.uploads import ReceivedFiles, receive_files
from waybill.gateway.pages.visitors import sending_session, visitor_with
from waybill.gateway.resources import Resources
from waybill.gateway.run_starts import start_run

router = APIRouter(include_in_schema=False)


@router.post("/upload")
async def upload(request: Request, resources: GatewayResources) -> Response:
    """Take files into custody and start one run on them."""
    session = await sending_session(request)
    visitor = await visitor_with(session, request, resources, WRITE)
    # Before the files are received: without Prefect or the deployment they would be received in vain.
    deployment_id = await find_deployment(resources.prefect, resources.custody.catalog, resources.settings.home)
    await asyncio.to_thread(import_module, "tasks.registry")
    received = await receive_files(request, resources, session, visitor.caller)
    if not received.kept and not received.refused:
        raise HttpError(422, "NoFile", "no file was chosen; choose one, or drop some on the form")
    run_id = await _start(resources, visitor.caller, deployment_id, received) if received.kept else None
    if run_id is not None and not received.refused and visitor.may_read:
        return see_other(f"/runs/{run_id}")
    status = 200 if run_id is not None else 422
    return page(
        request, "uploaded.html", visitor=visitor, status=status, run_id=run_id, kept=received.kept,
        refused=received.refused,
    )  # fmt: skip


async def _start(resources: Resources, caller: Caller, deployment_id: UUID, received: ReceivedFiles) -> UUID:
    try:
        run_id = await start_run(
            resources.prefect, deployment_id, received.kept, received.parameters, run_key=f"waybill-{uuid4()}"
        )
    except Transient as error:
        log.error("cannot start a run for %d files of a form: %s", len(received.kept), error)
        message = "the files are in custody, but no run could be started; send them again when Prefect answers"
        raise HttpError(503, type(error).__name__, message) from error
    await _record(resources, caller, received.kept, run_id)
    return run_id


async def _record(resources: Resources, caller: Caller, kept: list[Artifact], run_id: UUID) -> None:
    entries = [caller.entry("ingest", file_id=artifact.file_id, run_id=run_id) for artifact in kept]
    async with resources.custody.catalog.transaction() as connection:
        await record(connection, *entries)
