"""Compare Prefect's state history with the recorded events, and record the missing ones.

A hook is lost with its process; states are not, and their history is complete as soon as a state is set. Owns which
runs are checked: all that are in progress, and all that ended since the last check. Reads Prefect's API, never its
events, which get lost under load. Reconcilers may run concurrently: an event is identified by its state's id.

A run that Prefect cannot list is left out and reported; the others are read.

The watermark is a run's end time, by the clock of Prefect's server. It only advances once everything before it was
read. Three things can still appear behind it, and so every check goes back some way:

- a state whose timestamp is some seconds older than its commit, because its transaction took so long;
- a run that was reported as crashed but was alive and now ends: its end time stays that of the crash;
- a state that a person has set on a run that had ended.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort

from blocks.catalog import Catalog, Connection
from blocks.catalog.skipped_records import forget_skipped, report_skipped
from blocks.errors import CatalogRefused
from blocks.runs.ownership import catalogue_id, is_of_another_catalogue
from blocks.runs.prefect_lists import PAGE_ITEMS, UnreadableRuns, prefect_pages, slices
from blocks.runs.run_events import REPORTED_FLOWS
from blocks.runtime.concurrency import bounded_map
from blocks.webhooks.outbox import history
from flows.events.record_run_events import RunEventRecorder, read_history

# Each run takes a connection of the pool for some milliseconds, and two requests to a server that has other work too.
_CONCURRENT_RUNS = 4
# A run that was alive after all ends within a day of its crash, or its end is no longer of interest.
_CRASHED_CHECKED = timedelta(days=1)
# Far longer than events are kept: the events of a run that is forgotten and checked again would be sent again.
_RUNS_REMEMBERED = timedelta(days=365)

_LOG = logging.getLogger("waybill.webhooks")


@dataclass(frozen=True, kw_only=True)
class Window:
    """How far back to check. *thorough* includes crashed runs."""

    back: timedelta
    thorough: bool


# Every second or few: transactions take milliseconds.
LAST_10_SECONDS = Window(back=timedelta(seconds=10), thorough=False)
# Twice a minute, for a server so slow that the check of the last 10 seconds has missed something.
LAST_10_MINUTES = Window(back=timedelta(minutes=10), thorough=True)
# At the start and once an hour, for states that people have set.
LAST_DAY = Window(back=timedelta(days=1), thorough=True)


@dataclass(kw_only=True)
class Reconciled:
    """Numbers: runs in progress, all runs checked, those of them whose state was new, and events that were missing."""

    in_progress: int = 0
    runs: int = 0
    read: int = 0
    added: int = 0


@dataclass(frozen=True)
class Reconciler:
    """Compares one Prefect server with one outbox."""

    client: PrefectClient
    catalog: Catalog
    recorder: RunEventRecorder
    unreadable: UnreadableRuns = field(default_factory=UnreadableRuns)
    # States whose events cannot be recorded: tried and logged once, so that they do not block other runs.
    _refused: set[UUID] = field(default_factory=set[UUID])

    async def reconcile_once(self, window: Window = LAST_DAY) -> Reconciled:
        """Record the missing events. Raises `WaybillError` and Prefect's errors; then the watermark stays."""
        async with self.catalog.connection() as connection:
            catalogue = await catalogue_id(connection)
            watermark = await history.read_watermark(connection)
            crashed = await history.crashed_runs(connection, _CRASHED_CHECKED) if window.thorough else []
        found, newest = Reconciled(), watermark.read_until
        # Runs in progress first: one that ends meanwhile is found again among those that have ended.
        async for page in self._in_progress():
            ours = _ours(page, catalogue)
            found.in_progress += len(ours)
            await self._record_all(ours, watermark, found)
        async for page in self._by_id(crashed):
            await self._record_all(_ours(page, catalogue), watermark, found)
        # A clock that was ahead may have moved the watermark into the future.
        read_until = min(watermark.read_until, datetime.now(UTC))
        async for page in self._ended(max(watermark.began_at, read_until - window.back)):
            await self._record_all(_ours(page, catalogue), watermark, found)
            newest = max(newest, *(run.end_time for run in page if run.end_time is not None))
        readable_again = await self.unreadable.try_again(self.client)
        async with self.catalog.connection() as connection:
            await history.advance(connection, newest)
            await self._report_unreadable(connection, readable_again)
            if window.thorough:
                await history.forget_runs(connection, _RUNS_REMEMBERED)
        return found

    async def _record_all(self, runs: Sequence[FlowRun], watermark: history.Watermark, found: Reconciled) -> None:
        async with self.catalog.connection() as connection:
            read = await history.states_read(connection, [run.id for run in runs])
        new = [
            run
            for run in runs
            if run.state_id != read.get(run.id) and run.state_id and run.state_id not in self._refused
        ]
        found.runs += len(runs)
        found.read += len(new)
        async for added in bounded_map(_CONCURRENT_RUNS, new, partial(self._record, since=watermark.began_at)):
            found.added += added

    async def _record(self, run: FlowRun, since: datetime) -> int:
        read = await read_history(self.client, run)
        added, problem = 0, read.unreadable_states
        try:
            async with self.catalog.transaction() as connection:
                added = await self.recorder.record(connection, read, since=since)
        except CatalogRefused as error:
            problem = f"its events cannot be recorded: {error.message}"
        except (ValueError, TypeError, LookupError) as error:
            # Any client may write the parts of a run, and a malformed one must not block the rest.
            _LOG.exception("the events of a run cannot be recorded, by a defect")
            problem = f"its events cannot be recorded, by a defect: {type(error).__name__}"
        if problem is not None:
            if run.state_id is not None:
                self._refused.add(run.state_id)
            async with self.catalog.connection() as connection:
                await report_skipped(connection, "run", {str(run.id): problem})
        return added

    async def _report_unreadable(self, connection: Connection, readable_again: Sequence[UUID]) -> None:
        await forget_skipped(connection, "run", [str(run_id) for run_id in readable_again])
        reasons = {str(run_id): reason for run_id, reason in self.unreadable.reasons.items()}
        await report_skipped(connection, "run", reasons)

    def _in_progress(self) -> AsyncIterator[Sequence[FlowRun]]:
        """Yield runs that have begun and not ended, whatever they wait for; runs that have not begun have no events."""
        begun = {"start_time": {"is_null_": False}, "end_time": {"is_null_": True}}
        # A run that is skipped between two pages, because one before it has ended, is found a second later.
        return prefect_pages(self._read(begun, FlowRunSort.ID_DESC))

    async def _by_id(self, run_ids: Sequence[UUID]) -> AsyncIterator[Sequence[FlowRun]]:
        for some_ids in slices(run_ids):
            if page := await self._read({"id": {"any_": some_ids}}, FlowRunSort.ID_DESC)(limit=PAGE_ITEMS):
                yield page

    async def _ended(self, since: datetime) -> AsyncIterator[Sequence[FlowRun]]:
        """Yield runs that ended at *since* or later, newest first.

        Pages are counted by end time and not by offset: runs that leave the list meanwhile shift the others to pages
        that were read already.
        """
        seen: set[UUID] = set()
        before: datetime | None = None
        while True:
            ended = {"end_time": {"after_": since, "before_": before}}
            page = await self._read(ended, FlowRunSort.END_TIME_DESC)(limit=PAGE_ITEMS)
            new = [run for run in page if run.id not in seen]
            if new:
                yield new
            if len(page) < PAGE_ITEMS or not new:
                return
            seen.update(run.id for run in new)
            before = page[-1].end_time

    def _read(self, these: Mapping[str, Any], sort: FlowRunSort) -> Callable[..., Awaitable[list[FlowRun]]]:
        ours = FlowFilter(name=FlowFilterName(any_=list(REPORTED_FLOWS)))
        those = FlowRunFilter.model_validate(these)
        return partial(self.unreadable.read, self.client, flow_filter=ours, flow_run_filter=those, sort=sort)


def _ours(runs: Sequence[FlowRun], catalogue: str) -> list[FlowRun]:
    """Return those that belong to no other catalogue: its own reconciler records their events."""
    return [run for run in runs if not is_of_another_catalogue(run, catalogue)]
