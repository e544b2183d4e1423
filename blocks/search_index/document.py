"""The indexed content of one document, and the text that Postgres can store of it; pure.

Ordinals count from 0 without gaps in the order of the sequences. Offsets of chunks are in characters of the Markdown,
offsets of quotes in characters of the chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from blocks.json_cleaning import storable_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The width of the embedding column; vectors of another model need a migration.
EMBEDDING_DIMENSIONS = 384


@dataclass(frozen=True, kw_only=True)
class DocumentHead:
    """The document itself. `sha256` (hex) of its content is its identity; `language` is a BCP 47 tag such as ``de``."""

    sha256: str
    title: str
    source: str
    media_type: str
    stage_key: str
    language: str | None = None
    pages: int | None = None
    created: str | None = None
    summary: str = ""
    embedding_model: str | None = None


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """One passage. `embedding` has the shape (`EMBEDDING_DIMENSIONS`,) and finite values, or is None."""

    chunk_id: str
    text: str
    start: int
    end: int
    tokens: int
    heading_path: Sequence[str] = ()
    embedding: NDArray[np.float32] | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A statement and the quote it rests on: characters ``[start, end)`` of the chunk with ordinal `chunk`."""

    fact_id: str
    type: str
    statement: str
    quote: str
    score: float | None = None
    confidence: float | None = None
    chunk: int | None = None
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, kw_only=True)
class Entity:
    """A name, its normal form if it has one, and the chunks (by ordinal) that it occurs in."""

    text: str
    type: str
    value: str | None = None
    count: int
    chunks: list[int] = field(default_factory=list[int])


@dataclass(frozen=True, kw_only=True)
class Keyword:
    """A key phrase; `score` orders the phrases of one document and means nothing beyond it."""

    text: str
    score: float | None = None


@dataclass(frozen=True, kw_only=True)
class IndexedDocument:
    """Everything the index holds of one document."""

    head: DocumentHead
    chunks: Sequence[Chunk]
    facts: Sequence[Fact] = ()
    entities: Sequence[Entity] = ()
    keywords: Sequence[Keyword] = ()


def storable(text: str) -> str:
    """Return *text* with U+FFFD for each character that Postgres cannot store: one for one, so offsets stay true."""
    return storable_text(text, nul="\ufffd")


def storable_value(value: Any) -> Any:
    """Return *value*, `storable` if it is a text."""
    return storable(value) if isinstance(value, str) else value
