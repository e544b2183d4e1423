"""Reconcile once, for a scheduled flow, or for ever, next to the dispatcher of `waybill up`.

Owns the pauses between rounds, and survives outages of Prefect's server and of the database. `flows.events.reconciler`
compares; each round also syncs the endpoints that follow Prefect blocks and the table of deliveries in Prefect's UI.
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
from blocks.settings import Settings
from flows.events.delivery_table import keep_table, read_table
from flows.events.endpoint_blocks import EndpointBlocks
from flows.events.reconciler import LAST_10_MINUTES, LAST_10_SECONDS, LAST_DAY, Reconciled, Reconciler, Window
from flows.events.record_run_events import RunEventRecorder

_LOOK_EVERY_SECONDS = 1.0
_LOOK_NEAR_EVERY_SECONDS = 30.0
_LOOK_FAR_EVERY_SECONDS = 3600.0
_BLOCKS_EVERY_SECONDS = 5.0
_TABLE_EVERY_SECONDS = 60.0
# With some hundred runs under way a look takes the server a while: at most a fifth of the time is spent looking.
_REST = 4
# A look that does not end: a far one at ten thousand runs takes some seconds.
_PATIENCE_SECONDS = 120.0
# What a person waits for at the end of a command whose work is done.
_COMMAND_SECONDS = 5.0
# A server that is started again is there after some seconds, and one that is gone is not asked every second.
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 5.0

# What a server that is away, or going away, makes of a call.
_AWAY = (WaybillError, PrefectException, httpx.HTTPError, OSError)

_LOG = logging.getLogger("waybill.webhooks")


async def reconcile_once(settings: Settings, look: Window = LAST_DAY) -> Reconciled:
    """Tell what is missing, and let the endpoints follow their blocks. Raises when a server is away."""
    async with _opened(settings) as opened:
        found = await opened.reconciler.reconcile_once(look)
        await opened.blocks.sync()
        return found


async def try_to_reconcile(settings: Settings) -> None:
    """`reconcile_once` with a near look, for a command that is about to end. Never fails it."""
    try:
        async with asyncio.timeout(_COMMAND_SECONDS):
            await reconcile_once(settings, LAST_10_MINUTES)
    except Exception as error:  # noqa: BLE001 - the command's work is done and stored
        _LOG.warning("what hooks have lost is told later: %s", str(error) or "there was no answer")


async def reconcile_forever(settings: Settings) -> None:
    """The same every second, until cancelled; what is away is waited for and told in the log once."""
    rounds = Rounds()
    pause_seconds = _FIRST_PAUSE_SECONDS
    while True:
        try:
            # Prefect's client would try again for half a minute by itself, and be late when the server is back.
            with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
                async with _opened(settings) as opened:
                    while True:
                        rest_seconds = await rounds.next(opened)
                        pause_seconds = _FIRST_PAUSE_SECONDS
                        await asyncio.sleep(rest_seconds)
        except Exception as error:  # noqa: BLE001 - webhooks are sent beside, and go on whatever is wrong here
            rounds.waits("reading Prefect's history", error)
        await asyncio.sleep(pause_seconds)
        pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)


@dataclass(frozen=True, kw_only=True)
class _Opened:
    client: PrefectClient
    catalog: Catalog
    reconciler: Reconciler
    blocks: EndpointBlocks


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncGenerator[_Opened]:
    async with Catalog.open(settings.required_database_url) as catalog, get_client() as client:
        yield _Opened(
            client=client,
            catalog=catalog,
            reconciler=Reconciler(client, catalog, RunEventRecorder(settings)),
            blocks=EndpointBlocks(client, catalog, settings),
        )


class Rounds:
    """What is due in which round, and what was told of trouble. Lives as long as the process, not as a connection."""

    def __init__(self) -> None:
        self._due_at: dict[str, float] = {}
        self._trouble: dict[str, str] = {}

    async def next(self, opened: _Opened) -> float:
        """One round; how many seconds to rest after it. Raises like `Reconciler.reconcile_once`, and `TimeoutError`."""
        began = time.monotonic()
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await opened.reconciler.reconcile_once(self._look(began))
            self._goes_on("reading Prefect's history")
            if self._is_due("blocks", _BLOCKS_EVERY_SECONDS, began):
                await self._on_the_way("endpoints that follow blocks", opened.blocks.sync)
            if self._is_due("table", _TABLE_EVERY_SECONDS, began):
                await self._on_the_way("the table of deliveries", lambda: _keep_table(opened))
        took = time.monotonic() - began
        return max(_LOOK_EVERY_SECONDS - took, _REST * took)

    def waits(self, what: str, error: Exception) -> None:
        """Tell that *what* is not done now; once for each reason, and with all there is to know of a defect."""
        why = f"{type(error).__name__}: {error}"
        if self._trouble.get(what) != why:
            self._trouble[what] = why
            _LOG.warning("%s waits: %s", what, why, exc_info=None if isinstance(error, _AWAY) else error)

    def _goes_on(self, what: str) -> None:
        if self._trouble.pop(what, None):
            _LOG.warning("%s goes on", what)

    async def _on_the_way(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do what must not stand in the way of telling."""
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - as above
            self.waits(what, error)
        else:
            self._goes_on(what)

    def _look(self, now: float) -> Window:
        """The furthest look whose time has come."""
        far = self._is_due("far", _LOOK_FAR_EVERY_SECONDS, now)
        near = self._is_due("near", _LOOK_NEAR_EVERY_SECONDS, now)
        return LAST_DAY if far else LAST_10_MINUTES if near else LAST_10_SECONDS

    def _is_due(self, what: str, every_seconds: float, now: float) -> bool:
        if now < self._due_at.get(what, 0.0):
            return False
        self._due_at[what] = now + every_seconds
        return True


async def _keep_table(opened: _Opened) -> None:
    await keep_table(opened.client, *await read_table(opened.catalog))
