"""Write the lists of a document (facts, entities, keywords) without touching rows that are right already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection
from psycopg.rows import tuple_row
from psycopg.sql import SQL, Composed, Identifier

from blocks.search_index.document import Entity, Fact, Keyword, storable_value


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Numbers of rows of one table, by what a write did to them."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0


@dataclass(frozen=True, kw_only=True)
class ListTable:
    """A table and the Postgres types of its columns; after `document_id` and `ordinal`, an item's fields in order."""

    name: str
    columns: Mapping[str, str]

    def statement(self, template: SQL) -> Composed:
        names = SQL(", ").join(Identifier(column) for column in self.columns)
        return template.format(table=Identifier(self.name), columns=names)


FACTS = ListTable(
    name="indexed_facts",
    columns={
        "fact_id": "text",
        "type": "text",
        "statement": "text",
        "quote": "text",
        "score": "float8",
        "confidence": "float8",
        "chunk_ordinal": "int4",
        "start_offset": "int4",
        "end_offset": "int4",
    },
)
ENTITIES = ListTable(
    name="indexed_entities",
    columns={"text": "text", "type": "text", "value": "text", "count": "int4", "chunk_ordinals": "int4[]"},
)
KEYWORDS = ListTable(name="indexed_keywords", columns={"text": "text", "score": "float8"})

_SELECT = SQL("select ordinal, {columns} from {table} where document_id = %s")
_DELETE = SQL("delete from {table} where document_id = %s and ordinal = any(%s)")
_COPY = SQL("copy {table} (document_id, ordinal, {columns}) from stdin (format binary)")


def put_list(
    connection: Connection[Any], table: ListTable, document_id: int, items: Sequence[Fact | Entity | Keyword]
) -> Changes:
    """Make *table* hold exactly *items* for the document, numbered in the order given."""
    cursor = connection.cursor(row_factory=tuple_row)
    found = cursor.execute(table.statement(_SELECT), [document_id]).fetchall()
    stored = {ordinal: tuple(values) for ordinal, *values in found}
    wanted = {ordinal: tuple(map(storable_value, vars(item).values())) for ordinal, item in enumerate(items)}
    stale = [ordinal for ordinal, row in wanted.items() if stored.get(ordinal) != row]
    outdated = [ordinal for ordinal, row in stored.items() if wanted.get(ordinal) != row]
    if outdated:
        connection.execute(table.statement(_DELETE), [document_id, outdated])
    if stale:
        with connection.cursor().copy(table.statement(_COPY)) as copy:
            copy.set_types(["int8", "int4", *table.columns.values()])
            for ordinal in stale:
                copy.write_row((document_id, ordinal, *wanted[ordinal]))
    updated = sum(ordinal in stored for ordinal in stale)
    return Changes(
        inserted=len(stale) - updated,
        updated=updated,
        unchanged=len(wanted) - len(stale),
        removed=len(outdated) - updated,
    )
