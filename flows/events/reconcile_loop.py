"""Reconcile once, for a scheduled flow or a command, or for ever, next to the dispatcher of `waybill up`.

Owns the intervals, and survives outages of Prefect's server and of the database. `flows.events.reconciler` compares;
each round also syncs the endpoints that follow Prefect blocks, and the table of deliveries in Prefect's UI.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.exceptions import PrefectException
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from blocks.catalog import Catalog
from blocks.errors import WaybillError
from blocks.runs.prefect_lists import UnreadableRuns
from blocks.runtime.outage_log import Problems
from blocks.settings import Settings
from flows.events.delivery_table import update_table
from flows.events.endpoint_blocks import EndpointBlocks
from flows.events.reconciler import LAST_10_MINUTES, LAST_10_SECONDS, LAST_DAY, Reconciled, Reconciler, Window
from flows.events.record_run_events import RunEventRecorder

_EVERY_SECONDS = 1.0
# Where no run has been in progress for a while there is little to miss, and a round every second is a tenth of what an
# idle stack costs.
_QUIET_EVERY_SECONDS = 5.0
_QUIET_AFTER_SECONDS = 15.0
_LAST_10_MINUTES_EVERY_SECONDS = 30.0
_LAST_DAY_EVERY_SECONDS = 3600.0
_BLOCKS_EVERY_SECONDS = 5.0
_TABLE_EVERY_SECONDS = 60.0
# With some hundred runs in progress a round takes the server a while: rounds take at most a fifth of the time.
_REST = 4
# A round that hangs: the window of a day takes some seconds with ten thousand runs.
_ROUND_SECONDS = 120.0
# A person waits this long at most at the end of a command whose work is done.
_COMMAND_SECONDS = 5.0
# A server that is restarted answers after some seconds; one that is down is not called every second.
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 5.0

# What a call to a server raises that is down or going down. Everything else is a defect.
_OUTAGE = (WaybillError, PrefectException, httpx.HTTPError, OSError)

_LOG = logging.getLogger("waybill.webhooks")


async def reconcile_once(settings: Settings, window: Window = LAST_DAY) -> Reconciled:
    """Record the missing events, and sync endpoints with blocks. Raises when a server is down."""
    async with _connected(settings) as servers:
        found = await servers.reconciler.reconcile_once(window)
        await servers.blocks.sync()
        return found


async def try_to_reconcile(settings: Settings) -> None:
    """`reconcile_once` for the last 10 minutes, for a command that is about to end. Never fails it."""
    try:
        async with asyncio.timeout(_COMMAND_SECONDS):
            await reconcile_once(settings, LAST_10_MINUTES)
    except Exception as error:  # noqa: BLE001 - the command's work is done and stored
        _LOG.warning("events that hooks have missed are recorded later: %s", str(error) or "there was no answer")


async def reconcile_forever(settings: Settings) -> None:
    """Reconcile every second, less often while no run is in progress, until cancelled.

    An outage is waited for and logged once.
    """
    rounds = Rounds()
    pause_seconds = _FIRST_PAUSE_SECONDS
    while True:
        try:
            # Prefect's client would retry for half a minute by itself, and be late when the server is back.
            with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
                async with _connected(settings, rounds.unreadable) as servers:
                    while True:
                        rest_seconds = await rounds.next(servers)
                        pause_seconds = _FIRST_PAUSE_SECONDS
                        await asyncio.sleep(rest_seconds)
        except Exception as error:  # noqa: BLE001 - the dispatcher of this process sends webhooks, and must go on
            rounds.failed("reading Prefect's history", error)
        await asyncio.sleep(pause_seconds)
        pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)


@dataclass(frozen=True, kw_only=True)
class _Servers:
    client: PrefectClient
    catalog: Catalog
    reconciler: Reconciler
    blocks: EndpointBlocks


@asynccontextmanager
async def _connected(settings: Settings, unreadable: UnreadableRuns | None = None) -> AsyncGenerator[_Servers]:
    async with Catalog.open(settings.required_database_url) as catalog, get_client() as client:
        yield _Servers(
            client=client,
            catalog=catalog,
            reconciler=Reconciler(client, catalog, RunEventRecorder(settings), unreadable or UnreadableRuns()),
            blocks=EndpointBlocks(client, catalog, settings),
        )


class Rounds:
    """What is due in which round, and the problems so far. Lives as long as the process, across connections."""

    def __init__(self) -> None:
        self.unreadable = UnreadableRuns()
        self._due_at: dict[str, float] = {}
        self._last_news_at = time.monotonic()
        self._problems = Problems()

    async def next(self, servers: _Servers) -> float:
        """Do one round; return the seconds to rest. Raises like `Reconciler.reconcile_once`, and `TimeoutError`."""
        began = time.monotonic()
        async with asyncio.timeout(_ROUND_SECONDS):
            found = await servers.reconciler.reconcile_once(self._window(began))
            self._succeeded("reading Prefect's history")
            if self._is_due("blocks", _BLOCKS_EVERY_SECONDS, began):
                await self._attempt("the sync of endpoints with blocks", servers.blocks.sync)
            if self._is_due("table", _TABLE_EVERY_SECONDS, began):
                await self._attempt("the table of deliveries", lambda: update_table(servers.client, servers.catalog))
        if found.in_progress or found.read:
            self._last_news_at = began
        is_quiet = began - self._last_news_at >= _QUIET_AFTER_SECONDS
        took = time.monotonic() - began
        return max((_QUIET_EVERY_SECONDS if is_quiet else _EVERY_SECONDS) - took, _REST * took)

    def failed(self, what: str, error: Exception) -> None:
        """Log that *what* waits because of *error*: once for each reason, with the traceback of a defect."""
        why = f"{type(error).__name__}: {error}"
        if self._problems.is_new(what, why):
            _LOG.warning("%s waits: %s", what, why, exc_info=None if isinstance(error, _OUTAGE) else error)

    def _succeeded(self, what: str) -> None:
        if self._problems.is_over(what):
            _LOG.warning("%s goes on", what)

    async def _attempt(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do *work*, whose failure must not stop the recording of events."""
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - as above
            self.failed(what, error)
        else:
            self._succeeded(what)

    def _window(self, now: float) -> Window:
        """Return the longest window that is due."""
        last_day = self._is_due("last day", _LAST_DAY_EVERY_SECONDS, now)
        last_10_minutes = self._is_due("last 10 minutes", _LAST_10_MINUTES_EVERY_SECONDS, now)
        return LAST_DAY if last_day else LAST_10_MINUTES if last_10_minutes else LAST_10_SECONDS

    def _is_due(self, what: str, every_seconds: float, now: float) -> bool:
        if now < self._due_at.get(what, 0.0):
            return False
        self._due_at[what] = now + every_seconds
        return True
