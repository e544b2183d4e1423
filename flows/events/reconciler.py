"""Comparing Prefect's state history with the events that were told, and telling what is missing.

Hooks are lost with their process; states are not, and the history of them is complete as soon as a state is set. Owns
which runs are looked at: all that are under way, and all that ended since the last look. Reads Prefect's API, never its
events, which get lost under load. Any number of reconcilers may run at once: an event is known by its state's id.

The watermark is the end of a run, by the clock of Prefect's server, and only moves when everything up to it was read.
Three things can be found behind it, and so every look goes back some way:

- a state that was stamped some seconds before it could be read, as its transaction took so long;
- a run that was told as crashed, was alive after all and comes to its real end: its end time stays that of the crash;
- a state that a person has set on a run that had ended.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterId,
    FlowRunFilterStartTime,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort

from blocks.catalog import Catalog
from blocks.errors import CatalogRefused
from blocks.runs.run_events import REPORTED_FLOWS
from blocks.webhooks.outbox import history
from flows.events.record_run_events import RunEventRecorder, read_history

# What Prefect's API gives at most in one answer.
PAGE_RUNS = 200
# Each takes a connection of the pool for some milliseconds, and two requests to a server that has other work too.
_TOLD_AT_ONCE = 4
# A flow that was believed dead is done within a day, or nobody waits for it any more.
_CRASHED_WATCHED = timedelta(days=1)
# Far longer than events are kept: a run that was forgotten and is looked at again would be told again.
_RUNS_REMEMBERED = timedelta(days=365)

_LOG = logging.getLogger("waybill.webhooks")


@dataclass(frozen=True, kw_only=True)
class Window:
    """How far back to look. *thorough* asks for crashed runs too."""

    back: timedelta
    thorough: bool


# Every second: transactions take milliseconds.
LAST_10_SECONDS = Window(back=timedelta(seconds=10), thorough=False)
# Twice a minute, for a server that was so slow that the quick one has missed something.
LAST_10_MINUTES = Window(back=timedelta(minutes=10), thorough=True)
# At the start and once an hour, for what people have changed in the history.
LAST_DAY = Window(back=timedelta(days=1), thorough=True)


@dataclass(kw_only=True)
class Reconciled:
    """What a look has found: runs that were looked at, runs whose state was new, events that were missing."""

    runs: int = 0
    read: int = 0
    added: int = 0


@dataclass(frozen=True)
class Reconciler:
    """Compares one Prefect server with one outbox."""

    client: PrefectClient
    catalog: Catalog
    telling: RunEventRecorder
    # Runs that cannot be told (by their state): tried once, told in the log, and in nobody's way.
    _refused: set[UUID] = field(default_factory=set[UUID])

    async def reconcile_once(self, look: Window = LAST_DAY) -> Reconciled:
        """Add the events that are missing. Raises `WaybillError` and what Prefect's client raises; then some are added
        and the watermark stays."""
        async with self.catalog.connection() as connection:
            mark = await history.read_watermark(connection)
            crashed = await history.crashed_runs(connection, _CRASHED_WATCHED) if look.thorough else []
        found, newest = Reconciled(), mark.read_until
        # First those under way: who ends meanwhile is found among the ended ones.
        async for page in self._under_way():
            await self._tell_all(page, mark, found)
        async for page in self._of(crashed):
            await self._tell_all(page, mark, found)
        # A clock that was ahead has moved the watermark to where nothing ends for a while.
        read_until = min(mark.read_until, datetime.now(UTC))
        async for page in self._ended(max(mark.began_at, read_until - look.back)):
            await self._tell_all(page, mark, found)
            newest = max(newest, *(run.end_time for run in page if run.end_time is not None))
        async with self.catalog.connection() as connection:
            await history.advance(connection, newest)
            if look.thorough:
                await history.forget_runs(connection, _RUNS_REMEMBERED)
        return found

    async def _tell_all(self, runs: Sequence[FlowRun], mark: history.Watermark, found: Reconciled) -> None:
        async with self.catalog.connection() as connection:
            read = await history.states_read(connection, [run.id for run in runs])
        new = [
            run
            for run in runs
            if run.state_id != read.get(run.id) and run.state_id and run.state_id not in self._refused
        ]
        lanes = asyncio.Semaphore(_TOLD_AT_ONCE)

        async def tell(run: FlowRun) -> int:
            async with lanes:
                return await self._tell(run, mark.began_at)

        found.runs += len(runs)
        found.read += len(new)
        found.added += sum(await asyncio.gather(*(tell(run) for run in new)))

    async def _tell(self, run: FlowRun, since: datetime) -> int:
        read = await read_history(self.client, run)
        try:
            async with self.catalog.transaction() as connection:
                return await self.telling.tell(connection, read, since=since)
        except CatalogRefused as error:
            _LOG.error("run %s cannot be told: %s", run.id, error.message)
        except (ValueError, TypeError, LookupError):
            # Anybody may write what a run consists of, and one that is understood by nobody must not silence the rest.
            _LOG.exception("run %s cannot be told, by a defect", run.id)
        if run.state_id is not None:
            self._refused.add(run.state_id)
        return 0

    async def _under_way(self) -> AsyncIterator[list[FlowRun]]:
        """Runs that have begun and not ended, whatever they wait for. There is nothing to tell of the others."""
        begun = FlowRunFilter(
            start_time=FlowRunFilterStartTime(is_null_=False), end_time=FlowRunFilterEndTime(is_null_=True)
        )
        offset = 0
        # Who slips through between two pages, because one before it has ended, is there a second later.
        while page := await self._read(begun, FlowRunSort.ID_DESC, offset=offset):
            yield page
            if len(page) < PAGE_RUNS:
                return
            offset += len(page)

    async def _of(self, run_ids: Sequence[UUID]) -> AsyncIterator[list[FlowRun]]:
        for start in range(0, len(run_ids), PAGE_RUNS):
            these = FlowRunFilter(id=FlowRunFilterId(any_=list(run_ids[start : start + PAGE_RUNS])))
            if page := await self._read(these, FlowRunSort.ID_DESC):
                yield page

    async def _ended(self, since: datetime) -> AsyncIterator[list[FlowRun]]:
        """Runs that ended at *since* or later, newest first. By time and not by number: runs that leave the list while
        it is read shift the others to pages that have been read."""
        seen: set[UUID] = set()
        before: datetime | None = None
        while True:
            ended = FlowRunFilter(end_time=FlowRunFilterEndTime.model_validate({"after_": since, "before_": before}))
            page = await self._read(ended, FlowRunSort.END_TIME_DESC)
            new = [run for run in page if run.id not in seen]
            if new:
                yield new
            if len(page) < PAGE_RUNS or not new:
                return
            seen.update(run.id for run in new)
            before = page[-1].end_time

    async def _read(self, these: FlowRunFilter, sort: FlowRunSort, offset: int = 0) -> list[FlowRun]:
        ours = FlowFilter(name=FlowFilterName(any_=list(REPORTED_FLOWS)))
        return await self.client.read_flow_runs(
            flow_filter=ours, flow_run_filter=these, sort=sort, limit=PAGE_RUNS, offset=offset
        )
