"""Register Waybill's block types with Prefect, so that people can save blocks of them. Idempotent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
from prefect.exceptions import PrefectException

from blocks.errors import PrefectUnavailable
from blocks.keys.block import KeyPair
from blocks.language_model.block import LanguageModel
from blocks.prefect_blocks import load_keys, load_store
from blocks.runs.prefect_api import while_server_restarts
from blocks.settings import Settings
from blocks.storage.block import ArtifactStore
from blocks.webhooks.block import WebhookEndpoint


async def register_blocks(settings: Settings, *, on_new_key: Callable[[Path], None] = lambda _: None) -> None:
    """Register the block types. Saves no block: several homes may share one Prefect server, and a block is for all.

    A missing storage key is made now, while a person sees the message, not in the middle of a run. Raises
    `PrefectUnavailable`.
    """
    try:
        for block_type in (ArtifactStore, LanguageModel, KeyPair, WebhookEndpoint):
            await while_server_restarts(block_type.aregister_type_and_schema)
        store = await load_store(settings)
        await load_keys(settings, store.backend, on_created=on_new_key)
    except (httpx.HTTPError, PrefectException) as exc:
        # Without its message, which repeats the request.
        why = f"status {exc.response.status_code}" if isinstance(exc, httpx.HTTPStatusError) else type(exc).__name__
        raise PrefectUnavailable(f"Waybill's block types cannot be registered with the Prefect server ({why})") from exc
