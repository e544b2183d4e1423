"""Search over many passages: how long one takes, what it finds of the exact answer, what a row costs.

Works in a data folder that is kept, in steps that are done once: real passages (`benchmarks.search_real`), the vectors
made from them (`benchmarks.search_made` has how, and how alike they are: ``--likeness``), a Postgres server's directory
with a database for each number of passages and the present schema, its indexes, the exact answers. The server runs
with the settings of the local stack's, but that it does not wait for the disk. Prints one table:

- **build**: processor time and size of the vector index, built after the load by one process
- **recall@10**: of the ten nearest passages, those among the first ten of the vector half; and of the ten hits of
  `search` as it is, those of `search` with the exact neighbours in place of the index's. Equal similarities are equal.
- **search**: wall time, and processor time in Postgres, of a search with a vector; p50 / p99. Everything was asked once
  before; one connection, one search at a time
- **a row** (with ``--rows``): processor time of Postgres to ingest a passage into the living index

Questions are of four kinds, each a quarter: the first sentence of a held-out passage, a short question about its
heading, two of its rare words, and frequent words alone. Pages whose passages are held out are not in the index.

Usage: python -m benchmarks.search_scale --data FOLDER [--passages 100000 1000000] [--likeness] [--rows]
           [--shared-buffers 256MB]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import hashlib
import itertools
import re
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from benchmarks.search_load import (
    PASSAGES_PER_DOCUMENT,
    build_indexes,
    database_of,
    load,
    processor_ms,
    vector_index_bytes,
)
from benchmarks.search_made import Real, Vectors, likeness, nearest_of_many
from benchmarks.search_real import held_out_and_rest, read_real
from blocks.embedding.vectors import embed
from blocks.search_index import Chunk, DocumentHead, IndexedDocument, meaning_of, replace_documents, search
from blocks.search_index import queries as sql
from blocks.search_index import read as product
from tests.postgres_server import Postgres, kept_postgres

# As the local stack's, and what a load of a million passages needs; fsync is off, as in tests.
SETTINGS = {
    "shared_buffers": "256MB", "work_mem": "16MB", "effective_cache_size": "1GB", "maintenance_work_mem": "3GB",
    "max_wal_size": "8GB", "min_dynamic_shared_memory": "0",
}  # fmt: skip
QUESTIONS = 400
FOUND = 10
INSERTED_DOCUMENTS, AT_ONCE = 300, 10
SLICE = 20_000
# Of two vectors that are the same but for the rounding of a sum.
_SAME = 1e-5
_EXACT: str = """
    select document_id, ordinal, distance from pg_temp.exact_nearest
     where question = %(question)s order by distance limit %(candidates)s
