"""Stage 5, the ingestor: puts chunks, vectors, facts, entities and keywords into the search index.

Owns which parts of the earlier stages' outputs go into Postgres, and the worker's connection to it. The effect is the
index; the output is a report of what the index then holds of the document, so the same input gives the same bytes,
whether or not the document was ingested before. `blocks.search_index` writes the rows.
"""

from __future__ import annotations

import os
from typing import Any

import orjson
from psycopg import Connection
from pydantic import Field

from blocks.embedding import EMBEDDING_MODEL
from blocks.errors import CatalogUnavailable, InvalidSettings
from blocks.postgres import connect, postgres_errors
from blocks.search_index import IndexedDocument, Replacement, has_document, replace_document
from tasks.contract import Read, Stage, StageInput, StageOptions, StageOutput
from tasks.ingestion_input import FactsRead, read_chunks, read_facts
from tasks.losses import loss

# Another process that ingests the same document holds its row for a few seconds, a minute for 20,000 chunks. The wait
# ends before the stage's own time limit, which would turn a transient error into a permanent one.
LOCK_WAIT_SECONDS = 60

# One connection per worker process and database, opened at the first document. A forked child must not use its
# parent's, hence the process id.
_connections: dict[tuple[int, str], Connection[Any]] = {}


class IngestOptions(StageOptions):
    """Options of the ingestor."""

    vectors: bool = Field(default=True, description="Store embeddings; without them search is by words only.")
    facts: bool = Field(default=True, description="Store facts, entities and keywords, if stage 4 made them.")


def run(given: StageInput, options: IngestOptions) -> StageOutput:
    """Replace what the index holds of the document, in one transaction, and return a report of it.

    Raises `UnreadableDocument` when an input is not valid, `CatalogUnavailable`, `InvalidSettings` or `CatalogRefused`;
    the index is then unchanged.
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
    needs_home=lambda _options, _services: True,
)


def _document(given: StageInput, options: IngestOptions) -> tuple[IndexedDocument, tuple[str, ...]]:
    read = read_chunks(
        given.first("chunker"),
        document=given.document,
        stage_key=given.stage_key,
        embedding_model=EMBEDDING_MODEL if options.vectors else None,
    )
    warnings: list[str] = []
    if options.vectors:
        # Search compares vectors of one model only.
        warnings += loss("vector", read.left_out_vectors)
    found = FactsRead()
    if options.facts and "fact-generator" in given.files:
        found = read_facts(given.files["fact-generator"], read.chunks)
        warnings += loss("fact", found.strayed)
    document = IndexedDocument(
        head=read.head, chunks=read.chunks, facts=found.facts, entities=found.entities, keywords=found.keywords
    )
    return document, tuple(warnings)


def _report(document: IndexedDocument) -> dict[str, Any]:
    """Return what the index holds of the document; nothing of when or how it was written."""
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
    """Write through the kept connection, or through a new one if that is closed or its session has become stale."""
    if not database_url:
        raise InvalidSettings("stage 5 needs a database; set WAYBILL_DATABASE_URL, or leave stage 5 out")
    kept = _connections.get((os.getpid(), database_url))
    if kept is not None:
        try:
            return replace_document(kept, document)
        except CatalogUnavailable as exc:
            if not (kept.closed or exc.context.get("stale_session")):
                raise
            kept.close()
    return replace_document(_open(database_url), document)


def _open(database_url: str) -> Connection[Any]:
    connection = connect(database_url, autocommit=True)
    with postgres_errors("set up the connection"):
        connection.execute("select set_config('lock_timeout', %s, false)", [f"{LOCK_WAIT_SECONDS}s"])
    _connections[os.getpid(), database_url] = connection
    return connection
