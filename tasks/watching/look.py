"""One look at a watched place.

Only one look at a place at a time: it holds a lock of the watch, which ends with its process. A version of a file is
taken by one run. The catalogue has it as taken, with the idempotency key of the run, before the run is started: a look
that was killed in between is finished by the next one, with the same key, and Prefect makes no second run of it.

A watch may be removed at any moment of a look. What a look records and starts, it does while the row of the watch is
locked, so all of it is there before the removal, or none.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import TERMINAL_STATES, StateType
from prefect.exceptions import ObjectNotFound

from blocks import errors
from blocks.catalog import Catalog
from blocks.errors import Transient, WatchNotFound, WaybillError
from blocks.postgres import Connection, single_connection
from blocks.redaction import redacted_source
from blocks.runs.deployment import find_deployment
from blocks.runs.prefect_api import PrefectApi
from blocks.settings import Settings
from blocks.watching import (
    Batch,
    Found,
    WatchedFile,
    add_watch,
    hold_watch,
    read_batches,
    read_files,
    read_outcomes,
    record_look,
    record_outcomes,
    record_problem,
    record_seen,
    record_started,
    remove_watch,
    source_digest,
    take,
    watch_id_of,
    while_watched,
)
from tasks.sources import SourceReader
from tasks.watching.listing import check_place, list_place
from tasks.watching.schedules import is_without_schedule

# Prefect takes 512 KiB of parameters. A run of some thousand documents is also as many as a person wants to see in one.
_MOST_BYTES = 256 * 1024
_MOST_FILES = 2000
_PREFECT_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What is watched, and the *parameters* of the runs that process it, other than their sources."""

    source: str
    settle: timedelta
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(kw_only=True)
class LookReport:
    """What a look has found and done.

    *is_busy*: another process looked at the same time, so this one did nothing. *is_removed*: its watch was removed
    before it had ended.
    """

    source: str
    is_busy: bool = False
    is_removed: bool = False
    files: int = 0
    taken: int = 0
    being_written: int = 0
    run_ids: list[UUID] = field(default_factory=list[UUID])

    def as_json(self) -> dict[str, Any]:
        """Return it as commands show it."""
        return {**vars(self), "run_ids": [str(run_id) for run_id in self.run_ids]}

    def line(self) -> str:
        """Return it as a sentence."""
        if self.is_busy:
            return f"another process is looking at {self.source} now"
        if self.is_removed:
            return f"the watch of {self.source} was removed"
        line = f"{self.files:,} files, {self.taken:,} new or changed"
        if self.being_written:
            line += f", {self.being_written:,} still being written: the next look takes them"
        return line


def check_watch(settings: Settings, source: str) -> None:
    """Raise `SourceRefused` or `InvalidOptions` for what cannot be watched."""
    with SourceReader.of(settings) as reader:
        check_place(source, reader)


async def look(
    settings: Settings, catalog: Catalog, prefect: PrefectApi, watch: Watch, *, run_id: UUID | None = None
) -> LookReport:
    """Look at the place once. A place that cannot be listed is recorded as a problem of the watch, and raised.

    *run_id* is the flow run that looks, if one does. A look of a schedule that was removed does nothing.

    Raises `SourceNotFound`, `SourceRefused`, `StorageUnavailable` and what else listing raises, `PrefectUnavailable`,
    `DeploymentMissing` and `CatalogUnavailable`.
    """
    report = LookReport(source=watch.source)
    with SourceReader.of(settings) as reader:
        check_place(watch.source, reader)
        async with single_connection(settings.required_database_url) as connection:
            watch_id = watch_id_of(watch.source)
            async with hold_watch(connection, watch_id) as held:
                if not held:
                    report.is_busy = True
                    return report
                # The removal of a watch removes first its schedule, then its row: one of them is seen here or there.
                is_new = await add_watch(connection, watch.source)
                if is_new and run_id is not None and await is_without_schedule(prefect, run_id, watch.source):
                    await remove_watch(connection, watch_id)
                    report.is_removed = True
                    return report
                looking = _Look(settings, catalog, prefect, connection, watch_id, watch, report)
                try:
                    await looking.run(reader)
                except WatchNotFound:
                    report.is_removed = True
                    return report
                except WaybillError as error:
                    await record_problem(connection, watch_id, error.message)
                    raise
                await record_look(connection, watch_id)
    return report


