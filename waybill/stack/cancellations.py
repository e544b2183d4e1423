"""Finish cancellations that Prefect's runner does not notice, or cannot confirm.

The runner acts on a cancellation only after it has registered the process of that run. A run that is cancelled just
before, or whose runner could not reach the server at the end, would stay "Cancelling": no event is recorded, and its
place under a concurrency limit is held for minutes, or for ever. See ``findings/cancelled_before_its_process.sh``.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Sequence
from uuid import UUID

import psutil
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelled

from blocks.runs.prefect_api import PrefectApi
from blocks.runs.prefect_lists import UnreadableRuns, runs_of_deployments
from blocks.runtime.outage_log import Problems
from waybill.stack.unreadable_runs import fail_unreadable_runs

_EVERY_SECONDS = 3.0
# Of a few requests: a busy server answers in a second or two.
_ROUND_SECONDS = 20.0
# How long a run has no process before it counts as cancelled. One that never started gets its process at once or never.
_NEVER_STARTED_SECONDS = 6.0
# Of one that ran, the runner still calls the hooks, and repeats for up to 75 s what the server does not answer.
_STARTED_SECONDS = 120.0
# In the environment of a run's process.
_RUN_ID_VARIABLE = "PREFECT__FLOW_RUN_ID"

_LOG = logging.getLogger("waybill.stack")


async def finish_cancellations(deployment_ids: Sequence[UUID]) -> None:
    """Finish missed cancellations of these deployments every three seconds, until cancelled; fail unreadable runs.

    Call it in the process whose children run the flows. An outage of the server is waited for and logged once.
    """
    missed = MissedCancellations(deployment_ids)
    problems = Problems()
    async with PrefectApi.open(PREFECT_API_URL.value()) as prefect:
        while True:
            try:
                async with prefect.client(seconds=_ROUND_SECONDS) as client:
                    await fail_unreadable_runs(client, deployment_ids)
                    await missed.finish(client)
                if problems.is_over("server"):
                    _LOG.warning("cancellations are finished again")
            except Exception as error:  # noqa: BLE001 - runs are served without this, too
                if problems.is_new("server"):
                    _LOG.warning("cancellations wait: %s", str(error) or type(error).__name__)
            await asyncio.sleep(_EVERY_SECONDS)


class MissedCancellations:
    """The runs that are being cancelled and have no process, and since when."""

    def __init__(self, deployment_ids: Sequence[UUID], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._deployment_ids = deployment_ids
        self._clock = clock
        self._unreadable = UnreadableRuns(clock=clock)
        self._without_process_since: dict[UUID, float] = {}

    async def finish(self, client: PrefectClient) -> list[UUID]:
        """Set to *Cancelled* the runs that have had no process for long enough; return their ids.

        Raises what Prefect's client raises, when all of them have been tried.
        """
        state = {"type": {"any_": [StateType.CANCELLING]}}
        await self._unreadable.try_again(client)
        runs = await runs_of_deployments(client, self._deployment_ids, state=state, unreadable=self._unreadable)
        # A run in a work pool has its process elsewhere.
        cancelling = [run for run in runs if run.work_pool_name is None]
        now = self._clock()
        running = runs_of_children(os.getpid()) if cancelling else frozenset[str]()
        without = [run for run in cancelling if str(run.id) not in running]
        self._without_process_since = {run.id: self._without_process_since.get(run.id, now) for run in without}
        due = [run for run in without if now - self._without_process_since[run.id] >= _patience_seconds(run)]
        finished: list[UUID] = []
        failure: Exception | None = None
        for run in due:
            try:
                if await _finish(client, run):
                    finished.append(run.id)
            except Exception as error:  # noqa: BLE001 - raised below; the others do not wait for this one
                failure = error
        if failure is not None:
            raise failure
        return finished


async def _finish(client: PrefectClient, run: FlowRun) -> bool:
    """Return whether the run is *Cancelled* now because of this call."""
    # The server would accept a second "Cancelled", and one after a retry.
    if (await client.read_flow_run(run.id)).state_type is not StateType.CANCELLING:
        return False
    why = "There was no process that could confirm it."
    answer = await client.set_flow_run_state(run.id, Cancelled(message=why))
    if answer.status is not SetStateStatus.ACCEPT:
        return False
    _LOG.warning("cancelled flow_run=%s because=%s", run.id, why)
    return True


def _patience_seconds(run: FlowRun) -> float:
    return _NEVER_STARTED_SECONDS if run.start_time is None else _STARTED_SECONDS


def runs_of_children(pid: int) -> frozenset[str]:
    """Return the ids of flow runs in processes below *pid*. Raises `psutil.AccessDenied` where one cannot be read."""
    found = set[str]()
    for child in psutil.Process(pid).children(recursive=True):
        try:
            found.add(child.environ().get(_RUN_ID_VARIABLE, ""))
        except psutil.NoSuchProcess:  # also one that is dead and not yet collected
            continue
    return frozenset(found)
