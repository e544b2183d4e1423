"""Small uploads that come in soon after each other share a run, because each run costs a process and its start.

Owns when a shared run is started, and by whom: the rows of `upload_tasks` say what waits, so that a gateway that is
killed loses nothing. Another gateway, or the next one, starts what was left. An upload that comes after a pause has a
run of its own, at once.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from http import HTTPStatus
from pathlib import Path
from uuid import UUID

import httpx

from blocks.catalog import Catalog
from blocks.errors import PrefectUnavailable, WaybillError
from blocks.runs.deployment import find_deployment
from blocks.runs.prefect_api import PrefectApi
from blocks.runs.upload_task_events import task_event
from blocks.runs.upload_tasks import (
    MOST_UPLOADS,
    fail_tasks_of_key,
    give_to_runs,
    keys_without_run,
    note_run,
    tasks_of_key,
)
from blocks.runtime.outage_log import Problems
from blocks.webhooks.event_links import EventLinks
from blocks.webhooks.outbox import add_events
from waybill.gateway.run_starts import start_run

# Documents of one shard go through each stage together: a larger one would keep the others waiting.
MOST_SHARED_BYTES = 2**20
# Prefect's flow server looks for runs once a second: of runs that are started more often, none begins earlier.
PACE_SECONDS = 1.0
# For what a killed gateway has left. The index that answers it holds only what waits.
_LOOK_SECONDS = 10.0
# A gateway that has given uploads to a run starts it within seconds, unless it was killed.
_LEFT_AFTER_SECONDS = 10.0
# A server that is restarted answers after some seconds.
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 5.0
# The process is ending, and the next one would start the runs too.
_FLUSH_SECONDS = 3.0
# Prefect will not take these parameters, however often it is asked.
_REFUSALS = (HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY)

_LOG = logging.getLogger("waybill.gateway")


class IngestWindow:
    """Starts runs for uploads that wait in the catalogue."""

    def __init__(
        self,
        catalog: Catalog,
        prefect: PrefectApi,
        links: EventLinks,
        *,
        home: Path,
        window_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalog = catalog
        self._prefect = prefect
        self._links = links
        self._home = home
        self._window_seconds = window_seconds
        self._clock = clock
        self._waiting = 0
        self._woken = asyncio.Event()
        self._full = asyncio.Event()
        # Before this moment no run is started for less than `MOST_UPLOADS`.
        self._next_at = clock()
        self._deployment: tuple[UUID, float] | None = None
        self._finding: asyncio.Task[UUID] | None = None
        # Given to runs by this gateway, which Prefect has not confirmed.
        self._unstarted: list[str] = []
        self._problems = Problems()

    def shares(self, size: int) -> bool:
        """Return whether an upload of *size* bytes is to wait for a shared run; otherwise its caller starts one now."""
        if self._window_seconds == 0 or size > MOST_SHARED_BYTES:
            return False
        if self._waiting or self._clock() < self._next_at:
            return True
        self._next_at = self._clock() + PACE_SECONDS
        return False

    def added(self) -> None:
        """Note that the row of an upload that waits is committed."""
        self._waiting += 1
        self._woken.set()
        if self._waiting >= MOST_UPLOADS:
            self._full.set()

    async def deployment_id(self) -> UUID:
        """Return the deployment to start runs of. Prefect is asked by one request at a time, and once a second at most.

        Otherwise many uploads at once would keep it from starting their runs. Raises what `find_deployment` raises.
        """
        if self._deployment is not None and self._clock() < self._deployment[1]:
            return self._deployment[0]
        if self._finding is None or self._finding.done():
            finding = find_deployment(self._prefect, self._catalog, self._home)
            self._finding = asyncio.create_task(finding, context=Context())
            # Its callers may have gone when it fails.
            self._finding.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            found = await asyncio.shield(self._finding)
        except WaybillError as error:
            raise copy.copy(error) from error  # a shared one would collect the tracebacks of all callers
        self._deployment = found, self._clock() + PACE_SECONDS
        return found

    async def run(self) -> None:
        """Start runs until cancelled. Outages are waited for and logged once."""
        pause_seconds = _FIRST_PAUSE_SECONDS
        with_left = True
        while True:
            if await self.start_waiting(with_left=with_left):
                pause_seconds = _FIRST_PAUSE_SECONDS
            else:
                await asyncio.sleep(pause_seconds)
                pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)
                self._woken.set()
            with_left = not await self._arrivals()

    async def flush(self) -> None:
        """Start what waits, as far as Prefect answers soon; call it when `run` has ended."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_SECONDS):
                if self._waiting or self._unstarted:
                    await self.start_waiting()

    async def start_waiting(self, *, with_left: bool = False) -> bool:
        """Start runs for all uploads that wait, *with_left* also those that a killed gateway has given to runs.

        Return whether all could be started.
        """
        self._woken.clear()
        self._full.clear()
        self._waiting = 0
        try:
            await self._give(with_left=with_left)
            for run_key in list(self._unstarted):
                await self._start(run_key)
                self._unstarted.remove(run_key)
        except Exception as error:  # noqa: BLE001 - the uploads wait in the catalogue, and the next round has them
            why = f"{type(error).__name__}: {error}"
            if self._problems.is_new("runs", why):
                known = isinstance(error, WaybillError)
                _LOG.warning("the start of shared runs waits: %s", why, exc_info=None if known else error)
            return False
        if self._problems.is_over("runs"):
            _LOG.warning("the start of shared runs goes on")
        return True

    async def _arrivals(self) -> bool:
        """Wait until uploads have come in and their window is over; return False if none come for a while."""
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                await self._woken.wait()
        except TimeoutError:
            return False
        rest_seconds = max(self._window_seconds, self._next_at - self._clock())
        with suppress(TimeoutError):
            async with asyncio.timeout(rest_seconds):
                await self._full.wait()
        return True

    async def _give(self, *, with_left: bool) -> None:
        async with self._catalog.transaction() as connection:
            given = await give_to_runs(connection)
        if given:
            self._next_at = self._clock() + PACE_SECONDS
            # More may wait than one look takes.
            self._woken.set()
        if with_left:
            async with self._catalog.connection() as connection:
                given += await keys_without_run(connection, seconds=_LEFT_AFTER_SECONDS)
        self._unstarted += [run_key for run_key in given if run_key not in self._unstarted]

    async def _start(self, run_key: str) -> None:
        """Start the run with this idempotency key, unless it exists. Raises `PrefectUnavailable` and the like."""
        async with self._catalog.connection() as connection:
            tasks = await tasks_of_key(connection, run_key)
        open_tasks = [task for task in tasks if task.ended_at is None]
        if not open_tasks or any(task.run_id is not None for task in tasks):
            return
        deployment_id = await self.deployment_id()
        parameters = open_tasks[0].parameters
        try:
            run_id = await start_run(self._prefect, deployment_id, open_tasks, parameters, run_key=run_key)
        except PrefectUnavailable as error:
            if not _is_refusal(error):
                raise
            _LOG.error("Prefect refuses the parameters of uploads: %s", error)
            await self._fail(run_key)
        else:
            async with self._catalog.connection() as connection:
                await note_run(connection, run_key, run_id)

    async def _fail(self, run_key: str) -> None:
        message = "Prefect refuses the parameters of its run"
        async with self._catalog.transaction() as connection:
            tasks = await fail_tasks_of_key(connection, run_key, message)
            events = [
                task_event(
                    task, "failed", task.ended_at or task.created_at, identity=(0,), message=message, progress=0.0
                )
                for task in tasks
            ]
            await add_events(connection, events, self._links.to_payload)


def _is_refusal(error: PrefectUnavailable) -> bool:
    cause = error.__cause__
    return isinstance(cause, httpx.HTTPStatusError) and cause.response.status_code in _REFUSALS
