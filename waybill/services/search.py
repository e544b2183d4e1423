"""Search by words, and by meaning where the index has vectors."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from psycopg import AsyncConnection

from blocks.embedding import EMBEDDING_MODEL
from blocks.postgres import connect_async
from blocks.search_index import DEFAULT_HITS, SearchHit, check_query, has_vectors, meaning_of, search


async def search_documents(database_url: str, text: str, limit: int = DEFAULT_HITS, *, models: Path) -> list[SearchHit]:
    """Return the best passages for *text*, best first, at most *limit*.

    The embedding model is loaded, and built under *models* at its first use, only when the index has vectors.
    Raises `InvalidOptions`, `CatalogUnavailable`, `InvalidSettings` or `EmbeddingModelUnavailable`.
    """
    check_query(text, limit)
    async with await connect_async(database_url) as connection:
        vector = await _vector(connection, text, models)
        return await search(connection, text=text, vector=vector, limit=limit)


async def _vector(connection: AsyncConnection[Any], text: str, models: Path) -> list[float] | None:
    if not await has_vectors(connection, EMBEDDING_MODEL):
        return None
    # Here, not above: it loads numpy and the tokenizer.
    from blocks.embedding.vectors import embed

    # In a thread: loading the model takes half a second, during which a gateway answers other requests.
    vectors = await asyncio.to_thread(embed, [meaning_of(text)], models=models)
    return vectors[0].tolist()
