"""Open the resources of a run: catalogue, storage, worker processes, scratch folder, and its run lock.

Prefect blocks named ``waybill`` take precedence over the environment. A new run also clears up after dead ones.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import get_run_logger

from blocks.catalog import Catalog, OutputLocks
from blocks.custody import Custody
from blocks.custody.sealing import Sealing
from blocks.errors import StorageKeyMissing, WaybillError
from blocks.language_model.block import LanguageModel
from blocks.open_custody import open_block_custody
from blocks.prefect_blocks import load_block
from blocks.runs.global_limit import GlobalLimit
from blocks.runs.home_id import home_id
from blocks.runs.run_lease import RunLease, hold_lease, locks_name
from blocks.runs.run_lock import hold_run_lock
from blocks.runtime.write_errors import write_errors
from blocks.settings import Settings
from blocks.storage.local import LocalBackend
from blocks.webhooks.event_links import EventLinks
from blocks.webhooks.registration import set_run_webhook
from blocks.webhooks.secrets import SecretBox
from blocks.webhooks.send.address import guard_of
from flows.processing.clear_up import clear_up_dead_runs
from tasks.contract import LanguageModelSettings, Services, Stage, StageOptions
from tasks.document_events import DocumentEvents
from tasks.extraction.language_model import CONCURRENT_REQUESTS
from tasks.remote.run_on import RunOn, check_run_on
from tasks.remote.runner import open_remote_runners
from tasks.run_context import Limits, RunContext, committer_of
from tasks.runners import open_runner
from tasks.sources import SourceReader

# Of one lease: few requests to Prefect, and small enough that many machines have a share of a small limit.
_STORAGE_SLOTS = 8


@asynccontextmanager
async def open_run(
    settings: Settings,
    *,
    run_id: UUID,
    attempt: int,
    documents: int,
    stages: tuple[Stage[Any], ...],
    options: Mapping[str, StageOptions],
    reuse: bool,
    webhook_url: str | None,
    sources: SourceReader,
    keep_for: timedelta | None = None,
    run_on: Mapping[str, RunOn] | None = None,
    time_limit: timedelta | None = None,
    parent: UUID | None = None,
) -> AsyncGenerator[RunContext]:
    """Open the resources of one run for the length of the block. Raises `InvalidSettings`, `CatalogUnavailable`.

    *documents* is their number; *webhook_url* receives this run's events too; *keep_for* replaces the periods of the
    settings, *time_limit* `stage_timeout_seconds`; *run_on* names the remote workers of stages; *parent* is the run of
    which this one processes a slice, and whose events the documents have.
    """
    database_url, model = settings.required_database_url, await _load_language_model()
    services = Services(home=settings.home, database_url=database_url, language_model=model)
    check_run_on(run_on or {}, options, services)
    async with (
        _held(settings, run_id, webhook_url) as (custody, lease),
        _limits(settings, run_id, custody) as limits,
        OutputLocks.open(database_url, name=locks_name(lease.holder)) as locks,
        open_runner(_limited(settings, time_limit), replace(services, sealing=_sealing_of(custody))) as runner,
        open_remote_runners(
            settings, custody, run_id=run_id, stages=stages, places=run_on or {}, time_limit=time_limit
        ) as remote,
    ):
        links = EventLinks.of(settings)
        events = DocumentEvents(
            run_id=run_id, attempt=attempt, documents=documents, stages=stages, links=links, parent=parent
        )
        with _scratch_folder(settings.scratch / str(run_id)) as scratch:
            yield RunContext(
                run_id=run_id,
                custody=custody,
                committer=committer_of(custody, links),
                locks=locks,
                runner=runner,
                remote=remote,
                sources=sources,
                services=services,
                scratch=scratch,
                stages=stages,
                options=options,
                reuse=reuse,
                upload_period=keep_for or settings.retention.period("upload"),
                output_period=keep_for or settings.retention.period("stage_output"),
                keep_for=keep_for,
                max_file_bytes=settings.max_file_mib * 2**20,
                events=events,
                links=links,
                limits=limits,
            )


@asynccontextmanager
async def open_spread_run(settings: Settings, *, run_id: UUID, webhook_url: str | None) -> AsyncGenerator[Custody]:
    """Open what a run needs whose documents other runs process. Raises like `open_run`."""
    async with _held(settings, run_id, webhook_url) as (custody, _):
        yield custody


@asynccontextmanager
async def _held(settings: Settings, run_id: UUID, webhook_url: str | None) -> AsyncGenerator[tuple[Custody, RunLease]]:
    """Hold the run's file lock and its lease, and clear up after dead runs."""
    with hold_run_lock(settings.home, run_id):
        home = await asyncio.to_thread(home_id, settings.home)
        async with (
            open_block_custody(settings) as custody,
            hold_lease(settings.required_database_url, run_id=run_id, home=home) as lease,
        ):
            custody.confirm = lease.confirm
            await clear_up_dead_runs(settings, custody)
            if webhook_url is not None:
                await _set_webhook_url(settings, custody.catalog, run_id, webhook_url)
            yield custody, lease


@asynccontextmanager
async def _limits(settings: Settings, run_id: UUID, custody: Custody) -> AsyncGenerator[Limits]:
    """Respect Prefect's global limits: for the language model, and for storage that is not a folder."""
    model, storage, threads = settings.language_model_limit, settings.storage_limit, custody.backend.threads
    async with (
        GlobalLimit.open(model, run_id, group=CONCURRENT_REQUESTS, leases=settings.workers, whole=True) as for_model,
        GlobalLimit.open(storage, run_id, group=_STORAGE_SLOTS, leases=-(-threads // _STORAGE_SLOTS)) as for_storage,
    ):
        if not isinstance(custody.backend, LocalBackend):
            custody.slots = for_storage.slots
        yield Limits(language_model=for_model, storage=for_storage)


def _sealing_of(custody: Custody) -> Sealing | None:
    """Return what workers store outputs with; None without a key to store for, which fails what is to be stored."""
    with suppress(StorageKeyMissing):
        return custody.sealing
    return None


def _limited(settings: Settings, time_limit: timedelta | None) -> Settings:
    if time_limit is None:
        return settings
    return replace(settings, stage_timeout_seconds=time_limit.total_seconds())


@contextmanager
def _scratch_folder(path: Path) -> Generator[Path]:
    """Make a folder for its owner alone, and remove it with all that is in it after the block."""
    with write_errors(path):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


async def _set_webhook_url(settings: Settings, catalog: Catalog, run_id: UUID, url: str) -> None:
    """Send the run's events to *url* too. A failure is logged: no webhook fails a run."""
    try:
        async with catalog.transaction() as connection:
            allowed = await set_run_webhook(connection, SecretBox.of(settings), run_id=run_id, url=url)
        # The dispatcher refuses it too; this says so in the log of the run.
        guard_of(settings, loopback_allowed=allowed).check_url(url)
    except WaybillError as error:
        get_run_logger().error("no events of this run are sent to its webhook_url: %s", error.message)


async def _load_language_model() -> LanguageModelSettings | None:
    block = await load_block(LanguageModel)
    return block.settings() if block is not None else None
