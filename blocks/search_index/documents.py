"""What the search index holds, document by document: a list with filters, one document, its passages and its lists.

All lists are paged by key set. Documents come newest first, passages in the order of the text, facts and keywords by
their score, entities by how often they occur. Names, with `lists`, the SQL that is not in `queries`.
"""

# ruff: noqa: S608 - the parts are these constants

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Generic, LiteralString, TypeVar, cast

from psycopg import AsyncConnection
from psycopg.rows import scalar_row

from blocks.errors import DocumentNotFound, InvalidOptions
from blocks.postgres import Connection, Row, fetch_all, fetch_optional
from blocks.postgres.page_cursor import read_row_cursor, write_cursor
from blocks.search_index.document import Entity, Fact, Keyword
from blocks.search_index.filters import SearchFilters, media_type_of

DEFAULT_PAGE, MAX_PAGE = 100, 1000

_COLUMNS = """
    document_id, sha256, title, source, media_type, language, pages, created, summary, ingested_at,
    (select count(*) from indexed_chunks c where c.document_id = d.document_id) as chunks,
    (select count(*) from indexed_facts f where f.document_id = d.document_id) as facts,
    (select count(*) from indexed_entities e where e.document_id = d.document_id) as entities,
    (select count(*) from indexed_keywords k where k.document_id = d.document_id) as keywords
"""
_AFTER = "(ingested_at, document_id) < (%(after_time)s::timestamptz, %(after_id)s)"
_NEWEST = "ingested_at desc, document_id desc"
# Rows are counted for the documents of the page alone.
_LIST = """
    select {columns} from (select * from indexed_documents {where} order by {newest} limit %(limit)s) d
     order by {newest}
"""
_DOCUMENT = f"select {_COLUMNS} from indexed_documents d where sha256 = %(sha256)s"

_CHUNKS = """
    select chunk_id, ordinal, array(select part from unnest(heading_path) part where part is not null) as heading_path,
           text, start_offset as start, end_offset as end, tokens, 0::float8 as rank
      from indexed_chunks
     where document_id = %(document_id)s and ordinal > %(after_ordinal)s
     order by ordinal
     limit %(limit)s
"""
# Pages of the others: from the highest rank to the lowest, equal ones in the order of the document.
_RANKED = """
    select * from (select {columns}, ordinal, {rank} as rank from {table} where document_id = %(document_id)s) listed
     where (rank, -ordinal) < (%(after_rank)s::float8, -%(after_ordinal)s::bigint)
     order by rank desc, ordinal
     limit %(limit)s
"""
# A person with SQL may have written NaN, which Postgres takes for the highest number.
_BY_SCORE = "coalesce(nullif(score, 'NaN'), '-infinity')"
_FACTS = _RANKED.format(
    columns="fact_id, type, statement, quote, score, confidence, chunk_ordinal as chunk, start_offset as start, "
    "end_offset as end",
    rank=_BY_SCORE,
    table="indexed_facts",
)
_ENTITIES = _RANKED.format(
    columns="text, type, value, count, "
    "array(select one from unnest(chunk_ordinals) one where one is not null) as chunks",
    rank="count::float8",
    table="indexed_entities",
)
_KEYWORDS = _RANKED.format(columns="text, score", rank=_BY_SCORE, table="indexed_keywords")

ItemT = TypeVar("ItemT")


@dataclass(frozen=True, kw_only=True)
class DocumentEntry:
    """An indexed document. `created` is as the document says it; `chunks`, `facts`, ... count its rows."""

    sha256: str
    title: str
    source: str
    media_type: str
    language: str | None
    pages: int | None
    created: str | None
    summary: str
    ingested_at: datetime
    chunks: int
    facts: int
    entities: int
    keywords: int

    def as_dict(self) -> dict[str, Any]:
        """Return the document as commands and the API show it."""
        return {**asdict(self), "ingested_at": self.ingested_at.astimezone(UTC).isoformat()}


@dataclass(frozen=True, kw_only=True)
class StoredChunk:
    """A passage of a document. `start` and `end` are in characters of the chunked Markdown."""

    chunk_id: str
    ordinal: int
    heading_path: list[str]
    text: str
    start: int
    end: int
    tokens: int


@dataclass(frozen=True, kw_only=True)
class DocumentPage(Generic[ItemT]):
    """A page of a list; `next` continues it, None on the last page."""

    items: list[ItemT]
    next: str | None


