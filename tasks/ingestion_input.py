"""What the chunker and the fact generator wrote, checked and turned into rows for the index.

Owns what ingestion accepts of both files (``waybill.chunks/1`` and ``waybill.facts/1``). Both are this project's own,
but they come back from a storage: whatever does not fit raises `UnreadableDocument`. Opens no connection.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blocks.errors import UnreadableDocument
from blocks.search_index import Chunk, DocumentHead, Entity, Fact, Keyword
from blocks.search_index.document import EMBEDDING_DIMENSIONS
from tasks.json_array import read_with_array

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tasks.contract import DocumentInfo

# Postgres's integer; a larger offset or count is not a document's.
_MAX_INTEGER = 2**31 - 1

# A fact with its quote is about 1 kB; a book of them is a tenth of this.
MAX_FACTS_BYTES = 64 * 1024 * 1024

Count = Annotated[int, Field(ge=0, le=_MAX_INTEGER)]
Score = Annotated[float, Field(allow_inf_nan=False)]


class _Part(BaseModel):
    """A part of a file: types are taken strictly, fields that ingestion does not use are passed over."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class _Document(_Part):
    title: str | None = None
    source: str | None = None
    language: str | None = None
    type: str | None = None
    pages: Count | None = None
    created: str | None = None


class _Chunk(_Part):
    id: str
    ordinal: Count
    start: Count
    end: Count
    text: str
    tokens: Count
    heading_path: list[str] = []


class _ChunksFile(_Part):
    schema_: Literal["waybill.chunks/1"] = Field(alias="schema")
    document: _Document
    summary: str | None = None
    embedding_model: str | None = None
    dimensions: int | None = None
    chunks: Annotated[list[Any], Field(max_length=0)]  # read one by one before


class _Fact(_Part):
    id: str
    statement: str
    type: str
    quote: str
    score: Score | None = None
    confidence: Score | None = None
    chunk_id: str | None = None
    start: Count | None = None
    end: Count | None = None


class _Entity(_Part):
    text: str
    type: str
    value: str | None = None
    count: Count
    chunk_ids: list[str] = []


class _Keyword(_Part):
    text: str
    score: Score | None = None


class _FactsFile(_Part):
    schema_: Literal["waybill.facts/1"] = Field(alias="schema")
    facts: list[_Fact] = []
    entities: list[_Entity] = []
    keywords: list[_Keyword] = []


PartT = TypeVar("PartT", bound=_Part)


@dataclass(frozen=True, kw_only=True)
class ChunksRead:
    """A chunks file as rows, and what its vectors were made by."""

    head: DocumentHead
    chunks: list[Chunk]
    left_out_vectors: int


@dataclass(frozen=True, kw_only=True)
class FactsRead:
    """A facts file as rows. `strayed` counts facts whose chunk is not among the chunks: made from another chunking."""

    facts: list[Fact]
    entities: list[Entity]
    keywords: list[Keyword]
    strayed: int


def read_chunks(path: Path, *, document: DocumentInfo, stage_key: str, embedding_model: str | None) -> ChunksRead:
    """The chunks file at *path* as rows of *document*. Raises `UnreadableDocument`.

    Vectors are kept only if *embedding_model* made them, because search compares them to that model's vectors alone;
    None keeps none. What the file does not say of the document is taken from *document*.
    """
    try:
        raw, chunks = read_with_array(path, "chunks", lambda item: _chunk(item, path))
    except ValueError as exc:
        raise _not_readable(path, exc) from exc
    file = _validated(_ChunksFile, raw, path.name)
    _check_order(chunks, path)
    vectors = sum(chunk.embedding is not None for _, chunk in chunks)
    fits = embedding_model is not None and file.embedding_model == embedding_model
    return ChunksRead(
        head=_head(file, document, stage_key, embedding_model if fits and vectors else None),
        chunks=[chunk if fits else replace(chunk, embedding=None) for _, chunk in chunks],
        left_out_vectors=0 if fits else vectors,
    )