"""


@dataclass(frozen=True)
class Question:
    """A question and its vector."""

    text: str
    vector: Vectors


@dataclass(frozen=True)
class Searched:
    """Of each question: the ids of the hits, wall milliseconds, and processor milliseconds in Postgres."""

    hits: list[list[str]]
    wall: list[float]
    processor: list[float]


def questions_of(held_out: Sequence[dict[str, Any]], real: Real, models: Path) -> list[Question]:
    """Return questions of the four kinds in turn."""
    generator = np.random.default_rng(3)
    counts: dict[str, int] = {}
    for record in real.records:
        for word in set(re.findall(r"[a-z]{3,}", record["text"].lower())):
            counts[word] = counts.get(word, 0) + 1
    frequent = sorted(counts, key=lambda word: -counts[word])[:150]
    texts: list[str] = []
    for record in itertools.cycle(held_out):
        words = re.findall(r"[A-Za-z]{4,}", record["text"])
        heading = (record["heading_path"] or [record["title"]])[-1]
        kinds = (
            re.split(r"(?<=[.!?])\s|\n", re.sub(r"[^\w\s.,!?'-]+", " ", record["text"]).strip())[0][:150],
            f"how do I use {heading[:80]}?",
            " ".join(sorted(set(words), key=lambda word: (counts.get(word.lower(), 0), word))[:2]),
            "how to " + " ".join(generator.choice(frequent, generator.integers(3, 7), replace=False)),
        )
        if all(re.search(r"\w{3}", text) for text in kinds):
            texts += kinds
        if len(texts) >= QUESTIONS:
            break
    return [Question(text, vector) for text, vector in zip(texts, embed(list(map(meaning_of, texts)), models=models),
                                                           strict=True)]  # fmt: skip


def vectors_of(data: Path, real: Real, passages: int) -> Vectors:
    """Return the vectors of *passages*, the real ones first, from the data folder; make them if they are not there."""
    path = data / f"vectors-{passages}.npy"
    if not path.exists():
        draft = path.with_suffix(".draft.npy")
        made: Any = np.lib.format.open_memmap(draft, "w+", np.float32, (passages, real.vectors.shape[1]))
        count = min(passages, len(real.vectors))
        bases = np.empty(passages, np.int64)
        made[:count], bases[:count] = real.vectors[:count], np.arange(count)
        generator = np.random.default_rng(7)
        for start in range(count, passages, SLICE):
            end = min(start + SLICE, passages)
            made[start:end], bases[start:end] = real.more(end - start, generator)
        made.flush()
        np.save(data / f"bases-{passages}.npy", bases)
        draft.rename(path)
    return np.load(path, mmap_mode="r")


def exact_of(data: Path, vectors: Vectors, questions: Sequence[Question]) -> tuple[NDArray[np.int64], Vectors]:
    """Return the exact 100 nearest of each question, numbers and similarities, from the data folder if they are there.

    They are found among vectors of half precision numbers, as the index has them.
    """
    asked = np.array([one.vector for one in questions])
    name = hashlib.sha256(asked.tobytes()).hexdigest()[:12]
    path = data / f"exact-{len(vectors)}-{name}.npz"
    if not path.exists():
        numbers, similarities = nearest_of_many(asked, vectors, 100)
        np.savez(path, numbers=numbers, similarities=similarities)
    stored = np.load(path)
    return stored["numbers"], stored["similarities"]


def vector_recall(
    url: str, questions: Sequence[Question], vectors: Vectors, similarities: Vectors
) -> tuple[float, float]:
    """Return the recall@10 of the vector half as `search` asks it, and the median of its processor milliseconds."""
    hits, processor = 0, list[float]()
    with psycopg.connect(url) as connection:
        for number, question in enumerate(questions):
            given = {"vector": f"[{','.join(map(str, question.vector.tolist()))}]", "documents": None,
                     "candidates": 100}  # fmt: skip
            connection.execute(sql.SEARCH_SETTINGS, given)
            before = processor_ms(connection)
            rows = connection.execute(sql.NEAREST_BY_HALF, given, prepare=False).fetchall()
            processor.append(processor_ms(connection) - before)
            connection.rollback()
            found = [(document - 1) * PASSAGES_PER_DOCUMENT + ordinal for document, ordinal, _ in rows[:FOUND]]
            hits += int(np.sum(vectors[found] @ question.vector >= similarities[number, FOUND - 1] - _SAME))
    return hits / (FOUND * len(questions)), statistics.median(processor)


async def searched(url: str, questions: Sequence[Question], rounds: int = 2) -> Searched:
    """Search for each question, one after another, *rounds* times, and return the last round."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        result = Searched([], [], [])
        for _ in range(rounds):
            result = Searched([], [], [])
            for question in questions:
                vector = question.vector.tolist()
                before, started = processor_ms(connection), time.perf_counter()
                answer = await search(connection, question.text, vector=vector, show_all=True)
                result.wall.append(1000 * (time.perf_counter() - started))
                result.processor.append(processor_ms(connection) - before)
                result.hits.append([one.chunk_id for one in answer.hits])
        return result


async def searched_exactly(
    url: str, questions: Sequence[Question], numbers: NDArray[np.int64], similarities: Vectors
) -> list[list[str]]:
    """Return the hits of each question when the neighbours are the exact ones."""
    statement = sql.SEARCH_BY_HALF.replace(sql.NEAREST_BY_HALF, _EXACT)
    hits: list[list[str]] = []
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("create temp table exact_nearest (question int, document_id bigint, ordinal int, "
                                 "distance float8)")  # fmt: skip
        async with connection.cursor().copy("copy exact_nearest from stdin") as copy:
            for question, row in enumerate(numbers):
                for number, similarity in zip(row.tolist(), similarities[question].tolist(), strict=True):
                    document, ordinal = divmod(number, PASSAGES_PER_DOCUMENT)
                    await copy.write_row((question, document + 1, ordinal, 1 - similarity))
        await connection.execute("create index on exact_nearest (question, distance)")
        await connection.execute("set jit = off")
        for number, question in enumerate(questions):
            given = product.parameters_of(question.text, question.vector.tolist(), FOUND) | {"question": number}
            rows = await (await connection.execute(statement.encode(), given, prepare=False)).fetchall()
            hits.append([row[6] for row in rows])
    return hits