async def list_documents(
    connection: Connection,
    filters: SearchFilters | None = None,
    *,
    limit: int = DEFAULT_PAGE,
    after: str | None = None,
) -> DocumentPage[DocumentEntry]:
    """Return one page of documents, newest first. Raises `InvalidOptions` for a wrong limit or cursor."""
    _check_limit(limit)
    chosen = filters or SearchFilters()
    conditions, values = chosen.conditions(), {**chosen.values(), "limit": limit + 1}
    if after is not None:
        conditions.append(_AFTER)
        values["after_time"], values["after_id"] = read_row_cursor(after, int)
    where = f"where {' and '.join(conditions)}" if conditions else ""
    rows = await fetch_all(connection, _LIST.format(columns=_COLUMNS, where=where, newest=_NEWEST), values)
    last = rows[limit - 1] if len(rows) > limit else None
    return DocumentPage(
        items=[_entry(row) for row in rows[:limit]],
        next=None if last is None else write_cursor(last["ingested_at"], last["document_id"]),
    )


async def get_document(connection: Connection, sha256: str) -> DocumentEntry:
    """Return one document. Raises `DocumentNotFound`."""
    return _entry(await _row(connection, sha256))


async def list_chunks(
    connection: Connection, sha256: str, *, limit: int = DEFAULT_PAGE, after: str | None = None
) -> DocumentPage[StoredChunk]:
    """Return one page of a document's passages in the order of its text. Raises `DocumentNotFound`."""
    return await _page(connection, _CHUNKS, sha256, limit, after, lambda row: StoredChunk(**row))


async def list_facts(
    connection: Connection, sha256: str, *, limit: int = DEFAULT_PAGE, after: str | None = None
) -> DocumentPage[Fact]:
    """Return one page of a document's facts, the best first. Raises `DocumentNotFound`."""
    return await _page(connection, _FACTS, sha256, limit, after, lambda row: Fact(**_unordered(row)))


async def list_entities(
    connection: Connection, sha256: str, *, limit: int = DEFAULT_PAGE, after: str | None = None
) -> DocumentPage[Entity]:
    """Return one page of a document's entities, the most frequent first. Raises `DocumentNotFound`."""
    return await _page(connection, _ENTITIES, sha256, limit, after, lambda row: Entity(**_unordered(row)))


async def list_keywords(
    connection: Connection, sha256: str, *, limit: int = DEFAULT_PAGE, after: str | None = None
) -> DocumentPage[Keyword]:
    """Return one page of a document's keywords, the best first. Raises `DocumentNotFound`."""
    return await _page(connection, _KEYWORDS, sha256, limit, after, lambda row: Keyword(**_unordered(row)))


async def matching_documents(connection: AsyncConnection[Any], filters: SearchFilters) -> list[int]:
    """Return the ids of all documents that *filters* leave."""
    where = " and ".join(filters.conditions()) or "true"
    cursor = connection.cursor(row_factory=scalar_row)
    statement = cast("LiteralString", f"select document_id from indexed_documents where {where}")
    return await (await cursor.execute(statement, filters.values())).fetchall()


async def _page(
    connection: Connection,
    statement: str,
    sha256: str,
    limit: int,
    after: str | None,
    read: Callable[[dict[str, Any]], ItemT],
) -> DocumentPage[ItemT]:
    _check_limit(limit)
    rank, ordinal = (math.inf, -1) if after is None else _read_place(after)
    document_id = (await _row(connection, sha256))["document_id"]
    values = {"document_id": document_id, "after_rank": rank, "after_ordinal": ordinal, "limit": limit + 1}
    rows = await fetch_all(connection, statement, values)
    last = rows[limit - 1] if len(rows) > limit else None
    return DocumentPage(
        items=[read(_finite({name: value for name, value in row.items() if name != "rank"})) for row in rows[:limit]],
        next=None if last is None else _write_place(last["rank"], last["ordinal"]),
    )


async def _row(connection: Connection, sha256: str) -> Row:
    row = await fetch_optional(connection, _DOCUMENT, {"sha256": sha256})
    if row is None:
        raise DocumentNotFound(f"there is no document with the sha256 {sha256[:64]} in the search index")
    return row


def _entry(row: Mapping[str, Any]) -> DocumentEntry:
    given = dict[str, Any](row)
    del given["document_id"]
    given["media_type"] = media_type_of(row["media_type"])
    return DocumentEntry(**given)


def _unordered(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "ordinal"}


def _finite(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return *row* without numbers that JSON has not; a person with SQL may have written them."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()
    }


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidOptions(f"a page holds 1 to {MAX_PAGE} entries, not {limit}")


def _write_place(rank: float, ordinal: int) -> str:
    return base64.urlsafe_b64encode(f"{rank!r} {ordinal}".encode()).decode()


def _read_place(cursor: str) -> tuple[float, int]:
    try:
        rank, ordinal = base64.urlsafe_b64decode(cursor.encode()).decode().split(" ")
        place = float(rank), int(ordinal)
        if abs(place[1]) >= 2**31:
            raise ValueError("beyond the ordinals of Postgres")
    except (ValueError, binascii.Error) as exc:
        raise InvalidOptions("the page cursor is not one that Waybill gave; start from the first page") from exc
    return place
