"""Putting Waybill's block types, and the block that follows the environment, into Prefect; making the storage key.

Idempotent. A block that a person saved under the same name is left as it is and wins over the environment.
"""

from __future__ import annotations

from blocks.keys.block import KeyPair
from blocks.language_model.block import LanguageModel
from blocks.prefect_blocks import BLOCK_NAME, load_keys
from blocks.settings import Settings
from blocks.storage.block import ArtifactStore
from blocks.webhooks.block import WebhookEndpoint
from waybill.commands.session import tell_of_key


async def register_blocks(settings: Settings) -> None:
    """Register the block types and save ``artifact-store/waybill`` from the environment unless a person owns it.

    A storage key that is missing is made now, while there is somebody to be told of it, not in the middle of a run.
    """
    await ArtifactStore.aregister_type_and_schema()
    await LanguageModel.aregister_type_and_schema()
    await KeyPair.aregister_type_and_schema()
    await WebhookEndpoint.aregister_type_and_schema()
    await load_keys(settings, on_created=tell_of_key)
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
