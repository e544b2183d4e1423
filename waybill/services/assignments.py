"""What the gateway does for a worker with an assignment: claim it, keep it, and report its jobs.

A claim prepares what the worker needs: a download for each input, encrypted for its key, and an upload for each output.
Checks no sessions; a claim's token is checked here, because it is for the label that the catalogue has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from blocks.access import Actor, record
from blocks.age import parse_recipient
from blocks.assignments import (
    LEASE,
    Assignment,
    AssignmentJob,
    ClaimTokens,
    claim,
    get_assignment,
    give_back,
    jobs_of_assignment,
    renew,
    report_error,
    report_result,
    set_upload,
)
from blocks.catalog import Connection
from blocks.custody import Custody
from blocks.errors import AssignmentLost, Permanent, TransferConflict
from blocks.transfers import (
    NewTransfer,
    Transfer,
    TransferTokens,
    create_transfer,
    end_transfer,
    get_transfer,
    transfers_of_assignment,
)
from blocks.transfers.prepare import For, new_upload, prepare_download, record_download
from blocks.workers import Worker, hold_worker
from waybill.services.transfers import with_token

# Of each transfer. They end with the assignment; this bounds what a home that died leaves.
_LASTS = timedelta(hours=12)
# Of an output that the run has not fetched: as long, so that one that was killed finds it when it is started again.
_KEEP_OUTPUT = timedelta(hours=12)


@dataclass(frozen=True, kw_only=True)
class AssignmentDesk:
    """What claims work with: *base_url* is the gateway's, as workers reach it."""

    custody: Custody
    claim_tokens: ClaimTokens
    transfer_tokens: TransferTokens
    base_url: str


@dataclass(frozen=True)
class _PreparedJob:
    job: AssignmentJob
    downloads: Mapping[str, NewTransfer]
    error: Permanent | None = None


async def claim_assignment(
    desk: AssignmentDesk, assignment_id: str, *, ticket: str, remote_run_id: UUID | None, by: Actor, worker: str
) -> dict[str, Any]:
    """Give an assignment to *worker*, and return its jobs with what each needs. Once more: the same transfers.

    A job whose input cannot be read fails here, as it would at home. Raises `AssignmentNotFound`, `AssignmentLost`,
    `WorkerRefused`, `LinkInvalid`, `LinkExpired`, and what storage and catalogue raise while they are away.
    """
    catalog = desk.custody.catalog
    async with catalog.connection() as connection:
        known = await get_assignment(connection, assignment_id)
    await asyncio.to_thread(desk.claim_tokens.check, ticket, assignment_id=assignment_id, label=known.label)
    async with catalog.transaction() as connection:
        holder = await hold_worker(connection, worker)
        assignment = await claim(
            connection, assignment_id, worker=worker, labels=holder.labels, remote_run_id=remote_run_id
        )
        open_transfers = await _take_from_others(connection, assignment)
        jobs = [job for job in await jobs_of_assignment(connection, assignment_id) if job.state == "waiting"]
        detail = {"assignment_id": assignment_id, "stage": assignment.stage_name, "attempt": assignment.attempts}
        await record(connection, by.entry("assignment_claimed", run_id=assignment.run_id, detail=detail))
    prepared = [await _prepare(desk, assignment, holder, job, open_transfers) for job in jobs]
    async with catalog.transaction() as connection:
        await hold_worker(connection, worker)
        await _require_held(connection, assignment)
        found = [await _handed_over(connection, desk, assignment, one, open_transfers) for one in prepared]
    return {
        "assignment_id": assignment_id,
        "stage": assignment.stage_name,
        "stage_version": assignment.stage_version,
        "lease_seconds": LEASE.total_seconds(),
        "time_limit_seconds": None if assignment.time_limit is None else assignment.time_limit.total_seconds(),
        "jobs": await asyncio.to_thread(lambda: [_shown(desk, one) for one in found if one is not None]),
    }


async def renew_assignment(custody: Custody, assignment_id: str, *, worker: str) -> dict[str, Any]:
    """Let *worker* keep an assignment for another lease. Raises `AssignmentLost`."""
    async with custody.catalog.connection() as connection:
        await renew(connection, assignment_id, worker=worker)
    return {"assignment_id": assignment_id, "lease_seconds": LEASE.total_seconds()}


async def report_job(
    custody: Custody,
    assignment_id: str,
    ordinal: int,
    *,
    worker: str,
    result: Mapping[str, Any] | None,
    error: Mapping[str, Any] | None,
) -> None:
    """Record the result or the error of a job. Idempotent.

    A result counts only with its output: raises `TransferConflict` for one whose upload has not arrived or is not what
    is reported. The assignment goes to another worker if the upload has failed. Raises `AssignmentLost`.
    """
    async with custody.catalog.transaction() as connection:
        if result is None:
            await report_error(connection, assignment_id, ordinal, worker=worker, error=error or {})
            return
        problem, is_final = await _problem_with_output(connection, assignment_id, ordinal, worker, result)
        if problem is None:
            await report_result(connection, assignment_id, ordinal, worker=worker, result=result)
        elif is_final:
            await give_back(connection, assignment_id, worker=worker, error=f"worker {worker}: {problem}")
    if problem is not None:
        raise TransferConflict(problem, assignment_id=assignment_id)


async def return_assignment(custody: Custody, assignment_id: str, *, worker: str, why: str) -> None:
    """Let other workers claim what *worker* cannot finish; nothing happens if it has lost it. *why* is shown."""
    async with custody.catalog.connection() as connection:
        await give_back(connection, assignment_id, worker=worker, error=f"worker {worker}: {why}")


