"""Documents for the search index, made to measure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import psycopg

from blocks.embedding import EMBEDDING_MODEL
from blocks.embedding.vectors import embed
from blocks.search_index import Chunk, DocumentHead, IndexedDocument, replace_document
from blocks.search_index.document import EMBEDDING_DIMENSIONS

WHOLE = "0" * 64


def direction(*weights: float) -> np.ndarray:
    """A unit vector whose first coordinates have these proportions: a meaning made to measure."""
    vector = np.zeros(EMBEDDING_DIMENSIONS, np.float32)
    vector[: len(weights)] = weights
    return vector / np.linalg.norm(vector)


def document(
    *passages: str | tuple[str, np.ndarray | None],
    title: str = "Untitled",
    language: str | None = "en",
    source: str | None = None,
    headings: Sequence[str] = (),
) -> IndexedDocument:
    chunks = []
    for number, passage in enumerate(passages):
        text, vector = passage if isinstance(passage, tuple) else (passage, None)
        chunks.append(
            Chunk(
                chunk_id=f"c{number}",
                text=text,
                start=number * 1000,
                end=number * 1000 + len(text),
                tokens=len(text.split()),
                heading_path=tuple(headings),
                embedding=vector,
            )
        )
    head = DocumentHead(
        sha256=hashlib.sha256(repr((title, passages)).encode()).hexdigest(),
        title=title,
        source=source or f"{title.lower()}.pdf",
        media_type="application/pdf",
        stage_key=WHOLE,
        language=language,
    )
    return IndexedDocument(head=head, chunks=chunks)


def put(url: str, *documents: IndexedDocument) -> None:
    with psycopg.connect(url) as connection:
        for item in documents:
            replace_document(connection, item)


def embedded(models: Path, *texts: str, title: str) -> IndexedDocument:
    item = document(*zip(texts, embed(texts, models=models), strict=True), title=title)
    return replace(item, head=replace(item.head, embedding_model=EMBEDDING_MODEL))
