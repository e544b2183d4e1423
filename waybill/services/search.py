"""Search as the command line and the gateway offer it: words, and meaning where the index has vectors."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from psycopg import AsyncConnection

from blocks.embedding.vectors import EMBEDDING_MODEL, embed
from blocks.postgres import connect_async
from blocks.search_index import DEFAULT_HITS, SearchHit, check_query, has_vectors, meaning_of, search


async def search_documents(database_url: str, text: str, limit: int = DEFAULT_HITS, *, models: Path) -> list[SearchHit]:
    """The best passages for *text*, best first, at most *limit*.

    The embedding model is loaded (built under *models* at first use) only when the index has vectors to compare with.
    Raises `InvalidOptions`, `CatalogUnavailable`, `InvalidSettings` or `EmbeddingModelUnavailable`.
    """
    check_query(text, limit)
    async with await connect_async(database_url) as connection:
        vector = await _vector(connection, text, models)
        return await search(connection, text=text, vector=vector, limit=limit)


async def _vector(connection: AsyncConnection[Any], text: str, models: Path) -> list[float] | None:
    if not await has_vectors(connection, EMBEDDING_MODEL):
        return None
    # In a thread: loading the model takes half a second, in which a gateway should answer others.
    vectors = await asyncio.to_thread(embed, [meaning_of(text)], models=models)
    return vectors[0].tolist()