def read_facts(path: Path, chunks: list[Chunk]) -> FactsRead:
    """The facts file at *path* as rows that refer to *chunks*. Raises `UnreadableDocument`."""
    file = _load_facts(path)
    ordinals = {chunk.chunk_id: ordinal for ordinal, chunk in enumerate(chunks)}
    return FactsRead(
        facts=[
            Fact(
                fact_id=fact.id,
                type=fact.type,
                statement=fact.statement,
                quote=fact.quote,
                score=fact.score,
                confidence=fact.confidence,
                chunk=ordinals.get(fact.chunk_id or ""),
                start=fact.start,
                end=fact.end,
            )
            for fact in file.facts
        ],
        entities=[
            Entity(
                text=entity.text,
                type=entity.type,
                value=entity.value,
                count=entity.count,
                chunks=[ordinals[chunk_id] for chunk_id in entity.chunk_ids if chunk_id in ordinals],
            )
            for entity in file.entities
        ],
        keywords=[Keyword(text=keyword.text, score=keyword.score) for keyword in file.keywords],
        strayed=sum(fact.chunk_id is not None and fact.chunk_id not in ordinals for fact in file.facts),
    )


def _load_facts(path: Path) -> _FactsFile:
    if path.stat().st_size > MAX_FACTS_BYTES:
        raise UnreadableDocument(f"{path.name} has more than {MAX_FACTS_BYTES} bytes, which no fact generator wrote")
    try:
        raw = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as exc:
        raise _not_readable(path, exc) from exc
    return _validated(_FactsFile, raw, path.name)


def _not_readable(path: Path, exc: ValueError) -> UnreadableDocument:
    # The parser's message names a place and a rule, and is cut where it could go on to quote.
    return UnreadableDocument(f"{path.name} is not the JSON it should be: {str(exc)[:100]}; make it again (--no-reuse)")


def _validated(kind: type[PartT], raw: Any, name: str) -> PartT:
    try:
        return kind.model_validate(raw)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the outermost value"
        raise UnreadableDocument(
            f"{name} does not fit at {place}: {first['msg']} ({exc.error_count()} problems); make it again (--no-reuse)"
        ) from exc


def _chunk(raw: dict[str, Any], path: Path) -> tuple[int, Chunk]:
    """One element of the array, with the ordinal it claims. The vector is taken out first, at a tenth of the memory."""
    name = f"{path.name}, chunk {str(raw.get('ordinal'))[:10]}"
    values = raw.pop("embedding", None)
    chunk = _validated(_Chunk, raw, name)
    if chunk.end < chunk.start:
        raise UnreadableDocument(f"{name} runs backwards, from {chunk.start} to {chunk.end}")
    return chunk.ordinal, Chunk(
        chunk_id=chunk.id,
        text=chunk.text,
        start=chunk.start,
        end=chunk.end,
        tokens=chunk.tokens,
        heading_path=chunk.heading_path,
        embedding=None if values is None else _vector(values, name),
    )


def _vector(values: Any, name: str) -> NDArray[np.float32]:
    import numpy as np

    try:
        with np.errstate(over="ignore"):  # what overflows becomes infinite and is refused below
            vector = np.array(values, dtype=np.float32)
    except (TypeError, ValueError, OverflowError) as exc:
        raise UnreadableDocument(f"the embedding of {name} is not a list of numbers") from exc
    if vector.shape != (EMBEDDING_DIMENSIONS,) or not np.isfinite(vector).all():
        raise UnreadableDocument(
            f"the embedding of {name} has shape {vector.shape} or values that are not finite, "
            f"expected {EMBEDDING_DIMENSIONS} finite numbers"
        )
    return vector


def _check_order(chunks: list[tuple[int, Chunk]], path: Path) -> None:
    for position, (ordinal, _) in enumerate(chunks):
        if ordinal != position:
            raise UnreadableDocument(f"{path.name}: chunk {position} has the ordinal {ordinal}; expected no gaps")
    if len({chunk.chunk_id for _, chunk in chunks}) != len(chunks):
        raise UnreadableDocument(f"{path.name}: two chunks have the same id")


def _head(file: _ChunksFile, document: DocumentInfo, stage_key: str, embedding_model: str | None) -> DocumentHead:
    said = file.document
    return DocumentHead(
        sha256=document.sha256,
        title=said.title or said.source or document.name,
        source=said.source or document.name,
        media_type=said.type or document.media_type,
        stage_key=stage_key,
        language=said.language,
        pages=said.pages,
        created=said.created,
        summary=file.summary or "",
        embedding_model=embedding_model,
    )
