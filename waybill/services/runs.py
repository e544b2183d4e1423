"""The runs of a catalogue, read from Prefect and cancelled there; nothing is stored twice.

A list has the runs that have begun or are due, the newest first, by when they were to begin. Runs of a schedule exist
an hour before they are due: they are listed only where the state *scheduled* is asked for. A run that Prefect cannot
list is left out, and is found by `waybill.services.recent_events` and by `waybill doctor`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter
from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun, State, StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Cancelled, Cancelling

from blocks.access import Actor, record
from blocks.catalog import Catalog
from blocks.errors import InvalidOptions, PrefectUnavailable, RunEnded
from blocks.postgres.page_cursor import read_cursor, write_cursor
from blocks.redaction import redacted_source
from blocks.runs.ownership import catalogue_id, is_of_another_catalogue, owner_in
from blocks.runs.prefect_lists import UnreadableRuns, prefect_pages
from blocks.runs.progress import plan_of, read_reports
from blocks.runs.run_events import OUR_FLOWS, REPORTED_FLOWS, sources_of, state_message
from blocks.runs.run_groups import cancel_all
from blocks.runs.run_lock import run_locks
from blocks.runs.slices import runs_under_way
from waybill.services.run_history import utc_text
from waybill.services.run_status import progress_of, read_run
from waybill.services.uploads import cancel_upload

MAX_RUNS = 200
STATES = tuple(kind.value.lower() for kind in StateType)
ENDED = frozenset(kind.value.lower() for kind in TERMINAL_STATES)
# With it, the runs of every flow of this project are listed, and not only those that process documents.
ALL_FLOWS = "all"
# Sources of one run that are listed: a run may have thousands.
_MAX_SOURCES = 20


async def list_runs(
    client: PrefectClient,
    *,
    catalogue: str,
    states: Sequence[str] = (),
    flow: str = REPORTED_FLOWS[0],
    limit: int = 50,
    after: str | None = None,
    unreadable: UnreadableRuns | None = None,
) -> dict[str, Any]:
    """Return ``{"runs": [...newest first...], "next"}``: one page of the runs of *catalogue*, the id of one.

    *states* are types of states in lower case, all when empty; *flow* is the name of one of our flows, or `ALL_FLOWS`;
    *after* is the ``next`` of the page before. Raises `InvalidOptions` and *client*'s errors.
    """
    if not 1 <= limit <= MAX_RUNS:
        raise InvalidOptions(f"a page holds 1 to {MAX_RUNS} runs, not {limit}")
    before = read_cursor(after, UUID) if after is not None else None
    these = {"state": {"type": {"any_": [kind.upper() for kind in read_states(states)]}}} if states else {}
    # Runs without a time to begin, which only other programs make, would come first in each list.
    until = before[0] if before else _far_ahead() if "scheduled" in states else datetime.now(UTC)
    reading = _newest_first(client, _flows(flow), these | {"expected_start_time": {"before_": until}}, unreadable)
    found: list[FlowRun] = []
    async with aclosing(reading) as runs:
        async for run in runs:
            if is_of_another_catalogue(run, catalogue) or (before is not None and _place(run) >= before):
                continue
            # Runs of the same moment have no order in Prefect: all of them are read, and then put in order.
            if len(found) > limit and _place(run)[0] < _place(found[-1])[0]:
                break
            found.append(run)
    found.sort(key=_place, reverse=True)
    page = found[:limit]
    reports = await read_reports(client, [run.id for run in page if run.state and not run.state.is_scheduled()])
    furthest = {run_id: max(report.progress for report in some) for run_id, some in reports.items()}
    return {
        "runs": [_shown(run, furthest.get(run.id, 0.0)) for run in page],
        "next": write_cursor(*_place(page[-1])) if len(found) > limit else None,
    }


async def cancel_run(catalog: Catalog, client: PrefectClient, run_id: UUID, *, home: Path, by: Actor) -> dict[str, Any]:
    """Cancel a run or an upload of *catalog* and return ``{"task_id", "status", "state_name", "message"}``.

    A run that has not begun is *cancelled* at once; one that is under way is *cancelling* until its process has ended,
    seconds later. Cancelling it again changes nothing. *home* holds the locks of runs: one whose process is dead is
    cancelled at once, and so are its slices. Raises `RunNotFound`, `RunEnded` for one that has ended otherwise,
    `CatalogUnavailable`, and *client*'s errors.
    """
    if (cancelled := await cancel_upload(catalog, client, run_id, by=by)) is not None:
        return cancelled
    async with catalog.connection() as connection:
        run = await read_run(client, run_id, await catalogue_id(connection))
    state = await _cancel(client, run, home, by.actor)
    async with catalog.transaction() as connection:
        await record(connection, by.entry("run_cancelled", run_id=run_id))
        slices = await runs_under_way(connection, run_id)
    if state.type is StateType.CANCELLED:
        # No process of this run is there to do it. Those that work notice it, too.
        await cancel_all(client, slices)
    return {
        "task_id": str(run_id),
        "status": state.type.value.lower(),
        "state_name": state.name,
        "message": state_message(state),
    }


async def _cancel(client: PrefectClient, run: FlowRun, home: Path, by: str) -> State[Any]:
    state = run.state
    if state is not None and state.type in TERMINAL_STATES and state.type is not StateType.CANCELLED:
        raise _ended(run, state)
    if state is None or state.type not in {StateType.CANCELLED, StateType.CANCELLING}:
        state = await _propose(client, run, Cancelling(message=f"Cancelled by {by}."))
    if state.type is StateType.CANCELLING and _is_dead(run, home):
        state = await _propose(client, run, Cancelled(message=f"Cancelled by {by}; its process had ended before."))
    return state


async def _propose(client: PrefectClient, run: FlowRun, wanted: State[Any]) -> State[Any]:
    """Return the run's state after *wanted* was proposed: the server may set another one. Raises `RunEnded`."""
    answer = await client.set_flow_run_state(run.id, wanted)
    if answer.status is SetStateStatus.ACCEPT and answer.state is not None:
        return answer.state
    # A run that has not begun is cancelled at once: the server rejects what was proposed and sets that.
    state = (await client.read_flow_run(run.id)).state
    if state is None or state.type in {StateType.CANCELLED, StateType.CANCELLING}:
        return state or wanted
    if state.type in TERMINAL_STATES:
        raise _ended(run, state)
    raise PrefectUnavailable(f"the Prefect server does not cancel run {run.id} now, which is {state.name}; try again")


