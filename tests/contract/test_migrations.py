"""The schema comes from the migrations alone: up, down, twice, at once, and refused clearly where it cannot be."""

from __future__ import annotations

import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from blocks.catalog import migrate as migrations
from blocks.catalog.migrate import (
    alembic_config,
    create_extensions,
    installed_version,
    known_versions,
    migrate,
    newest_version,
)
from blocks.errors import CatalogUnavailable, InvalidSettings
from tests.stack_driver import PATIENCE_SECONDS

if TYPE_CHECKING:
    from tests.postgres_server import Postgres

# Everything a migration can make, by name and definition, so that two schemas can be compared.
_SCHEMA = """
    select 'column', table_name || '.' || column_name,
           concat_ws(' ', udt_name, is_nullable, column_default, generation_expression)
      from information_schema.columns where table_schema = 'public' and table_name <> 'waybill_schema_version'
    union all
    select 'index', indexname, indexdef from pg_indexes
     where schemaname = 'public' and tablename <> 'waybill_schema_version'
    union all
    select 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid) from pg_constraint
     where connamespace = 'public'::regnamespace and conrelid::regclass::text <> 'waybill_schema_version'
    union all
    select 'function', p.oid::regprocedure::text, p.prosrc from pg_proc p
     where pronamespace = 'public'::regnamespace
       and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')
    union all
    select 'text search', cfgname, '' from pg_ts_config where cfgnamespace = 'public'::regnamespace
    order by 1, 2, 3
"""


def schema(url: str) -> list[tuple[str, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(_SCHEMA).fetchall()


def alembic(url: str, action: str, revision: str) -> None:
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=NullPool)
    with engine.begin() as connection:
        getattr(command, action)(alembic_config(connection), revision)


def test_file_names_and_alembic_agree_on_order_and_head(empty_database_url: str) -> None:
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(empty_database_url))
    with engine.connect() as connection:
        script = ScriptDirectory.from_config(alembic_config(connection))
        chain = [revision.revision for revision in script.walk_revisions()]
    engine.dispose()
    assert tuple(reversed(chain)) == known_versions()
    assert script.get_heads() == [newest_version()]


def test_an_empty_database_gets_the_newest_schema(empty_database_url: str) -> None:
    migrate(empty_database_url)
    with psycopg.connect(empty_database_url) as connection:
        assert installed_version(connection) == newest_version()
        assert connection.execute("select count(*) from artifacts").fetchone() == (0,)


def test_every_step_down_is_the_reverse_of_its_step_up(empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url) as connection:
        create_extensions(connection)
    before = [schema(empty_database_url)]
    for version in known_versions():
        alembic(empty_database_url, "upgrade", version)
        before.append(schema(empty_database_url))
    for version in reversed(("base", *known_versions()[:-1])):
        before.pop()
        alembic(empty_database_url, "downgrade", version)
        assert schema(empty_database_url) == before[-1]


def test_down_and_up_again_gives_the_same_schema(empty_database_url: str) -> None:
    migrate(empty_database_url)
    expected = schema(empty_database_url)
    alembic(empty_database_url, "downgrade", "base")
    migrate(empty_database_url)
    assert schema(empty_database_url) == expected


def test_a_second_call_changes_nothing(database_url: str) -> None:
    expected = schema(database_url)
    migrate(database_url)
    assert schema(database_url) == expected


