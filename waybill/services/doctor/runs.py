"""Checks of runs against Prefect: runs in progress have a process, and every state has its event, once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State, StateType

from blocks.catalog import Catalog
from blocks.catalog.migrate import LOCK_KEY
from blocks.errors import DeploymentMissing
from blocks.forgetting.names import PLACEHOLDER_PATTERN
from blocks.postgres import fetch_all, fetch_row
from blocks.runs.deployment import find_deployment
from blocks.runs.ownership import catalogue_id, is_of_another_catalogue
from blocks.runs.prefect_api import PrefectApi
from blocks.runs.prefect_lists import UnreadableRuns, prefect_pages, read_states
from blocks.runs.progress import plan_of
from blocks.runs.raised import was_raised
from blocks.runs.run_events import EVENT_TYPES, REPORTED_FLOWS, has_event
from blocks.runs.upload_tasks import is_shared as is_shared_run
from blocks.runs.upload_tasks import uploads_without_run
from blocks.runtime.concurrency import bounded_map
from blocks.settings import Settings
from blocks.webhooks.endpoint_queries import BLOCKS_LOCK_KEY
from blocks.webhooks.outbox import history, state_event_id
from waybill.services.doctor.findings import Findings

# A day of runs on a busy server; one request each.
_PREFECT_SECONDS = 600.0
_CONCURRENT_RUNS = 4
_IN_PROGRESS = (StateType.RUNNING, StateType.PENDING, StateType.CANCELLING)
# Ends that the flow itself reported, unless it raised; other runs leave documents that nothing was done with.
_FINISHED = (StateType.COMPLETED, StateType.FAILED)

_RUN_EVENTS = """
    select event_id, event_type, task_id, occurred_at from webhook_events
     where task_id = any(%(run_ids)s) and event_type = any(%(event_types)s)
"""
_DOCUMENTS = """
    select run.id as run_id,
           (select count(distinct source_file) from webhook_events
             where task_id = run.id and event_type = 'stage_chain_completed') as reported,
           (select count(distinct source_file) from webhook_events
             where task_id = run.id and event_type = 'stage_failed') as failed,
           (select count(distinct e.source_file) from webhook_events e
             where e.task_id = run.id and e.event_type = 'stage_chain_completed' and e.source_file ~ %(forgotten)s
               and not exists (select from webhook_events f where f.task_id = run.id and f.event_type = 'stage_failed'
                                  and f.source_file = e.source_file)) as forgotten,
           (select count(distinct o.source_file) from run_outputs o join artifacts a using (file_id)
             where o.run_id = run.id and a.kind = 'stage_output') as with_outputs
      from unnest(%(run_ids)s::uuid[]) as run (id)
"""
# One key of 64 bits: hashtextextended of a stage key, or the rotation's. Sessions of runs hold them. Without the locks
# of a migration and of the sync of webhook blocks, which `waybill up` takes for a moment now and then.
_OUTPUT_LOCKS = """
    select l.pid, count(*) as locks, a.backend_start from pg_locks l left join pg_stat_activity a using (pid)
     where l.locktype = 'advisory' and l.objsubid = 1 and l.granted and l.mode = 'ExclusiveLock'
       and l.database = (select oid from pg_database where datname = current_database())
       and (l.classid::bigint << 32 | l.objid::bigint) <> all(%(other_keys)s)
       and l.pid <> pg_backend_pid() and a.backend_start < %(began_at)s
     group by l.pid, a.backend_start order by l.pid
