"""Write the lists of documents (facts, entities, keywords) without touching rows that are right already."""

from __future__ import annotations

from collections import defaultdict
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

Item = Fact | Entity | Keyword

_SELECT = SQL("select document_id, ordinal, {columns} from {table} where document_id = any(%s)")
_DELETE = SQL("""
    delete from {table} using unnest(%s::bigint[], %s::integer[]) as gone (of_document, place)
     where document_id = of_document and ordinal = place
""")
_COPY = SQL("copy {table} (document_id, ordinal, {columns}) from stdin (format binary)")


def put_lists(
    connection: Connection[Any], table: ListTable, lists: Mapping[int, Sequence[Item]], stored_ids: Sequence[int]
) -> dict[int, Changes]:
    """Make *table* hold exactly the items of each document in *lists* (by `document_id`), numbered in the order given.

    *stored_ids* are the documents that may have rows already.
    """
    stored = _stored(connection, table, stored_ids)
    wanted = {
        document_id: {ordinal: tuple(map(storable_value, vars(item).values())) for ordinal, item in enumerate(items)}
        for document_id, items in lists.items()
    }
    outdated = [
        (document_id, ordinal)
        for document_id, rows in stored.items()
        for ordinal, row in rows.items()
        if wanted[document_id].get(ordinal) != row
    ]
    stale = [
        (document_id, ordinal)
        for document_id, rows in wanted.items()
        for ordinal, row in rows.items()
        if stored[document_id].get(ordinal) != row
    ]
    if outdated:
        connection.execute(table.statement(_DELETE), [*map(list, zip(*outdated, strict=True))])
    if stale:
        with connection.cursor().copy(table.statement(_COPY)) as copy:
            copy.set_types(["int8", "int4", *table.columns.values()])
            for document_id, ordinal in stale:
                copy.write_row((document_id, ordinal, *wanted[document_id][ordinal]))
    return {document_id: changes(stored[document_id], rows) for document_id, rows in wanted.items()}


def _stored(
    connection: Connection[Any], table: ListTable, document_ids: Sequence[int]
) -> defaultdict[int, dict[int, tuple[Any, ...]]]:
    stored: defaultdict[int, dict[int, tuple[Any, ...]]] = defaultdict(dict)
    if document_ids:
        cursor = connection.cursor(row_factory=tuple_row)
        for document_id, ordinal, *values in cursor.execute(table.statement(_SELECT), [list(document_ids)]):
            stored[document_id][ordinal] = tuple(values)
    return stored


def changes(stored: Mapping[int, Any], wanted: Mapping[int, Any]) -> Changes:
    """Count by ordinal what became of the rows of one document; both map ordinals to what is compared."""
    unchanged = sum(ordinal in stored and stored[ordinal] == row for ordinal, row in wanted.items())
    updated = len(stored.keys() & wanted.keys()) - unchanged
    return Changes(
        inserted=len(wanted.keys() - stored.keys()),
        updated=updated,
        unchanged=unchanged,
        removed=len(stored.keys() - wanted.keys()),
    )
