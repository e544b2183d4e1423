"""run-stage: what a remote worker runs for a home; started by its runs, never by people.

The run's name says the stage and the documents, and its parameter is a ticket for one assignment. No secret of the
worker is in either: the ticket's token opens nothing without the worker's key.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any, cast
from uuid import UUID

from prefect import State, flow, get_run_logger
from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact
from prefect.runtime import flow_run
from prefect.states import Completed
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from blocks.errors import AssignmentLost
from blocks.hand_over.worker_home import WorkerHome
from blocks.runtime.background_tasks import running
from blocks.runtime.form_schema import in_order, shown_as
from blocks.settings import current_settings
from tasks.remote.work import WorkProgress, work

# Each update is a request through the gateway.
_PROGRESS_SECONDS = 3.0
_ANSWER_SECONDS = 5.0


class Ticket(BaseModel):
    """What entitles a worker with the right label to claim an assignment of a home."""

    model_config = ConfigDict(extra="ignore", frozen=True, json_schema_extra=in_order)

    gateway: str = Field(description="The home's gateway; a worker uses the one that it was enrolled at.")
    assignment_id: str = Field(pattern=r"^asg_[0-9a-f]{16}$", description="The assignment to claim.")
    token: SecretStr = Field(description="What entitles a worker to claim it, with the worker's key.")


@flow(name="run-stage", persist_result=False)
async def run_stage(ticket: Annotated[Ticket, shown_as("Assignment")]) -> State[Any]:
    """Run the jobs of one assignment on this worker: fetch the inputs, run the stage, send the outputs.

    Args:
        ticket: The assignment, with a token for workers of its label. Made by a run of process-documents.
    """
    log = get_run_logger()
    progress = WorkProgress()
    settings = current_settings()
    run_id = UUID(str(cast("str", flow_run.id)))
    async with _shown(progress):
        try:
            done = await work(
                WorkerHome(settings.resolved_worker_home),
                settings,
                ticket.assignment_id,
                token=ticket.token.get_secret_value(),
                remote_run_id=run_id,
                progress=progress,
                say=log.info,
            )
        except AssignmentLost as lost:
            # Not this run's failure: another worker has it, or the run at home has ended it.
            return Completed(name="Lost", message=lost.message)
    return Completed(message=f"{done} documents, {progress.total_bytes_moved} bytes fetched and sent")


@asynccontextmanager
async def _shown(progress: WorkProgress) -> AsyncGenerator[None]:
    """Keep a progress artifact for the length of the block; best effort, it only shows what the gateway knows."""
    artifact_id: UUID | None = None

    async def update() -> None:
        nonlocal artifact_id
        percent = 100.0 * progress.done / progress.documents if progress.documents else 0.0
        said = f"{progress.done} of {progress.documents} documents, {progress.total_bytes_moved} bytes fetched and sent"
        with suppress(Exception):
            async with asyncio.timeout(_ANSWER_SECONDS):
                if artifact_id is None:
                    artifact_id = await acreate_progress_artifact(percent, description=said)
                else:
                    await aupdate_progress_artifact(artifact_id, progress=percent, description=said)

    async def update_forever() -> None:
        while True:
            await asyncio.sleep(_PROGRESS_SECONDS)
            await update()

    try:
        async with running(update_forever()):
            yield
    finally:
        await update()
