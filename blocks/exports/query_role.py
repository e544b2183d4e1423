"""The role as which SQL from outside reads the catalogue: its views for exports, and nothing else.

It has a session of its own, logged in as that role. `set role` in a session of the catalogue's account would not do: a
query can call ``set_config('role', ...)``, and would be that account again. So Postgres alone decides what such a query
may do, from the rights of the role. It may not write, since it has no right to any table and its transactions are
read-only, and it has no function that reads or writes files of the server.

Postgres cannot bound its time for good, because a session may change its own limits: the process that exports cancels
its own query. `end_abandoned_sessions` ends what a killed process has left, where the server has not noticed that.
"""

from __future__ import annotations

from typing import Any, LiteralString, cast

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier, Literal

from blocks.errors import CatalogRefused, InvalidSettings, WaybillError
from blocks.postgres import connect

ROLE = "waybill_export"
SCHEMA = "waybill_export"
# Queries at the same time, of all homes that share the server; each takes a session.
MOST_SESSIONS = 8
# The name of a session is this and the id of its job.
SESSION = "waybill-export "
# The most that the setting export_query_seconds may be: no query that is watched lasts longer.
LONGEST_SECONDS = 86_400.0
# A query whose client was killed ends this soon.
LOST_CLIENT_SECONDS = 5
_NOTICES_LOST_CLIENTS = 140_000
# Of files in which Postgres sorts what does not fit into memory; a cross join would fill the disk of the catalogue.
TEMPORARY_FILES = "2GB"

_EXISTS = "select 1 from pg_roles where rolname = %s"
# What makes a role more than it must be. A role of the same name that someone else has made is not used blindly.
_TOO_MUCH = """
    select rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls
           or exists (select from pg_auth_members m where m.member = r.oid)
           or exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
                       where n.nspname <> %(schema)s and n.nspname not in ('pg_catalog', 'information_schema')
                         and n.nspname not like 'pg_toast%%' and c.relkind in ('r', 'p', 'v', 'm', 'f')
                         and not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'e')
                         and has_any_column_privilege(r.oid, c.oid, 'select, insert, update, references'))
      from pg_roles r where rolname = %(role)s
"""
# A query may give its session another name; then its age alone says that no process watches it.
_ABANDONED = """
    select count(pg_terminate_backend(pid)) from pg_stat_activity
     where usename = %(role)s and datname = current_database()
       and (backend_start < clock_timestamp() - make_interval(secs => %(longest_seconds)s)
            or application_name in (select %(session)s || job_id from export_jobs where state <> 'running'))
"""


def catalog_query_url(database_url: str, *, seconds: float) -> str:
    """Return the connection string by which a query reads the catalogue; prepare the role on first use.

    *seconds* is the time limit of each statement. Raises `InvalidSettings` with what an administrator has to do where
    the account of *database_url* may not make the role or cannot log in as it.
    """
    options = {
        "default_transaction_read_only": "on",
        "statement_timeout": f"{max(1, round(seconds * 1000))}",
        "search_path": f"{SCHEMA},pg_catalog",
    }
    with connect(database_url) as connection:
        _prepare(connection)
        if connection.info.server_version >= _NOTICES_LOST_CLIENTS:
            options["client_connection_check_interval"] = f"{LOST_CLIENT_SECONDS}s"
    settings = " ".join(f"-c {name}={value}" for name, value in options.items())
    url = make_conninfo(database_url, user=ROLE, password="", options=settings)
    try:
        connect(url).close()
    except WaybillError as exc:
        raise InvalidSettings(
            f"Postgres does not let the role {ROLE} in without a password; have an administrator run: alter role "
            f"{ROLE} password '...'; and name a connection with it as catalog in the setting export_databases"
        ) from exc
    return url


def session_name(job_id: str) -> str:
    """Return the name of the session in which the query of a job runs."""
    return f"{SESSION}{job_id}"


def end_abandoned_sessions(database_url: str, *, longest_seconds: float = LONGEST_SECONDS) -> int:
    """End the sessions of the role whose job is over, or that are older than *longest_seconds*; return how many.

    The query of a job that runs is left alone. Does nothing where the account may not end sessions of the role.
    """
    values = {"role": ROLE, "session": SESSION, "longest_seconds": longest_seconds}
    try:
        with connect(database_url, autocommit=True) as connection:
            row = connection.execute(cast("LiteralString", _ABANDONED), values).fetchone()
    except psycopg.errors.InsufficientPrivilege:
        return 0
    return 0 if row is None else int(row[0])


def _prepare(connection: psycopg.Connection[Any]) -> None:
    """Make the role, unless it is there, and give it the views. Commits."""
    try:
        # Two sessions that change the same rights at the same time fail.
        connection.execute("select pg_advisory_xact_lock(hashtext(%s))", [ROLE])
        if connection.execute(_EXISTS, [ROLE]).fetchone() is None:
            _create(connection)
        too_much = connection.execute(cast("LiteralString", _TOO_MUCH), {"role": ROLE, "schema": SCHEMA}).fetchone()
        if too_much is None or too_much[0]:
            raise CatalogRefused(
                f"the role {ROLE} may do more than read the views of the schema {SCHEMA}, so no query is run as it; "
                "have an administrator take its memberships and its rights to other tables away"
            )
        _grant(connection)
        connection.commit()
    except psycopg.errors.InsufficientPrivilege as exc:
        raise InvalidSettings(
            f"queries of the catalogue need the role {ROLE}, and this database's account may not make it; have an "
            f"administrator run: create role {ROLE} login connection limit {MOST_SESSIONS}; "
            f"grant usage on schema {SCHEMA} to {ROLE}; grant select on all tables in schema {SCHEMA} to {ROLE}"
        ) from exc


def _create(connection: psycopg.Connection[Any]) -> None:
    statement = SQL(
        "create role {role} login nosuperuser nocreatedb nocreaterole noinherit noreplication connection limit {limit}"
    ).format(role=Identifier(ROLE), limit=Literal(MOST_SESSIONS))
    try:
        with connection.transaction():
            connection.execute(statement)
            _limit_temporary_files(connection)
    except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
        return  # another process, or another database of the server, was quicker


def _limit_temporary_files(connection: psycopg.Connection[Any]) -> None:
    """Bound the temporary files of the role, where the account may: only a superuser sets and changes this limit."""
    statement = SQL("alter role {role} set temp_file_limit = {limit}")
    try:
        with connection.transaction():
            connection.execute(statement.format(role=Identifier(ROLE), limit=Literal(TEMPORARY_FILES)))
    except psycopg.errors.InsufficientPrivilege:
        return


def _grant(connection: psycopg.Connection[Any]) -> None:
    """Give the role the views. Skipped where it has them, so that no row of the system's catalogue is written again."""
    has = connection.execute(
        "select bool_and(has_table_privilege(%s, c.oid, 'select')) and has_schema_privilege(%s, %s, 'usage')"
        "  from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = %s and c.relkind = 'v'",
        [ROLE, ROLE, SCHEMA, SCHEMA],
    ).fetchone()
    if has is not None and has[0]:
        return
    for statement in (
        "grant usage on schema {schema} to {role}",
        "grant select on all tables in schema {schema} to {role}",
    ):
        connection.execute(SQL(statement).format(schema=Identifier(SCHEMA), role=Identifier(ROLE)))
