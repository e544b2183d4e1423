"""Typed calls over `blocks.workers.queries`. Every call takes the caller's connection."""

from __future__ import annotations

from collections.abc import Sequence

from blocks.errors import WorkerNotFound, WorkerRefused
from blocks.postgres import Connection, Row, execute, fetch_all, fetch_optional
from blocks.workers import queries
from blocks.workers.worker import Worker, check_labels, check_worker_name


async def get_worker(connection: Connection, name: str) -> Worker:
    """Return a worker, also a revoked one. Raises `WorkerNotFound`."""
    return await _get(connection, queries.GET, name)


async def find_workers(connection: Connection, names: Sequence[str]) -> dict[str, Worker]:
    """Return the workers of these names that exist, also revoked ones, by name."""
    rows = await fetch_all(connection, queries.FIND, {"names": sorted(set(names))})
    return {row["name"]: worker_of(row) for row in rows}


async def list_workers(connection: Connection) -> list[Worker]:
    """Return all workers by name, revoked ones last."""
    return [worker_of(row) for row in await fetch_all(connection, queries.LIST, {})]


async def count_workers(connection: Connection) -> dict[str, int]:
    """Return how many workers are `present` (heard of within 60 s), `absent` and `revoked`. Absent: none."""
    return {row["state"]: row["workers"] for row in await fetch_all(connection, queries.COUNT, {})}


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
    return worker_of(row)


def worker_of(row: Row) -> Worker:
    """Return the worker of a row."""
    known: Row = {**row, "labels": tuple(row["labels"])}
    return Worker(**known)
