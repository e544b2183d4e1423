"""Spread the documents of a run over machines: slices, each processed by a run of process-slice in a work pool.

The parent starts as many as are wanted at once, looks every two seconds, starts lost ones again, and adds up what they
have delivered. What a slice has delivered is in its row, which its own run writes; Prefect says only which runs have
ended without it, and leases which have died without Prefect's notice.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, cast
from uuid import UUID

import httpx
from prefect import get_client, get_run_logger
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun, StateType
from prefect.exceptions import PrefectException
from prefect.runtime import flow_run
from pydantic import BaseModel

from blocks.catalog import Connection
from blocks.custody import Custody
from blocks.durations import format_duration
from blocks.errors import Transient
from blocks.runs.ownership import read_owner
from blocks.runs.progress import Plan, plan_of, read_reports, record_plan
from blocks.runs.raised import message_of
from blocks.runs.run_groups import cancel_all, read_runs
from blocks.runs.run_lease import leased
from blocks.runs.slices import (
    Record,
    Slice,
    add_slices,
    begin_again,
    lose,
    note_started,
    read_slices,
    runs_under_way,
)
from blocks.settings import Settings
from blocks.webhooks.event_links import EventLinks
from blocks.webhooks.outbox import Event, add_events
from flows.processing import slice_runs
from flows.processing.batch import Batch
from flows.processing.cancellation import noticing_cancellation
from flows.processing.clear_up import clear_up_lost_runs
from flows.processing.progress import reported
from flows.processing.resources import open_spread_run
from flows.processing.slice_milestones import SliceMilestones
from flows.processing.slice_results import SliceCounts, add_up, lost_documents
from tasks.contract import Stage
from tasks.document_events import DocumentEvents
from tasks.remote.run_on import RunOn
from tasks.sources import SourceList
from tasks.sources.records import as_record

# A machine that dies takes its slices with it; one slice that ends three processes is suspect.
MOST_ATTEMPTS = 3
# Runs that end before they have begun say something of their machine, not of documents: no attempt of theirs counts.
# One such machine of several is kept from taking slice after slice by pauses, each twice as long. Where none works, so
# many looks in a row find such runs before all is given up: a minute and a half.
MOST_UNFIT_LOOKS = 5
UNFIT_PAUSE_SECONDS = 6.0
# Slices take minutes. A look is one query of the catalogue and a request for each 200 runs.
LOOK_SECONDS = 2.0
# A worker that has taken a run starts its process within seconds, and the process takes its lease within a minute,
# also on a busy machine: one that has not is gone.
BEGIN_SECONDS = 300.0
# Between looks at the leases of all runs.
LEASES_SECONDS = 15.0

_PASSING = (Transient, PrefectException, httpx.HTTPError)


@dataclass(kw_only=True)
class SliceRuns:
    """The slices of one run, and what their parent knows of them."""

    settings: Settings
    custody: Custody
    parent_id: UUID
    pool: str
    # Of process-slice, without what says which slice it is.
    parameters: Mapping[str, Any]
    # Called with the slices, and what their runs have reported, at each look.
    show: Callable[[Sequence[Slice], Mapping[UUID, float]], Awaitable[None]]
    # Called in the transaction that gives a slice up, with its sources and the reason.
    record_lost: Callable[[Connection, Sequence[Record], str], Awaitable[None]]
    clock: Callable[[], float] = time.monotonic
    _silent_since: dict[UUID, float] = field(default_factory=dict[UUID, float])
    # Attempts that do not count, by the number of the slice; and the looks in a row that have found such.
    _unfit: Counter[int] = field(default_factory=Counter[int])
    _unfit_looks: int = 0
    _start_after: float = 0.0
    _completed: int = 0

    async def process(self, sources: SourceList) -> list[Slice]:
        """Process all *sources*, and return the slices, which have all ended.

        Slices of an earlier attempt of this run go on. Cancelled, it cancels their runs. Raises `InvalidOptions` when
        there is no such pool, and for a source that other machines cannot be given.
        """
        async with get_client() as client:
            owner = await read_owner(self.settings)
            deployment = await slice_runs.slice_deployment(client, self.pool, owner)
            parts = ([as_record(one) for one in part] for part in sources.parts(self.settings.slice_size))
            slices = await add_slices(self.custody.catalog, self.parent_id, parts)
            await record_plan(self.parent_id, Plan(documents=len(sources), tasks=1), self.custody.catalog)
            get_run_logger().info("%d slices for the workers of pool %s", len(slices), self.pool)
            try:
                return await self._until_ended(client, deployment, owner.tag)
            except BaseException:
                await asyncio.shield(self._cancel())
                raise

    async def _until_ended(self, client: PrefectClient, deployment: UUID, tag: str) -> list[Slice]:
        looked_for_dead = self.clock()
        for number in count():
            if number:
                await asyncio.sleep(LOOK_SECONDS)
            try:
                slices = await self._read()
                await self.show(slices, await self._progress(client, slices))
                if all(one.has_ended for one in slices):
                    return slices
                if self.clock() - looked_for_dead >= LEASES_SECONDS:
                    looked_for_dead = self.clock()
                    await clear_up_lost_runs(self.settings, self.custody)
                await self._look(client, slices)
                if self.clock() >= self._start_after:
                    await self._start(client, deployment, tag, slices)
            except _PASSING as error:
                get_run_logger().warning("the slices are looked at again: %s", str(error) or type(error).__name__)
        raise AssertionError("unreachable: it counts for ever")

    async def _read(self) -> list[Slice]:
        async with self.custody.catalog.connection() as connection:
            return await read_slices(connection, self.parent_id)

    async def _progress(self, client: PrefectClient, slices: Sequence[Slice]) -> dict[UUID, float]:
        """Return what the runs of the slices under way have reported. Only shown: without Prefect it is nothing."""
        under_way = [one.run_id for one in slices if one.state == "started" and one.run_id is not None]
        with suppress(PrefectException, httpx.HTTPError):
            reports = await read_reports(client, under_way)
            return {run_id: max(one.progress for one in some) for run_id, some in reports.items()}
        return {}

    async def _look(self, client: PrefectClient, slices: Sequence[Slice]) -> None:
        """Let those slices wait again, or lose them, whose runs have ended without completing them."""
        started = {one.run_id: one for one in slices if one.state == "started" and one.run_id is not None}
        runs = await read_runs(client, started.keys())
        async with self.custody.catalog.connection() as connection:
            alive = await leased(connection, list(started))
        unfit: str | None = None
        for run_id, one in started.items():
            run = runs.get(run_id)
            why = await self._why_lost(client, run_id, run, is_leased=run_id in alive)
            if why is None:
                continue
            if run is not None and _never_began(run):
                unfit = why
                self._unfit[one.number] += 1
            await self._lost(one, why, again=run is None or run.state_type is not StateType.CANCELLED)
        completed = sum(one.state == "completed" for one in slices)
        # A lease is no proof: one that is unfit may notice it after it has taken its lease.
        works = any(run_id in alive and plan_of(run) is not None for run_id, run in runs.items())
        if works or completed > self._completed:
            self._unfit_looks = 0
        self._completed = completed
        if unfit is not None:
            await self._pause(unfit)

    async def _pause(self, why: str) -> None:
        """Start nothing for a while, longer each time; give up when no machine has worked for some such times."""
        self._unfit_looks += 1
        if self._unfit_looks < MOST_UNFIT_LOOKS:
            self._start_after = self.clock() + UNFIT_PAUSE_SECONDS * 2 ** (self._unfit_looks - 1)
            return
        get_run_logger().error("no worker of pool %s can process slices: %s", self.pool, why)
        await self._cancel()
        for one in await self._read():
            if not one.has_ended:
                await self._lose(one, f"no worker of pool {self.pool} can process it: {why}")

    async def _why_lost(
        self, client: PrefectClient, run_id: UUID, run: FlowRun | None, *, is_leased: bool
    ) -> str | None:
        """Return why the run will not complete its slice; None as long as it may."""
        if run is None:
            return "Prefect does not know its run any more"
        state = run.state
        if state is None or state.type in TERMINAL_STATES:
            return f"its run ended as {state.name}: {message_of(state)}" if state else "its run has no state"
        if is_leased or state.type not in {StateType.PENDING, StateType.RUNNING}:
            self._silent_since.pop(run_id, None)
            return None
        # Taken by a worker, and no process has begun: by this clock, since others may be wrong.
        if self.clock() - self._silent_since.setdefault(run_id, self.clock()) < BEGIN_SECONDS:
            return None
        await slice_runs.give_up(client, run_id, "Its worker has taken it, and no process has begun to work.")
        return "its worker has taken it, and no process has begun to work"

    async def _lost(self, one: Slice, why: str, *, again: bool) -> None:
        if again and one.attempt - self._unfit[one.number] < MOST_ATTEMPTS:
            get_run_logger().warning("slice %d is started again: %s", one.number, why)
            async with self.custody.catalog.connection() as connection:
                await begin_again(connection, self.parent_id, one)
        else:
            get_run_logger().error("slice %d is lost: %s", one.number, why)
            await self._lose(one, why)

    async def _lose(self, one: Slice, why: str) -> None:
        async with self.custody.catalog.transaction() as connection:
            sources = await lose(connection, self.parent_id, one, {"lost": why})
            if sources is not None:
                await self.record_lost(connection, sources, why)

    async def _start(self, client: PrefectClient, deployment: UUID, tag: str, slices: Sequence[Slice]) -> None:
        room = self.settings.slices_at_once - sum(one.state == "started" for one in slices)
        for one in [one for one in slices if one.state == "waiting"][: max(0, room)]:
            run_id = await slice_runs.start(
                client, deployment, self.parent_id, one, of=len(slices), parameters=self.parameters, tag=tag
            )
            async with self.custody.catalog.connection() as connection:
                await note_started(connection, self.parent_id, one, run_id)

    async def _cancel(self) -> None:
        """Cancel what the run has started. Without a catalogue or Prefect the slices go on to their ends."""
        with suppress(*_PASSING):
            async with self.custody.catalog.connection() as connection:
                run_ids = await runs_under_way(connection, self.parent_id)
            async with get_client() as client:
                await cancel_all(client, run_ids)


def _never_began(run: FlowRun) -> bool:
    """Whether the run has failed before it came to documents, or its process ended before it ran."""
    if run.state_type is StateType.CRASHED:
        return run.start_time is None
    return run.state_type is StateType.FAILED and plan_of(run) is None


async def spread_over(
    pool: str,
    batch: Batch,
    settings: Settings,
    *,
    stages: Sequence[Stage[Any]],
    run_id: UUID,
    webhook_url: str | None,
) -> None:
    """Process the documents of *batch* on the workers of *pool* through *stages*, and add up the results there.

    Slices have the parameters of the run under way. Raises `RunCancelled`, and what `SliceRuns.process` raises.
    """
    parameters = slice_parameters(cast("dict[str, Any]", flow_run.parameters))
    counts = SliceCounts(batch.counts)
    async with (
        open_spread_run(settings, run_id=run_id, webhook_url=webhook_url) as custody,
        reported(batch.counts, run_id),
        noticing_cancellation(run_id),
    ):
        links = EventLinks.of(settings)
        attempt, documents = flow_run.run_count, len(batch.sources)
        milestones = SliceMilestones(custody.catalog, links, batch.counts, run_id=run_id, attempt=attempt)
        # As a slice has them, without milestones.
        events = DocumentEvents(
            run_id=run_id, attempt=attempt, documents=documents, stages=stages, links=links, parent=run_id
        )

        async def show(slices: Sequence[Slice], progress: Mapping[UUID, float]) -> None:
            counts.show(slices, progress)
            await milestones.report()

        async def record_lost(connection: Connection, sources: Sequence[Record], why: str) -> None:
            at = datetime.now(UTC)
            failed: list[Event] = []
            for document in lost_documents(sources, why):
                failed += events.failed(document, at)
                events.leave(document)
            await add_events(connection, failed, links.to_payload)

        runs = SliceRuns(
            settings=settings,
            custody=custody,
            parent_id=run_id,
            pool=pool,
            parameters=parameters,
            show=show,
            record_lost=record_lost,
        )
        slices = await runs.process(batch.sources)
    add_up(slices, batch.results)


def slice_parameters(of_run: Mapping[str, Any]) -> dict[str, Any]:
    """Return those parameters of a run, as its flow has them, that its slices have too, in JSON."""
    options: BaseModel | None = of_run["options"]
    places: Mapping[str, str | RunOn] | None = of_run["run_on"]
    durations: dict[str, timedelta | None] = {name: of_run[name] for name in ("keep_for", "time_limit")}
    return {
        "stages": of_run["stages"],
        "reuse": of_run["reuse"],
        "options": options.model_dump(mode="json", exclude_unset=True) if options is not None else None,
        "run_on": _places(places) if places is not None else None,
        **{name: format_duration(one) if one is not None else None for name, one in durations.items()},
    }


def _places(run_on: Mapping[str, str | RunOn]) -> dict[str, Any]:
    return {stage: one if isinstance(one, str) else one.model_dump(mode="json") for stage, one in run_on.items()}
