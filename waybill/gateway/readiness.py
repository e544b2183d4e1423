"""Readiness: whether the next upload will work: the database and the storage take it, and Prefect where there is one.

Owns the time limit of each check, and that concurrent and closely following requests share one result: readiness needs
no key, and each check costs a dependency something. Changes nothing but a blob that it writes and deletes. Problems are
described without hosts, paths and messages of other programs; the log has those, once for each change.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from blocks.catalog.skipped_records import skipped_counts
from blocks.custody import Custody
from blocks.custody.right_storage import missing_blobs, newest_locations
from blocks.errors import (
    CatalogFull,
    DeploymentMissing,
    InvalidSettings,
    StorageFull,
    Transient,
    WaybillError,
)
from blocks.postgres import fetch_row
from blocks.runs.deployment import find_deployment
from blocks.runs.prefect_api import PrefectApi
from blocks.runtime.freshness import FreshAnswer
from blocks.storage import probe_writing
from blocks.webhooks.outbox.deliveries import dispatcher_listens

log = logging.getLogger("waybill.gateway")

# Each of the three answers in milliseconds. A load balancer asks every few seconds and waits about as long as this.
CHECK_SECONDS = 3.0
# How old a result may be: load balancers ask less often than this.
_FRESH_SECONDS = 1.0
# How often a blob is written and deleted while that works: on an object store each costs money.
_WRITE_SECONDS = 30.0

DEPENDENCIES = ("database", "storage", "prefect")
DispatcherState = Literal["running", "not running", "unknown"]


# False on a standby, in a read-only session, and for an account without rights.
_IS_WRITABLE = """
    select current_setting('transaction_read_only') = 'off' and has_table_privilege('artifacts', 'insert')
           and (select count(*) from (select 1 from artifacts limit 1) as one) >= 0 as writable