def test_a_second_call_does_not_import_alembic_or_sqlalchemy(database_url: str) -> None:
    program = (
        "import sys; from blocks.catalog.migrate import migrate; migrate(sys.argv[1]); "
        "print(sorted({'alembic', 'sqlalchemy', 'prefect'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program, database_url], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_processes_that_migrate_at_once_all_succeed(empty_database_url: str) -> None:
    program = "import sys; from blocks.catalog.migrate import migrate; migrate(sys.argv[1])"
    processes = [
        subprocess.Popen([sys.executable, "-c", program, empty_database_url], stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0, errors
    with psycopg.connect(empty_database_url) as connection:
        assert installed_version(connection) == newest_version()


def test_threads_of_one_process_that_migrate_at_once_all_succeed(empty_database_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(migrate, empty_database_url) for _ in range(4)]:
            future.result(timeout=PATIENCE_SECONDS)


def test_a_step_that_fails_leaves_the_database_as_it_was(empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("create table run_outputs (in_the_way int)")
    expected = schema(empty_database_url)
    with pytest.raises(Exception, match="Postgres refuses it"):
        migrate(empty_database_url)
    assert schema(empty_database_url) == expected


@pytest.mark.parametrize(("ends", "migrated"), [(1, True), (2, False)], ids=["once", "twice"])
def test_a_session_that_is_ended_while_it_migrates_is_replaced_once(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch, ends: int, migrated: bool
) -> None:
    sessions: list[int] = []

    def ended_before(connection: psycopg.Connection[Any]) -> None:
        create_extensions(connection)
        sessions.append(connection.info.backend_pid)
        if len(sessions) <= ends:
            with psycopg.connect(empty_database_url) as administrator:
                administrator.execute("select pg_terminate_backend(%s, 60000)", [sessions[-1]])

    monkeypatch.setattr(migrations, "create_extensions", ended_before)
    with nullcontext() if migrated else pytest.raises(CatalogUnavailable, match="cannot migrate the database now"):
        migrate(empty_database_url)
    assert len(set(sessions)) == len(sessions) == 2
    with psycopg.connect(empty_database_url) as connection:
        assert installed_version(connection) == (newest_version() if migrated else None)


@pytest.mark.parametrize(
    ("comment", "usable"),
    [
        (f"'usable since {newest_version()}'", True),
        (f"'usable since {known_versions()[-2]}'", True),
        ("'usable since 9998'", False),
        ("'usable since not a number'", False),
        ("''", False),
        ("null", False),
    ],
)
def test_a_database_of_a_newer_version_is_used_where_that_version_allows_it(
    database_url: str, comment: str, usable: bool
) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("update waybill_schema_version set version_num = '9999'")
        connection.execute(f"comment on table waybill_schema_version is {comment}".encode())
    with (
        nullcontext() if usable else pytest.raises(InvalidSettings, match=r"schema version 9999.*use the newer Waybill")
    ):
        migrate(database_url)
    with psycopg.connect(database_url) as connection:
        version = connection.execute("select version_num from waybill_schema_version").fetchone()
    assert version == ("9999",)


def test_a_migrated_database_says_which_versions_may_use_it(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        said = connection.execute("select obj_description('waybill_schema_version'::regclass)").fetchone()
    assert said == (f"usable since {migrations.USABLE_SINCE}",)
    assert migrations.USABLE_SINCE in known_versions()


def test_a_server_without_an_extension_is_told_by_its_name(empty_database_url: str) -> None:
    with (
        psycopg.connect(empty_database_url) as connection,
        pytest.raises(InvalidSettings, match="does not have the extension no_such_extension"),
    ):
        create_extensions(connection, ("no_such_extension",))


def test_a_role_without_the_right_to_create_extensions_is_told_what_to_run(
    postgres: Postgres, empty_database_url: str
) -> None:
    postgres.execute("create role visitor login")
    try:
        with pytest.raises(InvalidSettings, match="create extension vector"):
            migrate(empty_database_url.replace("postgres:@", "visitor:@"))
    finally:
        postgres.execute("drop role visitor")


def test_a_server_that_is_down_is_a_passing_condition() -> None:
    with pytest.raises(CatalogUnavailable):
        migrate("postgresql://postgres@/waybill?host=/nowhere/at/all")


def test_an_unreadable_url_is_refused_without_repeating_its_password() -> None:
    with pytest.raises(InvalidSettings) as caught:
        migrate("postgresql+asyncpg://me:hunter2@/waybill")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_migrating_leaves_the_logging_of_its_host_alone(empty_database_url: str) -> None:
    root = logging.getLogger()
    before = (root.level, list(root.handlers), logging.getLogger("sqlalchemy").level)
    migrate(empty_database_url)
    assert (root.level, list(root.handlers), logging.getLogger("sqlalchemy").level) == before


def test_endpoints_of_this_machine_that_were_registered_before_the_mark_keep_working(empty_database_url: str) -> None:
    kept = ("http://127.0.0.1:8001/hook", "HTTP://LocalHost", "http://[::1]:1?x", "http://127.1.2.3/")
    others = ("http://127.0.0.1.example/", "http://localhost.example/", "https://a.example/?http://127.0.0.1/")
    with psycopg.connect(empty_database_url) as connection:
        create_extensions(connection)
    alembic(empty_database_url, "upgrade", "0006")
    with psycopg.connect(empty_database_url) as connection:
        for origin, urls in (("registered", (*kept, *others)), ("run", kept), ("block", kept)):
            for number, url in enumerate(urls):
                connection.execute(
                    "with secret as (insert into webhook_secrets (secret_id, sealed) values (gen_random_uuid(), '')"
                    " returning secret_id) insert into webhook_endpoints (endpoint_id, origin, name, url, secret_id)"
                    " select gen_random_uuid(), %s, %s, %s, secret_id from secret",
                    (origin, f"block {number}" if origin == "block" else None, url),
                )
    migrate(empty_database_url)
    with psycopg.connect(empty_database_url) as connection:
        found = connection.execute("select origin, url from webhook_endpoints where loopback_allowed").fetchall()
    assert sorted(found) == sorted(("registered", url) for url in kept)
