"""The table `runs`: the runs of this catalogue, as Prefect knows them; Waybill keeps no list of its own."""

from __future__ import annotations

from functools import partial
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort

from blocks.redaction import redacted_source
from blocks.runs.ownership import is_of_another_catalogue
from blocks.runs.prefect_lists import UnreadableRuns, prefect_pages
from blocks.runs.run_events import OUR_FLOWS, sources_of, state_message
from tasks.export import Batch, Rows

COLUMNS = (
    "run_id", "flow", "name", "state", "state_name", "message", "attempts", "created_at", "started_at", "ended_at",
    "seconds", "sources",
)  # fmt: skip


async def read_runs(client: PrefectClient, *, catalogue: str) -> Rows:
    """Read all runs of *catalogue*, the id of one, and of no other. Raises *client*'s errors."""
    pages: list[Batch] = []
    unreadable = UnreadableRuns()
    for flow in OUR_FLOWS:
        ours = FlowFilter(name=FlowFilterName(any_=[flow]))
        read = partial(
            unreadable.read, client, flow_filter=ours, flow_run_filter=FlowRunFilter(), sort=FlowRunSort.START_TIME_DESC
        )
        async for page in prefect_pages(read, what="runs"):
            kept = [run for run in page if not is_of_another_catalogue(run, catalogue)]
            pages.append([_record(run, flow) for run in kept])
    return Rows(COLUMNS, pages)


def _record(run: FlowRun, flow: str) -> tuple[Any, ...]:
    state = run.state
    return (
        str(run.id),
        flow,
        run.name,
        state.type.value.lower() if state else None,
        state.name if state else None,
        state_message(state) if state else None,
        run.run_count,
        run.created,
        run.start_time,
        run.end_time,
        run.total_run_time.total_seconds(),
        [redacted_source(source) for source in sources_of(run)],
    )
