"""Search the index for passages, by words and by meaning.

Postgres makes three rankings in one statement: full text (words and stems, all words before any word), cosine distance
of embeddings, and similarity of title and file name. Reciprocal rank fusion joins them: a passage scores the sum of 1 /
(k + its position) over the rankings that have it, with k = 60 (G. V. Cormack, C. L. A. Clarke, S. Büttcher, "Reciprocal
rank fusion outperforms Condorcet and individual rank learning methods", SIGIR 2009). Ranks need no common scale, which
word scores and distances do not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import class_row, scalar_row, tuple_row

from blocks.catalog.skipped_records import report_skipped
from blocks.errors import InvalidOptions
from blocks.postgres import postgres_errors
from blocks.search_index import queries
from blocks.search_index.answer import Passage, SearchAnswer, hit_of
from blocks.search_index.closeness import CLOSE_SIMILARITY, nothing_is_close
from blocks.search_index.document import EMBEDDING_DIMENSIONS, storable
from blocks.search_index.documents import matching_documents
from blocks.search_index.filters import SearchFilters
from blocks.search_index.marks import find_marks
from blocks.search_index.words import has_words, is_exact, searchable_text, spelling_variants, words_of

DEFAULT_HITS = 10
# One page of hits is for a person or a model's context; more would be an export.
MAX_HITS = 100
# Room for a passage of several pages, to find similar ones; every word of it costs look-ups in every language.
MAX_QUERY_CHARACTERS = 20_000

# From the paper: large enough that the first place of one ranking does not outvote agreement of two.
_RRF_K = 60
# How deep each ranking goes into the fusion; a passage far down in two rankings can still win over one list's tenth.
_MIN_CANDIDATES, _CANDIDATES_PER_HIT = 100, 4
# Words so common that more chunks than this hold them do not distinguish passages; scoring this many takes 60 ms.
_MAX_MATCHES = 10_000
# The first words of a pasted page name its subject; each further word costs a look-up in every language.
_MAX_TERMS = 32
# Longer than any title.
_MAX_NAME_CHARACTERS = 200
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
    parameters = _parameters(text, vector, limit)
    with postgres_errors("search the index"):
        if filters is not None and filters.values():
            parameters["documents"] = await matching_documents(connection, filters)
        passages, odd = await _passages(connection, parameters)
        nothing_close = nothing_is_close(passages)
        shown = passages if show_all or not nothing_close else []
        marks = await find_marks(connection, text, [(one.stemmer, one.text) for one in shown]) if shown else []
    reasons = {sha256: _UNKNOWN_STEMMER.format(stemmer) for sha256, stemmer in odd.items()}
    await report_skipped(connection, "document", reasons)
    return SearchAnswer(
        hits=[hit_of(passage, found) for passage, found in zip(shown, marks, strict=True)],
        nothing_close=nothing_close,
        threshold=CLOSE_SIMILARITY,
    )


async def _passages(
    connection: AsyncConnection[Any], parameters: dict[str, Any]
) -> tuple[list[Passage], dict[str, str]]:
    """Return the passages, and the documents with a stemmer that this server does not know; one round trip."""
    async with connection.pipeline(), connection.transaction():
        await connection.execute(queries.SEARCH_SETTINGS, {"candidates": parameters["candidates"]})
        if parameters["documents"] is not None:
            await connection.execute(queries.FILTERED_SETTINGS)
        # Never as a prepared statement: the plan depends on whether there is a vector, on the limit and the filters.
        cursor = connection.cursor(row_factory=class_row(Passage))
        await cursor.execute(queries.SEARCH, parameters, prepare=False)
        unstemmed = connection.cursor(row_factory=tuple_row)
        await unstemmed.execute(queries.UNKNOWN_STEMMERS)
        return await cursor.fetchall(), dict(await unstemmed.fetchall())


async def has_document(connection: AsyncConnection[Any], document_sha256: str, stage_key: str) -> bool:
    """Return whether the index holds this document as the ingestion with *stage_key* wrote it."""
    with postgres_errors(f"look up document {document_sha256[:12]} in the index"):
        cursor = connection.cursor(row_factory=scalar_row)
        await cursor.execute(queries.HAS_DOCUMENT, {"sha256": document_sha256, "stage_key": stage_key})
        return bool(await cursor.fetchone())


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


def _parameters(text: str, vector: Sequence[float] | None, limit: int) -> dict[str, Any]:
    check_query(text, limit)
    if vector is not None and len(vector) != EMBEDDING_DIMENSIONS:
        raise InvalidOptions(f"the query's vector has {len(vector)} dimensions, the index {EMBEDDING_DIMENSIONS}")
    asked = searchable_text(text)
    words = words_of(text, _MAX_TERMS)
    return {
        "text": asked,
        "spellings": spelling_variants(text),
        "words": list(words),
        "typed_words": list(words.values()),
        "name": storable(text).strip()[:_MAX_NAME_CHARACTERS],
        "exact": is_exact(asked),
        "documents": None,
        "vector": None if vector is None else f"[{','.join(str(float(value)) for value in vector)}]",
        "limit": limit,
        "candidates": max(_MIN_CANDIDATES, _CANDIDATES_PER_HIT * limit),
        "max_matches": _MAX_MATCHES,
        "rrf_k": _RRF_K,
        "weights": _WEIGHTS,
    }