@dataclass(frozen=True)
class _Look:
    settings: Settings
    catalog: Catalog
    prefect: PrefectApi
    connection: Connection
    watch_id: str
    watch: Watch
    report: LookReport

    async def run(self, reader: SourceReader) -> None:
        await self._finish_starts()
        await self._record_ends()
        found = await asyncio.to_thread(list_place, self.watch.source, reader, self.watch.settle)
        known = await read_files(self.connection, self.watch_id)
        async with self._watched():
            await record_seen(self.connection, self.watch_id, found)
        due = self._due(found, known)
        self.report.files = len(found)
        for batch in _batches(due):
            key = f"{self.watch_id}-{uuid4()}"
            async with self._watched():
                await take(self.connection, self.watch_id, key, batch)
            await self._start(key, [one.source for one in batch])
        self.report.taken += len(due)

    def _watched(self) -> AbstractAsyncContextManager[None]:
        return while_watched(self.connection, self.watch_id)

    async def _finish_starts(self) -> None:
        """Start the runs again that a look recorded before it was killed. Prefect has one run for each key."""
        for batch in await read_batches(self.connection, self.watch_id, "starting"):
            if not batch.sources:
                continue
            await self._start(batch.run_key, batch.sources)
            self.report.taken += len(batch.sources)

    async def _start(self, run_key: str, sources: Sequence[str]) -> None:
        deployment_id = await find_deployment(self.prefect, self.catalog, self.settings.home)
        parameters = {"sources": list(sources), **self.watch.parameters}
        async with self.prefect.client(seconds=_PREFECT_SECONDS) as client, self._watched():
            run = await client.create_flow_run_from_deployment(
                deployment_id, parameters=parameters, idempotency_key=run_key
            )
            await record_started(self.connection, self.watch_id, run_key, run.id)
        self.report.run_ids.append(run.id)

    async def _record_ends(self) -> None:
        """Record how the files of runs that have ended since the last look came out."""
        running = await read_batches(self.connection, self.watch_id, "running")
        for batch in running:
            if batch.run_id is None:
                continue
            async with self.prefect.client(seconds=_PREFECT_SECONDS) as client:
                state = await _state_type(client, batch.run_id)
            if state is None or state in TERMINAL_STATES:
                await self._record_end(batch, batch.run_id, state)

    async def _record_end(self, batch: Batch, run_id: UUID, state: StateType | None) -> None:
        done, failed = await read_outcomes(self.connection, run_id)
        outcomes: dict[str, tuple[str, str | None]] = {}
        for source in batch.sources:
            shown = redacted_source(source)
            if shown in done or state is StateType.COMPLETED:
                outcomes[source] = ("done", None)
            elif shown in failed:
                kind, reason = failed[shown]
                outcomes[source] = ("retry" if _may_pass(kind) else "failed", reason)
            elif state is StateType.CANCELLED:
                outcomes[source] = ("cancelled", f"run {run_id} was cancelled")
            else:
                outcomes[source] = ("retry", f"run {run_id} ended before it was processed")
        await record_outcomes(self.connection, self.watch_id, run_id, outcomes)

    def _due(self, found: Iterable[Found], known: dict[str, WatchedFile]) -> list[Found]:
        due: list[Found] = []
        for one in found:
            before = known.get(source_digest(one.source))
            if before is not None and not before.is_due(one.version):
                continue
            settled = (
                before is not None
                and before.version == one.version
                and before.version_seconds >= self.watch.settle.total_seconds()
            )
            if one.is_whole or settled:
                due.append(one)
            else:
                self.report.being_written += 1
        return due


async def _state_type(client: PrefectClient, run_id: UUID) -> StateType | None:
    """Return the type of the run's state; None for a run that is gone from Prefect's history."""
    try:
        return (await client.read_flow_run(run_id)).state_type
    except ObjectNotFound:
        return None


def _may_pass(error_type: str) -> bool:
    kind = getattr(errors, error_type, None)
    return isinstance(kind, type) and issubclass(kind, Transient)


def _batches(due: Sequence[Found]) -> Iterable[list[Found]]:
    """Yield the files in runs whose parameters Prefect takes."""
    batch: list[Found] = []
    size = 0
    for one in due:
        length = len(json.dumps(one.source)) + 2
        if batch and (size + length > _MOST_BYTES or len(batch) == _MOST_FILES):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += length
    if batch:
        yield batch
