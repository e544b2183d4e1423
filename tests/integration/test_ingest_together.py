"""Stage 5 on many documents at once: the same rows and outputs as one by one, and each fails for itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import scalar_row

from blocks.errors import CatalogRefused, CatalogUnavailable, UnreadableDocument, WaybillError
from blocks.search_index import IndexedDocument, Replacement, remove_document, replace_documents
from tasks import ingest
from tasks.contract import DocumentInfo, Services, StageInput, StageOutput
from tasks.ingest import INGEST, IngestOptions
from tests.integration.indexed import document, put
from tests.integration.test_ingest import (
    INGESTION_WAITS,
    KEY,
    OTHER_KEY,
    TABLES,
    chunks_file,
    facts_file,
    rows,
    wait_until,
)

_NAMES = ("charter", "invoice", "letter", "protocol")


@pytest.fixture(autouse=True)
def _no_connection_outlives_a_test() -> Iterator[None]:
    yield
    for connection in ingest._connections.values():
        connection.close()
    ingest._connections.clear()


Given = Callable[..., StageInput]


@pytest.fixture
def given(tmp_path: Path, database_url: str) -> Given:
    """Makes the input of a document of this name, of a few chunks that others have not."""

    def make(name: str, *, url: str = database_url, key: str = KEY, **changes: Any) -> StageInput:
        chunks = chunks_file([f"{name} {number}" for number in range(len(name))], seed=len(name))
        chunks["document"] |= {"title": name, "language": "de" if name == "letter" else "en"}
        folder = tmp_path / f"{name}-{key[:1]}"
        folder.mkdir(exist_ok=True)
        (folder / "chunks.json").write_text(json.dumps(chunks | changes.pop("chunks", {})))
        (folder / "facts.json").write_text(json.dumps(facts_file(chunks, **changes)))
        return StageInput(
            document=DocumentInfo(
                name=name,
                sha256=hashlib.sha256(name.encode()).hexdigest(),
                size_bytes=1,
                media_type="text/plain",
                source=name,
            ),
            files={"chunker": folder / "chunks.json", "fact-generator": folder / "facts.json"},
            services=Services(home=tmp_path, database_url=url),
            stage_key=key,
        )

    return make


def together(given: Sequence[StageInput]) -> Sequence[StageOutput | WaybillError]:
    assert INGEST.run_together is not None
    return INGEST.run_together(given, IngestOptions())


def without_ids(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of the index, with the document's content for its id, and without the time of writing."""
    with psycopg.connect(url) as connection:
        contents = dict(connection.execute("select document_id, sha256 from indexed_documents").fetchall())
    found = rows(url)
    return {
        table: sorted(
            (contents[row[0]], *(row[1:-1] if table == "indexed_documents" else row[1:])) for row in found[table]
        )
        for table in TABLES
    }


def transactions(url: str) -> int:
    """The number of transactions that wrote the documents that are there."""
    with psycopg.connect(url) as connection:
        cursor = connection.cursor(row_factory=scalar_row)
        return cursor.execute("select count(distinct xmin::text) from indexed_documents").fetchone() or 0


def empty(url: str) -> None:
    with psycopg.connect(url) as connection:
        for sha256 in [row[1] for row in rows(url)["indexed_documents"]]:
            remove_document(connection, sha256)


def test_the_rows_and_outputs_are_those_of_one_by_one(given: Given, database_url: str) -> None:
    inputs = [given(name) for name in _NAMES]
    alone = [INGEST.run(one, IngestOptions()) for one in inputs]
    expected = without_ids(database_url)
    empty(database_url)
    assert list(together(inputs)) == alone
    assert without_ids(database_url) == expected
    assert transactions(database_url) == 1


def test_again_no_row_is_touched_and_of_some_only_what_changed(given: Given, database_url: str) -> None:
    inputs = [given(name) for name in _NAMES]
    first = together(inputs)
    before = rows(database_url, "ctid")
    again = together(inputs)
    assert [one.content for one in again if isinstance(one, StageOutput)] == [
        one.content for one in first if isinstance(one, StageOutput)
    ]
    after = rows(database_url, "ctid")
    for table in TABLES[1:]:
        assert after[table] == before[table]
    changed = given("letter", key=OTHER_KEY, keywords=[], chunks={"chunks": []})
    outcomes = together([inputs[0], changed, given("telegram")])
    counts = [one.metadata["rows"] for one in outcomes if isinstance(one, StageOutput)]
    assert [one["chunks"] for one in counts] == [
        {"inserted": 0, "updated": 0, "unchanged": 7, "removed": 0},
        {"inserted": 0, "updated": 0, "unchanged": 0, "removed": 6},
        {"inserted": 8, "updated": 0, "unchanged": 0, "removed": 0},
    ]
    assert [one["keywords"]["removed"] for one in counts] == [0, 2, 0]
    assert [one["documents"] for one in counts] == [
        {"inserted": 0, "updated": 0, "unchanged": 1, "removed": 0},
        {"inserted": 0, "updated": 1, "unchanged": 0, "removed": 0},
        {"inserted": 1, "updated": 0, "unchanged": 0, "removed": 0},
    ]


