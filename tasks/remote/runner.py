"""Runs the jobs of one stage on remote workers: a `StageRunner` whose inputs are references, not local files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, Self
from uuid import UUID

from prefect.settings import PREFECT_API_URL

from blocks.assignments import (
    Assignment,
    ClaimTokens,
    NewAssignment,
    NewJob,
    create_assignment,
    get_assignment,
    jobs_of_run,
)
from blocks.custody import Custody
from blocks.errors import WaybillError
from blocks.links import LinkKeys, Links
from blocks.runs.prefect_api import PrefectApi
from blocks.runtime.background_tasks import end_tasks
from blocks.settings import Settings
from tasks.contract import Stage
from tasks.job import Job, JobResult
from tasks.remote.following import Following, RemoteHome, WaitingJob
from tasks.remote.outputs import cancel_assignments, clear_transfers
from tasks.remote.remote_runs import RemoteRuns
from tasks.remote.report import document_json
from tasks.remote.run_on import RunOn
from tasks.remote.watch import AssignmentWatch

# A worker has the documents of a shard together, so that one claim and one start of its process serve all of them.
MAX_JOBS = 20
# The tasks of a shard ask within milliseconds of each other.
GATHER_SECONDS = 0.05
# Of an assignment, once a worker has it: no stage takes that long, and nothing is open for ever.
MAX_WORK = timedelta(days=1)


class RemoteRunner:
    """Runs jobs of *stage* at *place*; those that are asked for at the same time go together."""

    def __init__(self, stage: Stage[Any], place: RunOn, home: RemoteHome, time_limit: timedelta | None) -> None:
        self._stage = stage
        self._place = place
        self._home = home
        self._time_limit = time_limit
        self._gathered: list[WaitingJob] = []
        self._timer: asyncio.TimerHandle | None = None
        self._batches: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, stage: Stage[Any], place: RunOn, home: RemoteHome, *, time_limit: timedelta | None = None
    ) -> AsyncGenerator[Self]:
        """Yield a runner. At the end of the block what it still waits for is cancelled.

        *time_limit* takes the place of `stage_timeout_seconds` in the worker's settings.
        """
        runner = cls(stage, place, home, time_limit)
        try:
            yield runner
        finally:
            if runner._timer is not None:
                runner._timer.cancel()
            await end_tasks(runner._batches)

    @property
    def may_run_at_home(self) -> bool:
        """Whether a job that no worker has done is to be done here."""
        return self._place.otherwise == "home"

    async def run(self, job: Job) -> JobResult:
        """Run *job* on a worker and write `job.target`; of its inputs, only `job.inputs` is used.

        Raises the stage's error as the worker reports it, and `RemoteFailed` when no worker has done it.
        """
        waiting = WaitingJob(job, asyncio.get_running_loop().create_future())
        self._gathered.append(waiting)
        if len(self._gathered) >= MAX_JOBS:
            self._send()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._send)
        return await waiting.future

    def _send(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        gathered = [waiting for waiting in self._gathered if not waiting.future.done()]
        self._gathered = []
        if gathered:
            task = asyncio.get_running_loop().create_task(self._run_batch(gathered))
            self._batches.add(task)
            task.add_done_callback(self._batches.discard)

    async def _run_batch(self, batch: Sequence[WaitingJob]) -> None:
        try:
            found = await self._assignments(batch)
        except WaybillError as error:
            for waiting in batch:
                waiting.fail(error)
            return
        await asyncio.gather(
            *(Following(assignment, self._place, jobs, self._home).follow() for assignment, jobs in found)
        )

    async def _assignments(self, batch: Sequence[WaitingJob]) -> list[tuple[Assignment, dict[int, WaitingJob]]]:
        """Return assignments with the jobs of *batch*: those of this run from before it was killed, and a new one."""
        by_key = {waiting.job.stage_key: waiting for waiting in batch}
        found: dict[str, dict[int, WaitingJob]] = {}
        async with self._home.custody.catalog.transaction() as connection:
            for known in await jobs_of_run(
                connection,
                run_id=self._home.run_id,
                stage_name=self._stage.name,
                label=self._place.label,
                stage_keys=list(by_key),
            ):
                if waiting := by_key.pop(known.stage_key, None):
                    found.setdefault(known.assignment_id, {})[known.ordinal] = waiting
            assignments = [(await get_assignment(connection, one), jobs) for one, jobs in found.items()]
            left = [waiting for waiting in batch if waiting in by_key.values()]
            if left:
                made = await create_assignment(connection, self._new_assignment(left))
                assignments.append((made, dict(enumerate(left))))
        return assignments

    def _new_assignment(self, waiting: Sequence[WaitingJob]) -> NewAssignment:
        return NewAssignment(
            run_id=self._home.run_id,
            stage=self._stage.number,
            stage_name=self._stage.name,
            stage_version=self._stage.version,
            label=self._place.label,
            lasts=self._place.wait + MAX_WORK,
            time_limit=self._time_limit,
            jobs=[
                NewJob(
                    stage_key=one.job.stage_key,
                    document=document_json(one.job.document),
                    options=one.job.options,
                    inputs=one.job.inputs,
                )
                for one in waiting
            ],
        )


@asynccontextmanager
async def open_remote_runners(
    settings: Settings,
    custody: Custody,
    *,
    run_id: UUID,
    stages: Sequence[Stage[Any]],
    places: Mapping[str, RunOn],
    time_limit: timedelta | None = None,
) -> AsyncGenerator[dict[str, RemoteRunner]]:
    """Yield a runner for each of *stages* that has a place, by its name. Raises `InvalidSettings`."""
    remote = [stage for stage in stages if stage.name in places]
    if not remote:
        yield {}
        return
    async with AsyncExitStack() as stack:
        prefect = await stack.enter_async_context(PrefectApi.open(PREFECT_API_URL.value()))
        runs = RemoteRuns(
            prefect,
            custody.catalog,
            settings.home,
            tokens=ClaimTokens(LinkKeys(settings.resolved_link_keys_file)),
            gateway_url=Links.of(settings).base_url,
        )
        watch = await stack.enter_async_context(AssignmentWatch.open(settings.required_database_url))
        home = RemoteHome(run_id=run_id, custody=custody, watch=watch, runs=runs)
        # Last, when nothing is waited for any more.
        stack.push_async_callback(cancel_remote_stages, custody, run_id)
        yield {
            stage.name: await stack.enter_async_context(
                RemoteRunner.open(stage, places[stage.name], home, time_limit=time_limit)
            )
            for stage in remote
        }


async def cancel_remote_stages(custody: Custody, run_id: UUID) -> None:
    """Cancel what a run that is over has left with workers. Idempotent."""
    with suppress(WaybillError):
        async with custody.catalog.transaction() as connection:
            found = await cancel_assignments(connection, run_id, "its run is over")
        for assignment_id in found:
            await clear_transfers(custody, assignment_id)