def _ended(run: FlowRun, state: State[Any]) -> RunEnded:
    return RunEnded(f"run {run.id} is over: it is {state.type.value.lower()}, and cannot be cancelled any more")


def _is_dead(run: FlowRun, home: Path) -> bool:
    """Return whether the process of a run of a command has ended. Of a deployment's run, what runs it confirms that."""
    return run.deployment_id is None and not run_locks(home).get(run.id, True)


def read_states(given: Sequence[str]) -> list[str]:
    """Return *given* types of states, in lower case. Raises `InvalidOptions`."""
    found = [one.strip().lower() for one in given]
    if unknown := [one for one in found if one not in STATES]:
        raise InvalidOptions(f"there is no state {unknown[0]!r}; states are {', '.join(STATES)}")
    return found


def _flows(flow: str) -> list[str]:
    if flow == ALL_FLOWS:
        return list(OUR_FLOWS)
    if flow not in OUR_FLOWS:
        raise InvalidOptions(f"there is no flow {flow!r}; flows are {', '.join(OUR_FLOWS)}, or {ALL_FLOWS}")
    return [flow]


async def _newest_first(
    client: PrefectClient, flows: Sequence[str], these: dict[str, Any], unreadable: UnreadableRuns | None
) -> AsyncGenerator[FlowRun]:
    reading = partial(
        (unreadable or UnreadableRuns()).read,
        client,
        flow_filter=FlowFilter(name=FlowFilterName(any_=list(flows))),
        flow_run_filter=FlowRunFilter.model_validate(these),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
    )
    seen: set[UUID] = set()
    async with aclosing(prefect_pages(reading)) as pages:
        async for page in pages:
            for run in page:
                # Runs that begin meanwhile shift the pages: some are read twice, none is skipped.
                if run.id not in seen:
                    seen.add(run.id)
                    yield run


def _place(run: FlowRun) -> tuple[datetime, UUID]:
    return run.expected_start_time or datetime.min.replace(tzinfo=UTC), run.id


def _far_ahead() -> datetime:
    return datetime(9999, 1, 1, tzinfo=UTC)


def _shown(run: FlowRun, progress: float) -> dict[str, Any]:
    state, plan, sources = run.state, plan_of(run), sources_of(run)
    owner = owner_in(run.tags)
    return {
        "task_id": str(run.id),
        "name": run.name,
        "status": state.type.value.lower() if state else "unknown",
        "state_name": state.name if state else None,
        "progress": progress_of(state, progress) if state else 0.0,
        "message": state_message(state) if state else None,
        "sources": [redacted_source(source) for source in sources[:_MAX_SOURCES]],
        "source_count": len(sources),
        "documents": plan.documents if plan else None,
        "deployed": run.deployment_id is not None,
        "home": owner.home if owner else None,
        # Filled in by `with_uploads`, for a run that uploads share.
        "uploads": [],
        "due_at": _time(run.expected_start_time),
        "created_at": _time(run.created),
        "started_at": _time(run.start_time),
        "ended_at": _time(run.end_time),
        "seconds": round(run.estimated_run_time.total_seconds(), 3) if run.start_time else None,
    }


def _time(moment: datetime | None) -> str | None:
    return utc_text(moment) if moment else None
