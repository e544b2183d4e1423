"""Stage 5: puts chunks, vectors, facts, entities and keywords into the search index.

Owns what of the earlier stages' outputs goes into Postgres, and the worker's connection to it. The effect is the
index; the output is a report of what it then holds of the document, so the same input always gives the same bytes,
whoever ingested it before. How rows are written is the business of `blocks.search_index`.
"""

from __future__ import annotations

import os
from typing import Any

import orjson
from psycopg import Connection
from pydantic import Field

from blocks.errors import CatalogUnavailable, InvalidSettings
from blocks.postgres import connect, postgres_errors
from blocks.search_index import (
    Entity,
    Fact,
    IndexedDocument,
    Keyword,
    Replacement,
    has_document,
    replace_document,
)
from tasks.contract import Read, Stage, StageInput, StageOptions, StageOutput
from tasks.ingestion_input import read_chunks, read_facts

# Another process that ingests the same document holds its row for a few seconds, a minute for 20,000 chunks; it has to
# end before the stage's own time limit, which would make a passing condition a permanent one.
LOCK_WAIT_SECONDS = 60

# One connection per worker process and database, opened at the first document. A forked child must not use its
# parent's, hence the process id.
_connections: dict[tuple[int, str], Connection[Any]] = {}


class IngestOptions(StageOptions):
    """What of a document goes into the index."""

    vectors: bool = Field(default=True, description="Store embeddings; without them search goes by words alone.")
    facts: bool = Field(default=True, description="Store facts, entities and keywords where they were made.")


def run(given: StageInput, options: IngestOptions) -> StageOutput:
    """Replace what the index holds of the document, in one transaction, and report what it holds now.

    Raises `UnreadableDocument` when an input does not fit, `CatalogUnavailable`, `InvalidSettings` or `CatalogRefused`;
    the index then holds what it held before.
    """
    document, warnings = _document(given, options)
    replacement = _write(given.services.database_url, document)
    return StageOutput(
        content=orjson.dumps(_report(document), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE),
        metadata={"rows": replacement.as_dict()},
        warnings=warnings,
    )


INGEST: Stage[IngestOptions] = Stage(
    number=5,
    name="ingestor",
    version="1",
    suffix=".ingestion.json",
    media_type="application/json",
    reads=(Read(any_of=("chunker",)), Read(any_of=("fact-generator",), required=False)),
    options=IngestOptions,
    run=run,
    has_effect=has_document,
)


def _document(given: StageInput, options: IngestOptions) -> tuple[IndexedDocument, tuple[str, ...]]:
    from blocks.embedding.vectors import EMBEDDING_MODEL  # imports numpy; the flow's process only wants the declaration

    read = read_chunks(
        given.first("chunker"),
        document=given.document,
        stage_key=given.stage_key,
        embedding_model=EMBEDDING_MODEL if options.vectors else None,
    )
    warnings: list[str] = []
    if options.vectors and read.left_out_vectors:
        warnings.append(
            f"{read.left_out_vectors} vectors were left out: search compares vectors of {EMBEDDING_MODEL} only"
        )
    facts: list[Fact] = []
    entities: list[Entity] = []
    keywords: list[Keyword] = []
    if options.facts and "fact-generator" in given.files:
        found = read_facts(given.files["fact-generator"], read.chunks)
        facts, entities, keywords = found.facts, found.entities, found.keywords
        if found.strayed:
            warnings.append(
                f"{found.strayed} facts come from another chunking and point at no chunk; run stage 4 again"
            )
    document = IndexedDocument(head=read.head, chunks=read.chunks, facts=facts, entities=entities, keywords=keywords)
    return document, tuple(warnings)


def _report(document: IndexedDocument) -> dict[str, Any]:
    """What the index holds of the document; nothing of when or how it came there."""
    head = document.head
    return {
        "schema": "waybill.ingestion/1",
        "document": {"sha256": head.sha256, "title": head.title, "source": head.source, "language": head.language},
        "stage_key": head.stage_key,
        "table": "indexed_chunks",
        "embedding_model": head.embedding_model,
        "chunks": len(document.chunks),
        "vectors": sum(chunk.embedding is not None for chunk in document.chunks),
        "facts": len(document.facts),
        "entities": len(document.entities),
        "keywords": len(document.keywords),
    }


def _write(database_url: str, document: IndexedDocument) -> Replacement:
    """Write through the kept connection; through a fresh one if the server has dropped that since the last document."""
    if not database_url:
        raise InvalidSettings("ingestion has no database; set WAYBILL_DATABASE_URL, or leave stage 5 out")
    kept = _connections.get((os.getpid(), database_url))
    if kept is not None:
        try:
            return replace_document(kept, document)
        except CatalogUnavailable:
            if not kept.closed:
                raise
    return replace_document(_open(database_url), document)


def _open(database_url: str) -> Connection[Any]:
    connection = connect(database_url, autocommit=True)
    with postgres_errors("set up the connection"):
        connection.execute("select set_config('lock_timeout', %s, false)", [f"{LOCK_WAIT_SECONDS}s"])
    _connections[os.getpid(), database_url] = connection
    return connection
