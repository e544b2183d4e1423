"""Open custody: catalogue, storage and keys, as the environment or a deployment's Prefect blocks name them.

*on_new_key* is called with the path of a storage key that was created because there was none. While stored files need a
missing one, none is created and `InvalidSettings` is raised.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from blocks.catalog import Catalog, Timeouts
from blocks.custody import Custody
from blocks.custody.lost_key import refusing_lost_key
from blocks.errors import PrefectUnavailable
from blocks.keys import load_storage_keys
from blocks.postgres.pool import LONG_TIMEOUTS
from blocks.settings import Settings, prefect_api_url
from blocks.storage import Backend, open_backend

if TYPE_CHECKING:
    from blocks.prefect_blocks import DeployedKeys

# A Prefect server that has just been started answers its first request within a few seconds.
_PREFECT_SECONDS = 20.0

OnNewKey = Callable[[Path], None]


def _keeps_index(settings: Settings) -> bool:
    """Return whether documents without a stored file stay in the search index, by the setting retention."""
    return settings.retention.rules.get("search_index") == "keep"


def _ignore(_: Path) -> None:
    """For callers that run where nothing can be shown."""


@asynccontextmanager
async def open_custody(
    settings: Settings, timeouts: Timeouts = LONG_TIMEOUTS, *, stores: bool = True, on_new_key: OnNewKey = _ignore
) -> AsyncGenerator[Custody]:
    """Open custody as the environment names it, without Prefect. *timeouts* are those of the catalogue.

    With *stores* off nothing can be stored, and a missing key is no error: reading what needs it is one.
    """
    backend = open_backend(settings.resolved_storage_url, settings.storage_options)
    check = refusing_lost_key(settings, backend)
    load = partial(load_storage_keys, settings, may_create=stores, before_creation=check, on_created=on_new_key)
    keys = await asyncio.to_thread(load)
    reload = partial(load_storage_keys, settings, may_create=False)
    keeps = _keeps_index(settings)
    async with Catalog.open(settings.required_database_url, timeouts) as catalog:
        yield Custody(catalog=catalog, backend=backend, keys=keys, reload_keys=reload, keeps_index=keeps)


@asynccontextmanager
async def open_block_custody(settings: Settings) -> AsyncGenerator[Custody]:
    """Open custody as flows do: Prefect blocks ``waybill`` win over the environment. Raises Prefect's errors too."""
    backend, deployed = await _load_blocks(settings, _ignore)
    keeps = _keeps_index(settings)
    async with Catalog.open(settings.required_database_url) as catalog:
        yield Custody(
            catalog=catalog, backend=backend, keys=deployed.keys, reload_keys=deployed.reload, keeps_index=keeps
        )


@asynccontextmanager
async def open_deployed_custody(
    settings: Settings, timeouts: Timeouts, *, on_new_key: OnNewKey = _ignore
) -> AsyncGenerator[Custody]:
    """Open custody as flows see it where a Prefect server is named, and as the environment names it elsewhere.

    Raises `PrefectUnavailable` when the server does not answer in time: the environment may name another storage.
    """
    if prefect_api_url() is None:
        async with open_custody(settings, timeouts, on_new_key=on_new_key) as custody:
            yield custody
        return
    backend, deployed = await _load_answered_blocks(settings, on_new_key)
    keeps = _keeps_index(settings)
    async with Catalog.open(settings.required_database_url, timeouts) as catalog:
        yield Custody(
            catalog=catalog, backend=backend, keys=deployed.keys, reload_keys=deployed.reload, keeps_index=keeps
        )


async def _load_answered_blocks(settings: Settings, on_new_key: OnNewKey) -> tuple[Backend, DeployedKeys]:
    import httpx
    from prefect.exceptions import PrefectException

    try:
        async with asyncio.timeout(_PREFECT_SECONDS):
            return await _load_blocks(settings, on_new_key)
    except (httpx.HTTPError, PrefectException, TimeoutError) as exc:
        if isinstance(exc, httpx.HTTPStatusError) and exc.response.status_code in {401, 403}:
            from blocks.runs.prefect_api import REFUSED

            raise PrefectUnavailable(REFUSED) from exc
        raise PrefectUnavailable(
            f"the Prefect server of PREFECT_API_URL does not say where files are stored ({type(exc).__name__}); start "
            "it, or unset PREFECT_API_URL to go by the environment alone"
        ) from exc


async def _load_blocks(settings: Settings, on_new_key: OnNewKey) -> tuple[Backend, DeployedKeys]:
    # Not at the top: importing Prefect takes a second, and most commands need none of it.
    from blocks.prefect_blocks import load_keys, load_store

    store = await load_store(settings)
    return store.backend, await load_keys(settings, store.backend, on_created=on_new_key)
