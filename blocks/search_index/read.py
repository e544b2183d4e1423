"""Search the index for passages, by words and by meaning.

Postgres finds candidates in one statement: the passages with the rarest words of the query, those with all of them,
those whose vectors are nearest, and the documents whose title or file name is like the query. A passage scores the
cosine of its vector and the query's, plus `_WORD_WEIGHT` times the rarity of each word of the query that it or a
heading above it has, summed. Rarity is the inverse document frequency as in Okapi BM25, scaled to 0 to 1. Such a sum
of scores ranks better than a fusion of ranks (S. Bruch, S. Gai, A. Ingber, "An analysis of fusion functions for hybrid
retrieval", ACM TOIS 2023), here too: docs/search.md has the figures. The weights were chosen on the open half of
`benchmarks/retrieval`; they stand on a plateau, where a third more or less changes little.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import AsyncConnection
from psycopg.rows import class_row, scalar_row, tuple_row

from blocks.catalog.skipped_records import report_skipped
from blocks.errors import InvalidOptions
from blocks.postgres import postgres_errors
from blocks.search_index import queries
from blocks.search_index.answer import Passage, SearchAnswer, hit_of
from blocks.search_index.closeness import nothing_is_close, threshold_of
from blocks.search_index.document import EMBEDDING_DIMENSIONS, storable
from blocks.search_index.documents import matching_documents
from blocks.search_index.filters import SearchFilters
from blocks.search_index.marks import find_marks
from blocks.search_index.vector_index import has_half_index
from blocks.search_index.words import (
    beginning_of,
    has_words,
    is_exact,
    searchable_text,
    spelling_variants,
    without_lines,
    words_of,
)

DEFAULT_HITS = 10
# One page of hits is for a person or a model's context; more would be an export.
MAX_HITS = 100
# Room for a passage of several pages, to find similar ones; every word of it costs look-ups in every language.
MAX_QUERY_CHARACTERS = 20_000

# Of a rare word, in cosine. Two of them outweigh the difference between a good and a mediocre neighbour.
_WORD_WEIGHT = 0.25
# A word that only begins like the query's, an inflection, a cognate or a typing error, is a little weaker evidence.
_BEGINNING_WORTH = 0.9
# Of a title or file name that is the query; every passage of the document gets it.
_NAME_WEIGHT = 0.2
# Orders passages that are equal otherwise: by how often they have the words, as typed before inflected.
_RANK_WEIGHT = 0.01
# The nearest passages whose mean similarity says what is usual for a question; see `closeness`.
_SURROUNDINGS = 50
# How deep each ranking goes; a passage far down in two rankings can still win over one that is tenth in one of them.
_MIN_CANDIDATES, _CANDIDATES_PER_HIT = 100, 4
# More passages with all words of a query are not worth ranking: the words are no evidence then, and each takes 6 µs.
_MAX_MATCHES = 2_000
# A word that so many passages hold does not distinguish them. A question of nothing but such words is answered by its
# vector, if it has one: to find the passages that have all of them takes a second in a million.
_MAX_MATCHES_OF_WORD = 3_000
# A name that more documents have says little of each, and to compare 500 took 15 ms.
_MAX_MATCHES_OF_NAME = 200
# The first words of a pasted page name its subject; each further word costs a look-up in every language.
_MAX_TERMS = 32
# Longer than most titles and file names; comparing a question with every title takes as long as finding its vector.
_MAX_NAME_CHARACTERS = 50
# For D, C, B, A as Postgres orders them: the word as typed counts more than its stem, and that as much as a heading.
_WEIGHTS = [0.0, 0.5, 0.5, 1.0]
_UNKNOWN_STEMMER = "found by its words as they are: this server has no text search configuration {!r}"


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Row counts of the index; `size_bytes` includes its Postgres indexes."""

    documents: int
    chunks: int
    vectors: int
    facts: int
    entities: int
    keywords: int
    size_bytes: int


async def search(
    connection: AsyncConnection[Any],
    text: str,
    *,
    vector: Sequence[float] | None = None,
    limit: int = DEFAULT_HITS,
    filters: SearchFilters | None = None,
    show_all: bool = False,
) -> SearchAnswer:
    """Return the best passages for *text*, best first, at most *limit*: none if nothing is close, unless *show_all*.

    *vector* is the query's embedding (`EMBEDDING_DIMENSIONS` values); without it words and names alone decide. In
    *text*, ``"a phrase"`` must occur, ``-word`` must not, and ``or`` offers a choice; any other character is harmless.
    Words match with and without accents, in any inflection that the stemmer of the document's language knows; a few
    words out of many are enough. Documents whose stemmer this server does not know are found by their words as they
    are, and reported as skipped records. Raises `InvalidOptions` for a text without words, a wrong limit or vector,
    and `CatalogUnavailable` or `InvalidSettings`.
    """
    parameters = parameters_of(text, vector, limit)
    with postgres_errors("search the index"):
        if filters is not None and filters.values():
            parameters["documents"] = await matching_documents(connection, filters)
        statement = queries.SEARCH_BY_WHOLE
        if vector is not None and await has_half_index(connection):
            statement = queries.SEARCH_BY_HALF
        passages, odd = await _passages(connection, statement, parameters)
        nothing_close = nothing_is_close(passages)
        shown = passages if show_all or not nothing_close else []
        marks = await find_marks(connection, text, [(one.stemmer, one.text) for one in shown]) if shown else []
    reasons = {sha256: _UNKNOWN_STEMMER.format(stemmer) for sha256, stemmer in odd.items()}
    await report_skipped(connection, "document", reasons)
    return SearchAnswer(
        hits=[hit_of(passage, found) for passage, found in zip(shown, marks, strict=True)],
        nothing_close=nothing_close,
        threshold=threshold_of(passages),
    )