def cost_of_a_row(url: str, real: Real) -> float:
    """Return the milliseconds of processor time that Postgres needs for a passage of new documents."""
    vectors, base = real.more(3 * INSERTED_DOCUMENTS, np.random.default_rng(9))
    documents = [_document(number, real, vectors, base) for number in range(INSERTED_DOCUMENTS)]
    with psycopg.connect(url, autocommit=True) as connection:
        before = processor_ms(connection)
        for start in range(0, len(documents), AT_ONCE):
            replace_documents(connection, documents[start : start + AT_ONCE])
        spent = processor_ms(connection) - before
        connection.execute("delete from indexed_documents where title like 'New %'")
    return spent / (3 * INSERTED_DOCUMENTS)


def _document(number: int, real: Real, vectors: Vectors, base: NDArray[np.int64]) -> IndexedDocument:
    chunks = [
        Chunk(chunk_id=str(place), text=real.records[base[place]]["text"], start=0, end=1, tokens=1,
              embedding=vectors[place])
        for place in range(3 * number, 3 * number + 3)
    ]  # fmt: skip
    digest = hashlib.sha256(f"new {number}".encode()).hexdigest()
    head = DocumentHead(sha256=digest, title=f"New {number}", source="", media_type="", stage_key="", language="en")
    return IndexedDocument(head=head, chunks=chunks)


def _shared(hits: Sequence[Sequence[str]], exact: Sequence[Sequence[str]]) -> float:
    wanted = sum(len(one) for one in exact)
    return sum(len(set(one) & set(other)) for one, other in zip(hits, exact, strict=True)) / wanted


def _quantiles(values: Sequence[float]) -> str:
    ordered = sorted(values)
    return f"{statistics.median(ordered):.1f} / {ordered[int(0.99 * len(ordered))]:.1f} ms"


def measure(
    server: Postgres, data: Path, passages: int, real: Real, questions: Sequence[Question], *, rows: bool
) -> str:
    """Return the row of the table for *passages*; what is not in the data folder yet is made."""
    vectors = vectors_of(data, real, passages)
    url = database_of(server, passages)
    load(url, real, vectors, np.load(data / f"bases-{passages}.npy"))
    build = build_indexes(server, passages, data / f"build-{passages}.json")
    numbers, similarities = exact_of(data, vectors, questions)
    nearest, _ = vector_recall(url, questions, vectors, similarities)
    exact = asyncio.run(searched_exactly(url, questions, numbers, similarities))
    found = asyncio.run(searched(url, questions))
    row = f"{cost_of_a_row(url, real):.1f} ms" if rows else ""
    size = vector_index_bytes(url) / 2**20
    return (
        f"| {passages:,} | {build:.0f} s, {size:.0f} MiB | {nearest:.3f} | {_shared(found.hits, exact):.3f} "
        f"| {_quantiles(found.wall)} | {_quantiles(found.processor)} | {row} |"
    )


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of passages, vectors and databases")
    parser.add_argument("--passages", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--likeness", action="store_true", help="compare the made vectors with the real ones, no more")
    parser.add_argument("--shared-buffers", default=SETTINGS["shared_buffers"], help="of Postgres, such as 4GB")
    parser.add_argument("--rows", action="store_true", help="ingest some passages and delete them again")
    arguments = parser.parse_args()
    data = arguments.data.absolute()
    vectors, records = read_real(data)
    held_out, rest = held_out_and_rest(records)
    real = Real.of(vectors[rest], [records[number] for number in rest])
    if arguments.likeness:
        for line in likeness(real, vectors_of(data, real, max(arguments.passages))):
            print(line, flush=True)
        return 0
    questions = questions_of([records[number] for number in held_out], real, data / "models")
    # What is held here is no part of a search: to look through it for garbage takes 25 ms.
    gc.freeze()
    with kept_postgres(data / "postgres", SETTINGS | {"shared_buffers": arguments.shared_buffers}) as server:
        print(f"{len(real.records):,} real passages; the others are made from them", flush=True)
        print("| passages | build | recall@10: vectors | search | search, p50 / p99 | Postgres | a row |", flush=True)
        print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
        for passages in arguments.passages:
            print(measure(server, data, passages, real, questions, rows=arguments.rows), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
