"""Typed calls over `blocks.assignments.queries`. Every call takes the caller's connection."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from blocks.assignments import queries
from blocks.assignments.assignment import (
    LEASE,
    MAX_ATTEMPTS,
    Assignment,
    AssignmentJob,
    NewAssignment,
    NewJob,
    State,
    check_assignment_id,
    new_assignment_id,
)
from blocks.catalog import Connection
from blocks.catalog.json_columns import json_text
from blocks.errors import AssignmentLost, AssignmentNotFound, InvalidOptions, WorkerRefused
from blocks.json_cleaning import cleaned, storable_leaf
from blocks.postgres import Row, execute, fetch_all, fetch_optional, fetch_row


async def create_assignment(connection: Connection, new: NewAssignment) -> Assignment:
    """Record an assignment with its jobs, in one statement, and return it."""
    values = {
        **{
            name: getattr(new, name)
            for name in ("run_id", "stage", "stage_name", "stage_version", "label", "lasts", "time_limit")
        },
        "assignment_id": new_assignment_id(),
        "jobs": json.dumps([_stored_job(ordinal, job) for ordinal, job in enumerate(new.jobs)], ensure_ascii=False),
    }
    return _assignment(await fetch_row(connection, queries.CREATE, values))


async def count_waiting(connection: Connection) -> int:
    """Return how many assignments no worker has."""
    return int((await fetch_row(connection, queries.COUNT_WAITING, {}))["assignments"])


async def get_assignment(connection: Connection, assignment_id: str, *, for_update: bool = False) -> Assignment:
    """Return an assignment; *for_update* locks its row until the transaction ends. Raises `AssignmentNotFound`."""
    statement = queries.GET_FOR_UPDATE if for_update else queries.GET
    row = await fetch_optional(connection, statement, {"assignment_id": check_assignment_id(assignment_id)})
    if row is None:
        raise AssignmentNotFound(f"there is no assignment {assignment_id}", assignment_id=assignment_id)
    return _assignment(row)


async def jobs_of_assignment(connection: Connection, assignment_id: str) -> list[AssignmentJob]:
    """Return the jobs of an assignment in their order."""
    rows = await fetch_all(connection, queries.JOBS, {"assignment_id": assignment_id})
    return [AssignmentJob(**row) for row in rows]


async def jobs_of_run(
    connection: Connection, *, run_id: UUID, stage_name: str, label: str, stage_keys: Sequence[str]
) -> list[AssignmentJob]:
    """Return jobs of a run that a worker may still take or has, or whose outputs wait to be fetched; latest first."""
    values = {"run_id": run_id, "stage_name": stage_name, "label": label, "stage_keys": list(stage_keys)}
    return [AssignmentJob(**row) for row in await fetch_all(connection, queries.JOBS_OF_RUN, values)]


async def claim(
    connection: Connection, assignment_id: str, *, worker: str, labels: Sequence[str], remote_run_id: UUID | None
) -> Assignment:
    """Give an assignment to *worker* until its lease ends. Once more for the same worker: the lease is renewed.

    Within a transaction. Raises `AssignmentNotFound`, `AssignmentLost` (another worker has it, or it is over), and
    `WorkerRefused` for a label that is none of the worker's.
    """
    known = await get_assignment(connection, assignment_id, for_update=True)
    if known.label not in labels:
        raise WorkerRefused(f"worker {worker} does not have the label {known.label}", worker=worker)
    if not known.is_open:
        raise _lost(known, "is over")
    if known.state == "claimed" and known.worker == worker and not known.is_lost:
        return await renew(connection, assignment_id, worker=worker)
    if known.state == "claimed" and not known.is_lost:
        raise _lost(known, "has been claimed by another worker")
    if known.attempts >= MAX_ATTEMPTS:
        raise _lost(known, f"was lost {known.attempts} times and is given to no further worker")
    values = {"assignment_id": assignment_id, "worker": worker, "remote_run_id": remote_run_id, "lease": LEASE}
    return _assignment(await fetch_row(connection, queries.CLAIM, values))


async def renew(connection: Connection, assignment_id: str, *, worker: str) -> Assignment:
    """Let *worker* keep the assignment for another lease. Raises `AssignmentLost`."""
    values = {"assignment_id": check_assignment_id(assignment_id), "worker": worker, "lease": LEASE}
    row = await fetch_optional(connection, queries.RENEW, values)
    if row is None:
        raise _not_theirs(assignment_id, worker)
    return _assignment(row)


async def report_result(
    connection: Connection, assignment_id: str, ordinal: int, *, worker: str, result: Mapping[str, Any]
) -> None:
    """Record the result of a job, and the end of the assignment with its last job. Idempotent.

    Within a transaction. Raises `AssignmentLost` unless the worker has the assignment.
    """
    stored = {"result": json_text(result, "result"), "error": None}
    await _end_job(connection, assignment_id, ordinal, worker, {"state": "completed", **stored})


async def report_error(
    connection: Connection, assignment_id: str, ordinal: int, *, worker: str, error: Mapping[str, Any]
) -> None:
    """Record that a job failed with an error of its document. Like `report_result` otherwise."""
    stored = {"result": None, "error": json_text(error, "error")}
    await _end_job(connection, assignment_id, ordinal, worker, {"state": "failed", **stored})


async def set_upload(connection: Connection, assignment_id: str, ordinal: int, transfer_id: str) -> None:
    """Record the upload by which a worker sends the output of a job."""
    values = {"assignment_id": assignment_id, "ordinal": ordinal, "upload_id": transfer_id}
    await execute(connection, queries.SET_UPLOAD, values)


async def give_back(connection: Connection, assignment_id: str, *, worker: str, error: str) -> bool:
    """Let other workers claim what *worker* has; return whether it had it. *error* says why."""
    values = {"assignment_id": check_assignment_id(assignment_id), "worker": worker, "error": error}
    return await fetch_optional(connection, queries.GIVE_BACK, values) is not None


async def lose(connection: Connection, assignment_id: str, *, error: str) -> bool:
    """Let other workers claim it if its lease is over; return whether it was."""
    return await fetch_optional(connection, queries.LOSE, {"assignment_id": assignment_id, "error": error}) is not None


async def end_assignment(connection: Connection, assignment_id: str, state: State, *, error: str) -> bool:
    """End an assignment as failed or cancelled; return whether this call did it."""
    values = {"assignment_id": assignment_id, "state": state, "error": error}
    return await fetch_optional(connection, queries.END, values) is not None


async def assignments_of_worker(connection: Connection, worker: str) -> list[Assignment]:
    """Return what a worker has."""
    return [_assignment(row) for row in await fetch_all(connection, queries.OF_WORKER, {"worker": worker})]


async def assignments_of_run(connection: Connection, run_id: UUID) -> list[Assignment]:
    """Return the assignments of a run that are not over."""
    return [_assignment(row) for row in await fetch_all(connection, queries.OF_RUN, {"run_id": run_id})]


async def _end_job(connection: Connection, assignment_id: str, ordinal: int, worker: str, values: Row) -> None:
    known = await get_assignment(connection, assignment_id, for_update=True)
    if known.worker != worker or known.state not in {"claimed", "completed"}:
        raise _not_theirs(assignment_id, worker)
    values = {"assignment_id": assignment_id, "ordinal": ordinal, **values}
    if await fetch_optional(connection, queries.END_JOB, values) is None:
        jobs = await jobs_of_assignment(connection, assignment_id)
        if ordinal not in {job.ordinal for job in jobs}:
            raise InvalidOptions(f"assignment {assignment_id} has no job {ordinal}")
        return
    completed = await fetch_optional(connection, queries.COMPLETE, {"assignment_id": assignment_id})
    if completed is None:
        await execute(connection, queries.NOTIFY, {"assignment_id": assignment_id})


def _stored_job(ordinal: int, job: NewJob) -> dict[str, Any]:
    return {
        "ordinal": ordinal,
        "stage_key": job.stage_key,
        "document": cleaned(job.document, leaf=storable_leaf),
        "options": cleaned(job.options, leaf=storable_leaf),
        "inputs": {name: str(file_id) for name, file_id in job.inputs.items()},
    }


def _assignment(row: Row) -> Assignment:
    return Assignment(**{name: value for name, value in row.items() if name != "notified"})


def _lost(assignment: Assignment, why: str) -> AssignmentLost:
    return AssignmentLost(f"assignment {assignment.assignment_id} {why}", assignment_id=assignment.assignment_id)


def _not_theirs(assignment_id: str, worker: str) -> AssignmentLost:
    return AssignmentLost(
        f"assignment {assignment_id} is no longer with worker {worker}: it was lost, or is over",
        assignment_id=assignment_id,
    )
