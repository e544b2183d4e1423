"""Plans of the retention: what a run removes, decided once, stored, and executed batch by batch.

A dry run makes a plan and stops there; the run executes exactly it, less what was pinned, held, extended or is being
read since. A plan whose process was killed is finished by the next run.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import orjson

from blocks.catalog import Catalog, Connection, queries, statistics_queries
from blocks.catalog.artifact import MOST_BYTES
from blocks.catalog.catalog import statistics_of
from blocks.errors import PlanExecuted, PlanNotFound, WaybillError
from blocks.postgres import Row, execute, fetch_all, fetch_optional, fetch_row
from blocks.retention import judging, statements
from blocks.retention.policy import REMOVING, RetentionPolicy

# The sign bit stays free, so that the parts of the number are what Postgres shows of a lock.
_CLAIMANT_BITS = 63
# All statements of a plan see one state of the catalogue, so that their counts fit together.
_ONE_STATE = "set transaction isolation level repeatable read"
# Sorting a million rows in memory instead of on the disk; one such statement runs at a time.
_WORK_MEMORY = "set local work_mem = '128MB'"


@dataclass(frozen=True, kw_only=True)
class Group:
    """Files of one kind that one rule decides on."""

    rule: str
    kind: str
    files: int
    bytes: int

    @property
    def removes(self) -> bool:
        return self.rule in REMOVING


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A stored plan. *files* and *bytes* go; *over_cap* files wait for the next run; *renewals* are kept past their
    expiry. *groups* cover all available files, the largest first. *statistics* are those of the catalogue before."""

    plan_id: UUID
    state: str
    digest: str
    policy: RetentionPolicy
    cutoff: datetime
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    files: int
    bytes: int
    over_cap: int
    renewals: int
    groups: tuple[Group, ...]
    statistics: Mapping[str, Any]
    kept: tuple[PlannedFile, ...] = ()
    """Some of the files that stay, where they were asked for; those that a rule protects first. Not stored."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A part of a plan that this process works on. *rules* are those of the files, or the times of a renewal."""

    plan_id: UUID
    number: int
    action: str
    file_ids: list[UUID]
    rules: list[str]


@dataclass(frozen=True, kw_only=True)
class PlannedFile:
    """A file with the *rule* by which a plan removes or keeps it."""

    file_id: UUID
    rule: str
    kind: str
    filename: str
    source_file: str
    stage: int | None
    stage_name: str | None
    size: int
    sha256: str
    media_type: str
    created_at: datetime
    expires_at: datetime
    state: str


@dataclass(frozen=True, kw_only=True)
class Exceptional:
    """A planned file that stayed: *outcome* is ``kept`` with a rule, or ``failed`` with an error."""

    file_id: UUID
    outcome: str
    reason: str


async def make_plan(catalog: Catalog, policy: RetentionPolicy, *, kept_limit: int = 0) -> Plan:
    """Judge every available file by *policy* at the database's time, and store what goes. Removes nothing.

    The plan also has up to *kept_limit* of the files that stay. One transaction, so that all files are judged by one
    state of the catalogue. Raises `CatalogUnavailable`.
    """
    plan_id = uuid4()
    async with catalog.transaction() as connection:
        await execute(connection, _ONE_STATE, {})
        await execute(connection, _WORK_MEMORY, {})
        values, totals = await judge(connection, policy)
        statistics = statistics_of(totals, await fetch_all(connection, statistics_queries.STATES, {}))
        decided = await fetch_all(connection, judging.FOUND_GROUPS, values)
        going = sum(int(row["files"]) for row in decided if row["rule"] in REMOVING)
        over_cap = max(0, going - policy.cap(int(statistics["total"]["count"])))
        if over_cap:
            await execute(connection, statements.LEAVE_OVER_CAP, {**values, "cap": going - over_cap})
            decided = await fetch_all(connection, judging.FOUND_GROUPS, values)
        groups = _groups(totals, decided)
        await execute(
            connection,
            statements.ADD_PLAN,
            {
                "plan_id": plan_id,
                "policy": policy.model_dump_json(exclude_defaults=True),
                "cutoff": values["now"],
                "over_cap": over_cap,
                "groups": orjson.dumps(groups).decode(),
                "statistics": orjson.dumps(statistics).decode(),
            },
        )
        sealed = await fetch_row(connection, statements.STORE_BATCHES, {**values, "plan_id": plan_id})
        await execute(connection, statements.SEAL_PLAN, {"plan_id": plan_id, **sealed})
        values |= {"kept_limit": kept_limit}
        kept = await fetch_all(connection, statements.KEPT_FILES, values) if kept_limit else []
        return replace(await get_plan(connection, plan_id), kept=tuple(PlannedFile(**row) for row in kept))