def test_a_document_that_is_damaged_or_refused_fails_alone(given: Given, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("alter table indexed_keywords add check (text <> 'forbidden')")
    refused = given("invoice", keywords=[{"text": "forbidden", "score": 1.0}])
    damaged = given("letter", chunks={"schema": "other/1"})
    outcomes = together([given("charter"), refused, damaged, given("protocol")])
    assert [type(one) for one in outcomes] == [StageOutput, CatalogRefused, UnreadableDocument, StageOutput]
    assert [row[2] for row in rows(database_url)["indexed_documents"]] == ["charter", "protocol"]
    assert {row[0] for row in rows(database_url)["indexed_keywords"]} == {
        row[0] for row in rows(database_url)["indexed_documents"]
    }


def test_a_document_that_another_process_holds_costs_no_other(
    given: Given, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = [given(name) for name in _NAMES]
    together(inputs[:1])
    ingest._connections.popitem()[1].close()
    monkeypatch.setattr(ingest, "LOCK_WAIT_SECONDS", 0.1)
    with psycopg.connect(database_url) as other:
        other.execute("select from indexed_documents for update")
        outcomes = together(inputs)
    assert [type(one) for one in outcomes] == [CatalogUnavailable, StageOutput, StageOutput, StageOutput]
    assert len(rows(database_url)["indexed_documents"]) == len(_NAMES)


def test_a_catalogue_that_is_away_is_a_passing_condition_for_each(given: Given, tmp_path: Path) -> None:
    url = f"postgresql://postgres@/waybill?host={tmp_path}"
    outcomes = together([given("charter", url=url), given("letter", url=url)])
    assert [type(one) for one in outcomes] == [CatalogUnavailable, CatalogUnavailable]


def test_a_connection_that_was_dropped_is_opened_again(given: Given, database_url: str) -> None:
    together([given("charter")])
    with psycopg.connect(database_url) as connection:
        connection.execute(
            """
            select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and pid <> pg_backend_pid()
            """
        )
    outcomes = together([given("charter"), given("letter")])
    assert [type(one) for one in outcomes] == [StageOutput, StageOutput]


def test_large_files_are_written_in_several_transactions(
    given: Given, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "TOGETHER_BYTES", 1)
    outcomes = together([given(name) for name in _NAMES])
    assert all(isinstance(one, StageOutput) for one in outcomes)
    assert transactions(database_url) == len(_NAMES)


def test_the_later_one_of_the_same_content_wins(database_url: str) -> None:
    early, late, other = document("early", title="same"), document("late", "later", title="same"), document("other")
    late = type(late)(head=early.head, chunks=late.chunks)
    with psycopg.connect(database_url) as connection:
        replacements = replace_documents(connection, [early, other, late])
    assert [(one.chunks.inserted, one.chunks.updated) for one in replacements] == [(1, 0), (1, 0), (1, 1)]
    assert sorted(row[4] for row in rows(database_url)["indexed_chunks"]) == ["late", "later", "other"]


def test_documents_are_locked_in_one_order_so_that_two_batches_cannot_wait_for_each_other(database_url: str) -> None:
    first, second = sorted((document("a", title="A"), document("b", title="B")), key=lambda one: one.head.sha256)
    put(database_url, first, second)
    lock = "select from indexed_documents where sha256 = %s for update nowait"
    with (
        psycopg.connect(database_url) as holder,
        psycopg.connect(database_url) as other,
        ThreadPoolExecutor() as thread,
    ):
        holder.execute(lock, [first.head.sha256])
        batch = thread.submit(put_together, database_url, second, first)
        wait_until(database_url, INGESTION_WAITS)
        other.execute(lock, [second.head.sha256])  # the batch does not hold it while it waits for the first
        other.rollback()
        holder.rollback()
        assert len(batch.result()) == 2


def put_together(url: str, *documents: IndexedDocument) -> list[Replacement]:
    with psycopg.connect(url) as connection:
        return replace_documents(connection, documents)
