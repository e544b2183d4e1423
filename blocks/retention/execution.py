"""Execute a plan: tombstones with their events, then the bytes, then the manifests, then `deleted`; batch by batch.

Every step may be the last one of this process. What it leaves, the next run of the retention finishes, or any process
that removes abandoned writes: a row that is `deleting` is invisible, and its bytes are deleted again without harm.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import orjson

from blocks.catalog import Connection
from blocks.catalog.artifact import MOST_BYTES
from blocks.catalog.queries import REMOVE_FROM_INDEX
from blocks.custody import Custody
from blocks.custody.deletion import delete_many_stored, warn_of_unusable
from blocks.errors import WaybillError
from blocks.postgres import Row, execute, fetch_all, fetch_row
from blocks.retention import statements
from blocks.retention.plans import Batch, Plan, claim_batch, claimant, end_plan, start_plan

# One waits for the storage while another one waits for the catalogue; more gain nothing on a disk.
BATCHES_AT_ONCE = 3

_LOG = logging.getLogger("waybill.retention")

RecordRemoved = Callable[[Connection, Sequence["Removed"]], Awaitable[None]]
"""Records what goes, in the transaction that makes it unreadable."""
OnBatch = Callable[["Outcome"], None]


@dataclass(frozen=True, kw_only=True)
class Removed:
    """A file that has just become a tombstone, and the rule that removes it."""

    file_id: UUID
    rule: str
    filename: str
    kind: str
    stage: int | None
    source_file: str
    size: int
    expires_at: datetime


@dataclass(kw_only=True)
class Outcome:
    """What an execution has done so far. *failed* files are tombstones whose bytes are deleted by a later run.

    *unusable* files are removed ones whose row named a path that can have no stored bytes.
    """

    removed: int = 0
    removed_bytes: int = 0
    renewed: int = 0
    kept: dict[str, str] = field(default_factory=dict[str, str])
    failed: dict[str, str] = field(default_factory=dict[str, str])
    unusable: dict[str, str] = field(default_factory=dict[str, str])

    def add(self, other: Outcome) -> None:
        self.removed += other.removed
        self.removed_bytes = min(MOST_BYTES, self.removed_bytes + other.removed_bytes)
        self.renewed += other.renewed
        self.kept |= other.kept
        self.failed |= other.failed
        self.unusable |= other.unusable


async def execute_plan(
    custody: Custody,
    plan: Plan,
    record: RecordRemoved,
    *,
    on_batch: OnBatch | None = None,
    batches_at_once: int = BATCHES_AT_ONCE,
) -> Outcome:
    """Remove what *plan* names, less what was pinned, held, extended or is being read since.

    Any number of processes may execute the same or overlapping plans; each file goes once. A single file whose deletion
    fails is listed in the outcome and fails no other. Raises `PlanNotFound` for a plan that is done, and
    `CatalogUnavailable` or `StorageUnavailable` in an outage; then the plan stays open, and the next call goes on.
    """
    async with custody.catalog.connection() as connection:
        plan = await start_plan(connection, plan.plan_id)
    outcome = Outcome()

    async def work(claimed_by: int) -> None:
        while True:
            async with custody.catalog.connection() as connection:
                batch = await claim_batch(connection, plan.plan_id, claimed_by)
            if batch is None:
                return
            done = await _execute_batch(custody, plan, batch, record)
            outcome.add(done)
            if on_batch is not None:
                on_batch(outcome)

    async with claimant(custody.catalog) as claimed_by:
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(batches_at_once):
                    group.create_task(work(claimed_by))
        except BaseExceptionGroup as errors:
            raise _first_known(errors) from errors
    async with custody.catalog.connection() as connection:
        if not await end_plan(connection, plan.plan_id):
            _LOG.info("plan=%s: another process works on its last batches", plan.plan_id)
    return outcome


async def finish_deletions(custody: Custody, *, index: bool = True) -> Outcome:
    """Delete the bytes of files that earlier processes made unreadable and did not come to delete, or could not.

    With *index*, documents without a stored file leave the search index. Raises like `execute_plan`.
    """
    outcome, after = Outcome(), UUID(int=0)
    while True:
        values = {"after": after, "limit": statements.BATCH_FILES}
        async with custody.catalog.connection() as connection:
            file_ids = [row["file_id"] for row in await fetch_all(connection, statements.LEFT_DELETING, values)]
        if not file_ids:
            return outcome
        after = file_ids[-1]
        outcome.add(await _finish_files(custody, file_ids, index=index))


async def _execute_batch(custody: Custody, plan: Plan, batch: Batch, record: RecordRemoved) -> Outcome:
    if batch.action == "renew":
        return await _renew(custody, batch)
    rows = await _entomb(custody, plan, batch, record)
    kept = {str(row["file_id"]): str(row["kept"]) for row in rows if row["kept"] not in {None, "gone"}}
    index = plan.policy.search_index == "remove"
    return await _finish_files(custody, batch.file_ids, index=index, batch=batch, kept=kept)


async def _finish_files(
    custody: Custody,
    file_ids: Sequence[UUID],
    *,
    index: bool,
    batch: Batch | None = None,
    kept: Mapping[str, str] | None = None,
) -> Outcome:
    """Delete the bytes of those of the files that are tombstones, then mark their rows as deleted, and *batch* done."""
    async with custody.catalog.connection() as connection:
        tombstones = await fetch_all(connection, statements.TOMBSTONES, {"file_ids": list(file_ids)})
    failed, unusable = await asyncio.to_thread(_delete, custody, tombstones)
    gone = [row["file_id"] for row in tombstones if str(row["file_id"]) not in failed]
    async with custody.catalog.transaction() as connection:
        finished = await fetch_row(connection, statements.FINISH_DELETIONS, {"file_ids": gone})
        if index:
            await execute(connection, REMOVE_FROM_INDEX, {"file_ids": list(file_ids)})
        size = min(MOST_BYTES, int(finished["bytes"]))
        done = Outcome(
            removed=int(finished["files"]),
            removed_bytes=size,
            kept=dict(kept or {}),
            failed=failed,
            unusable={file_id: why for file_id, why in unusable.items() if file_id not in failed},
        )
        if batch is not None:
            await _finish(connection, batch, done)
    return done


async def _entomb(custody: Custody, plan: Plan, batch: Batch, record: RecordRemoved) -> list[Row]:
    """Make the files of the batch unreadable, and record it, in one transaction. Return a row for each file."""
    values: dict[str, Any] = {"file_ids": batch.file_ids, "rules": batch.rules, "cutoff": plan.cutoff}
    async with custody.catalog.transaction() as connection:
        locked = await fetch_all(connection, statements.LOCK_PLANNED, {"file_ids": batch.file_ids})
        values["locked"] = [row["file_id"] for row in locked]
        rows = await fetch_all(connection, statements.ENTOMB, values)
        names = Removed.__dataclass_fields__
        removed = [Removed(**{name: row[name] for name in names}) for row in rows if row["kept"] is None]
        if removed:
            await record(connection, removed)
    return rows


def _delete(custody: Custody, tombstones: Sequence[Row]) -> tuple[dict[str, str], dict[str, str]]:
    """Delete the bytes of tombstones, then their manifests. Blocks.

    Return file ids with the reason of a failure, and those whose row names a path that can have no bytes.
    """
    owners = {path: str(row["file_id"]) for row in tombstones for path in row["locations"]}
    inline = {path for row in tombstones if row["manifest"] == "inline" for path in row["locations"]}
    left = delete_many_stored(custody.backend, list(owners), inline=inline)
    unusable = {owners[path]: warn_of_unusable(owners[path], path, reason) for path, reason in left.unusable.items()}
    return {owners[path]: reason for path, reason in left.failed.items()}, unusable


async def _renew(custody: Custody, batch: Batch) -> Outcome:
    done = Outcome(renewed=len(batch.file_ids))
    async with custody.catalog.transaction() as connection:
        await execute(connection, statements.RENEW, {"file_ids": batch.file_ids, "times": batch.rules})
        await _finish(connection, batch, done)
    return done


async def _finish(connection: Connection, batch: Batch, done: Outcome) -> None:
    values: dict[str, Any] = {
        "plan_id": batch.plan_id,
        "number": batch.number,
        "removed": done.removed,
        "removed_bytes": done.removed_bytes,
        "kept": orjson.dumps(done.kept).decode(),
        "failed": orjson.dumps(done.failed).decode(),
    }
    await execute(connection, statements.FINISH_BATCH, values)


def _first_known(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return our own error of several, or the first one: an outage of the catalogue is met by every worker."""
    ours = errors.subgroup(WaybillError) or errors
    found: BaseException = ours
    while isinstance(found, BaseExceptionGroup):
        found = cast("BaseExceptionGroup[BaseException]", found).exceptions[0]
    return found