async def judge(connection: Connection, policy: RetentionPolicy) -> tuple[dict[str, Any], list[Row]]:
    """Fill `retention_found`, of this transaction, by *policy* at the database's time.

    Return the values that the statements on that table take, and the counts of all files by kind and mark.
    """
    now = (await fetch_row(connection, queries.NOW, {}))["now"]
    await execute(connection, judging.FOUND_TABLE, {})
    totals = await fetch_all(connection, judging.ALL_GROUPS, {})
    values = judging.judge_values(policy, now, sum(int(row["stored_bytes"]) for row in totals))
    for statement in judging.judge_statements(policy):
        await execute(connection, statement, values)
    return values, totals


async def get_plan(connection: Connection, plan_id: UUID) -> Plan:
    """Return a stored plan. Raises `PlanNotFound`."""
    row = await fetch_optional(connection, statements.GET_PLAN, {"plan_id": plan_id})
    if row is None:
        raise PlanNotFound(f"no plan {plan_id}; it never existed, or the history of plans has been trimmed")
    return _plan(row)


async def newest_plans(connection: Connection, limit: int = 20) -> list[Plan]:
    """Return the plans that were made last, newest first."""
    return [_plan(row) for row in await fetch_all(connection, statements.NEWEST_PLANS, {"limit": limit})]


async def unfinished_plans(connection: Connection) -> list[Plan]:
    """Return plans whose execution began and did not end, and on which no process works now; oldest first."""
    return [_plan(row) for row in await fetch_all(connection, statements.EXECUTING_PLANS, {})]


async def start_plan(connection: Connection, plan_id: UUID) -> Plan:
    """Mark a plan as being executed, also an abandoned one. Idempotent. Raises `PlanExecuted`, `PlanNotFound`."""
    row = await fetch_optional(connection, statements.START_PLAN, {"plan_id": plan_id})
    if row is not None:
        return _plan(row)
    raise _executed(await get_plan(connection, plan_id))


async def end_plan(connection: Connection, plan_id: UUID) -> bool:
    """Mark a plan as done; False while one of its batches is not."""
    return await fetch_optional(connection, statements.END_PLAN, {"plan_id": plan_id}) is not None


async def abandon_plan(connection: Connection, plan_id: UUID) -> None:
    """Mark a plan as given up: no later run goes on with it, unless it is started by name."""
    await execute(connection, statements.ABANDON_PLAN, {"plan_id": plan_id})


@asynccontextmanager
async def claimant(catalog: Catalog) -> AsyncGenerator[int]:
    """Yield a number by which this process claims batches; they are free again as soon as its session has ended."""
    number = secrets.randbits(_CLAIMANT_BITS)
    async with catalog.connection() as connection:
        await execute(connection, statements.LOCK_CLAIMANT, {"claimant": number})
        try:
            yield number
        finally:
            with suppress(WaybillError):  # a session that is lost holds nothing
                await execute(connection, statements.UNLOCK_CLAIMANT, {"claimant": number})


async def claim_batch(connection: Connection, plan_id: UUID, claimed_by: int) -> Batch | None:
    """Return the next batch that no living process works on; *claimed_by* is a `claimant`."""
    values = {"plan_id": plan_id, "claimant": claimed_by}
    row = await fetch_optional(connection, statements.CLAIM_BATCH, values)
    return Batch(plan_id=plan_id, **row) if row else None


