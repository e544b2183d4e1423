"""Sessions of ours are as they need to be, whatever the role, the database or the environment has set."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from blocks.catalog import Catalog
from blocks.postgres import connect, single_connection
from blocks.postgres.session import SESSION_SETTINGS
from tests.integration.custody_place import Place, draft
from tests.postgres_server import Postgres

# What other programs want of a role or a database.
HOSTILE = {
    "client_encoding": "LATIN1",
    "datestyle": "German",
    "intervalstyle": "sql_standard",
    "timezone": "Asia/Kathmandu",
    "bytea_output": "escape",
    "extra_float_digits": "-5",
    "standard_conforming_strings": "off",
    "transform_null_equals": "on",
    "statement_timeout": "50s",
    "lock_timeout": "50s",
    "idle_in_transaction_session_timeout": "50s",
    "idle_session_timeout": "50s",
    "transaction_timeout": "50s",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
}
# Read-write only where the role or the database has it otherwise.
EXPECTED = {**SESSION_SETTINGS, "default_transaction_read_only": "off"}


@pytest.fixture
def hostile_url(postgres: Postgres, database_url: str) -> Iterator[str]:
    """A database with every default against us, and a schema that hides the tables."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("create schema other; create table other.artifacts (nothing int)")
        name = connection.info.dbname
        for setting, value in HOSTILE.items():
            connection.execute(f"alter role postgres in database {name} set {setting} = '{value}'".encode())
        connection.execute(f"alter role postgres in database {name} set search_path = other, public".encode())
    yield database_url
    postgres.execute(f"alter role postgres in database {name} reset all")
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("drop schema other cascade")


def test_hostile_covers_every_setting() -> None:
    assert HOSTILE.keys() == EXPECTED.keys()
    assert all(HOSTILE[name] != value for name, value in EXPECTED.items())


async def test_defaults_of_a_role_or_a_database_change_nothing(hostile_url: str) -> None:
    with connect(hostile_url) as connection:
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        assert not connection.autocommit
        settings = "select name, setting from pg_settings where name = any(%s)"
        blocking = dict(connection.execute(settings, [[*EXPECTED]]).fetchall())
        row = connection.execute("select 'artifacts'::regclass = 'public.artifacts'::regclass").fetchone()
        assert row == (True,)
    async with single_connection(hostile_url) as single:
        found = await (await single.execute(settings, [[*EXPECTED]])).fetchall()
        alone = {row["name"]: row["setting"] for row in found}
    async with Catalog.open(hostile_url) as catalog, catalog.connection() as pooled:
        found = await (await pooled.execute(settings, [[*EXPECTED]])).fetchall()
        of_a_pool = {row["name"]: row["setting"] for row in found}
    wanted = {name: value for name, value in EXPECTED.items() if name in blocking}
    assert {name.lower(): value for name, value in blocking.items()} == wanted
    assert alone == of_a_pool == blocking


async def test_files_are_stored_and_read_on_such_a_database(hostile_url: str, tmp_path: Path) -> None:
    async with Catalog.open(hostile_url) as catalog:
        place = Place.at(catalog, tmp_path)
        stored = await place.custody.take(draft(), b"content")
        assert (await place.custody.get(stored.file_id)).created_at.utcoffset() == timedelta(0)


async def test_the_environment_of_libpq_is_not_read(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = (
        "PGHOST=/nowhere PGHOSTADDR=127.0.0.1 PGPORT=1 PGUSER=other PGPASSWORD=x PGDATABASE=nowhere PGSERVICE=unknown "
        "PGSERVICEFILE=/nowhere PGOPTIONS=-cstatement_timeout=1 PGSSLMODE=verify-full PGTZ=Asia/Kathmandu "
        "PGDATESTYLE=German PGCLIENTENCODING=LATIN1 PGPASSFILE=/nowhere PGTARGETSESSIONATTRS=standby PGAPPNAME=other "
        "PGCONNECT_TIMEOUT=x PGREQUIREAUTH=scram-sha-256 PGCHANNELBINDING=require PGGSSENCMODE=require "
        "PGSSLROOTCERT=/nowhere"
    )
    for variable in hostile.split():
        monkeypatch.setenv(*variable.split("=", 1))
    connect(database_url).close()
    assert not [name for name in os.environ if name.startswith("PG")]
    monkeypatch.setenv("PGHOST", "/nowhere")
    async with Catalog.open(database_url):
        pass


def test_options_of_the_url_stay(database_url: str) -> None:
    options = "options=-c%20statement_timeout%3D54321%20-c%20DateStyle%3DGerman"
    with connect(f"{database_url}&{options}") as connection:
        row = connection.execute("select current_setting('statement_timeout'), current_setting('datestyle')").fetchone()
    assert row == ("54321ms", "German, DMY")
