"""Load the Prefect blocks named ``waybill``, which take precedence over the environment.

Every caller loads them once, when it begins: a run or a gateway keeps what it began with while a person changes a
block. Nothing here writes a block.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from blocks.custody.lost_key import refusing_lost_key
from blocks.keys import StorageKeys, load_storage_keys
from blocks.keys.block import KeyPair
from blocks.settings import Settings
from blocks.storage import Backend
from blocks.storage.block import ArtifactStore

# The name under which a deployment's blocks are looked up.
BLOCK_NAME = "waybill"


async def load_store(settings: Settings) -> ArtifactStore:
    """Return the `artifact-store` block named ``waybill`` that a person has saved, else one made from the environment.

    A *managed* block is a copy of the environment of some command of an earlier version, which may be another home's.
    It does not count, and stays as it is.
    """
    with suppress(ValueError):  # Prefect raises it when there is no such block document
        found = await ArtifactStore.aload(BLOCK_NAME)
        if not found.managed:
            return found
    return ArtifactStore.model_validate({"url": settings.resolved_storage_url, "options": settings.storage_options})


@dataclass(frozen=True, kw_only=True)
class DeployedKeys:
    """The keys, and a function that reads them again after a rotation. None for keys of a block, which are not reloaded
    in a running process."""

    keys: StorageKeys
    reload: Callable[[], StorageKeys] | None = None


async def load_keys(
    settings: Settings, backend: Backend, *, on_created: Callable[[Path], None] = lambda _: None
) -> DeployedKeys:
    """Return the keys of the `key-pair` block named ``waybill``, or those of the environment when there is none.

    With encryption off, the recipient is not used; the identities still open files that were encrypted before. A
    missing key pair is created in the home, and *on_created* called with its path. Raises `InvalidSettings`, also when
    files in *backend* need the missing key.
    """
    try:
        block = await KeyPair.aload(BLOCK_NAME)
    except ValueError:
        check = refusing_lost_key(settings, backend)
        load = partial(load_storage_keys, settings, before_creation=check, on_created=on_created)
        reload = partial(load_storage_keys, settings, may_create=False)
        return DeployedKeys(keys=await asyncio.to_thread(load), reload=reload)
    keys = block.storage_keys()
    return DeployedKeys(keys=keys if settings.encrypt else replace(keys, recipient=None))
