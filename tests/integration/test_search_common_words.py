"""Questions of words that most passages have: in a large index they are not looked for in all of those passages."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import psycopg
import pytest

from blocks.search_index import SearchHit, queries, search
from blocks.search_index import read as reading
from tests.integration.indexed import direction, document, put


@pytest.fixture
def large(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An index that counts as large: every passage has "valve" and "open", and one has "manometer"."""
    monkeypatch.setattr(reading, "_MAX_MATCHES_OF_WORD", 10)
    passages: list[str | tuple[str, np.ndarray | None]] = [
        (f"Open the valve number {number}.", direction(1, number / 10)) for number in range(40)
    ]
    passages.append(("Open the valve by the manometer.", direction(1, 0.5)))
    put(database_url, document(*passages, title="Handbook"))
    with psycopg.connect(database_url) as connection:
        connection.execute("analyze indexed_chunks")
    return database_url


async def find(url: str, text: str, vector: Sequence[float] | None = None) -> list[SearchHit]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        answer = await search(connection, text, vector=vector, limit=5)
        assert not answer.nothing_close
        return answer.hits


async def test_common_words_leave_the_ranking_to_the_vector(large: str) -> None:
    hits = await find(large, "open valve", direction(1, 1).tolist())
    assert hits[0].text == "Open the valve number 10."
    assert {tuple(hit.found_by) for hit in hits} == {("vector",)}


async def test_a_rare_word_among_common_ones_is_found_by_words(large: str) -> None:
    hits = await find(large, "open valve manometer", direction(1).tolist())
    assert hits[0].text == "Open the valve by the manometer."
    assert "words" in hits[0].found_by


async def test_without_a_vector_common_words_are_searched_as_words(large: str) -> None:
    hits = await find(large, "open valve")
    assert len(hits) == 5
    assert {tuple(hit.found_by) for hit in hits} == {("words",)}


async def test_a_phrase_of_common_words_is_searched_as_it_is(large: str) -> None:
    hits = await find(large, '"valve number 7"', direction(1).tolist())
    assert [hit.text for hit in hits] == ["Open the valve number 7."]


async def test_an_index_without_statistics_is_searched_as_a_small_one(large: str) -> None:
    with psycopg.connect(large) as connection:
        connection.execute("delete from pg_statistic where starelid = 'indexed_chunks'::regclass")
    hits = await find(large, "open valve", direction(1, 1).tolist())
    assert "words" in hits[0].found_by


async def test_more_frequent_words_are_known_than_postgres_keeps_by_itself(database_url: str) -> None:
    """Two thousand words, each in two of the passages: by itself Postgres would keep a thousand."""
    passages = [" ".join(f"w{number}x" for number in range(start, start + 500)) for start in range(0, 2000, 500)]
    put(database_url, document(*passages * 2, title="Words", language=None))
    with psycopg.connect(database_url) as connection:
        connection.execute("analyze indexed_chunks")
        (known,) = connection.execute(
            """
            select count(*) from pg_stats, unnest(most_common_elems::text::text[]) lexeme
             where tablename = 'indexed_chunks' and attname = 'words' and lexeme ~ '^w[0-9]+x$'
            """
        ).fetchone() or (0,)
    assert known == 2000


async def test_a_name_that_many_documents_have_is_compared_with_some(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_MAX_MATCHES_OF_NAME", 3)
    put(database_url, *(document(f"Page {number}.", title=f"Minutes {number}") for number in range(6)))
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        answer = await search(connection, "minutez", show_all=True)
    assert sorted("name" in hit.found_by for hit in answer.hits) == [False] * 3 + [True] * 3


def test_documents_are_not_read_for_unknown_stemmers_where_there_are_none(large: str) -> None:
    with psycopg.connect(large) as connection:
        rows = connection.execute(f"explain (analyze, costs off) {queries.UNKNOWN_STEMMERS}".encode()).fetchall()
    scans = [row[0] for row in rows if re.search(r"Scan .*on indexed_documents \(", row[0])]
    assert len(scans) == 1
    assert "never executed" in scans[0]