async def _passages(
    connection: AsyncConnection[Any], statement: LiteralString, parameters: dict[str, Any]
) -> tuple[list[Passage], dict[str, str]]:
    """Return the passages, and the documents with a stemmer that this server does not know; one round trip."""
    async with connection.pipeline(), connection.transaction():
        await connection.execute(queries.SEARCH_SETTINGS, {"candidates": parameters["candidates"]})
        if parameters["documents"] is not None:
            await connection.execute(queries.FILTERED_SETTINGS)
        # Never as a prepared statement: the plan depends on whether there is a vector, on the limit and the filters.
        cursor = connection.cursor(row_factory=class_row(Passage))
        await cursor.execute(statement, parameters, prepare=False)
        unstemmed = connection.cursor(row_factory=tuple_row)
        await unstemmed.execute(queries.UNKNOWN_STEMMERS)
        return await cursor.fetchall(), dict(await unstemmed.fetchall())


async def has_documents(
    connection: AsyncConnection[Any], ingested: Collection[tuple[str, str]]
) -> set[tuple[str, str]]:
    """Return those of *ingested*, sha256 and stage key, that the index holds as the ingestion with this key wrote them.

    One statement for any number of them.
    """
    sha256s, stage_keys = [sha256 for sha256, _ in ingested], [key for _, key in ingested]
    with postgres_errors("look up documents in the index"):
        cursor = connection.cursor(row_factory=tuple_row)
        await cursor.execute(queries.HAS_DOCUMENTS, {"sha256s": sha256s, "stage_keys": stage_keys})
        return {(str(sha256), str(key)) for sha256, key in await cursor.fetchall()}


async def has_vectors(connection: AsyncConnection[Any], embedding_model: str) -> bool:
    """Return whether any document has vectors of *embedding_model*, so that a query's vector of it is of use."""
    with postgres_errors("look for vectors in the index"):
        cursor = connection.cursor(row_factory=scalar_row)
        await cursor.execute(queries.HAS_VECTORS, {"embedding_model": embedding_model})
        return bool(await cursor.fetchone())


async def statistics(connection: AsyncConnection[Any]) -> Statistics:
    """Count all rows, and the bytes they use."""
    with postgres_errors("count the index"):
        cursor = connection.cursor(row_factory=class_row(Statistics))
        row = await (await cursor.execute(queries.STATISTICS)).fetchone()
        assert row is not None  # noqa: S101 (an aggregate returns its row)
        return row


def check_query(text: str, limit: int) -> None:
    """Raise `InvalidOptions` for a query that `search` would refuse, before any work is done for it."""
    if not has_words(text):
        raise InvalidOptions("the search text holds no word; give at least one letter or digit")
    if len(text) > MAX_QUERY_CHARACTERS:
        raise InvalidOptions(
            f"the search text has {len(text)} characters, at most {MAX_QUERY_CHARACTERS} are read; shorten it"
        )
    if not 1 <= limit <= MAX_HITS:
        raise InvalidOptions(f"a search returns 1 to {MAX_HITS} hits, not {limit}")


def parameters_of(text: str, vector: Sequence[float] | None, limit: int) -> dict[str, Any]:
    """Return the parameters of the statement that searches. Raises `InvalidOptions`."""
    check_query(text, limit)
    if vector is not None and len(vector) != EMBEDDING_DIMENSIONS:
        raise InvalidOptions(f"the query's vector has {len(vector)} dimensions, the index {EMBEDDING_DIMENSIONS}")
    text = without_lines(text)
    asked = searchable_text(text)
    words = words_of(text, _MAX_TERMS)
    return {
        "text": asked,
        "spellings": spelling_variants(text),
        "words": list(words),
        "typed_words": list(words.values()),
        "name": "" if is_exact(asked) or len(text) > _MAX_NAME_CHARACTERS else storable(text).strip(),
        "exact": is_exact(asked),
        "documents": None,
        "vector": None if vector is None else f"[{','.join(str(float(value)) for value in vector)}]",
        "limit": limit,
        "candidates": max(_MIN_CANDIDATES, _CANDIDATES_PER_HIT * limit),
        "max_matches": _MAX_MATCHES,
        "max_matches_of_word": _MAX_MATCHES_OF_WORD,
        "max_matches_of_name": _MAX_MATCHES_OF_NAME,
        "weights": _WEIGHTS,
        "beginnings": [beginning_of(word) for word in words],
        "beginning_worth": _BEGINNING_WORTH,
        "word_weight": _WORD_WEIGHT,
        "name_weight": _NAME_WEIGHT,
        "rank_weight": _RANK_WEIGHT,
        "surroundings": _SURROUNDINGS,
    }
