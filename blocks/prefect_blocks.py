"""Load the Prefect blocks named ``waybill``, which take precedence over the environment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from blocks.keys import StorageKeys, load_storage_keys
from blocks.keys.block import KeyPair
from blocks.settings import Settings
from blocks.storage.block import ArtifactStore

# The name under which a deployment's blocks are looked up.
BLOCK_NAME = "waybill"


async def load_store(settings: Settings) -> ArtifactStore:
    """Return the `artifact-store` block named ``waybill``, or one made from the environment when there is none."""
    try:
        return await ArtifactStore.aload(BLOCK_NAME)
    except ValueError:  # Prefect raises it when there is no such block document
        return ArtifactStore.model_validate({"url": settings.resolved_storage_url, "options": settings.storage_options})


@dataclass(frozen=True, kw_only=True)
class DeployedKeys:
    """The keys, and a function that reads them again after a rotation. None for keys of a block, which are not reloaded
    in a running process."""

    keys: StorageKeys
    reload: Callable[[], StorageKeys] | None = None


async def load_keys(settings: Settings, *, on_created: Callable[[Path], None] = lambda _: None) -> DeployedKeys:
    """Return the keys of the `key-pair` block named ``waybill``, or those of the environment when there is none.

    With encryption off, the recipient is not used; the identities still open files that were encrypted before. A
    missing key pair is created in the home, and *on_created* called with its path. Raises `InvalidSettings`.
    """
    try:
        block = await KeyPair.aload(BLOCK_NAME)
    except ValueError:
        load = partial(load_storage_keys, settings, on_created=on_created)
        return DeployedKeys(keys=await asyncio.to_thread(load), reload=load)
    keys = block.storage_keys()
    return DeployedKeys(keys=keys if settings.encrypt else replace(keys, recipient=None))
