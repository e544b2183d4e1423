"""The databases of `benchmarks.search_scale`: many passages are loaded once, and indexed once."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import psycopg
from numpy.typing import NDArray
from pgvector.psycopg import register_vector

from benchmarks.search_made import Real, Vectors, pieces
from blocks.catalog.migrate import migrate
from blocks.embedding import EMBEDDING_MODEL
from blocks.search_index.vector_index import BY_HALF, BY_LISTS, renew_vector_index
from blocks.search_index.words import searchable_text, stemmer_for
from tests.postgres_server import Postgres
from tests.stack_driver import eventually

PASSAGES_PER_DOCUMENT, SLICE = 20, 20_000
WORDS_INDEX = "indexed_chunks_by_words"
# Of the smallest number of passages that is worth measuring.
_LEAST_BUILD_SECONDS = 1.0

_PUT_SLICE = """
    insert into indexed_chunks (document_id, ordinal, chunk_id, heading_path, text, start_offset, end_offset, tokens,
                                embedding, words, fingerprint)
    select 1 + n / %(per_document)s, n %% %(per_document)s, n::text, heading,
           one.text || ' ' || two.text || ' ' || three.text || chr(10) || name, 0, 1, 100, embedding,
           above || one.words || two.words || three.words || setweight(to_tsvector('simple', name), 'A'),
           decode(md5(n::text), 'hex')
      from made
      join reals on reals.number = base
      join pieces one on one.number = first
      join pieces two on two.number = second
      join pieces three on three.number = third
     order by n
"""
# Words as `queries.PUT_CHUNKS` weighs them.
_MAKE_REALS = """
    create temp table reals as
    select number, heading,
           setweight(to_tsvector('simple', searchable), 'C') || case when stemmer = 'simple' then ''
               else setweight(to_tsvector(stemmer::regconfig, searchable), 'C') end as above
      from given where not is_piece
"""
_MAKE_PIECES = """
    create temp table pieces as
    select number, text,
           setweight(to_tsvector('simple', searchable), 'A') || case when stemmer = 'simple' then ''
               else setweight(to_tsvector(stemmer::regconfig, searchable), 'B') end as words
      from given where is_piece
