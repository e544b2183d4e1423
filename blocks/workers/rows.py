"""Typed calls over `blocks.workers.queries`. Every call takes the caller's connection."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from blocks.errors import EnrolmentRefused, InvalidOptions, WorkerExists, WorkerNotFound, WorkerRefused
from blocks.postgres import Connection, Row, execute, fetch_all, fetch_optional, fetch_row
from blocks.workers import queries
from blocks.workers.codes import EnrolmentCode, check_code_lifetime, code_digest, is_code, new_code
from blocks.workers.worker import (
    MAX_VERSION_CHARS,
    Worker,
    check_labels,
    check_worker_name,
    check_worker_recipient,
)


async def create_code(
    connection: Connection, *, name: str | None, labels: Sequence[str], lasts: timedelta, created_by: str
) -> EnrolmentCode:
    """Create a code that enrols one worker: as *name*, or as the worker says where that is None.

    Raises `InvalidOptions`, and `WorkerExists` for a name that is taken.
    """
    wanted = check_labels(labels)
    if name is not None and (await fetch_row(connection, queries.IS_TAKEN, {"name": check_worker_name(name)}))["found"]:
        raise _name_taken(name)
    text = new_code()
    values = {
        "code_sha256": code_digest(text),
        "name": name,
        "labels": wanted,
        "created_by": created_by,
        "lasts": check_code_lifetime(lasts),
    }
    await execute(connection, queries.FORGET_CODES, {})
    row = await fetch_row(connection, queries.CREATE_CODE, values)
    return EnrolmentCode(text=text, name=name, labels=tuple(wanted), **row)


async def enroll(
    connection: Connection,
    code: str,
    *,
    name: str | None,
    recipient: str,
    version: str | None = None,
    address: str | None = None,
) -> Worker:
    """Enrol a worker with a code that was never used. *name* may be left out where the code has one.

    The caller's transaction must end with an error of this: then the code stays usable. Raises `EnrolmentRefused` for a
    code that is unknown, used or expired, all with one message, so that codes cannot be probed; `WorkerExists` for a
    name or a key that is taken; `InvalidOptions` for a name that the code is not for, or none, and for a bad key.
    """
    if name is not None:
        check_worker_name(name)
    if version is not None and (len(version) > MAX_VERSION_CHARS or not version.isprintable()):
        raise InvalidOptions(f"a version has at most {MAX_VERSION_CHARS} printable characters")
    key = check_worker_recipient(recipient)
    digest = code_digest(code)
    found = await fetch_optional(connection, queries.USABLE_CODE, {"code_sha256": digest}) if is_code(code) else None
    if found is None:
        raise EnrolmentRefused(
            "this enrolment code is not valid: it is unknown, was used, or has expired; an administrator makes another "
            "with 'waybill worker invite'"
        )
    worker_name = _chosen_name(name, found["name"])
    values: Row = {
        "name": worker_name,
        "recipient": key,
        "labels": found["labels"],
        "version": version,
        "address": address,
        "enrolled_by": found["created_by"],
    }
    row = await fetch_optional(connection, queries.ENROLL, values)
    if row is None:
        if (await fetch_row(connection, queries.IS_TAKEN, {"name": worker_name}))["found"]:
            raise _name_taken(worker_name)
        raise WorkerExists("a worker has this key already; every worker makes its own with 'waybill worker keygen'")
    await execute(connection, queries.USE_CODE, {"code_sha256": digest, "name": worker_name})
    return _worker(row)


async def get_worker(connection: Connection, name: str) -> Worker:
    """Return a worker, also a revoked one. Raises `WorkerNotFound`."""
    return await _get(connection, queries.GET, name)


async def find_workers(connection: Connection, names: Sequence[str]) -> dict[str, Worker]:
    """Return the workers of these names that exist, also revoked ones, by name."""
    rows = await fetch_all(connection, queries.FIND, {"names": sorted(set(names))})
    return {row["name"]: _worker(row) for row in rows}


async def list_workers(connection: Connection) -> list[Worker]:
    """Return all workers by name, revoked ones last."""
    return [_worker(row) for row in await fetch_all(connection, queries.LIST, {})]


async def hold_worker(connection: Connection, name: str) -> Worker:
    """Return a worker that is not revoked before the caller's transaction ends.

    What gives something to a worker calls this first: a revocation then takes it back. Raises `WorkerNotFound` and
    `WorkerRefused`.
    """
    return require_active(await _get(connection, queries.GET_FOR_SHARE, name))


async def set_labels(connection: Connection, name: str, labels: Sequence[str]) -> Worker:
    """Replace the labels of a worker. Raises `InvalidOptions`, `WorkerNotFound`, and `WorkerRefused` if revoked."""
    wanted = check_labels(labels)
    require_active(await _get(connection, queries.GET_FOR_UPDATE, name))
    await execute(connection, queries.SET_LABELS, {"name": name, "labels": wanted})
    return await get_worker(connection, name)


async def mark_revoked(connection: Connection, name: str) -> bool:
    """Mark a worker as revoked; return whether this call did it. Raises `WorkerNotFound`.

    Its transfers and assignments are the caller's to take back, in the same transaction.
    """
    await _get(connection, queries.GET_FOR_UPDATE, name)
    return (await execute(connection, queries.REVOKE, {"name": name})).rowcount == 1


async def touch_worker(
    connection: Connection, name: str, *, address: str | None = None, version: str | None = None
) -> None:
    """Record that a worker was heard of, at most once in 15 s unless its *version* is new."""
    await execute(connection, queries.TOUCH, {"name": name, "address": address, "version": version})


def require_active(worker: Worker) -> Worker:
    """Return *worker*. Raises `WorkerRefused` if it is revoked."""
    if worker.is_revoked:
        raise WorkerRefused(f"the worker {worker.name} is revoked; enrol the machine again, under another name")
    return worker


def worker_not_found(name: str) -> WorkerNotFound:
    """Return the error for a name that no worker has."""
    return WorkerNotFound(f"there is no worker {name}; 'waybill worker list' shows all")


async def _get(connection: Connection, statement: str, name: str) -> Worker:
    row = await fetch_optional(connection, statement, {"name": check_worker_name(name)})
    if row is None:
        raise worker_not_found(name)
    return _worker(row)


def _chosen_name(given: str | None, of_code: str | None) -> str:
    if of_code is None and given is None:
        raise InvalidOptions("this code names no worker; say how this one is called with --name")
    if of_code is not None and given is not None and given != of_code:
        raise InvalidOptions("this code is for a worker of another name; leave the name out")
    return str(of_code or given)


def _name_taken(name: str) -> WorkerExists:
    return WorkerExists(f"there is a worker {name} already, perhaps a revoked one; choose another name")


def _worker(row: Row) -> Worker:
    known: Row = {**row, "labels": tuple(row["labels"])}
    return Worker(**known)
