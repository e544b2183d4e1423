"""Write one document into the index, or remove it, on the caller's connection.

Unchanged rows stay: rewriting a chunk costs an insert into the vector graph (0.3 ms), even with the same text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from psycopg import Connection
from psycopg.rows import tuple_row

from blocks.postgres import postgres_errors
from blocks.search_index import queries
from blocks.search_index.document import Chunk, IndexedDocument, storable, storable_value
from blocks.search_index.lists import ENTITIES, FACTS, KEYWORDS, Changes, put_list
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
    """Make the index hold exactly *document* under its sha256, in one transaction.

    Idempotent: the same document again changes no row. Two processes that write the same document take turns, and the
    later one wins. NUL and lone surrogates are stored as U+FFFD. Joins the caller's transaction if one is open, else
    commits its own. Raises `CatalogUnavailable`, `InvalidSettings` or `CatalogRefused`; the old rows then stay.
    """
    with postgres_errors(f"index document {document.head.sha256[:12]}"), connection.transaction():
        document_id, stemmer, changes = _put_document(connection, document)
        return Replacement(
            documents=changes,
            chunks=_put_chunks(connection, document_id, stemmer, document),
            facts=put_list(connection, FACTS, document_id, document.facts),
            entities=put_list(connection, ENTITIES, document_id, document.entities),
            keywords=put_list(connection, KEYWORDS, document_id, document.keywords),
        )


def remove_document(connection: Connection[Any], sha256: str) -> bool:
    """Remove a document with its chunks and lists; return whether there was one."""
    with postgres_errors(f"remove document {sha256[:12]} from the index"), connection.transaction():
        return connection.execute(queries.REMOVE_DOCUMENT, {"sha256": sha256}).rowcount > 0


def _put_document(connection: Connection[Any], document: IndexedDocument) -> tuple[int, str, Changes]:
    head = document.head
    values = {name: storable_value(value) for name, value in vars(head).items()}
    cursor = connection.cursor(row_factory=tuple_row)
    row = cursor.execute(queries.PUT_DOCUMENT, {**values, "stemmer": stemmer_for(head.language)}).fetchone()
    assert row is not None  # noqa: S101 (an upsert returns its row)
    document_id, stemmer, is_new, is_changed = row
    updated = is_changed and not is_new
    return document_id, stemmer, Changes(inserted=int(is_new), updated=int(updated), unchanged=int(not is_changed))


# Chunks ---------------------------------------------------------------------------------------------------------------


def _put_chunks(connection: Connection[Any], document_id: int, stemmer: str, document: IndexedDocument) -> Changes:
    cursor = connection.cursor(row_factory=tuple_row)
    stored: dict[int, bytes] = dict(cursor.execute(queries.CHUNK_FINGERPRINTS, [document_id]).fetchall())
    title = document.head.title
    wanted = {ordinal: _fingerprint(chunk, title, stemmer) for ordinal, chunk in enumerate(document.chunks)}
    gone = stored.keys() - wanted.keys()
    if gone:
        connection.execute(queries.REMOVE_CHUNKS, [document_id, list(gone)])
    stale = [ordinal for ordinal, fingerprint in wanted.items() if stored.get(ordinal) != fingerprint]
    if stale:
        rows = (_staged(ordinal, document.chunks[ordinal], title, wanted[ordinal]) for ordinal in stale)
        _copy_chunks(connection, rows)
        connection.execute(queries.PUT_CHUNKS, {"document_id": document_id, "stemmer": stemmer})
        connection.execute(queries.EMPTY_STAGING)  # another document may follow in the same transaction
    updated = sum(ordinal in stored for ordinal in stale)
    return Changes(
        inserted=len(stale) - updated, updated=updated, unchanged=len(wanted) - len(stale), removed=len(gone)
    )


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


def _staged(ordinal: int, chunk: Chunk, title: str, fingerprint: bytes) -> tuple[Any, ...]:
    return (
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
        searchable_text("\n".join((title, *chunk.heading_path))),
    )
