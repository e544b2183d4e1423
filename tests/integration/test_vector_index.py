"""The index of vectors: which form a database has, and how an older one gets the present one while it is in use."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import scalar_row

from blocks.search_index import SearchFilters, queries, search, vector_index
from blocks.search_index.vector_index import (
    BY_HALF,
    BY_LISTS,
    BY_WHOLE,
    LISTS_FROM,
    MOST_LISTS,
    Form,
    keep_vector_index,
    renew_vector_index,
)
from tests.integration.indexed import direction, document, put
from tests.integration.test_ingest import wait_until
from tests.stack_driver import eventually

_BUILD_WAITS = """
    select exists (select from pg_stat_activity
                    where datname = current_database() and wait_event_type = 'Lock'
                      and query ~ 'create index concurrently')
"""


@pytest.fixture
def older_database(database_url: str) -> str:
    """A database with passages and the older form of the index."""
    with psycopg.connect(database_url) as connection:
        connection.execute(f"drop index {BY_HALF}".encode())
        connection.execute(
            f"create index {BY_WHOLE} on indexed_chunks using hnsw (embedding vector_cosine_ops)".encode()
        )
    put(database_url, document(("Snow on the rack.", direction(1)), ("Tea at four.", direction(0, 1)), title="Notes"))
    return database_url


def indexes(url: str) -> list[tuple[str, bool]]:
    """The names of the indexes of vectors, and whether each is complete."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            """
            select relname, indisvalid from pg_index join pg_class c on c.oid = indexrelid
             where indrelid = 'indexed_chunks'::regclass and pg_get_indexdef(indexrelid) ~ 'hnsw|ivfflat'
             order by relname
            """
        ).fetchall()


def definition(url: str) -> str | None:
    with psycopg.connect(url) as connection:
        cursor = connection.cursor(row_factory=scalar_row)
        return cursor.execute("select indexdef from pg_indexes where indexname = %s", [BY_HALF]).fetchone()


async def found(url: str, vector: Sequence[float]) -> list[str]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        answer = await search(connection, "anything", vector=vector, show_all=True)
        return [hit.text for hit in answer.hits]


def plan(url: str, statement: str) -> str:
    with psycopg.connect(url) as connection:
        connection.execute("set enable_seqscan = off")
        given = {"vector": str(direction(1).tolist()), "documents": None, "candidates": 10}
        rows = connection.execute(f"explain {statement}".encode(), given).fetchall()
        return "\n".join(row[0] for row in rows)


def test_search_asks_each_form_of_the_index_as_that_is_written(older_database: str) -> None:
    assert f"using {BY_WHOLE}" in plan(older_database, queries.NEAREST_BY_WHOLE)
    asyncio.run(renew_vector_index(older_database))
    assert f"using {BY_HALF}" in plan(older_database, queries.NEAREST_BY_HALF)


async def test_an_older_database_answers_the_same_before_and_after(older_database: str) -> None:
    before = await found(older_database, direction(0.2, 1).tolist())
    assert before == ["Tea at four.", "Snow on the rack."]
    assert await renew_vector_index(older_database)
    assert indexes(older_database) == [(BY_HALF, True)]
    assert await found(older_database, direction(0.2, 1).tolist()) == before


def test_it_is_built_as_the_migration_makes_it(database_url: str) -> None:
    made = definition(database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute(f"drop index {BY_HALF}".encode())
        connection.execute(
            f"create index {BY_WHOLE} on indexed_chunks using hnsw (embedding vector_cosine_ops)".encode()
        )
    asyncio.run(renew_vector_index(database_url))
    assert made is not None
    assert definition(database_url) == made


async def test_what_a_killed_process_left_is_built_again(older_database: str) -> None:
    with psycopg.connect(older_database) as connection:
        connection.execute(
            f"create index {BY_HALF} on indexed_chunks using hnsw ((embedding::halfvec(384)) halfvec_cosine_ops)"
            "".encode()
        )
        connection.execute("update pg_index set indisvalid = false where indexrelid = %s::regclass", [BY_HALF])
    assert len(await found(older_database, direction(1).tolist())) == 2  # by the older one
    assert await renew_vector_index(older_database)
    assert indexes(older_database) == [(BY_HALF, True)]


async def test_one_process_builds_and_the_others_wait(older_database: str) -> None:
    async with await psycopg.AsyncConnection.connect(older_database, autocommit=True) as other:
        await other.execute("select pg_advisory_lock(%s)", [vector_index._LOCK_KEY])
        assert not await renew_vector_index(older_database)
        assert indexes(older_database) == [(BY_WHOLE, True)]
        trying = asyncio.create_task(keep_vector_index(older_database, retry_seconds=0.01))
        await other.execute("select pg_advisory_unlock(%s)", [vector_index._LOCK_KEY])
        await asyncio.to_thread(eventually, lambda: indexes(older_database) == [(BY_HALF, True)], "one to build it")
        trying.cancel()


async def test_documents_are_read_and_written_while_it_is_built(older_database: str) -> None:
    async with await psycopg.AsyncConnection.connect(older_database) as other:
        await other.execute("update indexed_chunks set tokens = tokens + 1")  # the build waits for its end
        building = asyncio.create_task(renew_vector_index(older_database))
        await asyncio.to_thread(wait_until, older_database, _BUILD_WAITS)
        added = document(("Rain on the roof.", direction(0, 0, 1)), title="More")
        await asyncio.to_thread(put, older_database, added)
        assert "Rain on the roof." in await found(older_database, direction(0, 0, 1).tolist())
        await other.commit()
        assert await building
    assert (await found(older_database, direction(0, 0, 1).tolist()))[0] == "Rain on the roof."


async def test_a_database_that_is_away_is_tried_again(older_database: str, tmp_path: Path) -> None:
    trying = asyncio.create_task(
        keep_vector_index(f"postgresql://postgres@/waybill?host={tmp_path}", retry_seconds=0.01)
    )
    done, _ = await asyncio.wait([trying], timeout=0.1)
    assert not done
    trying.cancel()


async def test_a_larger_index_is_looked_at_closer(database_url: str) -> None:
    """The depth grows with what Postgres estimates, between what search asks for and the most that pgvector takes.

    Names of very many documents have to be more alike.
    """
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        depths: list[int] = []
        likenesses: list[float] = []
        for passages in (-1, 10_000, 100_000, 10_000_000):
            await connection.execute(
                "update pg_class set reltuples = %s where oid = 'indexed_chunks'::regclass", [passages]
            )
            await connection.execute(queries.SEARCH_SETTINGS, {"candidates": 100})
            cursor = connection.cursor(row_factory=scalar_row)
            await cursor.execute("select current_setting('hnsw.ef_search')::int")
            depths.append(await cursor.fetchone() or 0)
            await cursor.execute("show pg_trgm.word_similarity_threshold")
            likenesses.append(float(await cursor.fetchone() or 0))
        await connection.rollback()
    assert depths[:2] == [100, 100]
    assert 100 < depths[2] < depths[3] == 1000
    assert likenesses == [0.6, 0.6, 0.6, 0.65]


# Many passages --------------------------------------------------------------------------------------------------------


def test_the_form_follows_the_number_of_passages() -> None:
    graph, lists = Form(name=BY_HALF), Form.for_passages(LISTS_FROM)
    assert Form.for_passages(0) == Form.for_passages(LISTS_FROM - 1) == graph
    assert lists == Form(name=BY_LISTS, lists=LISTS_FROM // 250)
    assert Form.for_passages(1_000_000) == Form.for_passages(50_000_000) == Form(name=BY_LISTS, lists=MOST_LISTS)
    # Not to and fro: an index with lists is kept until the passages are half as many, or need twice the lists.
    few = Form(name=BY_LISTS, lists=800)
    assert [Form.for_passages(number, few) for number in (150_000, 399_000)] == [few, few]
    assert Form.for_passages(149_000, few) == graph
    assert Form.for_passages(400_000, few) == Form(name=BY_LISTS, lists=1600)


def estimate(url: str, passages: int) -> None:
    """Have Postgres believe that there are so many passages."""
    with psycopg.connect(url) as connection:
        connection.execute("alter table indexed_chunks set (autovacuum_enabled = off)")
        connection.execute("update pg_class set reltuples = %s where oid = 'indexed_chunks'::regclass", [passages])


def lists_of(url: str) -> str | None:
    with psycopg.connect(url) as connection:
        cursor = connection.cursor(row_factory=scalar_row)
        return cursor.execute("select reloptions[1] from pg_class where relname = %s", [BY_LISTS]).fetchone()


async def test_many_passages_get_lists_more_get_more_and_few_the_graph_again(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_index, "LISTS_FROM", 3000)
    put(database_url, document(("Snow on the rack.", direction(1)), ("Tea at four.", direction(0, 1)), title="Notes"))
    before = await found(database_url, direction(0.2, 1).tolist())
    assert before == ["Tea at four.", "Snow on the rack."]
    for passages, lists in ((3000, "lists=12"), (5000, "lists=12"), (6000, "lists=24"), (2000, "lists=24")):
        estimate(database_url, passages)
        assert await renew_vector_index(database_url)
        assert (indexes(database_url), lists_of(database_url)) == ([(BY_LISTS, True)], lists)
        assert f"using {BY_LISTS}" in plan(database_url, queries.NEAREST_BY_HALF)
        assert await found(database_url, direction(0.2, 1).tolist()) == before
    estimate(database_url, 1000)
    assert await renew_vector_index(database_url)
    assert indexes(database_url) == [(BY_HALF, True)]
    assert await found(database_url, direction(0.2, 1).tolist()) == before


async def test_what_killed_builds_of_lists_left_is_dropped(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_index, "LISTS_FROM", 3000)
    put(database_url, document(("Snow on the rack.", direction(1)), title="Notes"))
    estimate(database_url, 3000)
    half = "on indexed_chunks using ivfflat ((embedding::halfvec(384)) halfvec_cosine_ops) with (lists = 5)"
    with psycopg.connect(database_url) as connection:
        for name in (vector_index._NEXT, vector_index._OLD):
            connection.execute(f"create index {name} {half}".encode())
        connection.execute(
            "update pg_index set indisvalid = false where indexrelid = %s::regclass", [vector_index._NEXT]
        )
    assert await renew_vector_index(database_url)
    assert (indexes(database_url), lists_of(database_url)) == ([(BY_LISTS, True)], "lists=12")


async def test_lists_are_read_on_for_a_filter_that_leaves_few(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_index, "LISTS_FROM", 3000)
    monkeypatch.setattr(vector_index, "_PASSAGES_IN_LIST", 3)
    near = [document((f"Near {n}.", direction(1, n / 1000)), title=f"Near {n}") for n in range(1, 200)]
    put(database_url, *near, document(("Far away.", direction(0, 0, 1)), title="Far", source="far.pdf"))
    estimate(database_url, 3000)
    assert await renew_vector_index(database_url)
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await connection.execute("set enable_seqscan = off")
        answer = await search(
            connection, "anything", vector=direction(1).tolist(), show_all=True, filters=SearchFilters(source="far.pdf")
        )
    assert [hit.text for hit in answer.hits] == ["Far away."]
