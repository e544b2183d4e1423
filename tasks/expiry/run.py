"""Run the retention: finish what earlier runs left, plan, execute, report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any
from uuid import UUID

from blocks.access import Actor, record
from blocks.catalog import Connection
from blocks.custody import Custody
from blocks.custody.right_storage import refuse_wrong_storage
from blocks.errors import WaybillError
from blocks.retention import (
    Outcome,
    Plan,
    PlannedFile,
    Removed,
    RetentionPolicy,
    abandon_plan,
    execute_plan,
    files_of,
    finish_deletions,
    get_plan,
    make_plan,
    planned_files,
    start_plan,
    statistics_without,
    staying,
    tombstones_of,
    unfinished_plans,
)
from blocks.runtime.threads import to_its_end
from blocks.settings import Settings
from blocks.webhooks.event_links import EventLinks
from tasks.expiry.events import ExpiryEvents
from tasks.expiry.report import FailedFile, FileWarning, Report

# Files that the report lists; its counts are always of all. 10,000 files are 5 MB of JSON.
MAX_REMOVED, MAX_KEPT, MAX_FAILED = 10_000, 1_000, 1_000

OnProgress = Callable[[int, int], None]
"""Called with the number of files that are done, and of all."""


async def run_retention(
    custody: Custody,
    policy: RetentionPolicy,
    *,
    by: Actor,
    links: EventLinks,
    dry_run: bool = False,
    plan_id: UUID | None = None,
    run_id: UUID | None = None,
    on_progress: OnProgress = lambda _done, _all: None,
) -> Report:
    """Remove what *policy* lets go, or exactly what the plan *plan_id* names; a *dry_run* makes the plan alone.

    First finishes what earlier runs left. Single files whose deletion fails are listed in the report. Raises
    `PlanNotFound`; `CatalogUnavailable` or `StorageUnavailable` in an outage, after which the next run goes on; the
    latter also when the storage has none of the newest files. A run that is cancelled abandons its plan: the person
    who interrupts it does not want the rest.
    """
    run = _Run(custody, by=by, links=links, run_id=run_id)
    if dry_run:
        return await run.plan_only(policy, plan_id)
    await refuse_wrong_storage(custody)
    before = await _statistics(custody)
    left = await run.finish_earlier(policy, without=plan_id)
    plan = await _planned(custody, policy, plan_id)
    report = Report(plan=plan, dry_run=False, before=before, finished=left.removed)
    outcome = await run.execute(plan, on_progress)
    await run.fill(report, outcome, left)
    return report


class _Run:
    def __init__(self, custody: Custody, *, by: Actor, links: EventLinks, run_id: UUID | None) -> None:
        self._custody = custody
        self._by = by
        self._links = links
        self._run_id = run_id
        self._removed: list[Removed] = []
        self._failed_before: set[str] = set()

    async def plan_only(self, policy: RetentionPolicy, plan_id: UUID | None) -> Report:
        plan = await _planned(self._custody, policy, plan_id)
        catalog = self._custody.catalog
        async with catalog.transaction() as connection:
            stay = {} if plan_id is None else await staying(connection, plan)
            before = plan.statistics if plan_id is None else await catalog.statistics(connection)
            after = await statistics_without(catalog, connection, plan.plan_id, but=stay)
            kept = {file_id: rule for file_id, (rule, _) in stay.items() if rule != "gone"}
            kept_files = await files_of(connection, dict(list(kept.items())[:MAX_KEPT]))
        removed: list[PlannedFile] = []
        async for one in planned_files(catalog, plan.plan_id):
            if one.file_id not in stay:
                removed.append(one)
            if len(removed) == MAX_REMOVED:
                break
        return Report(
            plan=plan,
            dry_run=True,
            before=before,
            after=after,
            removed=removed,
            kept=[*kept_files, *plan.kept],
            removed_files=plan.files - len(stay),
            removed_bytes=max(0, plan.bytes - sum(size for _, size in stay.values())),
            kept_after_all=len(kept),
            renewed=plan.renewals,
        )

    async def finish_earlier(self, policy: RetentionPolicy, without: UUID | None) -> Outcome:
        """Finish plans whose process was killed or met an outage, then deletions that failed."""
        async with self._custody.catalog.connection() as connection:
            plans = await unfinished_plans(connection)
        left = Outcome()
        for plan in plans:
            if plan.plan_id != without:
                left.add(await execute_plan(self._custody, plan, self._events(plan).record))
        again = await finish_deletions(self._custody, index=policy.search_index == "remove")
        self._failed_before = again.failed.keys() - left.failed.keys()
        # What failed a moment ago and is gone now has not failed.
        left.failed = {}
        left.add(again)
        return left

    async def execute(self, plan: Plan, on_progress: OnProgress) -> Outcome:
        catalog = self._custody.catalog
        detail = {"plan_id": str(plan.plan_id), "files": plan.files, "bytes": plan.bytes, "digest": plan.digest}
        async with catalog.transaction() as connection:
            await start_plan(connection, plan.plan_id)
            await record(connection, self._by.entry("expire", run_id=self._run_id, detail=detail))
        events = self._events(plan)

        async def removed(connection: Connection, files: Sequence[Removed]) -> None:
            await events.record(connection, files)
            self._removed += files[: max(0, MAX_REMOVED - len(self._removed))]

        def done(outcome: Outcome) -> None:
            on_progress(outcome.removed + len(outcome.kept) + len(outcome.failed), plan.files)

        try:
            return await execute_plan(self._custody, plan, removed, on_batch=done)
        except asyncio.CancelledError:
            await to_its_end(self._abandon(plan))
            raise

    async def fill(self, report: Report, outcome: Outcome, left: Outcome) -> None:
        """Put into *report* what has happened."""
        catalog = self._custody.catalog
        failed = left.failed | outcome.failed
        async with catalog.connection() as connection:
            report.after = await catalog.statistics(connection)
            report.plan = await _with_kept(connection, report.plan)
            report.failed = await _failed_files(connection, failed)
            report.warnings = [
                FileWarning(file_id=UUID(file_id), warning=warning)
                for file_id, warning in list((left.unusable | outcome.unusable).items())[:MAX_FAILED]
            ]
            kept = dict(list(outcome.kept.items())[:MAX_KEPT])
            stayed = await files_of(connection, {UUID(file_id): rule for file_id, rule in kept.items()})
            gone = {one.file_id: one.rule for one in self._removed if str(one.file_id) not in failed}
            report.removed = await files_of(connection, gone)
        report.kept = [*stayed, *report.plan.kept][:MAX_KEPT]
        report.removed_files, report.removed_bytes = outcome.removed, outcome.removed_bytes
        report.kept_after_all, report.failed_files = len(outcome.kept), len(failed)
        report.failed_again = len(self._failed_before)
        report.renewed = outcome.renewed

    def _events(self, plan: Plan) -> ExpiryEvents:
        return ExpiryEvents(plan_id=plan.plan_id, links=self._links, task_id=self._run_id)

    async def _abandon(self, plan: Plan) -> None:
        with suppress(WaybillError):  # then the next run finishes it
            async with self._custody.catalog.connection() as connection:
                await abandon_plan(connection, plan.plan_id)


def retention_policy(settings: Settings, given: Mapping[str, Any]) -> RetentionPolicy:
    """Return the policy of the *settings*, with the rules that were *given* in their place; sources add to theirs.

    With *given* kinds the size budget of the settings does not apply: young files of these kinds would go for the room
    that older files of others take. Raises `InvalidSettings`, or `InvalidOptions` where only what was given is wrong.
    """
    rules = dict(settings.retention.rules)
    if given.get("kinds") is not None:
        rules.pop("max_stored_bytes", None)
    sources = given.get("sources")
    if sources and isinstance(rules.get("sources"), Mapping):
        given = {**given, "sources": {**rules["sources"], **sources}}
    return RetentionPolicy.of(rules, **given)


async def _planned(custody: Custody, policy: RetentionPolicy, plan_id: UUID | None) -> Plan:
    if plan_id is None:
        return await make_plan(custody.catalog, policy, kept_limit=MAX_KEPT)
    async with custody.catalog.connection() as connection:
        return await get_plan(connection, plan_id)


async def _statistics(custody: Custody) -> Mapping[str, Any]:
    async with custody.catalog.connection() as connection:
        return await custody.catalog.statistics(connection)


async def _with_kept(connection: Connection, plan: Plan) -> Plan:
    """Return the plan as it is now, with the files that it kept when it was made."""
    return replace(await get_plan(connection, plan.plan_id), kept=plan.kept)


async def _failed_files(connection: Connection, failed: Mapping[str, str]) -> list[FailedFile]:
    some = dict(list(failed.items())[:MAX_FAILED])
    by_id = {one.file_id: one for one in await tombstones_of(connection, [UUID(file_id) for file_id in some])}
    return [
        FailedFile(file_id=UUID(file_id), error=error, file=by_id.get(UUID(file_id))) for file_id, error in some.items()
    ]
