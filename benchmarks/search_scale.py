"""Search over many passages: how long one takes, what its vector index finds of the exact answer, what a row costs.

Passages are those of `benchmarks/retrieval_data`, or real ones from *--real* (a folder of ``NAME.npy`` with vectors and
``NAME.jsonl`` with texts); further ones lie between a real passage and its neighbours, with a little noise and some
words of other passages. So words are as frequent as in real text, and vectors at least as crowded. Each number of
passages is a database of its own, with this build's schema. Prints one table:

- **build**: processor time and size of the vector index, built after the load
- **a row**: processor time of Postgres to ingest a passage into the living index, in documents of three
- **recall@10**: share of the ten truly nearest passages among the first ten of the vector index, as search asks it
- **search**: wall time of `search` with a vector, of a hundred questions; and its processor time in Postgres

Usage: python -m benchmarks.search_scale [--passages 10000 100000 1000000] [--real FOLDER]
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector.psycopg import register_vector

from benchmarks.retrieval import read_corpus
from blocks.embedding import EMBEDDING_MODEL
from blocks.embedding.vectors import embed
from blocks.search_index import Chunk, DocumentHead, IndexedDocument, replace_documents, search
from blocks.search_index import queries as sql
from blocks.search_index.words import searchable_text, stemmer_for
from tasks.chunk import ChunkOptions
from tests.postgres_server import Postgres, running_postgres

# As the local stack sets it, and memory for a build of a million passages; what needs no restart of the server.
SETTINGS = {"work_mem": "16MB", "maintenance_work_mem": "3GB", "max_wal_size": "8GB"}
QUESTIONS, INSERTED_DOCUMENTS, AT_ONCE = 100, 300, 10
PASSAGES_PER_DOCUMENT, SLICE = 20, 20_000
NEIGHBOURS, NOISE, FOUND = 20, 0.15, 10
# How much of the machine's processor time one tick of /proc is.
_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
_COMMON = (
    "how to use the file system", "set the value of the option", "the following example shows", "what is the default",
    "use the command to change files", "new version of the package", "this option can be used", "the name of the user",
)  # fmt: skip

_PUT_SLICE = """
    insert into indexed_chunks (document_id, ordinal, chunk_id, heading_path, text, start_offset, end_offset, tokens,
                                embedding, words, fingerprint)
    select 1 + made.n / %(per_document)s, made.n %% %(per_document)s, md5(made.n::text), heading,
           text || chr(10) || extra, 0, length(text), 100, embedding,
           words || setweight(to_tsvector('simple', extra), 'A'), decode(md5(made.n::text), 'hex')
      from made join reals on reals.n = base
     order by made.n
