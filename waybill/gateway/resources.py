"""What the gateway's routes work with, opened once by whoever runs it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from blocks.catalog import Timeouts
from blocks.custody import Custody
from blocks.links import Links
from blocks.runs.prefect_api import PrefectApi
from blocks.settings import Settings
from blocks.webhooks.send.address import AddressGuard, Resolver
from blocks.webhooks.send.host_lookup import system_resolver
from waybill.gateway.access import Gate
from waybill.gateway.lookups import Lookups

# Clients that wait pile up, and their requests are answered late when everything is back: rather tell them soon.
# A connection is free within milliseconds, and no statement of the gateway takes a second.
TIMEOUTS = Timeouts(connection_seconds=3.0, answer_seconds=4.0)

# Files that are taken in at the same time: what a disk or a network bears is reached with a few, and each takes memory.
MOST_UPLOADS = 32
# Whoever comes when so many wait is told at once how it stands.
MOST_WAITING_TESTS = 8


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Custody with its catalogue, links, Prefect, and who may come in."""

    settings: Settings
    custody: Custody
    links: Links
    prefect: PrefectApi
    lookups: Lookups
    gate: Gate
    guard: AddressGuard
    uploads: asyncio.Semaphore
    """Files that are being stored. Each holds a thread of its own, and some MiB."""
    waiting_tests: asyncio.Semaphore
    """Tests of webhooks whose outcome somebody waits for. Each looks at the database ten times a second."""


@asynccontextmanager
async def open_resources(
    settings: Settings, custody: Custody, *, prefect_api: str | None, resolve: Resolver = system_resolver
) -> AsyncGenerator[Resources]:
    """Everything on *custody*, and on the Prefect server at *prefect_api* if there is one. Raises `InvalidSettings`."""
    links = Links.of(settings)
    # Now, so that keys that cannot be used are told at the start and not to the first client.
    await asyncio.to_thread(links.require_keys)
    lookups = Lookups(custody.catalog)
    async with PrefectApi.open(prefect_api) as prefect:
        yield Resources(
            settings=settings,
            custody=custody,
            links=links,
            prefect=prefect,
            lookups=lookups,
            gate=Gate(custody.catalog, lookups, requests_per_minute=settings.requests_per_minute),
            guard=AddressGuard(settings.allow_private_webhooks, resolve=resolve),
            uploads=asyncio.Semaphore(MOST_UPLOADS),
            waiting_tests=asyncio.Semaphore(MOST_WAITING_TESTS),
        )
