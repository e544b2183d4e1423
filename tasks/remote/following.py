"""One assignment from its first remote run to its end: serve results as they come, and act on what is lost.

Each look begins with what the catalogue says now, so it does not matter which notifications were missed. Start at
`Following.follow`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from blocks.assignments import (
    LEASE,
    MAX_ATTEMPTS,
    Assignment,
    AssignmentJob,
    end_assignment,
    get_assignment,
    jobs_of_assignment,
    lose,
)
from blocks.assignments.assignment import State
from blocks.custody import Custody
from blocks.durations import format_duration
from blocks.errors import DeploymentMissing, PrefectUnavailable, RemoteFailed, WaybillError
from blocks.runtime.in_words import first_and_more
from blocks.runtime.threads import to_its_end
from tasks.job import Job, JobResult
from tasks.remote.outputs import clear_transfers, fetch_output
from tasks.remote.remote_runs import RemoteRuns
from tasks.remote.report import read_failure
from tasks.remote.run_on import RunOn
from tasks.remote.watch import AssignmentWatch

# Between two looks when nothing is notified: a lost worker, and a run that ended without a claim, are found by them.
POLL_SECONDS = 5.0


@dataclass(eq=False)
class WaitingJob:
    """A job, and the future of its result."""

    job: Job
    future: asyncio.Future[JobResult]

    def fail(self, error: WaybillError) -> None:
        """Report *error* for the job, unless it is over."""
        if not self.future.done():
            self.future.set_exception(error)


@dataclass(frozen=True, kw_only=True)
class RemoteHome:
    """What the assignments of one run share."""

    run_id: UUID
    custody: Custody
    watch: AssignmentWatch
    runs: RemoteRuns


class Following:
    """The jobs of one assignment that are waited for, by their ordinals."""

    def __init__(self, assignment: Assignment, place: RunOn, jobs: Mapping[int, WaitingJob], home: RemoteHome) -> None:
        self._id = assignment.assignment_id
        self._stage_name = assignment.stage_name
        self._place = place
        self._jobs = dict(jobs)
        self._home = home
        self._runs_started = 0
        self._attempts_at_start = -1
        self._remote_run: UUID | None = None
        self._waits_since: float | None = None
        self._problem: str | None = None

    async def follow(self) -> None:
        """Serve every job with its result or its error, then clean up. A transient error leaves the assignment open.

        The same job finds it again when it is retried.
        """
        outcome: tuple[State, str] | None = ("cancelled", "the run was cancelled")
        try:
            with self._home.watch.changes(self._id) as changed:
                while self._jobs:
                    changed.clear()
                    await self._look()
                    if self._jobs:
                        await _either(changed, POLL_SECONDS)
            outcome = ("cancelled", "the run needs none of its other jobs")
        except RemoteFailed as error:
            outcome = ("failed", error.message)
            self._fail(error)
        except WaybillError as error:
            outcome = None
            self._fail(error)
        finally:
            if outcome is not None:
                await to_its_end(self._end(*outcome))

    async def _end(self, state: State, error: str) -> None:
        """End the assignment unless it is over, its transfers and its remote run, as far as that is possible now."""
        with suppress(WaybillError):
            async with self._home.custody.catalog.connection() as connection:
                await end_assignment(connection, self._id, state, error=error)
            await clear_transfers(self._home.custody, self._id)
        if self._remote_run is not None:
            with suppress(WaybillError):
                await self._home.runs.withdraw(self._remote_run)

    def _fail(self, error: WaybillError) -> None:
        for waiting in self._jobs.values():
            waiting.fail(error)

    async def _look(self) -> None:
        async with self._home.custody.catalog.connection() as connection:
            assignment = await get_assignment(connection, self._id)
            jobs = {job.ordinal: job for job in await jobs_of_assignment(connection, self._id)}
        over = {ordinal: jobs[ordinal] for ordinal in self._jobs if jobs[ordinal].state != "waiting"}
        await asyncio.gather(*(self._serve(ordinal, job) for ordinal, job in over.items()))
        if not self._jobs:
            return
        if not assignment.is_open:
            why = "its time was over" if assignment.is_expired else assignment.error or assignment.state
            raise self._failed(f"the assignment was ended: {why}")
        if assignment.is_lost:
            async with self._home.custody.catalog.connection() as connection:
                lost = f"worker {assignment.worker} was not heard of for {format_duration(LEASE)}"
                await lose(connection, self._id, error=lost)
                assignment = await get_assignment(connection, self._id)
        if assignment.state == "claimed":
            self._waits_since = None
        elif assignment.state == "waiting":
            await self._find_worker(assignment)

    async def _serve(self, ordinal: int, job: AssignmentJob) -> None:
        waiting = self._jobs.pop(ordinal)
        if job.error is not None:
            waiting.fail(read_failure(job.error))
            return
        try:
            result = await fetch_output(self._home.custody, job, waiting.job.target)
        except WaybillError as error:
            waiting.fail(error)
        else:
            if not waiting.future.done():
                waiting.future.set_result(result)

    async def _find_worker(self, assignment: Assignment) -> None:
        """Start a remote run for an assignment that waits, if none is under way. Raises `RemoteFailed`."""
        now = time.monotonic()
        self._waits_since = self._waits_since or now
        if assignment.attempts >= MAX_ATTEMPTS:
            raise self._failed(f"{assignment.attempts} attempts were lost, the last one because {assignment.error}")
        if now - self._waits_since > self._place.wait.total_seconds():
            why = f" ({self._problem})" if self._problem else ""
            raise self._failed(
                f"no worker has claimed it within {format_duration(self._place.wait)}{why}; "
                "'waybill worker list' shows who is there"
            )
        try:
            if self._remote_run is not None and assignment.attempts == self._attempts_at_start:
                ended = await self._home.runs.how_it_ended(self._remote_run)
                if ended is None:
                    return
                self._problem = f"the run on a worker ended as {ended} without a claim"
                if self._runs_started - assignment.attempts >= MAX_ATTEMPTS:
                    raise self._failed(self._problem)
            number = self._runs_started + 1 if self._runs_started else assignment.attempts + 1
            self._remote_run = await self._home.runs.start(assignment, number, self._name())
            self._runs_started, self._attempts_at_start = number, assignment.attempts
        except (PrefectUnavailable, DeploymentMissing) as error:
            self._problem = error.message  # until Prefect is back, or the time to wait is over

    def _name(self) -> str:
        names = sorted(waiting.job.document.name for waiting in self._jobs.values())
        return f"{self._stage_name} {first_and_more(names[0], len(names))}"

    def _failed(self, why: str) -> RemoteFailed:
        return RemoteFailed(f"on workers with the label {self._place.label}: {why}")


async def _either(changed: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await changed.wait()
