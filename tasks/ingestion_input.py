"""The outputs of the chunker and the fact generator, checked and turned into rows for the search index.

Owns what ingestion accepts of both files (``waybill.chunks/1`` and ``waybill.facts/1``). Both are this project's own,
but they come from a storage: a file that does not have the form raises `UnreadableDocument`. Opens no connection.

The form is that of the structs below: types are strict, fields that ingestion does not use are skipped. A chunks file
may be 120 MB, five times as much as Python objects, so `read_with_array` maps it and parses one chunk at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from blocks.errors import UnreadableDocument
from blocks.search_index import EMBEDDING_DIMENSIONS, Chunk, DocumentHead, Entity, Fact, Keyword

if TYPE_CHECKING:
    from tasks.contract import DocumentInfo

# A fact with its quote is about 1 kB; a book of them is a tenth of this.
MAX_FACTS_BYTES = 64 * 1024 * 1024

# Postgres's integer; a larger offset or count is not a document's.
_Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
_Vector = Annotated[list[float], Meta(min_length=EMBEDDING_DIMENSIONS, max_length=EMBEDDING_DIMENSIONS)]

_SPACE = rb"[ \t\n\r]*+"
# What stands before a value of an object: a brace or a comma, the key, a colon. Possessive, so the time is linear.
_KEY = re.compile(_SPACE + rb"[{,]" + _SPACE + rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"' + _SPACE + rb":" + _SPACE, re.DOTALL)

FileT = TypeVar("FileT")
PartT = TypeVar("PartT")
ItemT = TypeVar("ItemT")


class _Document(Struct, frozen=True):
    title: str | None = None
    source: str | None = None
    language: str | None = None
    type: str | None = None
    pages: _Count | None = None
    created: str | None = None


class _Chunk(Struct, frozen=True, kw_only=True):
    id: str
    ordinal: _Count
    start: _Count
    end: _Count
    text: str
    tokens: _Count
    heading_path: list[str] = []
    embedding: _Vector | None = None


class _ChunksFile(Struct, frozen=True, kw_only=True):
    schema: str
    document: _Document
    summary: str | None = None
    embedding_model: str | None = None
    chunks: Annotated[list[Any], Meta(max_length=0)]  # read one by one


class _Fact(Struct, frozen=True, kw_only=True):
    id: str
    statement: str
    type: str
    quote: str
    score: float | None = None
    confidence: float | None = None
    chunk_id: str | None = None
    start: _Count | None = None
    end: _Count | None = None


class _Entity(Struct, frozen=True, kw_only=True):
    text: str
    type: str
    value: str | None = None
    count: _Count
    chunk_ids: list[str] = []


class _FactsFile(Struct, frozen=True, kw_only=True):
    schema: str
    facts: list[_Fact] = []
    entities: list[_Entity] = []
    keywords: list[Keyword] = []


@dataclass(frozen=True, kw_only=True)
class ChunksRead:
    """A chunks file as rows. `left_out_vectors` counts vectors of another model than the requested one."""

    head: DocumentHead
    chunks: list[Chunk]
    left_out_vectors: int


@dataclass(frozen=True, kw_only=True)
class FactsRead:
    """A facts file as rows. `strayed` counts facts whose chunk is not among the chunks: made from other chunks."""

    facts: Sequence[Fact] = ()
    entities: Sequence[Entity] = ()
    keywords: Sequence[Keyword] = ()
    strayed: int = 0


def read_chunks(path: Path, *, document: DocumentInfo, stage_key: str, embedding_model: str | None) -> ChunksRead:
    """Return the chunks file at *path* as rows of *document*. Raises `UnreadableDocument`.

    Vectors are kept only if *embedding_model* made them, because search compares them to that model's vectors alone;
    None keeps none. Fields that the file does not give of the document are taken from *document*.
    """
    try:
        file, chunks = read_with_array(path, "chunks", _chunk, item_type=_Chunk, file_type=_ChunksFile)
        _check_schema(file.schema, "waybill.chunks/1")
        _check_order(chunks)
    except ValueError as exc:
        raise _unreadable(path, exc) from exc
    vectors = sum(chunk.embedding is not None for _, chunk in chunks)
    fits = embedding_model is not None and file.embedding_model == embedding_model
    return ChunksRead(
        head=_head(file, document, stage_key, embedding_model if fits and vectors else None),
        chunks=[chunk if fits else replace(chunk, embedding=None) for _, chunk in chunks],
        left_out_vectors=0 if fits else vectors,
    )


def read_facts(path: Path, chunks: list[Chunk]) -> FactsRead:
    """Return the facts file at *path* as rows that refer to *chunks*. Raises `UnreadableDocument`."""
    if path.stat().st_size > MAX_FACTS_BYTES:
        raise UnreadableDocument(f"{path.name} has more than {MAX_FACTS_BYTES} bytes, which no fact generator wrote")
    try:
        file = _decoded(path.read_bytes(), _FactsFile)
        _check_schema(file.schema, "waybill.facts/1")
    except ValueError as exc:
        raise _unreadable(path, exc) from exc
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
        keywords=file.keywords,
        strayed=sum(fact.chunk_id is not None and fact.chunk_id not in ordinals for fact in file.facts),
    )


def read_with_array(
    path: Path, key: str, read_item: Callable[[PartT], ItemT], *, item_type: type[PartT], file_type: type[FileT]
) -> tuple[FileT, list[ItemT]]:
    """Return the JSON object in *path* with an empty array under *key*, and *read_item* of each element of that array.

    The elements are parsed as *item_type*, one at a time. A file without such an array is parsed as *file_type* as it
    is, with no items. Raises `ValueError` when the file is not JSON (RFC 8259), a part of it does not have its type, or
    a key of the object comes twice.
    """
    if path.stat().st_size == 0:
        raise ValueError("the file is empty")
    with path.open("rb") as file:
        data = mmap(file.fileno(), 0, access=ACCESS_READ)
    try:
        values = _decoded(data, dict[str, Raw])
    except msgspec.ValidationError:  # not an object
        return _decoded(data, file_type), []
    if key not in values or bytes(memoryview(values[key])[:1]) != b"[":
        return _decoded(data, file_type), []
    if not _each_key_once(data, values.values()):
        raise ValueError("a key comes twice in the outermost object")
    items: list[ItemT] = []
    for item in _decoded(values[key], list[Raw]):
        try:
            items.append(read_item(_decoded(item, item_type)))
        except ValueError as exc:
            raise ValueError(f"element {len(items)} of {key}: {exc}") from exc
    return _decoded(msgspec.json.encode({**values, key: []}), file_type), items


def _decoded(data: bytes | mmap | Raw, kind: type[PartT]) -> PartT:
    """Return *data* as *kind*. Raises `ValueError`, whose message names a place and a rule, and quotes no content."""
    try:
        return msgspec.json.decode(data, type=kind)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _each_key_once(data: mmap, values: Iterable[Raw]) -> bool:
    """Whether *values* are all values of the object in *data*: the parser keeps only the last one of a key."""
    position = 0
    for value in values:
        key = _KEY.match(data, position)  # pyright: ignore[reportCallIssue, reportArgumentType]
        if key is None or data.find(value, key.end(), key.end() + len(memoryview(value))) != key.end():
            return False
        position = key.end() + len(memoryview(value))
    return data[position:].strip(b" \t\n\r") == b"}"


def _check_schema(found: str, expected: str) -> None:
    if found != expected:
        raise ValueError(f"its schema is not {expected}")


def _unreadable(path: Path, exc: ValueError) -> UnreadableDocument:
    return UnreadableDocument(f"{path.name} is not valid: {str(exc)[:200]}; make it again (--no-reuse)")


def _chunk(chunk: _Chunk) -> tuple[int, Chunk]:
    """Return the row of a chunk, and the ordinal that the file gives it."""
    import numpy as np  # here, because the flow's process only reads the declaration of the stage

    if chunk.end < chunk.start:
        raise ValueError(f"it runs backwards, from {chunk.start} to {chunk.end}")
    vector = None
    if chunk.embedding is not None:
        with np.errstate(over="ignore"):  # what overflows becomes infinite and is refused
            vector = np.array(chunk.embedding, dtype=np.float32)
        if not np.isfinite(vector).all():
            raise ValueError("its embedding has values that are not finite")
    return chunk.ordinal, Chunk(
        chunk_id=chunk.id,
        text=chunk.text,
        start=chunk.start,
        end=chunk.end,
        tokens=chunk.tokens,
        heading_path=chunk.heading_path,
        embedding=vector,
    )


def _check_order(chunks: list[tuple[int, Chunk]]) -> None:
    for position, (ordinal, _) in enumerate(chunks):
        if ordinal != position:
            raise ValueError(f"chunk {position} has the ordinal {ordinal}; expected no gaps")
    if len({chunk.chunk_id for _, chunk in chunks}) != len(chunks):
        raise ValueError("two chunks have the same id")


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
