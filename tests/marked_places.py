"""Where a mark is found: in every column of every table of a database, and in the files below a folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import psycopg
from psycopg.sql import SQL, Identifier

_COLUMNS = """
    select c.table_schema, c.table_name, c.column_name, c.udt_name
      from information_schema.columns c join information_schema.tables t using (table_schema, table_name)
     where t.table_type = 'BASE TABLE' and c.table_schema not in ('pg_catalog', 'information_schema')
"""


def marked_columns(database_url: str, marks: Iterable[str]) -> set[str]:
    """``table.column`` of each column that has one of *marks* in a row."""
    found: set[str] = set()
    with psycopg.connect(database_url, autocommit=True) as connection:
        for schema, table, column, kind in connection.execute(_COLUMNS).fetchall():
            text = SQL("encode({}, 'escape')" if kind == "bytea" else "{}::text").format(Identifier(column))
            statement = SQL("select exists (select from {}.{} where lower({}) like any(%s))").format(
                Identifier(schema), Identifier(table), text
            )
            row = connection.execute(statement, [[f"%{mark.lower()}%" for mark in marks]]).fetchone()
            if row is not None and row[0]:
                found.add(f"{table}.{column}")
    return found


def marked_files(folder: Path, marks: Sequence[str], *, without: Sequence[str] = ()) -> set[str]:
    """The files below *folder*, but for folders called as in *without*, that have one of *marks* in bytes or name."""
    wanted = [mark.lower().encode() for mark in marks]
    found: set[str] = set()
    for path in folder.rglob("*"):
        shown = str(path.relative_to(folder))
        if any(part in without for part in path.parts) or not path.is_file():
            continue
        content = path.read_bytes().lower() + shown.lower().encode()
        if any(mark in content for mark in wanted):
            found.add(shown)
    return found
