"""Telling what hooks have lost: once, for a scheduled flow, or all the time, beside the dispatcher of `waybill up`.

Owns how often to look, and going on when Prefect's server or the database is away. What is looked at is the business of
`flows.reconciler`, and the endpoints that follow Prefect blocks that of `flows.endpoint_blocks`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from prefect import get_client
from prefect.exceptions import PrefectException
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from blocks.catalog import Catalog
from blocks.errors import WaybillError
from blocks.settings import Settings
from flows.endpoint_blocks import EndpointBlocks
from flows.reconciler import FAR_LOOK, NEAR_LOOK, QUICK_LOOK, Look, Reconciled, Reconciler
from flows.run_telling import Telling

_LOOK_EVERY_SECONDS = 1.0
_LOOK_NEAR_EVERY_SECONDS = 30.0
_LOOK_FAR_EVERY_SECONDS = 3600.0
_BLOCKS_EVERY_SECONDS = 5.0
# With some hundred runs under way a look takes the server a while: at most a fifth of the time is spent looking.
_REST = 4
# A look that does not end: a far one at ten thousand runs takes some seconds.
_PATIENCE_SECONDS = 120.0
# A server that is started again is there after some seconds, and one that is gone is not asked every second.
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 5.0

_LOG = logging.getLogger("waybill.webhooks")


async def reconcile_once(settings: Settings, look: Look = FAR_LOOK) -> Reconciled:
    """Tell what is missing, and let the endpoints follow their blocks. Raises when a server is away."""
    async with _opened(settings) as (reconciler, blocks):
        found = await reconciler.reconcile_once(look)
        await blocks.sync()
        return found


async def reconcile_forever(settings: Settings) -> None:
    """The same every second, until cancelled; what is away is waited for and told in the log once."""
    told: str | None = None
    pause_seconds = _FIRST_PAUSE_SECONDS
    while True:
        try:
            # Prefect's client would try again for half a minute by itself, and be late when the server is back.
            with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
                async with _opened(settings) as (reconciler, blocks):
                    watch = Watch(reconciler, blocks)
                    while True:
                        await watch.look()
                        if told is not None:
                            _LOG.warning("reading Prefect's history goes on")
                        told, pause_seconds = None, _FIRST_PAUSE_SECONDS
                        await asyncio.sleep(watch.rest_seconds)
        except (WaybillError, PrefectException, httpx.HTTPError, OSError) as error:
            if told != (told := f"{type(error).__name__}: {error}"):
                _LOG.warning("reading Prefect's history waits: %s", told)
        await asyncio.sleep(pause_seconds)
        pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)


@dataclass
class Watch:
    """When to look how far."""

    reconciler: Reconciler
    blocks: EndpointBlocks
    rest_seconds: float = 0.0
    _near_at: float = 0.0
    _far_at: float = 0.0
    _blocks_at: float = 0.0

    async def look(self) -> None:
        """One look, as far as it is time for. Raises like `Reconciler.reconcile_once`, and `TimeoutError`."""
        began = time.monotonic()
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await self.reconciler.reconcile_once(self._due(began))
            if began >= self._blocks_at:
                self._blocks_at = began + _BLOCKS_EVERY_SECONDS
                await self.blocks.sync()
        took = time.monotonic() - began
        self.rest_seconds = max(_LOOK_EVERY_SECONDS - took, _REST * took)

    def _due(self, now: float) -> Look:
        """The furthest look whose time has come; it stands for the nearer ones too."""
        if now >= self._far_at:
            self._far_at, self._near_at = now + _LOOK_FAR_EVERY_SECONDS, now + _LOOK_NEAR_EVERY_SECONDS
            return FAR_LOOK
        if now >= self._near_at:
            self._near_at = now + _LOOK_NEAR_EVERY_SECONDS
            return NEAR_LOOK
        return QUICK_LOOK


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncGenerator[tuple[Reconciler, EndpointBlocks]]:
    async with Catalog.open(settings.required_database_url) as catalog, get_client() as client:
        yield Reconciler(client, catalog, Telling(settings)), EndpointBlocks(client, catalog, settings)