"""


async def check_output_locks(catalog: Catalog, found: Findings, *, living_runs: set[str], is_shared: bool) -> None:
    """Examine sessions that hold output locks; *is_shared*: other machines may use this database too."""
    with found.examining("output-locks"):
        async with catalog.connection() as connection:
            values = {"began_at": found.began_at, "other_keys": [LOCK_KEY, BLOCKS_LOCK_KEY]}
            holders = await fetch_all(connection, _OUTPUT_LOCKS, values)
        found.counts["output_locks"] = sum(row["locks"] for row in holders)
        if holders and not living_runs and not is_shared:
            sessions = [f"session {row['pid']}: {row['locks']} locks since {row['backend_start']}" for row in holders]
            remedy = "unless a rotation of the storage key runs, end the session: select pg_terminate_backend(PID)"
            found.warning("output-locks", "output locks are held, and no run of this home lives", remedy, sessions)


async def check_deployment(prefect: PrefectApi, catalog: Catalog, settings: Settings, found: Findings) -> None:
    """Examine whether a request can start a run; for a home whose `waybill up` runs."""
    with found.examining("deployment"):
        try:
            await find_deployment(prefect, catalog, settings.home)
        except DeploymentMissing as error:
            remedy = "see logs/serve.log in the home, then start 'waybill up' again; until then uploads are refused"
            found.problem("deployment", error.message, remedy)


async def check_runs(
    prefect: PrefectApi, catalog: Catalog, found: Findings, *, living_runs: set[str], is_shared: bool
) -> None:
    """Compare Prefect's runs and states with locks and events; *is_shared*: other machines may run flows there too."""
    checks = ("runs", "run-events", "documents")
    with found.examining(*checks):
        async with prefect.client(seconds=_PREFECT_SECONDS) as client:
            async with catalog.connection() as connection:
                catalogue = await catalogue_id(connection)
            # Other catalogues may share the Prefect server; their homes have a doctor of their own.
            runs = [run for run in await _read_runs(client, found) if not is_of_another_catalogue(run, catalogue)]
            found.counts["runs"] = dict(Counter(run.state_type.value.lower() for run in runs if run.state_type))
            _report_stuck(runs, found, living_runs=living_runs, is_shared=is_shared)
            await _check_uploads(catalog, found)
            # Events of a run that uploads share are those of the uploads, which end by themselves.
            own = [run for run in runs if run.idempotency_key is None or not is_shared_run(run.idempotency_key)]
            await _check_events(client, catalog, own, found)
            finished = [run for run in own if run.state_type in _FINISHED and not was_raised(run.state)]
            await _check_documents(catalog, finished, found)


async def _read_runs(client: PrefectClient, found: Findings) -> list[FlowRun]:
    """Return the runs in progress, and those that ended within the time that is looked back on."""
    since = datetime.now(UTC) - found.tolerances.history
    wanted = (
        {"state": {"type": {"any_": [*_IN_PROGRESS, StateType.SCHEDULED, StateType.PAUSED]}}},
        {"end_time": {"after_": since}},
    )
    ours = FlowFilter(name=FlowFilterName(any_=list(REPORTED_FLOWS)))
    runs: dict[UUID, FlowRun] = {}
    unreadable = UnreadableRuns()
    for these in wanted:
        read = partial(unreadable.read, client, flow_filter=ours, flow_run_filter=FlowRunFilter.model_validate(these))
        async with aclosing(prefect_pages(read)) as pages:
            async for page in pages:
                runs |= {run.id: run for run in page}
    if unreadable.reasons:
        reasons = [f"{run_id}: {reason}" for run_id, reason in unreadable.reasons.items()]
        found.warning("skipped-records", "runs cannot be read from Prefect", "delete them there", reasons)
    return list(runs.values())


def _report_stuck(runs: Sequence[FlowRun], found: Findings, *, living_runs: set[str], is_shared: bool) -> None:
    before = found.began_at - found.tolerances.run_without_process
    stuck = [
        f"{run.id} {run.name}: {run.state.name}"
        for run in runs
        if run.state is not None
        and run.state_type in _IN_PROGRESS
        and run.state.timestamp < before
        and str(run.id) not in living_runs
    ]
    late = [
        f"{run.id} {run.name}: {run.state.name}"
        for run in runs
        if run.state is not None
        and run.state_type is StateType.SCHEDULED
        and run.expected_start_time is not None
        and run.expected_start_time < before
    ]
    if stuck and is_shared:
        remedy = "unless they run on another machine: start a run here, which clears up after dead ones"
        found.warning("runs", "runs in progress have no process in this home", remedy, stuck)
    elif stuck:
        remedy = "'waybill up' and the next run put them right; otherwise: prefect flow-run cancel ID"
        found.problem("runs", "runs in progress have no process", remedy, stuck)
    if late:
        found.warning("runs", "runs are late: nothing starts them", "run 'waybill up', or a worker", late)


