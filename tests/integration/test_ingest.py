"""Stage 5 on real Postgres: what ends up in the index, again, at once, killed half-way, and from damaged input."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, LiteralString

import numpy as np
import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from blocks.embedding import EMBEDDING_MODEL
from blocks.errors import CatalogRefused, CatalogUnavailable, InvalidSettings, UnreadableDocument, WaybillError
from blocks.search_index import has_documents, search
from tasks import ingest
from tasks.contract import DocumentInfo, Services, StageInput, StageOutput
from tasks.ingest import INGEST, IngestOptions
from tests.stack_driver import PATIENCE_SECONDS

TABLES = ("indexed_documents", "indexed_chunks", "indexed_facts", "indexed_entities", "indexed_keywords")
SHA256 = hashlib.sha256(b"the document").hexdigest()
KEY, OTHER_KEY = "a" * 64, "b" * 64

INGESTION_WAITS = """
    select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')
"""

# Ingests the files of a folder in a process of its own, as a worker does.
WORKER = """
import sys
from pathlib import Path
from tasks.contract import DocumentInfo, Services, StageInput
from tasks.ingest import INGEST
folder, url, sha256, key = Path(sys.argv[1]), *sys.argv[2:5]
given = StageInput(
    document=DocumentInfo(name="a.pdf", sha256=sha256, size_bytes=1, media_type="application/pdf", source="a.pdf"),
    files={"chunker": folder / "chunks.json", "fact-generator": folder / "facts.json"},
    services=Services(home=folder, database_url=url),
    stage_key=key,
)
print("ready", flush=True)
sys.stdin.readline()
sys.stdout.write(INGEST.run(given, INGEST.options()).content.decode())
"""


@pytest.fixture(autouse=True)
def _no_connection_outlives_a_test() -> Iterator[None]:
    yield
    for connection in ingest._connections.values():
        connection.close()
    ingest._connections.clear()


def chunks_file(texts: list[str], *, seed: int = 1, **changes: Any) -> dict[str, Any]:
    vectors = np.random.default_rng(seed).standard_normal((len(texts), 384)).astype(np.float32)
    return {
        "schema": "waybill.chunks/1",
        "document": {
            "title": "Charter party",
            "source": "charter.pdf",
            "sha256": SHA256,
            "language": "en",
            "type": "application/pdf",
            "pages": 3,
            "created": "2024-05-01",
        },
        "summary": "About a ship.",
        "tokens": 5 * len(texts),
        "embedding_model": EMBEDDING_MODEL,
        "dimensions": 384,
        "chunks": [
            {
                "id": f"{seed}-{number}",
                "ordinal": number,
                "start": number * 100,
                "end": number * 100 + len(text),
                "text": text,
                "tokens": 5,
                "heading_path": ["Clauses", f"Clause {number}"],
                "embedding": vectors[number].tolist(),
            }
            for number, text in enumerate(texts)
        ],
        **changes,
    }


def facts_file(chunks: dict[str, Any], **changes: Any) -> dict[str, Any]:
    first = chunks["chunks"][0]
    return {
        "schema": "waybill.facts/1",
        "document": chunks["document"],
        "method": "extractive",
        "model": None,
        "keywords": [{"text": "demurrage", "score": 0.25}, {"text": "laytime", "score": 0.1}],
        "entities": [{"text": "Ms Jürgensen", "type": "person", "value": None, "count": 2, "chunk_ids": [first["id"]]}],
        "facts": [
            {
                "id": "f0",
                "statement": first["text"],
                "type": "statement",
                "chunk_id": first["id"],
                "quote": first["text"],
                "start": 0,
                "end": len(first["text"]),
                "confidence": None,
                "score": 0.1 + 0.2,  # no short decimal: it has to come back bit for bit
            }
        ],
        **changes,
    }


def stage_input(
    folder: Path, url: str, chunks: Any, facts: Any = None, *, key: str = KEY, name: str = "a.pdf"
) -> StageInput:
    files = {"chunker": folder / "chunks.json"}
    files["chunker"].write_bytes(chunks if isinstance(chunks, bytes) else json.dumps(chunks).encode())
    if facts is not None:
        files["fact-generator"] = folder / "facts.json"
        files["fact-generator"].write_bytes(facts if isinstance(facts, bytes) else json.dumps(facts).encode())
    document = DocumentInfo(name=name, sha256=SHA256, size_bytes=1, media_type="application/pdf", source=name)
    return StageInput(document=document, files=files, services=Services(home=folder, database_url=url), stage_key=key)


Ingest = Callable[..., StageOutput]


@pytest.fixture
def run(tmp_path: Path, database_url: str) -> Ingest:
    """Runs the stage on a chunks file and, perhaps, a facts file."""

    def call(chunks: Any, facts: Any = None, options: IngestOptions | None = None, **given: Any) -> StageOutput:
        return INGEST.run(stage_input(tmp_path, database_url, chunks, facts, **given), options or IngestOptions())

    return call


def rows(url: str, columns: LiteralString = "*") -> dict[str, list[tuple[Any, ...]]]:
    """All rows of the index; with ``ctid`` as *columns* where they lie, which changes when one is rewritten."""
    with psycopg.connect(url) as connection:
        return {
            table: connection.execute(SQL("select {} from {}").format(SQL(columns), Identifier(table))).fetchall()
            for table in TABLES
        }


CLAUSES = ["The vessel shall load at Bergen.", "Demurrage is payable per day.", "The owner is Ms Jürgensen."]


# What is written ------------------------------------------------------------------------------------------------------


def test_everything_of_a_document_is_in_the_index(run: Ingest, database_url: str) -> None:
    chunks = chunks_file(CLAUSES)
    output = run(chunks, facts_file(chunks))
    found = rows(database_url)
    (document,) = found["indexed_documents"]
    assert document[1:-1] == (
        SHA256,
        "Charter party",
        "charter.pdf",
        "application/pdf",
        "en",
        3,
        "2024-05-01",
        "About a ship.",
        EMBEDDING_MODEL,
        "english",
        KEY,
    )
    assert [row[4] for row in found["indexed_chunks"]] == CLAUSES
    assert [row[3] for row in found["indexed_chunks"]][1] == ["Clauses", "Clause 1"]
    stored = json.loads(found["indexed_chunks"][2][8])
    assert np.allclose(stored, chunks["chunks"][2]["embedding"])
    assert found["indexed_facts"][0][2:] == ("f0", "statement", CLAUSES[0], CLAUSES[0], 0.1 + 0.2, None, 0, 0, 32)
    assert found["indexed_entities"][0][2:] == ("Ms Jürgensen", "person", None, 2, [0])
    assert [row[2:] for row in found["indexed_keywords"]] == [("demurrage", 0.25), ("laytime", 0.1)]
    assert json.loads(output.content) == {
        "schema": "waybill.ingestion/1",
        "document": {"sha256": SHA256, "title": "Charter party", "source": "charter.pdf", "language": "en"},
        "stage_key": KEY,
        "table": "indexed_chunks",
        "embedding_model": EMBEDDING_MODEL,
        "chunks": 3,
        "vectors": 3,
        "facts": 1,
        "entities": 1,
        "keywords": 2,
    }
    assert output.warnings == ()


def test_without_facts_and_without_vectors_there_are_chunks(run: Ingest, database_url: str) -> None:
    chunks = chunks_file(CLAUSES, embedding_model=None, dimensions=None)
    for chunk in chunks["chunks"]:
        chunk["embedding"] = None
    del chunks["chunks"][0]["embedding"]
    report = json.loads(run(chunks).content)
    assert (report["chunks"], report["vectors"], report["facts"], report["embedding_model"]) == (3, 0, 0, None)


def test_what_the_header_does_not_say_comes_from_the_document(run: Ingest, database_url: str) -> None:
    run(chunks_file(["text"], document={}), name="letter.pdf")
    (document,) = rows(database_url)["indexed_documents"]
    assert document[1:6] == (SHA256, "letter.pdf", "letter.pdf", "application/pdf", None)


def test_options_leave_vectors_or_facts_out(run: Ingest) -> None:
    chunks = chunks_file(CLAUSES)
    report = json.loads(run(chunks, facts_file(chunks), IngestOptions(vectors=False, facts=False)).content)
    assert (report["vectors"], report["facts"], report["entities"], report["keywords"]) == (0, 0, 0, 0)


def test_vectors_of_another_model_are_left_out_with_a_warning(run: Ingest) -> None:
    output = run(chunks_file(CLAUSES, embedding_model="other/1"))
    assert json.loads(output.content)["vectors"] == 0
    assert output.warnings == ("3 vectors of another model left out",)


def test_facts_of_another_chunking_are_kept_without_their_chunk(run: Ingest, database_url: str) -> None:
    old, new = chunks_file(CLAUSES, seed=1), chunks_file(CLAUSES, seed=2)
    output = run(new, facts_file(old))
    assert output.warnings == ("1 fact that was made from other chunks",)
    found = rows(database_url)
    assert found["indexed_facts"][0][8] is None
    assert found["indexed_entities"][0][-1] == []


def test_a_document_without_chunks_is_known(run: Ingest, database_url: str) -> None:
    assert json.loads(run(chunks_file([])).content)["chunks"] == 0
    assert len(rows(database_url)["indexed_documents"]) == 1


async def test_nul_and_lone_surrogates_are_stored_and_the_rest_is_found(run: Ingest, database_url: str) -> None:
    text = "before\x00after and 🚢 half"
    chunks = chunks_file([text], summary="s\x00s")
    chunks["chunks"][0]["heading_path"] = ["head\x00ing"]
    chunks["document"]["title"] = "ti\x00tle"
    run(chunks, facts_file(chunks))
    run(chunks, facts_file(chunks))
    (chunk,) = rows(database_url)["indexed_chunks"]
    assert chunk[4] == "before�after and 🚢 half"
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        assert [hit.text for hit in (await search(connection, "after")).hits] == [chunk[4]]


def test_a_very_long_chunk_and_a_very_long_word_are_stored_whole(run: Ingest, database_url: str) -> None:
    texts = [" ".join(f"word{number}" for number in range(300_000)), "x" * 3_000_000]
    run(chunks_file(texts))
    assert [row[4] for row in rows(database_url)["indexed_chunks"]] == texts


def test_thousands_of_chunks_are_written_at_once(run: Ingest, database_url: str) -> None:
    chunks = chunks_file([f"Clause {number} of the charter" for number in range(5_000)])
    for chunk in chunks["chunks"]:
        chunk["embedding"] = None
    assert json.loads(run(chunks).content)["chunks"] == 5_000
    assert len(rows(database_url)["indexed_chunks"]) == 5_000


# Again ----------------------------------------------------------------------------------------------------------------


def test_ingesting_twice_gives_the_same_bytes_and_touches_no_row(run: Ingest, database_url: str) -> None:
    chunks = chunks_file(CLAUSES)
    first = run(chunks, facts_file(chunks))
    before = rows(database_url), rows(database_url, "ctid")
    second = run(chunks, facts_file(chunks))
    assert first.content == second.content
    assert rows(database_url) == before[0]
    after = rows(database_url, "ctid")
    for table in TABLES[1:]:  # the document's own row is where two writers meet; it is locked by writing it
        assert after[table] == before[1][table]
    assert first.metadata["rows"]["chunks"] == {"inserted": 3, "updated": 0, "unchanged": 0, "removed": 0}
    for changes in second.metadata["rows"].values():
        assert changes["inserted"] == changes["updated"] == changes["removed"] == 0
        assert changes["unchanged"] > 0


def test_only_what_changed_is_written(run: Ingest, database_url: str) -> None:
    chunks = chunks_file(CLAUSES)
    run(chunks, facts_file(chunks))
    chunks["chunks"][1]["text"] = "Demurrage is payable per hour."
    output = run(chunks, facts_file(chunks), key=OTHER_KEY)
    assert output.metadata["rows"]["documents"]["updated"] == 1
    assert output.metadata["rows"]["chunks"] == {"inserted": 0, "updated": 1, "unchanged": 2, "removed": 0}
    assert output.metadata["rows"]["facts"]["unchanged"] == 1


async def test_another_chunking_replaces_the_old_one_wholly(run: Ingest, database_url: str) -> None:
    old = chunks_file([*CLAUSES, "A clause about albatrosses."], seed=1)
    run(old, facts_file(old))
    new = chunks_file(["Everything about the vessel in one clause."], seed=2)
    output = run(new, facts_file(new), key=OTHER_KEY)
    assert output.metadata["rows"]["chunks"] == {"inserted": 0, "updated": 1, "unchanged": 0, "removed": 3}
    found = rows(database_url)
    assert [row[4] for row in found["indexed_chunks"]] == ["Everything about the vessel in one clause."]
    assert [row[8] for row in found["indexed_facts"]] == [0]
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        assert (await search(connection, "albatrosses")).hits == []
        assert await has_documents(connection, [(SHA256, OTHER_KEY), (SHA256, KEY)]) == {(SHA256, OTHER_KEY)}


def test_facts_that_are_no_longer_made_go(run: Ingest, database_url: str) -> None:
    chunks = chunks_file(CLAUSES)
    run(chunks, facts_file(chunks))
    output = run(chunks, facts_file(chunks, facts=[], keywords=[{"text": "laytime", "score": 0.1}]))
    assert output.metadata["rows"]["facts"]["removed"] == 1
    assert output.metadata["rows"]["keywords"] == {"inserted": 0, "updated": 1, "unchanged": 0, "removed": 1}


def test_another_title_or_language_makes_the_words_anew(run: Ingest, database_url: str) -> None:
    chunks = chunks_file(CLAUSES)
    run(chunks)
    chunks["document"]["language"] = "de"
    assert run(chunks).metadata["rows"]["chunks"]["updated"] == 3
    chunks["document"]["title"] = "Frachtvertrag"
    assert run(chunks).metadata["rows"]["chunks"]["updated"] == 3


# At once, and killed --------------------------------------------------------------------------------------------------


def worker(folder: Path, url: str, key: str = KEY) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(folder), url, SHA256, key],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def prepare(folder: Path, texts: list[str], seed: int) -> Path:
    folder.mkdir()
    chunks = chunks_file(texts, seed=seed)
    (folder / "chunks.json").write_text(json.dumps(chunks))
    (folder / "facts.json").write_text(json.dumps(facts_file(chunks)))
    return folder


def test_two_processes_with_the_same_document_write_it_once(tmp_path: Path, database_url: str) -> None:
    folder = prepare(tmp_path / "in", [f"Clause {number}" for number in range(200)], 1)
    processes = [worker(folder, database_url) for _ in range(2)]
    for process in processes:
        print(file=process.stdin, flush=True)
    outputs = [process.communicate(timeout=PATIENCE_SECONDS)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs[0] == outputs[1]
    found = rows(database_url)
    assert [len(found[table]) for table in TABLES] == [1, 200, 1, 1, 2]


def test_two_chunkings_at_once_never_mix(tmp_path: Path, database_url: str) -> None:
    folders = [prepare(tmp_path / str(seed), [f"{seed} {n}" for n in range(100 * seed)], seed) for seed in (1, 2)]
    processes = [worker(folder, database_url, key) for folder, key in zip(folders, (KEY, OTHER_KEY), strict=True)]
    for process in processes:
        print(file=process.stdin, flush=True)
    for process in processes:
        process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0
    found = rows(database_url)
    winner = 1 if found["indexed_documents"][0][-2] == KEY else 2
    in_order = sorted(found["indexed_chunks"], key=lambda row: row[1])
    assert [row[2] for row in in_order] == [f"{winner}-{number}" for number in range(100 * winner)]


@pytest.mark.parametrize("table", ["indexed_chunks", "indexed_facts", "indexed_keywords"])
def test_a_process_that_is_killed_half_way_leaves_the_old_rows_whole(
    tmp_path: Path, run: Ingest, database_url: str, table: str
) -> None:
    old = chunks_file([*CLAUSES, "one more", "and another"])
    run(old, facts_file(old))
    before = rows(database_url)
    folder = prepare(tmp_path / "in", ["all", "new"], 2)
    facts = json.loads((folder / "facts.json").read_text())
    (folder / "facts.json").write_text(json.dumps({**facts, "keywords": [{"text": "new", "score": 1.0}]}))
    with psycopg.connect(database_url) as blocker:
        blocker.execute(
            SQL("lock table {} in share mode").format(Identifier(table))
        )  # readers pass, the ingestion stops here
        process = worker(folder, database_url, OTHER_KEY)
        print(file=process.stdin, flush=True)
        wait_until(database_url, INGESTION_WAITS)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=PATIENCE_SECONDS)
        assert rows(database_url) == before
    assert rows(database_url) == before
    assert json.loads(run(chunks_file(["all", "new"], seed=2), key=OTHER_KEY).content)["chunks"] == 2
    assert len(rows(database_url)["indexed_chunks"]) == 2


def wait_until(url: str, condition: LiteralString) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    with psycopg.connect(url, autocommit=True) as connection:
        while connection.execute(SQL(condition)).fetchone() != (True,):
            assert time.monotonic() < deadline, condition
            time.sleep(0.01)


# Trouble with Postgres ------------------------------------------------------------------------------------------------


def test_a_connection_that_was_dropped_is_opened_again(run: Ingest, database_url: str) -> None:
    chunks = chunks_file(CLAUSES)
    run(chunks)
    with psycopg.connect(database_url) as connection:
        connection.execute(
            """
            select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and pid <> pg_backend_pid()
            """
        )
    assert json.loads(run(chunks).content)["chunks"] == 3
    assert len(ingest._connections) == 1


def test_a_connection_that_refuses_to_write_is_replaced(run: Ingest) -> None:
    run(chunks_file(CLAUSES))
    (kept,) = ingest._connections.values()
    kept.execute("set default_transaction_read_only = on")
    assert json.loads(run(chunks_file(["other"], seed=2)).content)["chunks"] == 1
    assert kept.closed


def test_one_connection_serves_many_documents(run: Ingest) -> None:
    run(chunks_file(CLAUSES))
    (first,) = ingest._connections.values()
    run(chunks_file(["other"], seed=2))
    assert list(ingest._connections.values()) == [first]


def test_waiting_for_another_ingestion_ends_as_a_passing_condition(
    run: Ingest, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunks = chunks_file(CLAUSES)
    run(chunks)
    ingest._connections.popitem()[1].close()
    monkeypatch.setattr(ingest, "LOCK_WAIT_SECONDS", 0.1)
    with psycopg.connect(database_url) as other:
        other.execute("select from indexed_documents for update")
        with pytest.raises(CatalogUnavailable):
            run(chunks)
    assert json.loads(run(chunks).content)["chunks"] == 3


def test_a_server_that_is_not_there_is_a_passing_condition(tmp_path: Path) -> None:
    given = stage_input(tmp_path, f"postgresql://postgres@/waybill?host={tmp_path}", chunks_file(CLAUSES))
    with pytest.raises(CatalogUnavailable):
        INGEST.run(given, IngestOptions())


def test_no_database_is_told_before_anything_else(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="WAYBILL_DATABASE_URL"):
        INGEST.run(stage_input(tmp_path, "", chunks_file(CLAUSES)), IngestOptions())


def test_a_database_that_was_never_migrated_is_told(tmp_path: Path, empty_database_url: str) -> None:
    with pytest.raises(InvalidSettings, match="migrated"):
        INGEST.run(stage_input(tmp_path, empty_database_url, chunks_file(CLAUSES)), IngestOptions())


def test_what_postgres_refuses_is_permanent_and_changes_nothing(run: Ingest, database_url: str) -> None:
    run(chunks_file(CLAUSES))
    before = rows(database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute("alter table indexed_chunks add check (text <> 'unwanted')")
    with pytest.raises(CatalogRefused) as caught:
        run(chunks_file(["fine", "unwanted"], seed=2))
    assert "unwanted" not in str(caught.value)
    assert rows(database_url) == before


# Damaged input --------------------------------------------------------------------------------------------------------


def damaged(**changes: Any) -> dict[str, Any]:
    """A chunks file whose second chunk has these fields instead of its own."""
    chunks = chunks_file(CLAUSES)
    chunks["chunks"][1].update(changes)
    return chunks


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\xff",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b'{"schema": "waybill.chunks/1"}',
        b"[" * 100_000,
        b'{"schema": "waybill.chunks/1", "document": {}, "chunks": [1, null]}',
        b'{"schema": "waybill.chunks/1", "document": {}, "chunks": {"a": 1}}',
        b'{"schema": "waybill.chunks/1", "document": {"title": "\\ud800"}, "chunks": []}',
        chunks_file(CLAUSES, schema="waybill.chunks/2"),
        chunks_file(CLAUSES, document="charter.pdf"),
        chunks_file(CLAUSES, document={"pages": -1}),
        chunks_file(CLAUSES, document={"pages": 2**40}),
        damaged(ordinal=5),
        damaged(ordinal=0),
        damaged(ordinal=True),
        damaged(id="1-0"),
        damaged(id=7),
        damaged(text=None),
        damaged(start=-1),
        damaged(start=500),
        damaged(end=2**31),
        damaged(tokens="5"),
        damaged(heading_path="Clauses"),
        damaged(heading_path=[None]),
        damaged(embedding=[]),
        damaged(embedding=[0.5] * 383),
        damaged(embedding=[0.5] * 385),
        damaged(embedding=[[0.5] * 384]),
        damaged(embedding=[0.5] * 383 + [None]),
        damaged(embedding=[0.5] * 383 + ["x"]),
        damaged(embedding=[0.5] * 383 + [[0.5]]),
        damaged(embedding=[1e39] * 384),
        damaged(embedding="text"),
        damaged(embedding={"a": 1}),
    ],
    ids=str,
)
def test_a_damaged_chunks_file_is_an_unreadable_document(run: Ingest, database_url: str, content: Any) -> None:
    with pytest.raises(UnreadableDocument, match=r"chunk"):
        run(content)
    assert rows(database_url)["indexed_documents"] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": "waybill.chunks/1"},
        {"facts": None},
        {"facts": [{"id": "f0"}]},
        {"facts": [{"id": "f0", "statement": "s", "type": "t", "quote": "q", "confidence": "high"}]},
        {"entities": [{"text": "x", "type": "y", "count": -1}]},
        {"entities": [{"text": "x", "type": "y", "count": 1, "chunk_ids": [1]}]},
        {"keywords": ["laytime"]},
    ],
    ids=str,
)
def test_a_damaged_facts_file_is_an_unreadable_document(run: Ingest, database_url: str, changes: Any) -> None:
    chunks = chunks_file(CLAUSES)
    with pytest.raises(UnreadableDocument, match=r"facts\.json"):
        run(chunks, facts_file(chunks, **changes))
    assert rows(database_url)["indexed_documents"] == []


def test_an_error_never_quotes_the_document(run: Ingest) -> None:
    with pytest.raises(WaybillError) as caught:
        run(damaged(tokens="a secret clause", text=["another secret"]))
    assert "secret" not in str(caught.value)
