"""What remote workers have made: fetched and verified, and removed from where it was handed over."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from uuid import UUID

from blocks.assignments import AssignmentJob, assignments_of_run, end_assignment
from blocks.catalog import Artifact, Connection
from blocks.custody import Custody
from blocks.errors import (
    ArtifactNotFound,
    BlobMissing,
    ContentMismatch,
    NoMatchingIdentity,
    RemoteFailed,
    TransferNotFound,
    WaybillError,
)
from blocks.transfers import end_transfer, get_transfer, transfers_of_assignment
from tasks.job import JobResult
from tasks.remote.report import read_result


async def fetch_output(custody: Custody, job: AssignmentJob, target: Path) -> JobResult:
    """Copy the output of a completed job to *target*, verified, and return its result.

    Raises `RemoteFailed` for an output that is not there or not as reported, and what the storage raises.
    """
    if job.result is None or job.upload_id is None:
        raise RemoteFailed(f"worker {job.worker} reported a result without an output")
    result = read_result(job.result, job.worker)
    try:
        async with custody.catalog.connection() as connection:
            transfer = await get_transfer(connection, job.upload_id)
        if transfer.state != "completed" or transfer.file_id is None:
            raise RemoteFailed(f"worker {job.worker} reported a result, and its output was {transfer.state}")
        artifact = await custody.get(transfer.file_id)
        if (artifact.sha256, artifact.size) != (job.result["sha256"], job.result["size"]):
            raise RemoteFailed(f"worker {job.worker} sent another output than it reported")
        await custody.fetch(artifact, target)
    except (TransferNotFound, ArtifactNotFound, BlobMissing, ContentMismatch, NoMatchingIdentity) as exc:
        raise RemoteFailed(f"the output of worker {job.worker} cannot be read: {exc.message}") from exc
    await _remove(custody, artifact)
    return result


async def end_transfers(connection: Connection, assignment_id: str) -> None:
    """End the open transfers of an assignment. Idempotent."""
    for one in await transfers_of_assignment(connection, assignment_id):
        if one.is_open:
            await end_transfer(connection, one.transfer_id, "cancelled", error="the assignment is over")


async def clear_transfers(custody: Custody, assignment_id: str) -> None:
    """End the open transfers of an assignment, and remove outputs that were not fetched. Idempotent."""
    async with custody.catalog.transaction() as connection:
        await end_transfers(connection, assignment_id)
        found = await transfers_of_assignment(connection, assignment_id)
    for one in found:
        if one.direction == "upload" and one.state == "completed" and one.file_id is not None:
            await _remove(custody, one.file_id)


async def cancel_assignments(connection: Connection, run_id: UUID, error: str) -> list[str]:
    """Cancel what a run has left with workers, with the transfers; return the ids. Idempotent."""
    found = await assignments_of_run(connection, run_id)
    for one in found:
        await end_assignment(connection, one.assignment_id, "cancelled", error=error)
        await end_transfers(connection, one.assignment_id)
    return [one.assignment_id for one in found]


async def _remove(custody: Custody, file: Artifact | UUID) -> None:
    # A copy: what cannot be removed now expires with its transfer.
    with suppress(WaybillError):
        await custody.remove(file.file_id if isinstance(file, Artifact) else file)
