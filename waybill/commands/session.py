"""What commands share: the stack they need, for as long as they need it, and the catalogue on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from blocks.errors import InvalidOptions, PrefectUnavailable
from blocks.runtime.shutdown import request_shutdown
from blocks.settings import Settings, current_settings, prefect_api_url
from waybill.commands.output import print_notice, steps_shown

if TYPE_CHECKING:
    from blocks.catalog import Catalog, Timeouts
    from blocks.custody import Custody
    from blocks.keys import StorageKeys
    from blocks.prefect_blocks import DeployedKeys
    from blocks.storage import Backend
    from waybill.stack import StackAddresses

ResultT = TypeVar("ResultT")

# A Prefect server that has just been started answers its first request within a few seconds.
_PREFECT_SECONDS = 20.0


@contextmanager
def stack_session(*, prefect: bool) -> Generator[tuple[Settings, StackAddresses]]:
    """Postgres and, where asked, a Prefect server: those that run already, or started and stopped for this command.

    Yields the settings as they are once the stack has set its addresses.
    """
    from waybill.stack import running_stack

    with ExitStack() as until_done:
        with steps_shown() as show:
            addresses = until_done.enter_context(running_stack(current_settings(), prefect=prefect, on_step=show))
        yield current_settings(), addresses


def warn_of_lost_records(api_url: str | None) -> None:
    """Warn when the Prefect server that the user has named at *api_url* is set up so that it can lose records."""
    from waybill.stack.external import lost_records_warning

    if api_url is not None and (warning := lost_records_warning(api_url)) is not None:
        print_notice(warning)


@asynccontextmanager
async def open_custody(settings: Settings, timeouts: Timeouts | None = None) -> AsyncGenerator[Custody]:
    """Catalogue, storage and keys as the environment names them, without Prefect.

    *timeouts* with the catalogue is that of a run, which rather waits, unless another one is given.
    """
    from blocks.catalog import Catalog
    from blocks.custody import Custody
    from blocks.postgres.pool import LONG_TIMEOUTS
    from blocks.storage import open_backend

    keys = storage_keys(settings)
    backend = open_backend(settings.resolved_storage_url, settings.storage_options)
    async with Catalog.open(settings.required_database_url, timeouts or LONG_TIMEOUTS) as catalog:
        yield Custody(catalog=catalog, backend=backend, keys=keys, reload_keys=lambda: storage_keys(settings))


@asynccontextmanager
async def open_deployed_custody(settings: Settings, timeouts: Timeouts) -> AsyncGenerator[Custody]:
    """The same as flows see it: where a Prefect server is named, its blocks win over the environment.

    Raises `PrefectUnavailable` when the server does not answer for a while: the environment may name other storage.
    """
    from blocks.catalog import Catalog
    from blocks.custody import Custody

    if prefect_api_url() is None:
        async with open_custody(settings, timeouts) as custody:
            yield custody
        return
    backend, deployed = await _deployed(settings)
    async with Catalog.open(settings.required_database_url, timeouts) as catalog:
        yield Custody(catalog=catalog, backend=backend, keys=deployed.keys, reload_keys=deployed.reload)


async def _deployed(settings: Settings) -> tuple[Backend, DeployedKeys]:
    import httpx
    from prefect.exceptions import PrefectException

    from blocks.prefect_blocks import load_keys, load_store

    try:
        async with asyncio.timeout(_PREFECT_SECONDS):
            store = await load_store(settings)
            return store.backend, await load_keys(settings, on_created=tell_of_key)
    except (httpx.HTTPError, PrefectException, TimeoutError) as exc:
        raise PrefectUnavailable(
            f"the Prefect server of PREFECT_API_URL does not say where files lie ({type(exc).__name__}); start it, or "
            "unset PREFECT_API_URL to go by the environment alone"
        ) from exc


def storage_keys(settings: Settings) -> StorageKeys:
    """The keys that the environment names; whoever is there when a key pair is made is told to keep it safe."""
    from blocks.keys import load_storage_keys

    return load_storage_keys(settings, on_created=tell_of_key)


def tell_of_key(path: Path) -> None:
    """Say that a key pair was made, and what that asks of whoever runs this."""
    print_notice(
        f"made the storage key {path}: stored files are encrypted for it. Keep a copy of it elsewhere; without it "
        "nothing that is stored can be read."
    )


def run_work(work: Coroutine[None, None, ResultT]) -> ResultT:
    """`asyncio.run` for a command that ends soon when it is interrupted: before *work* is cancelled, it is noted that
    the process ends."""

    async def watched() -> ResultT:
        working = asyncio.ensure_future(work)
        try:
            await asyncio.wait([working])
        except asyncio.CancelledError:
            request_shutdown()
            working.cancel()
            await asyncio.wait([working])
            if working.cancelled():
                raise
        return working.result()

    return asyncio.run(watched())


def with_custody(work: Callable[[Custody, Settings], Coroutine[None, None, ResultT]]) -> ResultT:
    """Run *work* on the catalogue and storage, on a stack without Prefect."""

    async def run(settings: Settings) -> ResultT:
        async with open_custody(settings) as custody:
            return await work(custody, settings)

    with stack_session(prefect=False) as (settings, _):
        return run_work(run(settings))


def with_catalog(work: Callable[[Catalog, Settings], Coroutine[None, None, ResultT]]) -> ResultT:
    """Run *work* on the catalogue, on a stack without Prefect. Needs neither storage nor its keys."""

    async def run(settings: Settings) -> ResultT:
        from blocks.catalog import Catalog

        async with Catalog.open(settings.required_database_url) as catalog:
            return await work(catalog, settings)

    with stack_session(prefect=False) as (settings, _):
        return asyncio.run(run(settings))


def read_id(text: str) -> UUID:
    """A file or run id as typed. Raises `InvalidOptions`."""
    try:
        return UUID(text)
    except ValueError as exc:
        raise InvalidOptions(f"{text!r} is not an id; ids look like 0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a") from exc