"""

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Real:
    """The real passages: a vector each, and text, headings and language; `near` are the neighbours of each."""

    vectors: Vectors
    records: list[dict[str, Any]]
    near: NDArray[np.int32]
    words: list[str]

    @staticmethod
    def of(vectors: Vectors, records: list[dict[str, Any]]) -> Real:
        words = [word for one in records for word in one["text"].split() if word.isalpha() and len(word) > 3]
        return Real(vectors, records, _neighbours(vectors), words)

    def more(self, count: int, generator: np.random.Generator) -> tuple[Vectors, NDArray[np.int64]]:
        """Return *count* new vectors, and which real passage each is near to."""
        base = generator.integers(0, len(self.vectors), count)
        made = self.vectors[base].copy()
        for _ in range(2):
            other = self.near[base, generator.integers(0, self.near.shape[1], count)]
            share = generator.uniform(0, 0.5, (count, 1)).astype(np.float32)
            made += share * (self.vectors[other] - self.vectors[base])
        made += NOISE / np.sqrt(made.shape[1]) * generator.standard_normal(made.shape, np.float32)
        return made / np.linalg.norm(made, axis=1, keepdims=True), base


def _neighbours(vectors: Vectors) -> NDArray[np.int32]:
    near = np.empty((len(vectors), min(NEIGHBOURS, len(vectors) - 1)), np.int32)
    for start in range(0, len(vectors), 1000):
        products = vectors[start : start + 1000] @ vectors.T
        products[np.arange(len(products)), np.arange(start, start + len(products))] = -2
        near[start : start + 1000] = np.argpartition(-products, near.shape[1], axis=1)[:, : near.shape[1]]
    return near


def real_from(folder: Path) -> Real:
    """Return the passages of *folder*."""
    parts = sorted(folder.glob("[!.]*.npy"))
    records = [json.loads(line) for part in parts for line in part.with_suffix(".jsonl").open(encoding="utf-8")]
    return Real.of(np.concatenate([np.load(part) for part in parts]), records)


def real_of_retrieval(models: Path) -> Real:
    """Return the passages of the documents that retrieval is measured with."""
    chunks = [(one, chunk) for one in read_corpus(models, ChunkOptions()).indexed for chunk in one.chunks]
    records = [
        {"title": one.head.title, "text": chunk.text, "language": one.head.language, "tokens": chunk.tokens,
         "heading_path": list(chunk.heading_path)}
        for one, chunk in chunks
    ]  # fmt: skip
    vectors = np.array([chunk.embedding for _, chunk in chunks], np.float32)
    return Real.of(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), records)


@dataclass(frozen=True)
class Question:
    """A question, its vector, and the similarities of the passages that are truly nearest, best first."""

    text: str
    vector: Vectors


def questions_of(real: Real, models: Path) -> list[Question]:
    """Return questions of three kinds in turn: a sentence, two rare words, common words."""
    chance = random.Random(3)
    texts: list[str] = []
    while len(texts) < QUESTIONS:
        text = re.sub(r"[^\w\s.,!?'-]+", " ", chance.choice(real.records)["text"])
        sentence = re.split(r"(?<=[.!?])\s", text.strip())[0][:150]
        long_words = re.findall(r"[A-Za-z]{6,}", text)
        kinds = (sentence, " ".join(long_words[:2]), chance.choice(_COMMON))
        wanted = kinds[len(texts) % len(kinds)]
        if re.search(r"\w{3}", wanted):
            texts.append(wanted)
    return [Question(text, vector) for text, vector in zip(texts, embed(texts, models=models), strict=True)]


class Loading:
    """Fills a database, and knows the exact answers to the questions as it does."""

    def __init__(self, connection: psycopg.Connection[Any], real: Real, questions: Sequence[Question]) -> None:
        self._connection, self._real = connection, real
        self._questions = np.array([one.vector for one in questions])
        self._best = np.full((len(questions), FOUND), -2.0, np.float32)
        self._ids = np.full((len(questions), FOUND), -1, np.int64)

    def load(self, passages: int) -> NDArray[np.int64]:
        """Write *passages* and build the indexes of words; return the numbers of the nearest of each question."""
        definition = "select indexdef from pg_indexes where indexname = 'indexed_chunks_by_words'"
        (words_index,) = self._connection.execute(definition).fetchone() or ("",)
        self._connection.execute("drop index indexed_chunks_by_words, indexed_chunks_by_half_vector")
        self._connection.execute("alter table indexed_chunks set (autovacuum_enabled = off)")
        self._put_real()
        self._put_documents(passages)
        generator, chance = np.random.default_rng(7), random.Random(7)
        self._connection.execute("create unlogged table made (n int, base int, extra text, embedding vector(384))")
        for start in range(0, passages, SLICE):
            self._put_slice(start, min(SLICE, passages - start), generator, chance)
        self._connection.execute("drop table made, reals")
        self._connection.execute(words_index.encode())
        self._connection.execute("vacuum analyze")
        return self._ids

    def _put_real(self) -> None:
        self._connection.execute("create temp table given (n int, stemmer text, heading text[], text text, "
                                 "searchable text, headings text)")  # fmt: skip
        with self._connection.cursor().copy("copy given from stdin (format binary)") as copy:
            copy.set_types(["int4", "text", "text[]", "text", "text", "text"])
            for number, one in enumerate(self._real.records):
                text = one["text"].replace("\x00", " ")
                above = searchable_text("\n".join((one["title"], *one["heading_path"])))
                stemmer = stemmer_for(one["language"])
                copy.write_row((number, stemmer, one["heading_path"], text, searchable_text(text), above))
        self._connection.execute("""
            create unlogged table reals as
            select n, heading, text,
                   setweight(to_tsvector('simple', searchable), 'A') || setweight(to_tsvector('simple', headings), 'C')
                   || case when stemmer = 'simple' then '' else
                          setweight(to_tsvector(stemmer::regconfig, searchable), 'B')
                          || setweight(to_tsvector(stemmer::regconfig, headings), 'C') end as words
              from given""")

    def _put_documents(self, passages: int) -> None:
        chance = random.Random(5)
        columns = "sha256, title, source, media_type, language, summary, embedding_model, stemmer, stage_key"
        with self._connection.cursor().copy(f"copy indexed_documents ({columns}) from stdin".encode()) as copy:
            for number in range(-(-passages // PASSAGES_PER_DOCUMENT)):
                one, word = chance.choice(self._real.records), chance.choice(self._real.words)
                digest = hashlib.sha256(str(number).encode()).hexdigest()
                title, name = f"{one['title'][:80]} {word} {number}", f"{word.lower()}-{number}.html"
                stemmer = stemmer_for(one["language"])
                copy.write_row(
                    (digest, title, name, "text/html", one["language"], "", EMBEDDING_MODEL, stemmer, "0" * 64)
                )

    def _put_slice(self, start: int, count: int, generator: np.random.Generator, chance: random.Random) -> None:
        vectors, base = self._real.more(count, generator)
        self._note_nearest(vectors, start)
        with self._connection.cursor().copy("copy made from stdin (format binary)") as copy:
            copy.set_types(["int4", "int4", "text", "vector"])
            for number in range(count):
                extra = f"{' '.join(chance.choices(self._real.words, k=6))} x{start + number:07d}"
                copy.write_row((start + number, int(base[number]), extra, vectors[number]))
        self._connection.execute(_PUT_SLICE, {"per_document": PASSAGES_PER_DOCUMENT})
        self._connection.execute("truncate made")

    def _note_nearest(self, vectors: Vectors, start: int) -> None:
        products = np.concatenate([self._best, self._questions @ vectors.T], axis=1)
        numbers = np.broadcast_to(np.arange(start, start + len(vectors)), (len(products), len(vectors)))
        ids = np.concatenate([self._ids, numbers], axis=1)
        order = np.argsort(-products, axis=1, kind="stable")[:, :FOUND]
        self._best, self._ids = np.take_along_axis(products, order, 1), np.take_along_axis(ids, order, 1)


def processor_seconds(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> float:
    """Return the processor time that the connection's server process has used."""
    fields = Path(f"/proc/{connection.info.backend_pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_SECONDS


def recall(connection: psycopg.Connection[Any], questions: Sequence[Question], nearest: NDArray[np.int64]) -> float:
    """Return the share of the truly nearest passages among the first that the vector index gives search."""
    hits = 0
    for question, ids in zip(questions, nearest, strict=True):
        vector = f"[{','.join(map(str, question.vector.tolist()))}]"
        with connection.transaction():
            connection.execute(sql.SEARCH_SETTINGS, {"candidates": 100})
            rows = connection.execute(sql.NEAREST_BY_HALF, {"vector": vector, "documents": None, "candidates": 100})
            found = [(one - 1) * PASSAGES_PER_DOCUMENT + ordinal for one, ordinal, _ in rows.fetchall()]
        hits += len(set(found[:FOUND]) & set(ids.tolist()))
    return hits / nearest.size


def cost_of_a_row(connection: psycopg.Connection[Any], real: Real) -> float:
    """Return the milliseconds of processor time that Postgres needs for a passage of new documents."""
    vectors, base = real.more(3 * INSERTED_DOCUMENTS, np.random.default_rng(9))
    documents = [_document(number, real, vectors, base) for number in range(INSERTED_DOCUMENTS)]
    before = processor_seconds(connection)
    for start in range(0, len(documents), AT_ONCE):
        replace_documents(connection, documents[start : start + AT_ONCE])
    return 1000 * (processor_seconds(connection) - before) / (3 * INSERTED_DOCUMENTS)


def _document(number: int, real: Real, vectors: Vectors, base: NDArray[np.int64]) -> IndexedDocument:
    chunks = [
        Chunk(chunk_id=str(place), text=real.records[base[place]]["text"], start=0, end=1, tokens=1,
              embedding=vectors[place])
        for place in range(3 * number, 3 * number + 3)
    ]  # fmt: skip
    digest = hashlib.sha256(f"new {number}".encode()).hexdigest()
    head = DocumentHead(sha256=digest, title=f"New {number}", source="", media_type="", stage_key="", language="en")
    return IndexedDocument(head=head, chunks=chunks)


async def searched(url: str, questions: Sequence[Question]) -> tuple[list[float], float]:
    """Return the wall milliseconds of each search, sorted, and the mean processor milliseconds in Postgres; warm."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        wall: list[float] = []
        for is_counted in (False, True):
            before = processor_seconds(connection)
            for question in questions:
                started = time.perf_counter()
                await search(connection, question.text, vector=question.vector.tolist())
                if is_counted:
                    wall.append(1000 * (time.perf_counter() - started))
        return sorted(wall), 1000 * (processor_seconds(connection) - before) / len(questions)


def measure(server: Postgres, passages: int, real: Real, questions: Sequence[Question]) -> str:
    """Return the row of the table for *passages*."""
    with server.database() as url, psycopg.connect(url, autocommit=True) as connection:
        register_vector(connection)
        definition = "select indexdef from pg_indexes where indexname = 'indexed_chunks_by_half_vector'"
        (vector_index,) = connection.execute(definition).fetchone() or ("",)
        nearest = Loading(connection, real, questions).load(passages)
        connection.execute("set max_parallel_maintenance_workers = 0")  # so that the time is that of one process
        before = processor_seconds(connection)
        connection.execute(vector_index.encode())
        build = processor_seconds(connection) - before
        (size,) = connection.execute("select pg_relation_size('indexed_chunks_by_half_vector')").fetchone() or (0,)
        found = recall(connection, questions, nearest)
        wall, processor = asyncio.run(searched(url, questions))
        row = cost_of_a_row(connection, real)
    worst = wall[int(0.99 * len(wall)) - 1]
    return (
        f"| {passages:,} | {build:.0f} s, {size / 2**20:.0f} MiB | {row:.1f} ms | {found:.3f} "
        f"| {statistics.median(wall):.0f} / {worst:.0f} ms | {processor:.0f} ms |"
    )


def _counts(arguments: argparse.Namespace) -> Iterator[int]:
    for one in arguments.passages:
        yield -(-one // SLICE) * SLICE


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--real", type=Path, help="a folder of real passages with their vectors")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_postgres() as server:
        for name, value in SETTINGS.items():
            server.execute(f"alter system set {name} = '{value}'")
        server.execute("select pg_reload_conf()")
        models = Path(folder) / "models"
        real = real_from(arguments.real) if arguments.real else real_of_retrieval(models)
        questions = questions_of(real, models)
        print(f"{len(real.records):,} real passages; the others are made from them", flush=True)
        print("| passages | build | a row | recall@10 | search, p50 / p99 | in Postgres |", flush=True)
        print("| ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
        for passages in _counts(arguments):
            print(measure(server, passages, real, questions), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
