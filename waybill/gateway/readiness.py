"""Whether what the gateway stands on answers: the database, the storage, and Prefect where there is one.

Owns how long is waited for each, and that everybody who asks at the same time, or a moment later, is given the same
answer: anybody may ask, and each look costs the others something. Problems are told without hosts, paths and the words
of others; those are in the log, once for each change.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from blocks.custody import Custody
from blocks.errors import InvalidSettings, WaybillError
from blocks.runs.prefect_api import PrefectApi

log = logging.getLogger("waybill.gateway")

# Each of the three answers in milliseconds. A load balancer asks every few seconds and waits about as long as this.
CHECK_SECONDS = 3.0
# How old an answer may be: nothing breaks or comes back quicker than it is looked at anyway.
_FRESH_SECONDS = 1.0

Condition = Literal["ok", "problem", "not configured"]
DEPENDENCIES = ("database", "storage", "prefect")


@dataclass(frozen=True, kw_only=True)
class Check:
    """What one look has shown, and how long it took."""

    status: Condition
    milliseconds: float
    problem: str | None = None


class Readiness:
    """Looks at the dependencies of one gateway, at all of them at once."""

    def __init__(self, custody: Custody, prefect: PrefectApi) -> None:
        self._prefect = prefect
        self._looks = {
            "database": _Look("the database", lambda: _reach_database(custody)),
            "storage": _Look("the storage", lambda: asyncio.to_thread(custody.backend.probe)),
            "prefect": _Look("Prefect", lambda: _reach_prefect(prefect)),
        }

    async def checks(self) -> dict[str, Check]:
        """What is known of each, within `CHECK_SECONDS`."""
        asked = [name for name in DEPENDENCIES if name != "prefect" or self._prefect.configured]
        found = await asyncio.gather(*(self._looks[name].result() for name in asked))
        unasked = Check(status="not configured", milliseconds=0.0)
        return dict.fromkeys(DEPENDENCIES, unasked) | dict(zip(asked, found, strict=True))


class _Look:
    """Looks at one dependency, one at a time. A look that hangs is not cut short: that may take longer than it."""

    def __init__(self, called: str, work: Callable[[], Awaitable[None]]) -> None:
        self._called = called
        self._work = work
        self._looking: asyncio.Task[Check] | None = None
        self._began = 0.0
        self._last: Check | None = None
        self._last_at = 0.0

    async def result(self) -> Check:
        if self._last is not None and time.monotonic() - self._last_at < _FRESH_SECONDS:
            return self._last
        if self._looking is None or self._looking.done():
            self._began = time.monotonic()
            self._looking = asyncio.create_task(self._look())
        left = self._began + CHECK_SECONDS - time.monotonic()
        await asyncio.wait([self._looking], timeout=max(0.0, left))
        if self._looking.done():
            return self._looking.result()
        problem = f"{self._called} has not answered for {CHECK_SECONDS:.0f} s"
        return self._told(Check(status="problem", milliseconds=self._milliseconds(), problem=problem))

    async def _look(self) -> Check:
        try:
            await self._work()
        except WaybillError as error:
            refused = isinstance(error, InvalidSettings)
            what = "cannot be used with these settings" if refused else "does not answer"
            problem, reason = f"{self._called} {what}; the gateway's log says more", error.message
        except Exception as error:  # noqa: BLE001 - whatever it is, the gateway is not ready
            problem, reason = f"{self._called} failed; the gateway's log says more", repr(error)
        else:
            return self._told(Check(status="ok", milliseconds=self._milliseconds()))
        return self._told(Check(status="problem", milliseconds=self._milliseconds(), problem=problem), reason)

    def _milliseconds(self) -> float:
        return round(1000 * (time.monotonic() - self._began), 1)

    def _told(self, check: Check, reason: str | None = None) -> Check:
        before, self._last, self._last_at = self._last, check, time.monotonic()
        if check.status != (before.status if before else "ok"):
            if check.status == "ok":
                log.info("%s is ready again", self._called)
            else:
                log.error("not ready: %s", reason or check.problem)
        return check


async def _reach_database(custody: Custody) -> None:
    async with custody.catalog.connection() as connection:
        await connection.execute("select 1 from artifacts limit 1")


async def _reach_prefect(prefect: PrefectApi) -> None:
    async with prefect.client(seconds=CHECK_SECONDS) as client:
        # Not its health: that says nothing of its database and of our credentials.
        await client.read_flows(limit=1)
