"""Slices: the parts of a run's documents that other runs work on, on any machine. Knows no Prefect.

A slice waits, is started as an attempt with a run of its own, and ends as completed or lost. Only the run that has the
attempt completes it; one that was taken for lost and comes back changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from blocks.catalog import Catalog, Connection
from blocks.postgres import execute, fetch_all, fetch_optional, fetch_row
from blocks.runs import slice_statements as sql

Record = Mapping[str, Any]
"""A source as JSON."""


@dataclass(frozen=True, kw_only=True)
class Slice:
    """A slice without its sources. *result* is what `complete` or `lose` was given."""

    number: int
    state: str
    attempt: int
    run_id: UUID | None
    documents: int
    result: Mapping[str, Any] | None

    @property
    def has_ended(self) -> bool:
        return self.state in {"completed", "lost"}


@dataclass(frozen=True, kw_only=True)
class OpenSlices:
    """The slices of a run that have not ended: how many are *waiting* for their turn, and *working* under a lease.

    *without_lease* are runs that were started for the others: they wait for a worker, or have died. *is_led*: the
    process lives that starts slices.
    """

    parent_id: UUID
    waiting: int
    working: int
    without_lease: Sequence[UUID]
    is_led: bool


async def read_open(connection: Connection, *, before: datetime, lost_seconds: float) -> list[OpenSlices]:
    """Return the runs with slices of *before* that have not ended; a lease lasts *lost_seconds* without a renewal."""
    values = {"before": before, "lost_seconds": lost_seconds}
    return [OpenSlices(**row) for row in await fetch_all(connection, sql.OPEN, values)]


async def add_slices(catalog: Catalog, parent_id: UUID, parts: Iterable[Sequence[Record]]) -> list[Slice]:
    """Write the slices of a run, all or none, and return them; those that an earlier attempt of it has written stay."""
    async with catalog.transaction() as connection:
        if found := await read_slices(connection, parent_id):
            return found
        for number, sources in enumerate(parts, 1):
            text = orjson.dumps(list(sources)).decode()
            values = {"parent_id": parent_id, "number": number, "documents": len(sources), "sources": text}
            await execute(connection, sql.ADD, values)
        return await read_slices(connection, parent_id)


async def read_slices(connection: Connection, parent_id: UUID) -> list[Slice]:
    """Return the slices of a run by their numbers."""
    return [Slice(**row) for row in await fetch_all(connection, sql.ALL, {"parent_id": parent_id})]


async def count_slices(connection: Connection, parent_id: UUID) -> dict[str, int] | None:
    """Return how many slices a run has: ``{"total", "done", "running", "waiting", "lost"}``; None without any.

    One that is *lost* was given up, and its documents have failed.
    """
    counts = dict(await fetch_row(connection, sql.COUNTS, {"parent_id": parent_id}))
    return counts if counts["total"] else None


async def claim(
    connection: Connection, parent_id: UUID, number: int, attempt: int, run_id: UUID
) -> list[Record] | None:
    """Return the sources of the slice for the run of its attempt; None when that is over, or another run has it."""
    values = {"parent_id": parent_id, "number": number, "attempt": attempt, "run_id": run_id}
    row = await fetch_optional(connection, sql.CLAIM, values)
    return None if row is None else list(row["sources"])


async def slice_exists(connection: Connection, parent_id: UUID, number: int) -> bool:
    """Return whether the catalogue has such a slice, in whatever state."""
    return bool((await fetch_row(connection, sql.EXISTS, {"parent_id": parent_id, "number": number}))["found"])


async def note_started(connection: Connection, parent_id: UUID, one: Slice, run_id: UUID) -> None:
    """Record the run of the slice's attempt."""
    values = {"parent_id": parent_id, "number": one.number, "attempt": one.attempt, "run_id": run_id}
    await execute(connection, sql.STARTED, values)


async def complete(
    connection: Connection, parent_id: UUID, number: int, run_id: UUID, result: Mapping[str, Any]
) -> bool:
    """Record that the slice's run has processed all documents, and what it delivered as delivered by its parent.

    False when the run does not have the slice any more.
    """
    values = {"parent_id": parent_id, "number": number, "run_id": run_id, "result": _text(result)}
    return await fetch_optional(connection, sql.COMPLETED, values) is not None


async def begin_again(connection: Connection, parent_id: UUID, one: Slice) -> None:
    """Let the slice wait for another attempt. No effect on one that has ended meanwhile."""
    await execute(connection, sql.AGAIN, {"parent_id": parent_id, "number": one.number, "attempt": one.attempt})


async def lose(connection: Connection, parent_id: UUID, one: Slice, result: Mapping[str, Any]) -> list[Record] | None:
    """Give the slice up, with *result*, in the caller's transaction; return its sources, which the row has no more.

    None, and no effect, for one that has ended meanwhile.
    """
    values = {"parent_id": parent_id, "number": one.number, "attempt": one.attempt, "result": _text(result)}
    row = await fetch_optional(connection, sql.SOURCES, values)
    if row is None:
        return None
    await execute(connection, sql.LOST, values)
    return list(row["sources"])


async def runs_under_way(connection: Connection, parent_id: UUID) -> list[UUID]:
    """Return the runs that have slices of *parent_id* and have not completed them."""
    return [row["run_id"] for row in await fetch_all(connection, sql.UNDER_WAY, {"parent_id": parent_id})]


def _text(result: Mapping[str, Any]) -> str:
    return orjson.dumps(dict(result)).decode()
