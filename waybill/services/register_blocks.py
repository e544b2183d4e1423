"""Register Waybill's block types with Prefect, and the storage block that follows the environment. Idempotent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from blocks.keys.block import KeyPair
from blocks.language_model.block import LanguageModel
from blocks.prefect_blocks import BLOCK_NAME, load_keys
from blocks.settings import Settings
from blocks.storage.block import ArtifactStore
from blocks.webhooks.block import WebhookEndpoint


async def register_blocks(settings: Settings, *, on_new_key: Callable[[Path], None] = lambda _: None) -> None:
    """Register the block types and save ``artifact-store/waybill`` from the environment unless a person owns it.

    A missing storage key is made now, while a person sees the message, not in the middle of a run.
    """
    for block_type in (ArtifactStore, LanguageModel, KeyPair, WebhookEndpoint):
        await block_type.aregister_type_and_schema()
    await load_keys(settings, on_created=on_new_key)
    wanted = ArtifactStore.model_validate(
        {"url": settings.resolved_storage_url, "options": settings.storage_options, "managed": True}
    )
    try:
        found = await ArtifactStore.aload(BLOCK_NAME)
    except ValueError:  # Prefect's word for "no such block document"
        await wanted.asave(BLOCK_NAME)
        return
    same = found.url == wanted.url and found.options.get_secret_value() == wanted.options.get_secret_value()
    if found.managed and not same:
        await wanted.asave(BLOCK_NAME, overwrite=True)
