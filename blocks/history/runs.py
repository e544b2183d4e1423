"""Delete old flow runs over Prefect's API, with their subflow runs and artifacts.

Owns which runs go: of this project's flows and of no other catalogue, over for longer than the history is kept, read
by the reconciler, with nothing left to deliver, and without a subflow run that stays. Prefect deletes states, task runs
and logs with a run; it would leave subflow runs, which then look like runs of their own, and artifacts.

Artifacts go first, then subflow runs, then their parents: whatever ends the process in between, the run is found again.
Prefect's own vacuum is not used for runs: it knows neither catalogues nor consumers, and leaves subflow runs for later.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, cast
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    TaskRunFilter,
    TaskRunFilterId,
)
from prefect.client.schemas.objects import TERMINAL_STATES, Artifact, FlowRun
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled

from blocks.catalog import Catalog
from blocks.history.rows import Counted, Cutoffs, Deadline
from blocks.postgres import fetch_all
from blocks.runs.ownership import catalogue_id, is_of_another_catalogue, owner_in
from blocks.runs.prefect_lists import PAGE_ITEMS, UnreadableRuns, prefect_pages, slices
from blocks.runs.run_events import MAINTENANCE_FLOWS, OUR_FLOWS, REPORTED_FLOWS
from blocks.runtime.concurrency import bounded_map
from blocks.webhooks.outbox import history

RUNS, SUBFLOW_RUNS, ARTIFACTS = "flow runs", "subflow runs", "run artifacts"

# What Prefect's server deletes in one call.
_BULK = 50
# A list of artifacts holds all of their data: a table may have a megabyte.
_ARTIFACTS_READ = 25
_CONCURRENT_DELETIONS = 4
# A reconciler looks back a day for states that were set later.
_SET_LATER = timedelta(days=1)
# Deeper trees of subflow runs are left to the next call, which finds a shorter one.
_MOST_LEVELS = 20

_TERMINAL = sorted(state.value for state in TERMINAL_STATES)
_OVER = {"type": {"any_": _TERMINAL}}

_PENDING = """
    select distinct e.task_id from webhook_deliveries d join webhook_events e using (event_id)
     where d.state = 'pending' and e.task_id = any(%(run_ids)s)
