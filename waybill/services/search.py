"""Answer questions from the search index: by words, and by meaning where the index has vectors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from psycopg import AsyncConnection

from blocks.embedding import EMBEDDING_MODEL
from blocks.search_index import (
    DEFAULT_HITS,
    SearchAnswer,
    SearchFilters,
    check_query,
    has_vectors,
    meaning_of,
    search,
)

Connect = Callable[[], AbstractAsyncContextManager[AsyncConnection[Any]]]
"""Opens a connection, or takes one from a pool; it is not held while a text is embedded."""


async def search_documents(
    connect: Connect,
    text: str,
    limit: int = DEFAULT_HITS,
    *,
    models: Path,
    filters: SearchFilters | None = None,
    show_all: bool = False,
) -> SearchAnswer:
    """Return the best passages for *text*, best first, at most *limit*, each with the sentence that answers best.

    None if nothing is close to the question, unless *show_all*. The embedding model is loaded, and built under *models*
    at its first use, only when the index has vectors: 0.3 s and 90 MB in this process, once.
    Raises `InvalidOptions`, `CatalogUnavailable`, `InvalidSettings` or `EmbeddingModelUnavailable`.
    """
    check_query(text, limit)
    async with connect() as connection:
        by_meaning = await has_vectors(connection, EMBEDDING_MODEL)
    # In threads: loading the model and embedding take their time, during which a gateway answers other requests.
    vector = await asyncio.to_thread(_vector, text, models) if by_meaning else None
    async with connect() as connection:
        answer = await search(connection, text, vector=vector, limit=limit, filters=filters, show_all=show_all)
    if vector is None or not answer.sentences_to_compare():
        return answer
    return await asyncio.to_thread(_with_best_sentences, answer, vector, models)


def _vector(text: str, models: Path) -> list[float]:
    # Here, not above: it loads numpy and the tokenizer.
    from blocks.embedding.vectors import embed

    return embed([meaning_of(text)], models=models)[0].tolist()


def _with_best_sentences(answer: SearchAnswer, vector: Sequence[float], models: Path) -> SearchAnswer:
    import numpy as np

    from blocks.embedding.vectors import embed

    # Vectors of the model have length 1, so the product is the cosine.
    products = embed(answer.sentences_to_compare(), models=models) @ np.asarray(vector, np.float32)
    return answer.with_similarities([float(product) for product in products])
