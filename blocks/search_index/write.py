"""Write documents into the index, or remove one, on the caller's connection.

Unchanged rows stay: rewriting a chunk costs an insert into the vector graph (1 to 2 ms), even with the same text.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from psycopg import Connection
from psycopg.rows import tuple_row

from blocks.postgres import postgres_errors
from blocks.search_index import queries
from blocks.search_index.document import Chunk, DocumentHead, IndexedDocument, storable, storable_value
from blocks.search_index.lists import ENTITIES, FACTS, KEYWORDS, Changes, changes, put_lists
from blocks.search_index.words import searchable_text, stemmer_for

# Part of every chunk's fingerprint: raise it when `words` changes, and the next ingestion rewrites the chunks.
_ROW_VERSION = 1
# Enough that two different rows never agree by chance, and half the bytes of a sha256.
_FINGERPRINT_BYTES = 16


@dataclass(frozen=True, kw_only=True)
class Replacement:
    """The changes that `replace_document` made, by table."""

    documents: Changes
    chunks: Changes
    facts: Changes
    entities: Changes
    keywords: Changes

    def as_dict(self) -> dict[str, dict[str, int]]:
        return asdict(self)


def replace_document(connection: Connection[Any], document: IndexedDocument) -> Replacement:
    """Make the index hold exactly *document* under its sha256, as `replace_documents` does."""
    return replace_documents(connection, [document])[0]


def replace_documents(connection: Connection[Any], documents: Sequence[IndexedDocument]) -> list[Replacement]:
    """Make the index hold exactly each of *documents* under its sha256, in one transaction and few statements.

    Idempotent: the same document again changes no row. Two processes that write the same document take turns, and the
    later one wins, as does the later one of two with the same sha256 in *documents*. NUL and lone surrogates are stored
    as U+FFFD. Joins the caller's transaction if one is open, else commits its own. Raises `CatalogUnavailable`,
    `InvalidSettings` or `CatalogRefused`; the old rows of all of them then stay.
    """
    replaced: dict[int, Replacement] = {}
    with postgres_errors(_action(documents)), connection.transaction():
        for positions in _each_content_once(documents):
            replacements = _replace(connection, [documents[position] for position in positions])
            replaced.update(zip(positions, replacements, strict=True))
    return [replaced[position] for position in range(len(documents))]


def remove_document(connection: Connection[Any], sha256: str) -> bool:
    """Remove a document with its chunks and lists; return whether there was one."""
    with postgres_errors(f"remove document {sha256[:12]} from the index"), connection.transaction():
        return connection.execute(queries.REMOVE_DOCUMENT, {"sha256": sha256}).rowcount > 0


def _action(documents: Sequence[IndexedDocument]) -> str:
    first = f"index document {documents[0].head.sha256[:12]}" if documents else "index documents"
    return first if len(documents) < 2 else f"{first} and {len(documents) - 1} more"


def _each_content_once(documents: Sequence[IndexedDocument]) -> list[list[int]]:
    """Return the positions of *documents* in rounds, none of which has a sha256 twice: an upsert refuses that."""
    rounds: list[list[int]] = []
    seen: Counter[str] = Counter()
    for position, document in enumerate(documents):
        sha256 = document.head.sha256
        if seen[sha256] == len(rounds):
            rounds.append([])
        rounds[seen[sha256]].append(position)
        seen[sha256] += 1
    return rounds


@dataclass(frozen=True, kw_only=True)
class _Row:
    """The row of a document as `PUT_DOCUMENTS` left it; `stemmer` is one that the server has."""

    document_id: int
    stemmer: str
    is_new: bool
    is_changed: bool

    def changes(self) -> Changes:
        updated = self.is_changed and not self.is_new
        return Changes(inserted=int(self.is_new), updated=int(updated), unchanged=int(not self.is_changed))


def _replace(connection: Connection[Any], documents: Sequence[IndexedDocument]) -> list[Replacement]:
    rows = _put_documents(connection, documents)
    # A document that is new in the index has no other rows there.
    stored = [row.document_id for row in rows if not row.is_new]
    ids = [row.document_id for row in rows]
    chunks = _put_chunks(connection, rows, documents, stored)
    facts = put_lists(connection, FACTS, dict(zip(ids, (one.facts for one in documents), strict=True)), stored)
    entities = put_lists(connection, ENTITIES, dict(zip(ids, (one.entities for one in documents), strict=True)), stored)
    keywords = put_lists(connection, KEYWORDS, dict(zip(ids, (one.keywords for one in documents), strict=True)), stored)
    return [
        Replacement(
            documents=row.changes(),
            chunks=chunks[row.document_id],
            facts=facts[row.document_id],
            entities=entities[row.document_id],
            keywords=keywords[row.document_id],
        )
        for row in rows
    ]


def _put_documents(connection: Connection[Any], documents: Sequence[IndexedDocument]) -> list[_Row]:
    columns = {
        field.name: [storable_value(getattr(one.head, field.name)) for one in documents]
        for field in fields(DocumentHead)
    }
    stemmers = [stemmer_for(one.head.language) for one in documents]
    cursor = connection.cursor(row_factory=tuple_row)
    written = {
        sha256: _Row(document_id=document_id, stemmer=stemmer, is_new=is_new, is_changed=is_changed)
        for sha256, document_id, stemmer, is_new, is_changed in cursor.execute(
            queries.PUT_DOCUMENTS, {**columns, "stemmer": stemmers}
        )
    }
    return [written[one.head.sha256] for one in documents]


# Chunks ---------------------------------------------------------------------------------------------------------------


def _put_chunks(
    connection: Connection[Any], rows: Sequence[_Row], documents: Sequence[IndexedDocument], stored_ids: list[int]
) -> dict[int, Changes]:
    stored: defaultdict[int, dict[int, bytes]] = defaultdict(dict)
    if stored_ids:
        cursor = connection.cursor(row_factory=tuple_row)
        for document_id, ordinal, fingerprint in cursor.execute(queries.CHUNK_FINGERPRINTS, [stored_ids]):
            stored[document_id][ordinal] = fingerprint
    changed: dict[int, Changes] = {}
    gone: list[tuple[int, int]] = []
    stale: list[tuple[_Row, IndexedDocument, int, bytes]] = []
    for row, document in zip(rows, documents, strict=True):
        title = document.head.title
        wanted = {place: _fingerprint(chunk, title, row.stemmer) for place, chunk in enumerate(document.chunks)}
        before = stored[row.document_id]
        changed[row.document_id] = changes(before, wanted)
        gone += ((row.document_id, place) for place in before.keys() - wanted.keys())
        stale += ((row, document, place, new) for place, new in wanted.items() if before.get(place) != new)
    if gone:
        connection.execute(queries.REMOVE_CHUNKS, [*map(list, zip(*gone, strict=True))])
    if stale:
        _copy_chunks(connection, (_staged(*one) for one in stale))
        connection.execute(queries.PUT_CHUNKS)
        connection.execute(queries.EMPTY_STAGING)  # others may follow in the same transaction
    return changed


def _copy_chunks(connection: Connection[Any], rows: Iterable[Sequence[Any]]) -> None:
    from pgvector.psycopg import register_vector

    if connection.adapters.types.get("vector") is None:
        register_vector(connection)
    connection.execute(queries.STAGING)
    with connection.cursor().copy(queries.COPY_TO_STAGING) as copy:
        copy.set_types(queries.STAGING_TYPES)
        for row in rows:
            copy.write_row(row)


def _fingerprint(chunk: Chunk, title: str, stemmer: str) -> bytes:
    made_from = (
        _ROW_VERSION,
        stemmer,
        title,
        chunk.chunk_id,
        tuple(chunk.heading_path),
        chunk.text,
        chunk.start,
        chunk.end,
        chunk.tokens,
    )
    digest = hashlib.blake2b(repr(made_from).encode(), digest_size=_FINGERPRINT_BYTES)
    if chunk.embedding is not None:
        digest.update(chunk.embedding.tobytes())
    return digest.digest()


def _staged(row: _Row, document: IndexedDocument, ordinal: int, fingerprint: bytes) -> tuple[Any, ...]:
    chunk = document.chunks[ordinal]
    return (
        row.document_id,
        row.stemmer,
        ordinal,
        storable(chunk.chunk_id),
        [storable(heading) for heading in chunk.heading_path],
        storable(chunk.text),
        chunk.start,
        chunk.end,
        chunk.tokens,
        chunk.embedding,
        fingerprint,
        searchable_text(chunk.text),
        searchable_text("\n".join((document.head.title, *chunk.heading_path))),
    )