"""


# Enough that a lost file, or one that is deleted at this moment, is not taken for a storage that is elsewhere.
_NEWEST_FILES = 3


class _NotReady(Exception):
    """Why the next upload would fail, in words for every client; *reason* is for the log."""

    def __init__(self, problem: str, *, reason: str | None = None) -> None:
        super().__init__(problem)
        self.reason = reason or problem


class DependencyCheck(BaseModel):
    """The result of checking one dependency."""

    status: Literal["ok", "problem", "not configured"]
    milliseconds: float = Field(ge=0, description="How long it took to answer.", examples=[1.3])
    problem: str | None = Field(description="What is wrong, for people.", examples=[None])


class Readiness:
    """Checks the dependencies of one gateway concurrently."""

    def __init__(self, custody: Custody, prefect: PrefectApi, home: Path) -> None:
        self._checks = {
            "database": _Dependency("the database", lambda: _reach_database(custody)),
            "storage": _Dependency("the storage", _Storing(custody).reach),
        }
        self._skipped = FreshAnswer(lambda: _count_skipped(custody))
        self._dispatcher = FreshAnswer(lambda: _see_dispatcher(custody))
        self._deployment: _Dependency | None = None
        if prefect.configured:
            self._checks["prefect"] = _Dependency("Prefect", lambda: _reach_prefect(prefect))
            self._deployment = _Dependency("the deployment", lambda: _find_deployment(custody, prefect, home))

    async def for_uploads(self) -> dict[str, DependencyCheck]:
        """Return `checks`, with that of `prefect` a problem also where it answers and has no deployment to start."""
        if self._deployment is None:
            return await self.checks()
        checks, deployment = await asyncio.gather(self.checks(), self._deployment.check())
        if checks["prefect"].status == "ok" and deployment.status == "problem":
            checks["prefect"] = deployment
        return checks

    async def checks(self) -> dict[str, DependencyCheck]:
        """Return whether each of `DEPENDENCIES` answers and takes what it is given, within `CHECK_SECONDS`."""
        found = await asyncio.gather(*(dependency.check() for dependency in self._checks.values()))
        unchecked = DependencyCheck(status="not configured", milliseconds=0.0, problem=None)
        return dict.fromkeys(DEPENDENCIES, unchecked) | dict(zip(self._checks, found, strict=True))

    async def skipped(self) -> dict[str, int]:
        """Return how many records were left out lately because they cannot be read, by kind; empty in an outage."""
        try:
            return await self._skipped.get(max_age_seconds=_FRESH_SECONDS, timeout_seconds=CHECK_SECONDS)
        except (WaybillError, TimeoutError):
            return {}

    async def dispatcher(self) -> DispatcherState:
        """Return whether a dispatcher is connected to the database; `unknown` in an outage."""
        try:
            is_there = await self._dispatcher.get(max_age_seconds=_FRESH_SECONDS, timeout_seconds=CHECK_SECONDS)
        except (WaybillError, TimeoutError):
            return "unknown"
        return "running" if is_there else "not running"


class _Dependency:
    """Checks one dependency with *reach*, and logs when it stops and starts to answer."""

    def __init__(self, name: str, reach: Callable[[], Awaitable[None]]) -> None:
        self._name = name
        self._reach = reach
        self._latest = FreshAnswer(self._run)
        self._is_ready = True

    async def check(self) -> DependencyCheck:
        try:
            return await self._latest.get(max_age_seconds=_FRESH_SECONDS, timeout_seconds=CHECK_SECONDS)
        except TimeoutError:
            problem = f"{self._name} has not answered for {CHECK_SECONDS:.0f} s"
            self._log_change(problem)
            return DependencyCheck(status="problem", milliseconds=1000 * CHECK_SECONDS, problem=problem)

    async def _run(self) -> DependencyCheck:
        began, problem, reason = time.monotonic(), None, None
        try:
            await self._reach()
        except _NotReady as error:
            problem, reason = f"{error}; the gateway's log says more", error.reason
        except (StorageFull, CatalogFull) as error:
            problem, reason = f"{self._name} is full; the gateway's log says more", error.message
        except WaybillError as error:
            is_refused = isinstance(error, InvalidSettings)
            what = "cannot be used with these settings" if is_refused else "does not answer"
            problem, reason = f"{self._name} {what}; the gateway's log says more", error.message
        except Exception as error:  # noqa: BLE001 - whatever it is, the gateway is not ready
            problem, reason = f"{self._name} failed; the gateway's log says more", repr(error)
        self._log_change(reason)
        milliseconds = round(1000 * (time.monotonic() - began), 1)
        return DependencyCheck(status="problem" if problem else "ok", milliseconds=milliseconds, problem=problem)

    def _log_change(self, problem: str | None) -> None:
        was_ready, self._is_ready = self._is_ready, problem is None
        if was_ready and problem is not None:
            log.error("not ready: %s", problem)
        elif not was_ready and problem is None:
            log.info("%s is ready again", self._name)


async def _reach_database(custody: Custody) -> None:
    async with custody.catalog.connection() as connection:
        found = await fetch_row(connection, _IS_WRITABLE, {})
    if not found["writable"]:
        raise _NotReady("the database is read-only")


async def _count_skipped(custody: Custody) -> dict[str, int]:
    async with custody.catalog.connection() as connection:
        return await skipped_counts(connection)


async def _see_dispatcher(custody: Custody) -> bool:
    async with custody.catalog.connection() as connection:
        return await dispatcher_listens(connection)


async def _find_deployment(custody: Custody, prefect: PrefectApi, home: Path) -> None:
    try:
        await find_deployment(prefect, custody.catalog, home, seconds=CHECK_SECONDS)
    except DeploymentMissing as exc:
        problem = "Prefect does not know the deployment that processes documents"
        raise _NotReady(problem, reason=exc.message) from exc
    except Transient:
        pass  # Prefect or the catalogue does not answer, and has a check of its own


async def _reach_prefect(prefect: PrefectApi) -> None:
    async with prefect.client(seconds=CHECK_SECONDS) as client:
        # Not Prefect's health check, which tests neither its database nor our credentials.
        await client.read_flows(limit=1)


class _Storing:
    """Whether the next file can be stored: the storage answers, has room and takes writes, and its key is there."""

    def __init__(self, custody: Custody) -> None:
        self._custody = custody
        self._wrote_at = -math.inf

    async def reach(self) -> None:
        backend = self._custody.backend
        await asyncio.to_thread(backend.probe)
        try:
            await self._custody.check_keys()
        except InvalidSettings as exc:
            raise _NotReady("the storage key is missing or cannot be used", reason=exc.message) from exc
        # After a failure each look writes, so that the end of it is noticed.
        if time.monotonic() - self._wrote_at >= _WRITE_SECONDS:
            self._wrote_at = -math.inf
            await self._find_files()
            await asyncio.to_thread(probe_writing, backend)
            self._wrote_at = time.monotonic()

    async def _find_files(self) -> None:
        """Raise `_NotReady` when the newest stored files are not there, as below a mount point without its volume."""
        try:
            paths = await newest_locations(self._custody.catalog, _NEWEST_FILES, even_damaged=False)
        except WaybillError:
            return  # the check of the database says so
        if await missing_blobs(self._custody.backend, paths):
            raise _NotReady("the storage has none of the newest stored files: is its volume mounted?")
