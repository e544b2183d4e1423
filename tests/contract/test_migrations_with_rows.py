"""A catalogue with files is migrated: what readers and exports see of them stays, on the way up and on the way down."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from alembic import command
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from blocks.catalog import Artifact, Catalog, queries
from blocks.catalog.artifact import artifact_of
from blocks.catalog.migrate import alembic_config, create_extensions, migrate
from tests.postgres_server import Postgres
from waybill.stack.backup.stored_rows import pages_of_stored_files

# Rows of files had all columns since the first line of their lives, hashes as text, and zeros.
BEFORE = "0024"
_COUNTS = {"inserted": 3, "updated": 0, "unchanged": 0, "removed": 0}
_METADATA = {"rows": {"chunks": _COUNTS, "facts": dict.fromkeys(_COUNTS, 0)}, "title": "ünï"}
_INSERT = """
    insert into artifacts (file_id, state, kind, filename, source_file, document_sha256, stage, stage_name, stage_key,
                           run_id, media_type, size, sha256, stored_size, stored_sha256, encrypted_for, header_sha256,
                           location, metadata, created_at, expires_at, deleted_at)
    values (%(file_id)s, %(state)s, %(kind)s, 'report.md', '/docs/report.pdf', %(document)s, %(stage)s, %(stage_name)s,
            %(stage_key)s, %(run_id)s, 'text/markdown', 1, %(sha256)s, 2, %(sha256)s, %(sealed)s, %(header)s,
            %(location)s, %(metadata)s, '2026-01-01 00:00Z', '2999-01-01 00:00Z', %(deleted_at)s)
"""
_DELIVERED = "select * from run_outputs order by file_id, source_file"
_EXPORTED = "select * from waybill_export.artifacts order by file_id"


def move(url: str, action: str, revision: str) -> None:
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=NullPool)
    with engine.begin() as connection:
        getattr(command, action)(alembic_config(connection), revision)


def rows(url: str, statement: str) -> list[dict[str, Any]]:
    with psycopg.connect(url) as connection, connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement.encode()).fetchall()


def artifacts(url: str) -> list[Artifact]:
    found = rows(url, f"select {queries.COLUMNS} from artifacts where state = 'available' order by file_id")  # noqa: S608
    return [artifact_of(row) for row in found]


def row_of(state: str, kind: str = "upload", **given: Any) -> Mapping[str, Any]:
    of_stage = kind == "stage_output"
    file_id = uuid4()
    return {
        "file_id": file_id, "state": state, "kind": kind, "run_id": uuid4(), "document": "1f" * 32,
        "sha256": "2e" * 32, "stage": 5 if of_stage else None, "stage_name": "ingestor" if of_stage else None,
        "stage_key": "3d" * 32 if of_stage else None, "sealed": "age1" if of_stage else None,
        "header": "4c" * 32 if of_stage else None, "location": f"uploads/{file_id}",
        "metadata": Jsonb(_METADATA if of_stage else {}), "deleted_at": "now" if state == "deleted" else None,
    } | given  # fmt: skip


@pytest.fixture
def earlier(empty_database_url: str) -> str:
    """A database of an earlier version with a file of each state, an output of a stage, and an export."""
    with psycopg.connect(empty_database_url) as connection:
        create_extensions(connection)
    move(empty_database_url, "upgrade", BEFORE)
    with psycopg.connect(empty_database_url) as connection:
        for state in ("pending", "available", "deleting", "deleted"):
            connection.execute(_INSERT, row_of(state))
        connection.execute(_INSERT, row_of("available", "stage_output"))
        connection.execute(_INSERT, row_of("available", "export"))
        connection.execute(
            "insert into run_outputs (run_id, file_id, source_file, reused)"
            " select run_id, file_id, source, source = '/b' from artifacts, unnest(array['/a', '/b']) as source"
        )
    return empty_database_url


def test_files_and_what_is_exported_of_them_stay_as_they_were(earlier: str) -> None:
    exported, plain = rows(earlier, _EXPORTED), rows(earlier, "select * from artifacts order by file_id")
    delivered = rows(earlier, _DELIVERED)
    migrate(earlier)
    assert rows(earlier, _EXPORTED) == exported
    assert rows(earlier, _DELIVERED) == delivered
    found = artifacts(earlier)
    for artifact, row in zip(found, [row for row in plain if row["state"] == "available"], strict=True):
        assert vars(artifact).items() <= row.items()
    assert {one.stage_key for one in found} == {None, "3d" * 32}
    move(earlier, "downgrade", BEFORE)
    assert rows(earlier, _EXPORTED) == exported
    assert rows(earlier, _DELIVERED) == delivered
    assert rows(earlier, "select * from artifacts order by file_id") == plain


async def test_a_restore_reads_the_hashes_of_either_version(earlier: str) -> None:
    for _ in range(2):
        async with Catalog.open(earlier) as catalog:
            found = [row async for page in pages_of_stored_files(catalog) for row in page]
        assert {row["stored_sha256"] for row in found} == {"2e" * 32}
        assert len(found) == 3
        migrate(earlier)


def test_what_is_no_hash_does_not_keep_a_catalogue_from_being_migrated(earlier: str) -> None:
    with psycopg.connect(earlier) as connection:
        connection.execute("update artifacts set sha256 = repeat('Z', 64), stage_key = 'a key' where stage is not null")
    migrate(earlier)
    (artifact,) = [one for one in artifacts(earlier) if one.stage]
    assert artifact.sha256 == sha256(b"Z" * 64).hexdigest()
    assert artifact.stage_key == sha256(b"a key").hexdigest()


def test_a_file_that_is_being_stored_stays_on_the_way_down(earlier: str) -> None:
    migrate(earlier)
    with psycopg.connect(earlier) as connection:
        columns = "file_id, state, filename, document_sha256, run_id, location, expires_at"
        chosen = "gen_random_uuid(), 'pending', filename, document_sha256, run_id, 'uploads/new', expires_at"
        copied = f"insert into artifacts ({columns}) select {chosen} from artifacts where kind = 'export'"  # noqa: S608
        connection.execute(copied.encode())
    move(earlier, "downgrade", BEFORE)
    (row,) = rows(earlier, "select * from artifacts where location = 'uploads/new'")
    assert (row["state"], row["filename"], row["source_file"]) == ("pending", "report.md", "report.md")


def test_a_role_that_may_read_the_export_may_read_it_afterwards(earlier: str, postgres: Postgres) -> None:
    postgres.execute("create role reader_of_exports login")
    try:
        with psycopg.connect(earlier) as connection:
            connection.execute("grant usage on schema waybill_export to reader_of_exports")
            connection.execute("grant select on waybill_export.artifacts to reader_of_exports")
        migrate(earlier)
        exported = rows(earlier, _EXPORTED)
        assert rows(earlier.replace("postgres:@", "reader_of_exports:@"), _EXPORTED) == exported
    finally:
        with psycopg.connect(earlier) as connection:
            connection.execute("drop owned by reader_of_exports")
        postgres.execute("drop role reader_of_exports")
