"""Delete old rows of our own tables, a batch in a transaction, until none is left or the time is over.

Owns the order: events with their deliveries first, then what only they needed. A process that dies in between leaves
rows, never half of what belongs together, and the next call goes on. Any number of processes may do this.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from blocks.access.idempotency import REMEMBERED
from blocks.catalog import Catalog
from blocks.history import statements
from blocks.history.statements import BATCH_ROWS, OldRows
from blocks.postgres import Connection, execute, fetch_all, fetch_optional, fetch_row

_FIRST = (datetime(1, 1, 1, tzinfo=UTC), "")


@dataclass(frozen=True, kw_only=True)
class Cutoffs:
    """What is older than these moments, of the database's clock, is old: the history, and the audit log."""

    before: datetime
    audit_before: datetime


@dataclass(kw_only=True)
class Counted:
    """How many went, how many of the old ones stay and why, and whether more is left for the next call."""

    removed: Counter[str] = field(default_factory=Counter[str])
    kept: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])
    is_complete: bool = True

    def keep(self, what: str, reason: str, count: int = 1) -> None:
        """Count old ones of *what* that stay."""
        self.kept.setdefault(what, Counter())[reason] += count


class Deadline:
    """A time that is over after *seconds*."""

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends_at = clock() + seconds

    def is_over(self) -> bool:
        """Whether the time is over."""
        return self._clock() >= self._ends_at


async def read_cutoffs(catalog: Catalog, *, history: timedelta, audit: timedelta) -> Cutoffs:
    """Return the moments, taken once: a run that takes long judges all by the same."""
    values = {"history_seconds": history.total_seconds(), "audit_seconds": audit.total_seconds()}
    async with catalog.connection() as connection:
        return Cutoffs(**await fetch_row(connection, statements.CUTOFFS, values))


async def database_sizes(catalog: Catalog) -> dict[str, int]:
    """Return the size in bytes of the catalogue's database, and of Prefect's where it is on the same server."""
    async with catalog.connection() as connection:
        rows = await fetch_all(connection, statements.DATABASE_SIZES, {})
    return {row["name"]: int(row["bytes"]) for row in rows}


async def trim_rows(catalog: Catalog, cutoffs: Cutoffs, counted: Counted, deadline: Deadline, *, dry_run: bool) -> None:
    """Delete the old rows of all tables, and add what went and what stayed to *counted*.

    With *dry_run*, count what would go now: what only those rows need goes too, when they are gone. Raises
    `CatalogUnavailable`; what was deleted before stays counted.
    """
    values = {
        "before": cutoffs.before,
        "audit_before": cutoffs.audit_before,
        "remembered_seconds": REMEMBERED.total_seconds(),
    }
    await _trim_events(catalog, values, counted, deadline, dry_run=dry_run)
    if not dry_run:
        async with catalog.connection() as connection:
            await execute(connection, statements.ADVANCE_BEGINNING, values)
    for table in statements.TABLES:
        await _trim_table(catalog, table, values, counted, deadline, dry_run=dry_run)
    await _trim_endpoints(catalog, values, counted, deadline, dry_run=dry_run)
    await _trim_table(catalog, statements.UNUSED_SECRETS, values, counted, deadline, dry_run=dry_run)


async def _trim_events(
    catalog: Catalog, values: Mapping[str, Any], counted: Counted, deadline: Deadline, *, dry_run: bool
) -> None:
    after_at, after_id = _FIRST
    while not _is_over(deadline, counted):
        page = {**values, "after_at": after_at, "after_id": after_id, "limit": BATCH_ROWS}
        async with catalog.transaction() as connection:
            found = await fetch_optional(connection, statements.JUDGE_EVENTS, page)
            if found is None:
                return
            await _delete_events(connection, {**values, "event_ids": found["event_ids"] or []}, counted, dry_run)
        for reason, events in found["kept"].items():
            counted.keep("webhook_events", reason, int(events))
        after_at, after_id = found["last_at"], str(found["last_id"])
        if found["looked_at"] < BATCH_ROWS:
            return


async def _delete_events(connection: Connection, values: Mapping[str, Any], counted: Counted, dry_run: bool) -> None:
    if dry_run:
        deliveries = int((await fetch_row(connection, statements.COUNT_DELIVERIES, values))["rows"])
        events = len(values["event_ids"])
    else:
        deliveries = (await execute(connection, statements.DELETE_DELIVERIES, values)).rowcount
        events = (await execute(connection, statements.DELETE_EVENTS, values)).rowcount
    counted.removed["webhook_deliveries"] += deliveries
    counted.removed["webhook_events"] += events


async def _trim_table(
    catalog: Catalog,
    table: OldRows,
    values: Mapping[str, Any],
    counted: Counted,
    deadline: Deadline,
    *,
    dry_run: bool,
) -> None:
    while not _is_over(deadline, counted):
        async with catalog.connection() as connection:
            if dry_run:
                counted.removed[table.table] += int((await fetch_row(connection, table.count, values))["rows"])
                return
            deleted = (await execute(connection, table.delete, values)).rowcount
        counted.removed[table.table] += deleted
        if deleted < table.batch_rows:
            return


async def _trim_endpoints(
    catalog: Catalog, values: Mapping[str, Any], counted: Counted, deadline: Deadline, *, dry_run: bool
) -> None:
    while not _is_over(deadline, counted):
        async with catalog.transaction() as connection:
            if dry_run:
                found = int((await fetch_row(connection, statements.COUNT_ENDPOINTS, values))["rows"])
                counted.removed["webhook_endpoints"] += found
                return
            locked = await fetch_all(connection, statements.LOCK_ENDPOINTS, values)
            these = {**values, "endpoint_ids": [row["endpoint_id"] for row in locked]}
            deleted = (await execute(connection, statements.DELETE_ENDPOINTS, these)).rowcount
        counted.removed["webhook_endpoints"] += deleted
        if deleted < BATCH_ROWS:
            return


def _is_over(deadline: Deadline, counted: Counted) -> bool:
    if deadline.is_over():
        counted.is_complete = False
        return True
    return False
