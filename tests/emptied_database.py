"""Makes a used test database what it was when it was copied, or says that it cannot be: then it is thrown away."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import psycopg

# What tests may change besides rows: everything that is not PostgreSQL's own, and the database's own settings. A copy
# has the same object ids; what is replaced without a new one has a new row.
_SCHEMA = """
    with ours as (select oid from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'),
         made as (
      select (oid, relname, relkind, relpersistence, reloptions, relacl)::text as what
        from pg_class where relnamespace in (select oid from ours)
      union all
      select (attrelid, attnum, attname, atttypid, atttypmod, attnotnull, atthasdef, attisdropped)::text
        from pg_attribute join pg_class c on c.oid = attrelid where relnamespace in (select oid from ours)
      union all
      select (oid, adnum, xmin)::text from pg_attrdef
      union all
      select (oid, conrelid, convalidated)::text from pg_constraint where connamespace in (select oid from ours)
      union all
      select (indexrelid, indisvalid)::text from pg_index
      union all
      select (oid, tgrelid, tgenabled)::text from pg_trigger
      union all
      select (oid, xmin)::text from pg_proc where pronamespace in (select oid from ours)
      union all
      select (oid, extversion)::text from pg_extension
      union all
      select setconfig::text from pg_db_role_setting
       where setdatabase = (select oid from pg_database where datname = current_database())
      union all
      select version_num from waybill_schema_version
    )
    select md5(string_agg(what, chr(10) order by what)) from made
"""
_TABLES = """
    select quote_ident(relname) from pg_class
     where relkind = 'r' and relnamespace = 'public'::regnamespace and relname <> 'waybill_schema_version'
     order by relname
"""
_OTHERS_LEAVE = """
    select coalesce(bool_and(pg_terminate_backend(pid, 10000)), true) from pg_stat_activity
     where datname = current_database() and pid <> pg_backend_pid()
"""


@dataclass(frozen=True)
class Original:
    """A fingerprint of the schema, the tables, and the rows that migrations put there."""

    schema: str
    tables: tuple[str, ...]
    rows: dict[str, list[Any]]

    @classmethod
    def of(cls, connection: psycopg.Connection[Any]) -> Original:
        tables = tuple(row[0] for row in connection.execute(_TABLES))
        rows = {
            table: [row[0] for row in connection.execute(f"select to_jsonb(t) from {table} t".encode())]  # noqa: S608
            for table in tables
        }
        return cls(_schema(connection), tables, {table: found for table, found in rows.items() if found})

    def restore(self, url: str) -> bool:
        """End what is connected, and take every row away that was not there; False where more than rows has changed."""
        try:
            with psycopg.connect(url) as connection:
                have_left = connection.execute(_OTHERS_LEAVE).fetchone()
                # One that has not might still write.
                if have_left != (True,) or _schema(connection) != self.schema:
                    return False
                self._empty(connection)
        except psycopg.Error:
            return False
        return True

    def _empty(self, connection: psycopg.Connection[Any]) -> None:
        # Neither foreign keys nor triggers, such as those that keep the audit log as it is.
        connection.execute("set local session_replication_role = replica")
        parts = (f"select '{table}' where exists (select from {table})" for table in self.tables)  # noqa: S608
        filled = [row[0] for row in connection.execute(" union all ".join(parts).encode())]
        if filled:
            connection.execute(f"truncate {', '.join(filled)} restart identity cascade".encode())
        for table, rows in self.rows.items():
            connection.execute(f"delete from {table}".encode())  # noqa: S608
            connection.execute(
                f"insert into {table} select * from jsonb_populate_recordset(null::{table}, %s)".encode(),  # noqa: S608
                [json.dumps(rows)],
            )


def _schema(connection: psycopg.Connection[Any]) -> str:
    row = connection.execute(_SCHEMA.encode()).fetchone()
    assert row is not None
    return str(row[0])