"""


def database_of(server: Postgres, passages: int) -> str:
    """Return the URL of the database of *passages*; make it if it is not there."""
    name = f"passages_{passages}"
    with psycopg.connect(server.url()) as connection:
        is_there = connection.execute("select from pg_database where datname = %s", [name]).fetchone() is not None
    if not is_there:
        server.execute(f"create database {name}")
    migrate(server.url(name))
    return server.url(name)


def load(url: str, real: Real, vectors: Vectors, bases: NDArray[np.int64]) -> None:
    """Write all passages that are not there yet, without indexes of words and vectors."""
    with psycopg.connect(url, autocommit=True) as connection:
        register_vector(connection)
        (last,) = connection.execute("select max(document_id) from indexed_chunks").fetchone() or (None,)
        start = 0 if last is None else last * PASSAGES_PER_DOCUMENT
        if start >= len(vectors):
            return
        connection.execute(f"drop index if exists {BY_HALF}, {BY_LISTS}, {WORDS_INDEX}".encode())
        connection.execute("alter table indexed_chunks set (autovacuum_enabled = off)")
        if not start:
            _put_documents(connection, real, bases)
        counts = _put_real(connection, real)
        generator = np.random.default_rng(start)
        for first in range(start, len(vectors), SLICE):
            chosen = real.pieces_of(bases[first : first + SLICE], counts, generator)
            _put_slice(connection, first, vectors[first : first + SLICE], bases, chosen)
        connection.execute("vacuum analyze")


def _put_documents(connection: psycopg.Connection[Any], real: Real, bases: NDArray[np.int64]) -> None:
    """Write a document for every twenty passages; its name is of the first one's words."""
    columns = "document_id, sha256, title, source, media_type, language, summary, embedding_model, stemmer, stage_key"
    with connection.cursor().copy(f"copy indexed_documents ({columns}) from stdin".encode()) as copy:
        for number, base in enumerate(bases[::PASSAGES_PER_DOCUMENT].tolist()):
            record = real.records[base]
            words = [word for word in record["text"].split() if word.isalpha()][:20:7]
            digest = hashlib.sha256(str(number).encode()).hexdigest()
            title, name = f"{record['title'][:80]} {' '.join(words)}", f"{'-'.join(words).lower()}-{number}.html"
            copy.write_row((number + 1, digest, title, name, "text/html", record["language"], "", EMBEDDING_MODEL,
                            stemmer_for(record["language"]), "0" * 64))  # fmt: skip
    last = -(-len(bases) // PASSAGES_PER_DOCUMENT)
    connection.execute("select setval(pg_get_serial_sequence('indexed_documents', 'document_id'), %s)", [last])


def _put_real(connection: psycopg.Connection[Any], real: Real) -> NDArray[np.int64]:
    """Make tables of the real passages' headings and pieces, with their words; return how many pieces each has."""
    counts: list[int] = []
    connection.execute("create temp table given (is_piece bool, number int, stemmer text, heading text[], text text, "
                       "searchable text)")  # fmt: skip
    with connection.cursor().copy("copy given from stdin (format binary)") as copy:
        copy.set_types(["bool", "int4", "text", "text[]", "text", "text"])
        for number, one in enumerate(real.records):
            stemmer, heading = stemmer_for(one["language"]), one["heading_path"]
            above = searchable_text("\n".join((one["title"], *heading)))
            copy.write_row((False, number, stemmer, heading, "", above))
            parts = pieces(one["text"].replace("\x00", " "))
            for part, text in enumerate(parts, sum(counts)):
                copy.write_row((True, part, stemmer, heading, text, searchable_text(text)))
            counts.append(len(parts))
    connection.execute(_MAKE_REALS)
    connection.execute(_MAKE_PIECES)
    connection.execute("create unique index on pieces (number)")
    connection.execute("create temp table made (n int, base int, first int, second int, third int, name text, "
                       "embedding vector(384))")  # fmt: skip
    connection.execute("analyze reals, pieces")
    return np.array(counts)


def _put_slice(
    connection: psycopg.Connection[Any], start: int, vectors: Vectors, bases: NDArray[np.int64],
    chosen: NDArray[np.int64],
) -> None:  # fmt: skip
    with connection.cursor().copy("copy made from stdin (format binary)") as copy:
        copy.set_types(["int4", "int4", "int4", "int4", "int4", "text", "vector"])
        for number, (vector, of_text) in enumerate(zip(vectors, chosen.tolist(), strict=True), start):
            copy.write_row((number, int(bases[number]), *of_text, f"x{number:07d}", np.asarray(vector)))
    with connection.transaction():
        connection.execute(_PUT_SLICE, {"per_document": PASSAGES_PER_DOCUMENT})
        connection.execute("truncate made")


def build_indexes(server: Postgres, passages: int, note: Path) -> float:
    """Build the indexes that are not there, that of vectors as a gateway does; return the processor seconds for that.

    The seconds are kept in *note*.
    """
    url = database_of(server, passages)
    seconds: dict[str, float] = json.loads(note.read_text()) if note.exists() else {}
    with psycopg.connect(url, autocommit=True) as connection:
        is_there = connection.execute("select to_regclass(%s)", [WORDS_INDEX]).fetchone() != (None,)
        if not is_there:
            connection.execute("set max_parallel_maintenance_workers = 0")
            connection.execute(_definitions(server)[WORDS_INDEX].encode())
        before = _vector_index(connection)
        spent = _ended_seconds(server)
        asyncio.run(renew_vector_index(url))
        if (name := _vector_index(connection)) != before:
            # Of the server's processes that have ended meanwhile: that which has built it, once the server has noticed.
            eventually(lambda: _ended_seconds(server) - spent > _LEAST_BUILD_SECONDS, "the builder's time is known")
            seconds[name] = _ended_seconds(server) - spent
            note.write_text(json.dumps(seconds))
    return seconds[name]


def vector_index_bytes(url: str) -> int:
    """Return the size of the index of vectors."""
    with psycopg.connect(url) as connection:
        (size,) = connection.execute("select pg_relation_size(%s)", [_vector_index(connection)]).fetchone() or (0,)
        return size


def _vector_index(connection: psycopg.Connection[Any]) -> str:
    return next(
        (
            name
            for name in (BY_LISTS, BY_HALF)
            if connection.execute("select to_regclass(%s)", [name]).fetchone() != (None,)
        ),
        "",
    )


def _ended_seconds(server: Postgres) -> float:
    times = psutil.Process(server.pid).cpu_times()
    return times.children_user + times.children_system


def _definitions(server: Postgres) -> dict[str, str]:
    server.execute("drop database if exists present_schema")
    server.execute("create database present_schema")
    migrate(server.url("present_schema"))
    with psycopg.connect(server.url("present_schema")) as connection:
        rows = connection.execute("select indexname, indexdef from pg_indexes where tablename = 'indexed_chunks'")
        return dict(rows.fetchall())


def processor_ms(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> float:
    """Return the processor time that the connection's server process has used, by the scheduler's count."""
    return int(Path(f"/proc/{connection.info.backend_pid}/schedstat").read_text().split()[0]) / 1e6
