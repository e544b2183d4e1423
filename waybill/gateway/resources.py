"""What the gateway's routes work with, opened once by the process that runs it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from blocks.assignments import ClaimTokens
from blocks.catalog import OutputLocks, Timeouts
from blocks.custody import Custody
from blocks.links import LinkKeys, Links
from blocks.runs.prefect_api import PrefectApi
from blocks.runs.prefect_lists import UnreadableRuns
from blocks.runtime.background_tasks import running
from blocks.settings import Settings
from blocks.transfers import TransferTokens
from blocks.transfers.incoming import IncomingUploads
from blocks.transfers.locks import TransferLocks
from blocks.transfers.progress import ProgressWriter
from blocks.webhooks.event_links import EventLinks
from blocks.webhooks.send.address import AddressGuard, Resolver
from blocks.webhooks.send.host_lookup import system_resolver
from waybill.gateway.access import Gate
from waybill.gateway.fair_places import FairPlaces
from waybill.gateway.ingest_window import IngestWindow
from waybill.gateway.lookups import Lookups
from waybill.gateway.silent_senders import SilentSenders
from waybill.gateway.transfer_artifacts import TransferArtifacts
from waybill.gateway.worker_access import WorkerGate

# During an outage waiting requests pile up, and would still be queued when the database is back: fail them early.
# A connection is free within milliseconds, and no statement of the gateway takes a second.
TIMEOUTS = Timeouts(connection_seconds=3.0, answer_seconds=4.0)

# Uploads stored at the same time. A few saturate a disk or a network, and each takes a thread and some MiB.
MOST_UPLOADS = 32
# Downloads at the same time: half of the server's connections, so that slow readers leave room for other requests.
MOST_READERS = 500
# Webhook tests whose outcome is waited for. Each polls the database ten times a second; further ones answer 202 now.
MOST_WAITING_TESTS = 8
# Searches at the same time: each embeds its question on a core. Further ones wait for tens of milliseconds.
MOST_SEARCHES = 4
# Exports of small tables in the gateway itself. Each takes a thread and some MiB; further ones become runs.
MOST_SMALL_EXPORTS = 2


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Custody with its catalogue, links, Prefect, and access control."""

    settings: Settings
    custody: Custody
    links: Links
    prefect: PrefectApi
    lookups: Lookups
    gate: Gate
    worker_gate: WorkerGate
    guard: AddressGuard
    uploads: FairPlaces
    """Bounds concurrent uploads to `MOST_UPLOADS`."""
    readers: FairPlaces
    """Bounds concurrent downloads to `MOST_READERS`."""
    waiting_tests: asyncio.Semaphore
    """Bounds webhook tests that wait for their outcome to `MOST_WAITING_TESTS`."""
    small_exports: asyncio.Semaphore
    """Bounds exports in this process to `MOST_SMALL_EXPORTS`."""
    searches: asyncio.Semaphore
    """Bounds searches to `MOST_SEARCHES`."""
    clean_ups: asyncio.Semaphore
    """Bounds concurrent clean-ups to one: each sorts the whole catalogue, and a second one finds nothing to do."""
    unreadable_runs: UnreadableRuns
    """The runs that Prefect cannot list, found once for all requests."""
    event_links: EventLinks
    transfer_tokens: TransferTokens
    claim_tokens: ClaimTokens
    transfer_progress: ProgressWriter
    transfer_artifacts: TransferArtifacts
    """Shows the progress of long transfers in Prefect; `transfer_progress` reports that of downloads to it."""
    incoming: IncomingUploads
    """The uploads of transfers."""
    senders: SilentSenders
    """The requests that receive bytes of them."""
    window: IngestWindow
    """Starts the runs that small uploads share."""


@asynccontextmanager
async def open_resources(
    settings: Settings, custody: Custody, *, prefect_api: str | None, resolve: Resolver = system_resolver
) -> AsyncGenerator[Resources]:
    """Yield the resources on *custody*, with the Prefect server at *prefect_api* if given. Raises `InvalidSettings`."""
    links = Links.of(settings)
    # Unusable link signing keys are reported at the start, not to the first client.
    await asyncio.to_thread(links.require_keys)
    lookups = Lookups(custody.catalog)
    link_keys = LinkKeys(settings.resolved_link_keys_file)
    event_links = EventLinks(links)
    async with (
        PrefectApi.open(prefect_api) as prefect,
        _artifacts(prefect) as artifacts,
        _progress(custody, event_links, artifacts) as progress,
        _incoming(settings, custody, event_links, progress) as incoming,
        _window(settings, custody, event_links, prefect) as window,
    ):
        yield Resources(
            settings=settings,
            custody=custody,
            links=links,
            prefect=prefect,
            lookups=lookups,
            gate=Gate(custody.catalog, lookups, requests_per_minute=settings.requests_per_minute),
            worker_gate=WorkerGate(
                custody.catalog,
                lookups,
                link_keys,
                requests_per_minute=settings.requests_per_minute,
            ),
            guard=AddressGuard(settings.allow_private_webhooks, resolve=resolve),
            uploads=FairPlaces(MOST_UPLOADS),
            readers=FairPlaces(MOST_READERS),
            waiting_tests=asyncio.Semaphore(MOST_WAITING_TESTS),
            small_exports=asyncio.Semaphore(MOST_SMALL_EXPORTS),
            searches=asyncio.Semaphore(MOST_SEARCHES),
            clean_ups=asyncio.Semaphore(1),
            unreadable_runs=UnreadableRuns(),
            event_links=event_links,
            transfer_tokens=TransferTokens(link_keys),
            claim_tokens=ClaimTokens(link_keys),
            transfer_progress=progress,
            transfer_artifacts=artifacts,
            incoming=incoming,
            senders=SilentSenders(),
            window=window,
        )


@asynccontextmanager
async def _artifacts(prefect: PrefectApi) -> AsyncGenerator[TransferArtifacts]:
    artifacts = TransferArtifacts(prefect)
    async with running(artifacts.run()):
        yield artifacts


@asynccontextmanager
async def _progress(
    custody: Custody, links: EventLinks, artifacts: TransferArtifacts
) -> AsyncGenerator[ProgressWriter]:
    writer = ProgressWriter(custody.catalog, links, observe=artifacts.observe)
    try:
        yield writer
    finally:
        await writer.close()


@asynccontextmanager
async def _window(
    settings: Settings, custody: Custody, links: EventLinks, prefect: PrefectApi
) -> AsyncGenerator[IngestWindow]:
    window = IngestWindow(
        custody.catalog, prefect, links, home=settings.home, window_seconds=settings.ingest_window_seconds
    )
    if not prefect.configured:
        yield window
        return
    try:
        async with running(window.run()):
            yield window
    finally:
        await window.flush()


@asynccontextmanager
async def _incoming(
    settings: Settings, custody: Custody, links: EventLinks, progress: ProgressWriter
) -> AsyncGenerator[IncomingUploads]:
    async with OutputLocks.open(settings.required_database_url) as session:
        uploads = IncomingUploads(
            custody,
            links,
            progress,
            TransferLocks(session),
            scratch=settings.home / "incoming",
            keep_for=settings.retention.period("transfer"),
            max_bytes=settings.max_upload_mib * 2**20,
        )
        try:
            async with running(uploads.clear_scratch_forever()):
                yield uploads
        finally:
            uploads.close()
