"""Load the Prefect blocks named ``waybill``, which take precedence over the environment.

Every caller loads them once, when it begins: a run or a gateway keeps what it began with while a person changes a
block. Nothing here writes a block.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

import httpx
from prefect.blocks.core import Block
from prefect.exceptions import ObjectNotFound

from blocks.custody.lost_key import refusing_lost_key
from blocks.errors import InvalidSettings
from blocks.keys import StorageKeys, load_storage_keys
from blocks.keys.block import KeyPair
from blocks.runs.prefect_api import while_server_restarts
from blocks.settings import Settings
from blocks.storage import Backend
from blocks.storage.block import ArtifactStore

# The name under which a deployment's blocks are looked up.
BLOCK_NAME = "waybill"


BlockT = TypeVar("BlockT", bound=Block)


async def load_store(settings: Settings) -> ArtifactStore:
    """Return the `artifact-store` block named ``waybill`` that a person has saved, else one made from the environment.

    A *managed* block is a copy of the environment of some command of an earlier version, which may be another home's.
    It does not count, and stays as it is. Raises `InvalidSettings` for a block that is there and cannot be read.
    """
    found = await load_block(ArtifactStore)
    if found is not None and not found.managed:
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
    block = await load_block(KeyPair)
    if block is None:
        check = refusing_lost_key(settings, backend)
        load = partial(load_storage_keys, settings, before_creation=check, on_created=on_created)
        reload = partial(load_storage_keys, settings, may_create=False)
        return DeployedKeys(keys=await asyncio.to_thread(load), reload=reload)
    keys = block.storage_keys()
    return DeployedKeys(keys=keys if settings.encrypt else replace(keys, recipient=None))


async def load_block(block_type: type[BlockT]) -> BlockT | None:
    """Return the block named ``waybill``, None when there is none.

    One that is there and cannot be read is not taken for a missing one: files would be stored somewhere else, or for
    another key. Raises `InvalidSettings` for it.
    """
    try:
        return await while_server_restarts(lambda: block_type.aload(BLOCK_NAME))
    except (ValueError, RuntimeError) as error:
        if isinstance(error.__cause__ or error.__context__, ObjectNotFound):
            return None
        raise _unreadable(block_type) from None
    except httpx.HTTPStatusError as error:
        if error.response.status_code == HTTPStatus.INTERNAL_SERVER_ERROR:
            raise _unreadable(block_type) from error
        raise


def _unreadable(block_type: type[Block]) -> InvalidSettings:
    # Without the cause, whose message may quote the block's values.
    name = f"{block_type.get_block_type_slug()}/{BLOCK_NAME}"
    return InvalidSettings(f"the Prefect block {name} cannot be read; save it again in Prefect's UI, or delete it")
