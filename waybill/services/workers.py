"""Invite, enrol, label and revoke remote workers, each with its entry in the audit log, which contains no code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from blocks.access import Actor, record
from blocks.assignments import assignments_of_worker, give_back
from blocks.catalog import Connection
from blocks.transfers import end_transfer, transfers_of_worker
from blocks.workers import Worker, get_worker, mark_revoked, set_labels
from blocks.workers.codes import EnrolmentCode
from blocks.workers.enrolment import create_code, enroll

_REVOKED = "the worker was revoked"


@dataclass(frozen=True, kw_only=True)
class Revocation:
    """A revoked worker, and what this revocation has taken from it."""

    worker: Worker
    cancelled_transfers: list[str]
    returned_assignments: list[str]

    def as_json(self) -> dict[str, Any]:
        """Return the worker in the form of listings, with ids of what was taken."""
        return {
            **self.worker.as_json(),
            "cancelled_transfers": self.cancelled_transfers,
            "returned_assignments": self.returned_assignments,
        }


async def invite_worker(
    connection: Connection, *, name: str | None, labels: Sequence[str], lasts: timedelta, by: Actor
) -> EnrolmentCode:
    """Create a one-time code in the caller's transaction. Raises `InvalidOptions`, `WorkerExists`."""
    made = await create_code(connection, name=name, labels=labels, lasts=lasts, created_by=by.actor)
    detail = {"name": name, "labels": list(made.labels), "expires_at": made.expires_at.isoformat()}
    await record(connection, by.entry("worker_invited", detail=detail))
    return made


async def enroll_worker(
    connection: Connection, code: str, *, name: str | None, recipient: str, version: str | None, client: Actor
) -> Worker:
    """Enrol a worker in the caller's transaction, which must end with an error of this. Raises like `enroll`.

    *client* has the address that the request came from; the entry is the new worker's own.
    """
    made = await enroll(connection, code, name=name, recipient=recipient, version=version, address=client.client)
    worker = Actor(actor=f"worker:{made.name}", client=client.client, request_id=client.request_id)
    detail = {"labels": list(made.labels), "recipient": made.recipient, "invited_by": made.enrolled_by}
    await record(connection, worker.entry("worker_enrolled", detail=detail))
    return made


async def label_worker(connection: Connection, name: str, labels: Sequence[str], *, by: Actor) -> Worker:
    """Replace the labels of a worker in the caller's transaction. Raises like `set_labels`."""
    before = await get_worker(connection, name)
    changed = await set_labels(connection, name, labels)
    if changed.labels != before.labels:
        detail = {"name": name, "labels": list(changed.labels), "before": list(before.labels)}
        await record(connection, by.entry("worker_labelled", detail=detail))
    return changed


async def revoke_worker(connection: Connection, name: str, *, by: Actor) -> Revocation:
    """Revoke a worker and take back what it holds, in the caller's transaction. Raises `WorkerNotFound`.

    Its sessions are refused from the next request on, its open transfers are cancelled, and its assignments wait for
    another worker at once. Idempotent, and recorded once.
    """
    is_first = await mark_revoked(connection, name)
    # Assignments before their transfers, as everywhere: two transactions in other orders would wait for each other.
    returned = [
        one.assignment_id
        for one in await assignments_of_worker(connection, name)
        if await give_back(connection, one.assignment_id, worker=name, error=_REVOKED)
    ]
    cancelled = [
        one.transfer_id
        for one in await transfers_of_worker(connection, name)
        if await end_transfer(connection, one.transfer_id, "cancelled", error=_REVOKED)
    ]
    if is_first:
        detail = {"name": name, "transfers": len(cancelled), "assignments": len(returned)}
        await record(connection, by.entry("worker_revoked", detail=detail))
    # Read again: it holds nothing now.
    return Revocation(
        worker=await get_worker(connection, name), cancelled_transfers=cancelled, returned_assignments=returned
    )
