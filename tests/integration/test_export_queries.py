"""SQL from outside: what the role for queries of the catalogue may read, and what Postgres refuses it."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.rows import dict_row

from blocks.catalog.migrate import migrate
from blocks.errors import CatalogRefused, ExportRefused, InvalidSettings
from blocks.exports.query_role import ROLE, SCHEMA, catalog_query_url, end_abandoned_sessions, session_name
from blocks.postgres import connect
from tasks.export import open_query
from tests.stack_driver import eventually

if TYPE_CHECKING:
    from tests.postgres_server import Postgres

SECRET_TABLES = (
    "api_keys", "webhook_secrets", "webhook_endpoints", "webhook_events", "webhook_deliveries", "webhook_attempts",
    "idempotent_requests", "audit_log", "artifacts", "run_outputs", "indexed_documents", "indexed_chunks",
    "indexed_facts", "indexed_entities", "indexed_keywords", "export_jobs", "ended_sessions", "upload_tasks",
    "waybill_schema_version",
)  # fmt: skip

# Each must fail. What comes after a statement that a cursor cannot hold would otherwise run as someone else.
REFUSED = {
    "reads the keys": "select * from public.api_keys",
    "reads by another way": "select query_to_xml('select sealed from public.webhook_secrets', true, true, '')",
    "becomes the administrator": "select set_config('role', 'postgres', false), pg_read_file('/etc/passwd')",
    "becomes the owner": "select set_config('session_authorization', 'postgres', false)",
    "becomes it in XML": "select query_to_xml('reset role', true, true, '')",
    "becomes it and reads": "select set_config('role', 'none', false), (select count(*) from public.api_keys)",
    "resets the role": "reset role",
    "sets the role": "set role postgres",
    "holds a second statement": "select 1; select 2",
    "holds a second statement after the first": "select 1; drop table public.api_keys",
    "ends the transaction": "select 1; commit; drop table public.api_keys",
    "is no query": "vacuum",
    "copies to a program": "copy (select 1) to program 'touch /tmp/waybill-was-here'",
    "copies from a file": "copy public.api_keys from '/etc/passwd'",
    "reads a file": "select pg_read_file('/etc/passwd')",
    "reads a file as bytes": "select pg_read_binary_file('/etc/passwd')",
    "lists a folder": "select pg_ls_dir('/')",
    "imports a file": "select lo_import('/etc/passwd')",
    "exports a file": "select lo_export(1, '/tmp/waybill-was-here')",
    "writes a large object": "select lo_from_bytea(0, 'x')",
    "writes rows": "with gone as (delete from public.artifacts returning 1) select * from gone",
    "makes a table": "select 1 into temporary mine",
    "makes a table as a statement": "create temporary table mine as select 1",
    "runs code": "do $$ begin perform 1; end $$",
    "uses dblink": "select * from dblink('dbname=prefect', 'select 1') as t(a int)",
    "makes an extension": "create extension dblink",
    "writes anyway": "select set_config('transaction_read_only', 'off', true)",
    "takes an unlimited disk": "select set_config('temp_file_limit', '-1', false)",
    "reads passwords": "select rolpassword from pg_authid",
    "reads the statistics of keys": "select 1 / count(*) from pg_stats where tablename = 'api_keys'",
    "ends other sessions": "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'postgres'",
    "reads settings of the server": "select current_setting('hba_file')",
    "reloads the server": "select pg_reload_conf()",
    "switches the log": "select pg_switch_wal()",
}  # fmt: skip


def rows_of(url: str, statement: str) -> list[dict[str, Any]]:
    """The rows of one statement, as an export reads them: through a cursor, in a read-only transaction."""
    with psycopg.connect(url, row_factory=dict_row) as connection:
        connection.read_only = True
        with connection.cursor(name="export") as cursor:
            return cursor.execute(statement.encode()).fetchall()


@pytest.fixture
def query_url(database_url: str) -> str:
    return catalog_query_url(database_url, seconds=60)


def test_a_query_reads_the_views_by_their_names(query_url: str, database_url: str) -> None:
    with connect(database_url) as connection:
        views = connection.execute("select viewname from pg_views where schemaname = %s", [SCHEMA]).fetchall()
    assert {view for (view,) in views} == {
        "documents", "chunks", "facts", "entities", "artifacts", "deliveries", "events",
    }  # fmt: skip
    for (view,) in views:
        assert rows_of(query_url, f"select * from {view}") == []  # noqa: S608
    assert len(rows_of(query_url, "select n from generate_series(1, 3) n -- a comment at the end")) == 3


def test_every_way_out_of_the_role_is_refused(query_url: str, subtests: pytest.Subtests) -> None:
    for what, statement in REFUSED.items():
        with subtests.test(what), pytest.raises(psycopg.Error):
            rows_of(query_url, statement)
    assert not Path("/tmp/waybill-was-here").exists()


def test_no_right_to_any_table_is_left(query_url: str, database_url: str) -> None:
    with connect(database_url) as connection:
        tables = {
            name
            for (name,) in connection.execute(
                "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'"
            )
        }
        assert set(SECRET_TABLES) <= tables
        readable = connection.execute(
            "select relname from pg_class"
            " where relnamespace = 'public'::regnamespace and relkind in ('r', 'v', 'S', 'm')"
            " and (has_any_column_privilege(%s, oid, 'select, insert, update, references')"
            "      or has_table_privilege(%s, oid, 'delete, truncate, trigger'))",
            [ROLE, ROLE],
        ).fetchall()
    assert readable == []


def test_no_view_shows_a_key_a_secret_or_a_link(query_url: str, database_url: str) -> None:
    body = b'{"data": {"download_url": "http://gateway/api/v1/files/download/1?token=eyJhbGciOi.x.y", "a": 1}}'
    with connect(database_url) as connection:
        connection.execute(
            "insert into webhook_events (event_id, event_type, occurred_at, body) values ('evt_1', 'test', now(), %s)",
            [body],
        )
        columns = connection.execute(
            "select table_name || '.' || column_name from information_schema.columns where table_schema = %s", [SCHEMA]
        ).fetchall()
    (event,) = rows_of(query_url, "select body from events")
    assert event == {"body": body.decode().replace("eyJhbGciOi.x.y", "***")}
    for word in ("sealed", "secret", "location", "url", "whole_body", "encrypted_for", "header"):
        assert not [name for (name,) in columns if word in name]


def test_a_query_that_takes_too_long_is_ended_whatever_limit_it_sets(database_url: str) -> None:
    with pytest.raises(psycopg.errors.QueryCanceled):
        rows_of(catalog_query_url(database_url, seconds=1), "select pg_sleep(600)")
    # Its first rows lift the limit of the statements after them: then the process that exports ends it.
    lifted = (
        "select n, set_config('statement_timeout', '0', false), pg_sleep(0.01)::text from generate_series(1, 1000000) n"
    )
    with pytest.raises(ExportRefused, match="time limit"):
        source = open_query(catalog_query_url(database_url, seconds=60), lifted, time_limit=timedelta(seconds=1))
        try:
            list(source.batches())
        finally:
            source.close()


def test_only_the_sessions_of_jobs_that_are_over_are_ended(database_url: str) -> None:
    running, over, unnamed = "exp_0000000000000001", "exp_0000000000000002", "something else"
    url = catalog_query_url(database_url, seconds=60)
    with connect(database_url, autocommit=True) as connection, contextlib.ExitStack() as stack:
        connection.execute(
            "insert into export_jobs (job_id, export_type, format, state, keep_for, requested_by, claim, claimed_until,"
            "                         ended_at, expires_at)"
            " values (%s, 'a', 'csv', 'running', '1 day', 'a test', gen_random_uuid(), now(), null, null),"
            "        (%s, 'a', 'csv', 'failed', '1 day', 'a test', null, null, now(), now())",
            [running, over],
        )
        sessions = {
            name: stack.enter_context(contextlib.closing(psycopg.connect(url, application_name=name)))
            for name in (session_name(running), session_name(over), unnamed)
        }
        assert end_abandoned_sessions(database_url) == 1
        with pytest.raises(psycopg.OperationalError):
            sessions[session_name(over)].execute("select 1")
        assert sessions[session_name(running)].execute("select 1").fetchone() == (1,)
        left = "select count(*) from pg_stat_activity where usename = %s and datname = current_database()"
        # A session that was ended is there for a moment longer than its connection.
        eventually(lambda: connection.execute(left, [ROLE]).fetchone() == (2,), "the session has ended")
        # One that has given itself another name is as old as no query may be.
        assert end_abandoned_sessions(database_url, longest_seconds=3600) == 0
        assert end_abandoned_sessions(database_url, longest_seconds=0) == 2


def test_what_a_query_can_still_do_is_what_the_documentation_says(query_url: str, database_url: str) -> None:
    with connect(database_url, autocommit=True) as listener:
        listener.execute("listen heard")
        assert rows_of(query_url, "select pg_advisory_lock(42)") == [{"pg_advisory_lock": ""}]
        (message,) = rows_of(query_url, "select pg_logical_emit_message(false, 'a', 'b') as written")
        assert message["written"] > "0/0"
        # Notifications are sent by a commit, and an export never commits.
        source = open_query(query_url, "select pg_notify('heard', 'never')")
        assert sum(batch.num_rows for batch in source.batches()) == 1
        source.close()
        listener.execute("notify heard, 'the last'")
        (first,) = [one.payload for one in listener.notifies(timeout=60, stop_after=1)]
        assert first == "the last"


def test_an_account_that_may_not_make_the_role_is_told_what_to_do(postgres: Postgres, empty_database_url: str) -> None:
    migrate(empty_database_url)
    postgres.execute("create role owner_without_roles login")
    other = empty_database_url.replace("postgres:@", "owner_without_roles:@")
    try:
        with pytest.raises(InvalidSettings, match="create role waybill_export") as caught:
            _without_the_role(postgres, other)
        assert "administrator" in str(caught.value)
    finally:
        postgres.execute("drop role owner_without_roles")


def _without_the_role(postgres: Postgres, url: str) -> None:
    """Ask for the role where it is another one that no test of this server has made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("blocks.exports.query_role.ROLE", "waybill_export_of_no_test")
        with pytest.raises(InvalidSettings) as caught:
            catalog_query_url(url, seconds=60)
    raise InvalidSettings(str(caught.value).replace("waybill_export_of_no_test", ROLE))


def test_a_role_that_may_do_more_is_not_used(postgres: Postgres, database_url: str) -> None:
    postgres.execute("create role waybill_export_with_rights login in role pg_read_all_data")
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("blocks.exports.query_role.ROLE", "waybill_export_with_rights")
            with pytest.raises(CatalogRefused, match="may do more"):
                catalog_query_url(database_url, seconds=60)
    finally:
        postgres.execute("drop role waybill_export_with_rights")
