"""Checks of runs on several machines: their leases, and the slices that one run gives to others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from prefect.client.schemas.objects import FlowRun, StateType

from blocks.catalog import Catalog
from blocks.runs.prefect_api import PrefectApi
from blocks.runs.run_groups import read_runs
from blocks.runs.run_lease import LOST_AFTER_SECONDS, suspects
from blocks.runs.slices import OpenSlices, read_open
from blocks.runtime.in_words import counted, how_long
from waybill.services.doctor.findings import Findings

# Of the slices of runs, 200 to a request.
_PREFECT_SECONDS = 60.0
# After these ends no process starts the slices that are left, and none is to.
_OVER = frozenset({StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED, StateType.CANCELLING})


async def check_leases(catalog: Catalog, found: Findings, *, living_runs: set[str]) -> None:
    """Examine the leases of all homes; *living_runs* of this one hold their file locks, and may have slept."""
    with found.examining("run-leases"):
        async with catalog.connection() as connection:
            silent = [one for one in await suspects(connection) if str(one.run_id) not in living_runs]
        shown = [
            f"{one.run_id} of home {one.home}: silent for {how_long(one.silent_seconds)}"
            + (", given up and not cleared up" if one.given_up else "")
            for one in silent
        ]
        if shown:
            remedy = (
                "the next run of any home removes what they left half stored, and sets them to Crashed; then process "
                "the same again: what is stored is reused"
            )
            found.warning("run-leases", "runs have not renewed their leases: their processes are gone", remedy, shown)


async def check_slices(prefect: PrefectApi, catalog: Catalog, found: Findings) -> None:
    """Examine whether slices that have not ended are started by a process that lives, and taken by a worker."""
    with found.examining("slices"):
        before = found.began_at - found.tolerances.run_without_process
        async with catalog.connection() as connection:
            runs = await read_open(connection, before=before, lost_seconds=LOST_AFTER_SECONDS)
        wanted = {row.parent_id for row in runs} | {one for row in runs for one in row.without_lease}
        async with prefect.client(seconds=_PREFECT_SECONDS) as client:
            known = await read_runs(client, wanted)
        _report_left(runs, known, found)
        _report_untaken(runs, known, found, before=before)


def _report_left(runs: Sequence[OpenSlices], known: Mapping[UUID, FlowRun], found: Findings) -> None:
    left = [
        f"{row.parent_id} {run.name}: {counted(row.waiting + len(row.without_lease), 'slice')} left, "
        f"{row.working} under way"
        for row in runs
        if not row.is_led and (run := known.get(row.parent_id)) is not None and not _is_over(run)
    ]
    if left:
        remedy = (
            "a run of 'waybill up' goes on by itself; otherwise process the same again: what is stored is reused; or "
            "cancel it: waybill runs cancel ID"
        )
        found.warning("slices", "slices wait, and the process that starts them is gone", remedy, left)


def _is_over(run: FlowRun) -> bool:
    """Whether no process goes on with the run: of those that crashed, only those of a deployment are started again."""
    return run.state_type in _OVER or (run.state_type is StateType.CRASHED and run.deployment_id is None)


def _report_untaken(
    runs: Sequence[OpenSlices], known: Mapping[UUID, FlowRun], found: Findings, *, before: datetime
) -> None:
    waiting = [run for row in runs if row.is_led for one in row.without_lease if (run := known.get(one))]
    late = [
        run
        for run in waiting
        if run.state_type is StateType.SCHEDULED
        and run.expected_start_time is not None
        and run.expected_start_time < before
    ]
    pools = {run.work_pool_name or "": sum(one.work_pool_name == run.work_pool_name for one in late) for run in late}
    # Where some work, the others have their turn later.
    idle = not any(row.working for row in runs if row.is_led)
    if pools and idle:
        shown = [f"{counted(count, 'slice')} in pool {pool}" for pool, count in sorted(pools.items())]
        remedy = "start a worker on some machine: prefect worker start --pool POOL --limit 1"
        found.warning("slices", "no worker takes the slices of a run", remedy, shown)
