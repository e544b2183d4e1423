"""Take the names of a document out of every text of a database, in whatever table it is.

Which tables and columns there are is read from the database, so that a table of another version, or one that is added
later, is not left out. A row is changed where it lies and looked for again when it has moved meanwhile.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.sql import SQL, Composed, Identifier

from blocks.forgetting.names import Names
from blocks.postgres import Connection, Row

PAGE_ROWS = 500
# A row that another process keeps changing is found by the next call.
_MOST_ROUNDS = 5

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

_COLUMNS = """
    select c.table_name as table, c.column_name as column, c.udt_name as type
      from information_schema.columns c join information_schema.tables t using (table_schema, table_name)
     where c.table_schema = 'public' and t.table_type = 'BASE TABLE' and c.is_generated = 'NEVER'
       and c.udt_name in ('text', 'varchar', 'json', 'jsonb', '_text', '_varchar')
     order by c.table_name, c.ordinal_position
"""
# The types of columns that can hold text, and a parameter of each.
_PARAMETERS = {
    "text": SQL("%s::text"),
    "varchar": SQL("%s::varchar"),
    "json": SQL("%s::json"),
    "jsonb": SQL("%s::jsonb"),
    "_text": SQL("%s::text[]"),
    "_varchar": SQL("%s::varchar[]"),
}
_JSON = frozenset({"json", "jsonb"})


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """A table, and the types of its columns that can hold text, by name."""

    name: str
    columns: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is looked for: *names*, and the *ids* of what is about the document, where shared names count too."""

    names: Names
    ids: frozenset[str]

    def is_about(self, row: Mapping[str, Any]) -> bool:
        """Return whether *row* belongs to a run, a file or another thing of the document."""
        return not self.ids.isdisjoint(ids_in(row))


Stays = Callable[[str, Row], Awaitable[bool]]
"""Returns whether a row of a table that is not about the document is left as it is."""


async def _none_stays(_table: str, _row: Row) -> bool:
    return False


def ids_in(row: Mapping[str, Any]) -> set[str]:
    """Return the ids that are anywhere in *row*."""
    return set(_UUID.findall(_text(row)))


async def text_tables(connection: Connection, *, without: Collection[str] = ()) -> list[TextTable]:
    """Return the tables of the database that can hold text, but for those *without*."""
    cursor = await connection.execute(_COLUMNS)
    found: dict[str, dict[str, str]] = {}
    for row in await cursor.fetchall():
        if row["table"] not in without:
            found.setdefault(row["table"], {})[row["column"]] = row["type"]
    return [TextTable(name=name, columns=columns) for name, columns in found.items()]


async def redact_tables(
    connection: Connection,
    subject: Subject,
    *,
    without: Collection[str] = (),
    stays: Stays = _none_stays,
) -> Counter[str]:
    """Take the names out of all tables but those *without*; return how many rows were changed, by table.

    A row that *stays* is left as it is.
    """
    changed: Counter[str] = Counter()
    for table in await text_tables(connection, without=without):
        for _ in range(_MOST_ROUNDS):
            done, moved = await _redact(connection, table, subject, stays)
            changed[table.name] += done
            if not moved:
                break
    return +changed


async def find_names(
    connection: Connection, subject: Subject, *, without: Collection[str] = (), stays: Stays = _none_stays
) -> Counter[str]:
    """Return how many rows of each table still have a name that is the document's alone, but for those that stay."""
    found: Counter[str] = Counter()
    patterns = subject.names.patterns(about=False)
    for table in await text_tables(connection, without=without):
        async for row in _matching(connection, table, patterns) if patterns else _nothing():
            texts = (_text(row["row"][column]) for column in table.columns)
            if any(subject.names.occur_in(text, about=False) for text in texts):
                found[table.name] += subject.is_about(row["row"]) or not await stays(table.name, row["row"])
    return +found


async def _nothing() -> AsyncIterator[Row]:
    return
    yield {}


async def _redact(connection: Connection, table: TextTable, subject: Subject, stays: Stays) -> tuple[int, int]:
    """Return how many rows were changed, and how many had moved before they could be."""
    done = moved = 0
    patterns = subject.names.patterns(about=True)
    async for found in _matching(connection, table, patterns) if patterns else _nothing():
        row: Row = found["row"]
        about = subject.is_about(row)
        new = {name: subject.names.redacted_value(row[name], about=about) for name in table.columns}
        new = {name: value for name, value in new.items() if value != row[name]}
        if not new or (not about and await stays(table.name, row)):
            continue
        cursor = await connection.execute(_update(table, list(new)), [*_values(table, new), found["place"]])
        done, moved = done + cursor.rowcount, moved + (cursor.rowcount == 0)
    return done, moved


async def _matching(connection: Connection, table: TextTable, patterns: Sequence[str]) -> AsyncIterator[Row]:
    """Yield the place and the columns of each row that has one of *patterns*, in the order of the file."""
    matches = SQL(" or ").join(
        SQL("{column}::text ilike any(%(patterns)s)").format(column=Identifier(name)) for name in table.columns
    )
    statement = SQL(
        "select ctid::text as place, to_jsonb(t) as row from {table} t where ctid > %(after)s::tid and ({matches}) "
        "order by ctid limit %(limit)s"
    ).format(table=Identifier(table.name), matches=matches)
    after = "(0,0)"
    while True:
        cursor = await connection.execute(
            statement, {"patterns": list(patterns), "after": after, "limit": PAGE_ROWS}, prepare=False
        )
        rows = await cursor.fetchall()
        for row in rows:
            yield row
        if len(rows) < PAGE_ROWS:
            return
        after = rows[-1]["place"]


def _update(table: TextTable, columns: Sequence[str]) -> Composed:
    changes = [
        SQL("{column} = {value}").format(column=Identifier(name), value=_PARAMETERS[table.columns[name]])
        for name in columns
    ]
    return SQL("update {table} set {changes} where ctid = %s::tid").format(
        table=Identifier(table.name), changes=SQL(", ").join(changes)
    )


def _values(table: TextTable, new: Mapping[str, Any]) -> list[Any]:
    return [json.dumps(value) if table.columns[name] in _JSON else value for name, value in new.items()]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def ids_text(ids: Collection[UUID]) -> frozenset[str]:
    """Return *ids* as they stand in texts."""
    return frozenset(str(one) for one in ids)
