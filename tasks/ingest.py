"""Stage 5, the ingestor: puts chunks, vectors, facts, entities and keywords into the search index.

Owns which parts of the earlier stages' outputs go into Postgres, and the worker's connection to it. The effect is the
index; the output is a report of what the index then holds of the document, so the same input gives the same bytes,
whether or not the document was ingested before. `blocks.search_index` writes the rows.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import orjson
from psycopg import Connection
from pydantic import Field

from blocks.catalog.ingestion_counts import INGESTOR
from blocks.embedding import EMBEDDING_MODEL
from blocks.errors import CatalogRefused, CatalogUnavailable, InvalidSettings, WaybillError
from blocks.postgres import connect, postgres_errors
from blocks.search_index import IndexedDocument, Replacement, has_documents, replace_documents
from tasks.contract import Read, Stage, StageInput, StageOptions, StageOutput
from tasks.ingestion_input import FactsRead, read_chunks, read_facts
from tasks.losses import loss

# Another process that ingests the same document holds its row for a few seconds, a minute for 20,000 chunks. The wait
# ends before the stage's own time limit, which would turn a transient error into a permanent one.
LOCK_WAIT_SECONDS = 60
# Files that are read and written at once. Their rows as Python objects take several times as much of the worker's
# memory; beyond some dozen documents of usual size a transaction gains nothing more.
TOGETHER_BYTES = 8 * 1024 * 1024

# One connection per worker process and database, opened at the first document. A forked child must not use its
# parent's, hence the process id.
_connections: dict[tuple[int, str], Connection[Any]] = {}

P = ParamSpec("P")
ResultT = TypeVar("ResultT")


class IngestOptions(StageOptions):
    """Options of the ingestor."""

    vectors: bool = Field(default=True, description="Store embeddings; without them search is by words only.")
    facts: bool = Field(default=True, description="Store facts, entities and keywords, if stage 4 made them.")


def run(given: StageInput, options: IngestOptions) -> StageOutput:
    """Replace what the index holds of the document, in one transaction, and return a report of it.

    Raises `UnreadableDocument` when an input is not valid, `CatalogUnavailable`, `InvalidSettings` or `CatalogRefused`;
    the index is then unchanged.
    """
    ready = _read(given, options)
    (replacement,) = _write(given.services.database_url, [ready.document])
    return ready.output(replacement)


def run_together(given: Sequence[StageInput], options: IngestOptions) -> list[StageOutput | WaybillError]:
    """Do what `run` does for each of *given*, with few transactions; return the output or the error of each.

    A document whose files are not valid, or that the catalogue refuses, fails alone.
    """
    outcomes: list[StageOutput | WaybillError] = []
    for group in _groups(given):
        outcomes += _run_group(group, options)
    return outcomes


INGEST: Stage[IngestOptions] = Stage(
    number=5,
    name=INGESTOR,
    version="1",
    suffix=".ingestion.json",
    media_type="application/json",
    reads=(Read(any_of=("chunker",)), Read(any_of=("fact-generator",), required=False)),
    options=IngestOptions,
    run=run,
    run_together=run_together,
    has_effect=has_documents,
    needs_home=lambda _options, _services: True,
)


@dataclass(frozen=True, kw_only=True)
class _Ready:
    """A document that has been read and is not written yet."""

    document: IndexedDocument
    warnings: tuple[str, ...]

    def output(self, replacement: Replacement) -> StageOutput:
        return StageOutput(
            content=orjson.dumps(_report(self.document), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE),
            metadata={"rows": replacement.as_dict()},
            warnings=self.warnings,
        )


def _groups(given: Sequence[StageInput]) -> Iterator[list[StageInput]]:
    """Divide *given*, in order, so that a transaction and this process's memory stay small."""
    group: list[StageInput] = []
    size_bytes = 0
    for one in given:
        of_one = sum(path.stat().st_size for path in one.files.values())
        if group and (size_bytes + of_one > TOGETHER_BYTES or one.services != group[0].services):
            yield group
            group, size_bytes = [], 0
        group.append(one)
        size_bytes += of_one
    if group:
        yield group


def _run_group(given: Sequence[StageInput], options: IngestOptions) -> list[StageOutput | WaybillError]:
    read = [_or_error(_read, one, options) for one in given]
    ready = [one for one in read if isinstance(one, _Ready)]
    written = iter(_write_each(given[0].services.database_url, ready))
    return [next(written) if isinstance(one, _Ready) else one for one in read]


def _write_each(database_url: str, ready: Sequence[_Ready]) -> list[StageOutput | WaybillError]:
    """Write all in one transaction; if that fails, each by itself, so that one document costs no other its rows."""
    if not ready:
        return []
    try:
        replacements = _write(database_url, [one.document for one in ready])
    except CatalogUnavailable as exc:
        kept = _connections.get((os.getpid(), database_url))
        if kept is None or kept.closed:  # the catalogue is away; trying for each would take its time
            return [exc] * len(ready)
    except CatalogRefused:
        pass
    else:
        return [one.output(replacement) for one, replacement in zip(ready, replacements, strict=True)]
    return [_or_error(_written, database_url, one) for one in ready]


def _written(database_url: str, ready: _Ready) -> StageOutput:
    (replacement,) = _write(database_url, [ready.document])
    return ready.output(replacement)


def _or_error(call: Callable[P, ResultT], *given: P.args, **named: P.kwargs) -> ResultT | WaybillError:
    try:
        return call(*given, **named)
    except WaybillError as exc:
        return exc


def _read(given: StageInput, options: IngestOptions) -> _Ready:
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
    return _Ready(document=document, warnings=tuple(warnings))


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


def _write(database_url: str, documents: Sequence[IndexedDocument]) -> list[Replacement]:
    """Write through the kept connection, or through a new one if that is closed or its session has become stale."""
    if not database_url:
        raise InvalidSettings("stage 5 needs a database; set WAYBILL_DATABASE_URL, or leave stage 5 out")
    kept = _connections.get((os.getpid(), database_url))
    if kept is not None:
        try:
            return replace_documents(kept, documents)
        except CatalogUnavailable as exc:
            if not (kept.closed or exc.context.get("stale_session")):
                raise
            kept.close()
            del _connections[os.getpid(), database_url]
    return replace_documents(_open(database_url), documents)


def _open(database_url: str) -> Connection[Any]:
    connection = connect(database_url, autocommit=True)
    with postgres_errors("set up the connection"):
        connection.execute("select set_config('lock_timeout', %s, false)", [f"{LOCK_WAIT_SECONDS}s"])
    _connections[os.getpid(), database_url] = connection
    return connection
