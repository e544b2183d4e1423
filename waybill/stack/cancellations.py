"""Finish cancellations that Prefect's runner does not notice, or cannot confirm.

The runner acts on a cancellation only while it knows the process of that run. A run that is cancelled after it became
"Pending" and before its process was started, or whose runner could not reach the server at the end, would stay
"Cancelling" for ever: no event, and its place under a concurrency limit is never free. See
``findings/cancelled_before_its_process.sh``.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from blocks.runtime.outage_log import OutageLog

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun

_EVERY_SECONDS = 3.0
# How long a run has no process before it counts as cancelled. One that never ran is about to get a process, or does
# not get one. For one that ran, the runner still calls hooks after its process has ended.
_NEVER_STARTED_SECONDS = 6.0
_STARTED_SECONDS = 60.0
# What Prefect's runner names its processes by.
_RUN_ID_VARIABLE = "PREFECT__FLOW_RUN_ID"

_LOG = logging.getLogger("waybill.stack")


async def finish_cancellations(client: PrefectClient, deployment_ids: Sequence[UUID]) -> None:
    """Finish missed cancellations of these deployments every three seconds, until cancelled.

    Call it in the process whose children run the flows. An outage of the server is waited for and logged once.
    """
    missed = MissedCancellations(client, deployment_ids)
    outage = OutageLog(_LOG, "finishing cancellations")
    while True:
        try:
            await missed.finish(time.monotonic())
            outage.succeeded()
        except Exception as error:  # noqa: BLE001 - runs are served without this, too
            outage.failed(error)
        await asyncio.sleep(_EVERY_SECONDS)


class MissedCancellations:
    """The runs that are being cancelled and have no process, and since when."""

    def __init__(self, client: PrefectClient, deployment_ids: Sequence[UUID]) -> None:
        self._client = client
        self._deployment_ids = deployment_ids
        self._without_process_since: dict[UUID, float] = {}

    async def finish(self, now: float) -> list[UUID]:
        """Set to *Cancelled* what has had no process for long enough at *now* (monotonic seconds); return the ids.

        Raises what Prefect's client raises.
        """
        cancelling = await self._cancelling()
        running = _runs_of_children() if cancelling else frozenset[str]()
        without = {run.id: run for run in cancelling if str(run.id) not in running}
        self._without_process_since = {each: self._without_process_since.get(each, now) for each in without}
        due = [run for run in without.values() if now - self._without_process_since[run.id] >= _patience(run)]
        for run in due:
            await self._finish(run)
        return [run.id for run in due]

    async def _cancelling(self) -> list[FlowRun]:
        from prefect.client.schemas.filters import FlowRunFilter
        from prefect.client.schemas.objects import StateType

        from blocks.runs.prefect_api import prefect_pages

        wanted = FlowRunFilter.model_validate(
            {
                "deployment_id": {"any_": list(self._deployment_ids)},
                "state": {"type": {"any_": [StateType.CANCELLING]}},
            }
        )
        pages = prefect_pages(partial(self._client.read_flow_runs, flow_run_filter=wanted))
        # A run in a work pool has its process elsewhere.
        return [run async for page in pages for run in page if run.work_pool_name is None]

    async def _finish(self, run: FlowRun) -> None:
        from prefect.states import Cancelled

        why = (
            "It was cancelled before its process had started."
            if run.start_time is None
            else "The process that ran it ended before it could confirm."
        )
        # Not forced: when its state has just changed, the server's rules decide.
        await self._client.set_flow_run_state(run.id, Cancelled(message=why))
        _LOG.info("cancelled flow_run=%s because=%s", run.id, why)


def _patience(run: FlowRun) -> float:
    return _NEVER_STARTED_SECONDS if run.start_time is None else _STARTED_SECONDS


def _runs_of_children() -> frozenset[str]:
    """Return the ids of the flow runs that processes below this one run."""
    import psutil

    found = set[str]()
    for child in psutil.Process(os.getpid()).children(recursive=True):
        try:
            found.add(child.environ().get(_RUN_ID_VARIABLE, ""))
        except (psutil.Error, OSError):
            # It has just ended.
            continue
    return frozenset(found)
