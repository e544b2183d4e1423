"""Readiness: whether the database, the storage and, where one is configured, Prefect answer.

Owns the time limit of each check, and that concurrent and closely following requests share one result: readiness needs
no key, and each check costs a dependency something. Problems are described without hosts, paths and messages of other
programs; the log has those, once for each change.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Literal

from pydantic import BaseModel, Field

from blocks.custody import Custody
from blocks.errors import InvalidSettings, WaybillError
from blocks.runs.prefect_api import PrefectApi
from blocks.runtime.freshness import FreshAnswer

log = logging.getLogger("waybill.gateway")

# Each of the three answers in milliseconds. A load balancer asks every few seconds and waits about as long as this.
CHECK_SECONDS = 3.0
# How old a result may be: load balancers ask less often than this.
_FRESH_SECONDS = 1.0

DEPENDENCIES = ("database", "storage", "prefect")


class DependencyCheck(BaseModel):
    """The result of checking one dependency."""

    status: Literal["ok", "problem", "not configured"]
    milliseconds: float = Field(ge=0, description="How long it took to answer.", examples=[1.3])
    problem: str | None = Field(description="What is wrong, for people.", examples=[None])


class Readiness:
    """Checks the dependencies of one gateway concurrently."""

    def __init__(self, custody: Custody, prefect: PrefectApi) -> None:
        self._checks = {
            "database": _Dependency("the database", lambda: _reach_database(custody)),
            "storage": _Dependency("the storage", lambda: asyncio.to_thread(custody.backend.probe)),
        }
        if prefect.configured:
            self._checks["prefect"] = _Dependency("Prefect", lambda: _reach_prefect(prefect))

    async def checks(self) -> dict[str, DependencyCheck]:
        """Return the check of each of `DEPENDENCIES`, within `CHECK_SECONDS`."""
        found = await asyncio.gather(*(dependency.check() for dependency in self._checks.values()))
        unchecked = DependencyCheck(status="not configured", milliseconds=0.0, problem=None)
        return dict.fromkeys(DEPENDENCIES, unchecked) | dict(zip(self._checks, found, strict=True))


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
        await connection.execute("select 1 from artifacts limit 1")


async def _reach_prefect(prefect: PrefectApi) -> None:
    async with prefect.client(seconds=CHECK_SECONDS) as client:
        # Not Prefect's health check, which tests neither its database nor our credentials.
        await client.read_flows(limit=1)