"""


@dataclass(kw_only=True)
class RunTrimmer:
    """Trims one Prefect server by the outbox of one catalogue. *home*: the id of the home that serves its schedules."""

    client: PrefectClient
    catalog: Catalog
    cutoffs: Cutoffs
    counted: Counted
    deadline: Deadline
    dry_run: bool
    home: str | None = None
    unreadable: UnreadableRuns = field(default_factory=UnreadableRuns)
    _catalogue: str = field(init=False, default="")
    _read_until: datetime = field(init=False, default=datetime.min.replace(tzinfo=UTC))
    # The flows whose runs have events, by their ids.
    _reported: frozenset[UUID] = field(init=False, default=frozenset())

    async def trim(self) -> None:
        """Delete the old runs. Raises Prefect's errors and `CatalogUnavailable`; what went before stays counted."""
        async with self.catalog.connection() as connection:
            self._catalogue = await catalogue_id(connection)
            self._read_until = (await history.read_watermark(connection)).read_until
        reported = FlowFilter(name=FlowFilterName(any_=list(REPORTED_FLOWS)))
        self._reported = frozenset(flow.id for flow in await self.client.read_flows(flow_filter=reported))
        offset = 0
        while not self.deadline.is_over():
            page = await self._old(offset)
            ours = [run for run in page if not is_of_another_catalogue(run, self._catalogue)]
            if len(ours) < len(page):
                self.counted.keep(RUNS, "other_catalogue", len(page) - len(ours))
            # What stays is in the list for good, and the next page begins behind it.
            offset += len(page) - await self._trim_page(ours)
            if len(page) < PAGE_ITEMS:
                break
        else:
            self.counted.is_complete = False
        await self._look_at_unfinished()
        if self.unreadable.reasons:
            self.counted.keep(RUNS, "unreadable", len(self.unreadable.reasons))

    async def _old(self, offset: int) -> list[FlowRun]:
        ended = {"state": _OVER, "end_time": {"before_": self.cutoffs.before}}
        return await self._read(ended, OUR_FLOWS, offset=offset)

    async def _read(
        self, these: Mapping[str, Any], flows: Collection[str] | None, *, limit: int = PAGE_ITEMS, offset: int
    ) -> list[FlowRun]:
        flow_filter = FlowFilter(name=FlowFilterName(any_=list(flows))) if flows is not None else None
        those = FlowRunFilter.model_validate(these)
        return await self.unreadable.read(
            self.client, flow_filter=flow_filter, flow_run_filter=those, limit=limit, offset=offset
        )

    async def _all(self, these: Mapping[str, Any], flows: Collection[str] | None = None) -> AsyncIterator[FlowRun]:
        async for page in prefect_pages(partial(self._read, these, flows)):
            for run in page:
                yield run

    async def _trim_page(self, runs: Sequence[FlowRun]) -> int:
        """Delete those of *runs* that may go; return how many have left the list."""
        staying = await self._reasons(runs)
        going = [run for run in runs if run.id not in staying]
        trees = await self._trees(going)
        staying |= {run.id: "subflow_not_over" for run in going if trees[run.id] is None}
        for reason in staying.values():
            self.counted.keep(RUNS, reason)
        # In the order of deletion, with whether each is a subflow run; one of our own flows may be in the page, too.
        whole: dict[UUID, bool] = {}
        for run in going:
            if (tree := trees[run.id]) is not None:
                whole |= dict.fromkeys(tree, True)
                whole.setdefault(run.id, run.parent_task_run_id is not None)
        if self.dry_run:
            self._count(whole)
            self.counted.removed[ARTIFACTS] += await self._count_artifacts(list(whole))
            return 0
        gone = await self._delete(whole)
        return sum(1 for run in runs if run.id in gone)

    def _count(self, deleted: Mapping[UUID, bool]) -> None:
        subflows = sum(deleted.values())
        self.counted.removed[RUNS] += len(deleted) - subflows
        self.counted.removed[SUBFLOW_RUNS] += subflows

    async def _reasons(self, runs: Sequence[FlowRun]) -> dict[UUID, str]:
        """Return why some of *runs* stay, by id."""
        ids = [run.id for run in runs]
        async with self.catalog.connection() as connection:
            read = await history.states_read(connection, ids)
            pending = {row["task_id"] for row in await fetch_all(connection, _PENDING, {"run_ids": ids})}
        parents_alive = await self._with_living_parents(runs)
        found: dict[UUID, str] = {}
        for run in runs:
            if run.id in pending:
                found[run.id] = "pending_delivery"
            elif run.id in parents_alive:
                found[run.id] = "parent_not_over"
            elif not self._is_read(run, read.get(run.id)):
                found[run.id] = "not_read"
        return found

    def _is_read(self, run: FlowRun, state_id: UUID | None) -> bool:
        """Whether the run's events are recorded, or it has none."""
        if run.flow_id not in self._reported or (state_id is not None and state_id == run.state_id):
            return True
        last = max(moment for moment in (run.end_time, run.state.timestamp if run.state else None) if moment)
        # One that was read and changed later is looked at for a day; then nothing looks at it again.
        return last + (_SET_LATER if state_id is not None else timedelta(0)) <= self._read_until

    async def _with_living_parents(self, runs: Sequence[FlowRun]) -> set[UUID]:
        """Return those of *runs* that are subflow runs of a run that is not over."""
        by_task = {run.parent_task_run_id: run.id for run in runs if run.parent_task_run_id is not None}
        if not by_task:
            return set()
        these = TaskRunFilter(id=TaskRunFilterId(any_=list(by_task)))
        parents: dict[UUID, list[UUID]] = {}
        async for page in prefect_pages(partial(self.client.read_task_runs, task_run_filter=these), what="task runs"):
            for task in page:
                if task.flow_run_id is not None:
                    parents.setdefault(task.flow_run_id, []).append(by_task[task.id])
        these_parents = {"id": {"any_": list(parents)}, "state": _OVER}
        over = {run.id async for run in self._all(these_parents)} if parents else set[UUID]()
        return {child for parent, children in parents.items() if parent not in over for child in children}

    async def _trees(self, runs: Sequence[FlowRun]) -> dict[UUID, list[UUID] | None]:
        """Return the subflow runs below each of *runs*, deepest first; None where one of them stays."""
        trees: dict[UUID, list[UUID] | None] = {run.id: [] for run in runs}
        for root in await self._parents_with_subflows(list(trees)):
            trees[root] = await self._tree([root], 0)
        return trees

    async def _has_subflows(self, parents: list[UUID]) -> bool:
        these = FlowRunFilter.model_validate({"parent_flow_run_id": {"any_": parents}})
        return await self.client.count_flow_runs(flow_run_filter=these) > 0

    async def _parents_with_subflows(self, parents: list[UUID]) -> list[UUID]:
        """Return those of *parents* that have subflow runs, by counting for halves: most runs have none."""
        if not parents or not await self._has_subflows(parents):
            return []
        if len(parents) == 1:
            return parents
        half = len(parents) // 2
        return [
            *await self._parents_with_subflows(parents[:half]),
            *await self._parents_with_subflows(parents[half:]),
        ]

    async def _tree(self, parents: list[UUID], level: int) -> list[UUID] | None:
        children: list[UUID] = []
        for some in slices(parents):
            async for run in self._all({"parent_flow_run_id": {"any_": some}}):
                if not _is_old(run, self.cutoffs.before):
                    return None
                children.append(run.id)
        if not children:
            return []
        deeper = await self._tree(children, level + 1) if level < _MOST_LEVELS else None
        return None if deeper is None else [*deeper, *children]

    async def _delete(self, runs: Mapping[UUID, bool]) -> set[UUID]:
        """Delete *runs* in their order, and their artifacts; return those that are gone."""
        gone: set[UUID] = set()
        for start in range(0, len(runs), _BULK):
            if self.deadline.is_over():
                self.counted.is_complete = False
                break
            some = list(runs)[start : start + _BULK]
            await self._delete_artifacts(some)
            # Looked at again where they are deleted: one that is retried meanwhile stays.
            these = {"id": {"any_": [str(one) for one in some]}, "state": _OVER}
            body = {"flow_runs": {**these, "end_time": {"before_": self.cutoffs.before.isoformat()}}, "limit": _BULK}
            # Prefect's client has no method for this path, and does not name it in the type of paths.
            response = await self.client.request("POST", cast("Any", "/flow_runs/bulk_delete"), json=body)
            response.raise_for_status()
            deleted = {UUID(one) for one in response.json()["deleted"]}
            self._count({one: runs[one] for one in some if one in deleted})
            gone |= deleted
        return gone

    async def _delete_artifacts(self, run_ids: Sequence[UUID]) -> None:
        offset = 0
        while found := await self._artifacts(run_ids, offset):
            before = self.counted.removed[ARTIFACTS]
            async for deleted in bounded_map(_CONCURRENT_DELETIONS, found, self._delete_artifact):
                self.counted.removed[ARTIFACTS] += deleted
            offset += len(found) - (self.counted.removed[ARTIFACTS] - before)

    async def _artifacts(self, run_ids: Sequence[UUID], offset: int) -> Sequence[Artifact]:
        these = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=list(run_ids)))
        async for page in prefect_pages(partial(self._read_artifacts, these, offset), what="artifacts"):
            return page
        return []

    async def _read_artifacts(
        self, these: ArtifactFilter, first: int, *, limit: int, offset: int
    ) -> Sequence[Artifact]:
        return await self.client.read_artifacts(
            artifact_filter=these, limit=min(limit, _ARTIFACTS_READ), offset=first + offset
        )

    async def _delete_artifact(self, artifact: Artifact) -> int:
        with suppress(ObjectNotFound):  # another process was quicker
            await self.client.delete_artifact(artifact.id)
        return 1

    async def _count_artifacts(self, run_ids: Sequence[UUID]) -> int:
        counted = 0
        for some in slices(run_ids):
            body = {"artifacts": {"flow_run_id": {"any_": [str(one) for one in some]}}}
            response = await self.client.request("POST", "/artifacts/count", json=body)
            response.raise_for_status()
            counted += int(response.json())
        return counted

    async def _look_at_unfinished(self) -> None:
        """Count old runs that are not over, and cancel missed runs of our own schedules, which nothing will start."""
        old = {
            "state": {"type": {"not_any_": _TERMINAL}},
            "expected_start_time": {"before_": self.cutoffs.before},
        }
        found = [run async for run in self._all(old, OUR_FLOWS)]
        missed = [run async for run in self._all(old, MAINTENANCE_FLOWS)] if found else []
        needless = {run.id for run in missed if self._is_missed(run)}
        for run in found:
            if is_of_another_catalogue(run, self._catalogue):
                continue
            if run.id not in needless:
                self.counted.keep(RUNS, "not_over")
                continue
            if self.dry_run or await self._cancel(run.id):
                self.counted.removed["missed schedules"] += 1
            else:
                self.counted.keep(RUNS, "not_over")

    async def _cancel(self, run_id: UUID) -> bool:
        """Cancel a run that has not begun; return whether that is so now. Prefect's rules may refuse it."""
        state = Cancelled(message="It was missed longer ago than the history is kept.")
        try:
            done = await self.client.set_flow_run_state(run_id, state)
        except ObjectNotFound:  # another process has removed it
            return True
        return done.status is SetStateStatus.ACCEPT or (done.state is not None and done.state.is_cancelled())

    def _is_missed(self, run: FlowRun) -> bool:
        owner = owner_in(run.tags)
        is_here = owner is not None and owner.home == self.home and owner.catalogue == self._catalogue
        return is_here and run.auto_scheduled and run.state is not None and run.state.is_scheduled()


def _is_old(run: FlowRun, before: datetime) -> bool:
    return run.state is not None and run.state.is_final() and run.end_time is not None and run.end_time < before