async def planned_files(catalog: Catalog, plan_id: UUID, *, limit: int | None = None) -> AsyncIterator[PlannedFile]:
    """Yield the files that a plan removes, by source; at most *limit*."""
    number, left = 0, limit
    while left is None or left > 0:
        async with catalog.connection() as connection:
            rows = await fetch_all(connection, statements.PLANNED_FILES, {"plan_id": plan_id, "after": number})
        if not rows:
            return
        number = rows[0]["number"]
        for row in rows[:left]:
            yield PlannedFile(**{name: value for name, value in row.items() if name != "number"})
        left = None if left is None else left - len(rows)


async def exceptions(connection: Connection, plan_id: UUID, *, limit: int = 1000) -> list[Exceptional]:
    """Return planned files that stayed after all, and those whose deletion failed."""
    rows = await fetch_all(connection, statements.EXCEPTIONS, {"plan_id": plan_id, "limit": limit})
    return [Exceptional(file_id=UUID(row["file_id"]), outcome=row["outcome"], reason=row["reason"]) for row in rows]


async def files_of(connection: Connection, rules: Mapping[UUID, str]) -> list[PlannedFile]:
    """Return the files of *rules*, which names a rule for each."""
    rows = await fetch_all(connection, statements.FILES, {"file_ids": list(rules)})
    return [PlannedFile(**row, rule=rules[row["file_id"]]) for row in rows]


async def tombstones_of(connection: Connection, file_ids: Sequence[UUID]) -> list[PlannedFile]:
    """Return files that were made unreadable, each with the rule by which, or ``request`` for none."""
    rows = await fetch_all(connection, statements.TOMBSTONES_WITH_RULES, {"file_ids": list(file_ids)})
    return [PlannedFile(**row) for row in rows]


async def staying(connection: Connection, plan: Plan) -> dict[UUID, tuple[str, int]]:
    """Return planned files that would not go now, each with the reason (``gone``: no longer here) and stored bytes.

    Raises `PlanExecuted`.
    """
    if plan.state == "done":
        raise _executed(plan)
    rows = await fetch_all(connection, statements.STAYING, {"plan_id": plan.plan_id, "cutoff": plan.cutoff})
    return {row["file_id"]: (str(row["kept"]), int(row["stored_size"])) for row in rows}


async def statistics_without(
    catalog: Catalog, connection: Connection, plan_id: UUID, but: Collection[UUID] = ()
) -> Row:
    """Return `Catalog.statistics` as they would be if the files of a plan were gone, *but* some that stay."""
    values = {"plan_id": plan_id, "staying": list(but)}
    found = await catalog.statistics(connection, statements.STATISTICS_WITHOUT, values)
    states, left = found["by_state"], int(found["total"]["count"])
    going = states.get("available", 0) - left
    if going:
        states |= {"available": left, "deleted": states.get("deleted", 0) + going}
    return {**found, "by_state": {state: count for state, count in sorted(states.items()) if count}}


def _groups(totals: Sequence[Row], decided: Sequence[Row]) -> list[Row]:
    """Return files and bytes by rule and kind, the largest group first."""
    counted: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for row in totals:
        for place, number in enumerate((row["count"], int(row["stored_bytes"]))):
            counted[row["rule"], row["kind"]][place] += number
    for row in decided:
        for place, number in enumerate((row["files"], int(row["bytes"]))):
            # Decided by a rule: no longer among the rest.
            counted["not_due", row["kind"]][place] -= number
            counted[row["rule"], row["kind"]][place] += number
    found = [
        {"rule": rule, "kind": kind, "files": files, "bytes": min(size, MOST_BYTES)}
        for (rule, kind), (files, size) in counted.items()
    ]
    return sorted(
        (one for one in found if one["files"]), key=lambda one: (-int(one["files"]), one["rule"], one["kind"])
    )


def _executed(plan: Plan) -> PlanExecuted:
    ended = f" ({plan.ended_at:%Y-%m-%d %H:%M} UTC)" if plan.ended_at is not None else ""
    return PlanExecuted(f"plan {plan.plan_id} was executed already{ended}; make another one with a dry run")


def _plan(row: Row) -> Plan:
    policy, groups = RetentionPolicy.model_validate(row["policy"]), tuple(Group(**group) for group in row["groups"])
    values: dict[str, Any] = {**row, "policy": policy, "groups": groups}
    return Plan(**values)