async def _take_from_others(connection: Connection, assignment: Assignment) -> list[Transfer]:
    """Cancel what earlier workers still have open, and return what this one has."""
    ours: list[Transfer] = []
    for one in await transfers_of_assignment(connection, assignment.assignment_id):
        if one.is_open and one.worker == assignment.worker:
            ours.append(one)
        elif one.is_open:
            await end_transfer(connection, one.transfer_id, "cancelled", error="another worker has the assignment now")
    return ours


async def _require_held(connection: Connection, assignment: Assignment) -> None:
    now = await get_assignment(connection, assignment.assignment_id, for_update=True)
    if now.state != "claimed" or now.worker != assignment.worker or now.attempts != assignment.attempts:
        raise AssignmentLost(
            f"assignment {now.assignment_id} was taken away meanwhile", assignment_id=now.assignment_id
        )


async def _prepare(
    desk: AssignmentDesk, assignment: Assignment, holder: Worker, job: AssignmentJob, existing: Sequence[Transfer]
) -> _PreparedJob:
    """Prepare the downloads that a job still needs. What is wrong with an input for good is the job's error."""
    receiver = For(
        recipients=[parse_recipient(holder.recipient)],
        requested_by=f"worker:{holder.name}",
        lasts=_LASTS,
        worker=holder.name,
        assignment_id=assignment.assignment_id,
        run_id=assignment.run_id,
    )
    downloads: dict[str, NewTransfer] = {}
    try:
        for name, file_id in job.inputs.items():
            if _input_of(existing, job, name) is None:
                new = await prepare_download(desk.custody, await desk.custody.get(UUID(file_id)), receiver)
                downloads[name] = replace(new, metadata={"job": job.ordinal, "input": name})
    except Permanent as error:
        return _PreparedJob(job, {}, error)
    return _PreparedJob(job, downloads)


async def _handed_over(
    connection: Connection,
    desk: AssignmentDesk,
    assignment: Assignment,
    prepared: _PreparedJob,
    existing: Sequence[Transfer],
) -> tuple[AssignmentJob, dict[str, Transfer], Transfer] | None:
    """Record the transfers of a job and return them by input, and its upload; None for a job that has failed."""
    job, worker = prepared.job, assignment.worker or ""
    if prepared.error is not None:
        error = {"type": type(prepared.error).__name__, "message": prepared.error.message}
        await report_error(connection, job.assignment_id, job.ordinal, worker=worker, error=error)
        return None
    inputs = {name: known for name in job.inputs if (known := _input_of(existing, job, name)) is not None}
    for name, new in prepared.downloads.items():
        inputs[name] = await record_download(connection, new)
    upload = next((one for one in existing if one.transfer_id == job.upload_id), None)
    if upload is None:
        upload = await create_transfer(connection, _new_upload(desk.custody, assignment, job))
        await set_upload(connection, job.assignment_id, job.ordinal, upload.transfer_id)
    return job, inputs, upload


def _new_upload(custody: Custody, assignment: Assignment, job: AssignmentJob) -> NewTransfer:
    recipient = custody.keys.recipient_to_store_for()
    return new_upload(
        filename=f"{job.document.get('name', job.stage_key)} ({assignment.stage_name})",
        # Where encryption is off, there is no recipient: the output is sent, and stored, as it is.
        recipient=None if recipient is None else recipient.text,
        keep_for=_KEEP_OUTPUT,
        lasts=_LASTS,
        requested_by=f"worker:{assignment.worker}",
        worker=assignment.worker,
        assignment_id=assignment.assignment_id,
        run_id=assignment.run_id,
    )


def _input_of(existing: Sequence[Transfer], job: AssignmentJob, name: str) -> Transfer | None:
    wanted = {"job": job.ordinal, "input": name}
    return next((one for one in existing if one.direction == "download" and one.metadata == wanted), None)


def _shown(desk: AssignmentDesk, handed_over: tuple[AssignmentJob, Mapping[str, Transfer], Transfer]) -> dict[str, Any]:
    job, inputs, upload = handed_over

    def shown(transfer: Transfer) -> dict[str, Any]:
        return with_token(desk.transfer_tokens, desk.base_url, transfer).as_json()

    return {
        "ordinal": job.ordinal,
        "stage_key": job.stage_key,
        "document": dict(job.document),
        "options": dict(job.options),
        "inputs": [{"name": name, **shown(transfer)} for name, transfer in inputs.items()],
        "upload": shown(upload),
    }


async def _problem_with_output(
    connection: Connection, assignment_id: str, ordinal: int, worker: str, result: Mapping[str, Any]
) -> tuple[str | None, bool]:
    """Return what is wrong with the output of a job, and whether it will stay so."""
    # The row first: a report of the same job at the same time waits.
    await get_assignment(connection, assignment_id, for_update=True)
    upload_ids = {job.ordinal: job.upload_id for job in await jobs_of_assignment(connection, assignment_id)}
    upload_id = upload_ids.get(ordinal)
    if upload_id is None:
        return "this job has no upload: claim the assignment first", False
    upload = await get_transfer(connection, upload_id)
    if upload.worker != worker:
        raise AssignmentLost(f"assignment {assignment_id} is no longer with worker {worker}")
    if upload.is_open:
        return f"the output of job {ordinal} has not arrived", False
    if upload.state != "completed":
        return f"the output of job {ordinal} was {upload.state}: {upload.error or 'nothing has arrived'}", True
    if (upload.content_sha256, upload.content_size) != (result.get("sha256"), result.get("size")):
        return f"the output of job {ordinal} is not the one that is reported", True
    return None, False