async def _check_events(client: PrefectClient, catalog: Catalog, runs: Sequence[FlowRun], found: Findings) -> None:
    async with catalog.connection() as connection:
        began_at = (await history.read_watermark(connection)).began_at
        values = {"run_ids": [run.id for run in runs], "event_types": list(EVENT_TYPES.values())}
        rows = await fetch_all(connection, _RUN_EVENTS, values)
    recorded = {row["event_id"] for row in rows}
    twice = Counter((row["task_id"], row["event_type"], row["occurred_at"]) for row in rows)
    before = datetime.now(UTC) - found.tolerances.event_missing
    states: Counter[str] = Counter()
    missing: list[str] = []
    expected: set[str] = set()
    unreadable: list[str] = []

    async def read(run: FlowRun) -> tuple[FlowRun, list[State[Any]]]:
        return run, await read_states(client, run, on_unreadable=unreadable.append)

    async with aclosing(bounded_map(_CONCURRENT_RUNS, runs, read)) as histories:
        async for run, of_run in histories:
            states.update(state.type.value.lower() for state in of_run)
            for state in of_run:
                if not has_event(state) or state.timestamp < began_at:
                    continue
                expected.add(state_event_id(state.id))
                if state_event_id(state.id) not in recorded and state.timestamp < before:
                    missing.append(f"{run.id} {run.name}: {state.name} at {state.timestamp.isoformat()}")
    found.counts["states"], found.counts["run_events"] = dict(states), len(rows)
    if missing:
        remedy = "run 'waybill up' or the flow reconcile-events, which records what is missing"
        found.problem("run-events", "states of runs have no event", remedy, sorted(missing))
    again = [f"{task_id} {event_type} at {at}" for (task_id, event_type, at), count in twice.items() if count > 1]
    if again:
        found.problem("run-events", "states have several events", "report this as a defect", again)
    # A state that was set after the history was read has its event already, but was not expected.
    newest = max((row["occurred_at"] for row in rows), default=before)
    without_state = sorted(
        f"{row['task_id']} {row['event_type']} {row['event_id']}"
        for row in rows
        if not unreadable and row["event_id"] not in expected and row["occurred_at"] < min(before, newest)
    )
    if without_state:
        message = "events name states that Prefect does not have"
        found.warning("run-events", message, "Prefect's history was changed or restored", without_state)


async def _check_uploads(catalog: Catalog, found: Findings) -> None:
    """Examine uploads that share runs: each is given to a run within seconds."""
    async with catalog.connection() as connection:
        waiting = await uploads_without_run(connection, since=found.tolerances.run_without_process)
    if waiting:
        remedy = "run 'waybill up' or 'waybill gateway', which starts their runs"
        shown = [f"{task.task_id} {task.filename}: waits since {task.created_at.isoformat()}" for task in waiting]
        found.warning("runs", "uploads wait for a run", remedy, shown)


async def _check_documents(catalog: Catalog, finished: Sequence[FlowRun], found: Findings) -> None:
    planned = {run.id: plan.documents for run in finished if (plan := plan_of(run)) is not None}
    async with catalog.connection() as connection:
        rows = await fetch_all(connection, _DOCUMENTS, {"run_ids": list(planned), "forgotten": PLACEHOLDER_PATTERN})
        totals = await fetch_row(connection, "select count(*) as documents from indexed_documents", {})
    unaccounted = [
        f"{row['run_id']}: {planned[row['run_id']] - row['reported']} of {planned[row['run_id']]} documents"
        for row in rows
        if row["reported"] < planned[row["run_id"]]
    ]
    without_outputs = [
        f"{row['run_id']}: {_expected(row)} documents completed, {row['with_outputs']} have outputs"
        for row in rows
        if row["with_outputs"] < _expected(row)
    ]
    found.counts["documents"] = {
        "planned": sum(planned.values()),
        "reported": sum(row["reported"] for row in rows),
        "failed": sum(row["failed"] for row in rows),
        "with_outputs": sum(row["with_outputs"] for row in rows),
        "indexed": totals["documents"],
    }
    remedy = "process those sources again; what is stored is reused"
    if unaccounted:
        found.problem("documents", "runs have finished without an end for every document", remedy, unaccounted)
    if without_outputs:
        found.problem("documents", "documents were completed and have no outputs", remedy, without_outputs)


def _expected(row: dict[str, Any]) -> int:
    """Return how many documents of a run have to have outputs: those of a forgotten one are gone on purpose."""
    return row["reported"] - row["failed"] - row["forgotten"]
