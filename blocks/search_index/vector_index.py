"""The index of vectors: which form it has, and how a database gets another one without locking anyone out.

Up to some hundred thousand passages it is a graph (HNSW), and for more it is lists (IVFFlat), which find more of the
nearest in less time there (``docs/adr/0031-search-at-scale.md``). Both hold each number in two bytes, and search asks
both in the same way. The oldest form is a graph of four bytes a number; a server whose pgvector is older than 0.7 keeps
that. Lists are made anew when the passages have become many more. Each is built next to the one that is in use, which
readers and writers do not notice.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import AsyncConnection
from psycopg.rows import scalar_row, tuple_row
from psycopg.sql import SQL

from blocks.postgres import connect_async, postgres_errors
from blocks.runtime.outage_log import OutageLog

BY_HALF, BY_LISTS = "indexed_chunks_by_half_vector", "indexed_chunks_by_vector_lists"
BY_WHOLE = "indexed_chunks_by_embedding"
# While it is built, and until it is dropped.
_NEXT, _OLD = "indexed_chunks_next_vector_index", "indexed_chunks_old_vector_index"

# From so many passages on the index has lists; one that has them keeps them until there are half as many.
LISTS_FROM = 300_000
_PASSAGES_IN_LIST = 250
# To find the centres of more lists takes gigabytes of memory.
MOST_LISTS = 2000

_KNOWS_HALF: LiteralString = "select to_regtype('halfvec') is not null"
_IS_HALF: LiteralString = """
    select exists (select from pg_index
                    where indisvalid and indexrelid in (to_regclass('indexed_chunks_by_half_vector'),
                                                        to_regclass('indexed_chunks_by_vector_lists')))
"""
# What Postgres estimates, without the passages that have no vector.
_PASSAGES: LiteralString = """
    select greatest(reltuples, 0) * (1 - coalesce((
               select null_frac from pg_stats
                where schemaname = current_schema and tablename = 'indexed_chunks' and attname = 'embedding'), 0))
      from pg_class where oid = 'indexed_chunks'::regclass
"""
_PRESENT: LiteralString = """
    select relname, (select substring(one from '^lists=(.*)')::integer from unnest(reloptions) one
                      where one like 'lists=%%')
      from pg_class join pg_index on indexrelid = oid
     where indisvalid and oid in (to_regclass('indexed_chunks_by_half_vector'),
                                  to_regclass('indexed_chunks_by_vector_lists'),
                                  to_regclass('indexed_chunks_by_embedding'))
"""
# As the migration makes it in a database without passages.
_BUILD_GRAPH: LiteralString = """
    create index concurrently indexed_chunks_next_vector_index
        on indexed_chunks using hnsw ((embedding::halfvec(384)) halfvec_cosine_ops) with (m = 16, ef_construction = 64)
"""
_BUILD_LISTS: LiteralString = """
    create index concurrently indexed_chunks_next_vector_index
        on indexed_chunks using ivfflat ((embedding::halfvec(384)) halfvec_cosine_ops) with (lists = {lists})
"""
_DROPS: dict[str, LiteralString] = {
    BY_HALF: "drop index concurrently if exists indexed_chunks_by_half_vector",
    BY_LISTS: "drop index concurrently if exists indexed_chunks_by_vector_lists",
    BY_WHOLE: "drop index concurrently if exists indexed_chunks_by_embedding",
    _NEXT: "drop index concurrently if exists indexed_chunks_next_vector_index",
    _OLD: "drop index concurrently if exists indexed_chunks_old_vector_index",
}
# Takes no lock that a reader or writer would wait for.
_RENAMES: dict[str, LiteralString] = {
    BY_HALF: """
        alter index if exists indexed_chunks_by_half_vector rename to indexed_chunks_old_vector_index;
        alter index indexed_chunks_next_vector_index rename to indexed_chunks_by_half_vector
    """,
    BY_LISTS: """
        alter index if exists indexed_chunks_by_vector_lists rename to indexed_chunks_old_vector_index;
        alter index indexed_chunks_next_vector_index rename to indexed_chunks_by_vector_lists
    """,
}
# One process: the memory of several comes from /dev/shm, of which a container has little.
_SETTINGS: LiteralString = """
    select set_config('maintenance_work_mem', greatest(
               pg_size_bytes(current_setting('maintenance_work_mem')) / 1024, %(kibibytes)s)::bigint || 'kB', false),
           set_config('max_parallel_maintenance_workers', '0', false)
"""
# The graph of a million passages has 1.2 GB; in memory it is built several times quicker than on disk.
_MOST_GRAPH_KIB, _GRAPH_KIB = 1024 * 1024, 1.5
# Any fixed number that no other program takes for its advisory lock ("vectors" in ASCII).
_LOCK_KEY = 0x766563746F7273
_TAKE_LOCK: LiteralString = "select pg_try_advisory_lock(%s)"
_RETRY_SECONDS, _LOOK_AGAIN_SECONDS = 300.0, 3600.0

_LOG = logging.getLogger("waybill.search")


@dataclass(frozen=True, kw_only=True)
class Form:
    """A form of the index: its *name*, and how many lists it has, None for a graph."""

    name: str
    lists: int | None = None

    @classmethod
    def for_passages(cls, passages: float, present: Form | None = None) -> Form:
        """Return the form for so many passages that have vectors; *present* where it still does."""
        lists_now = present.lists if present is not None else None
        if passages < (LISTS_FROM / 2 if lists_now else LISTS_FROM):
            return cls(name=BY_HALF)
        lists = min(MOST_LISTS, int(passages) // _PASSAGES_IN_LIST)
        return cls(name=BY_LISTS, lists=lists_now if lists_now and lists < 2 * lists_now else lists)

    def kibibytes(self, passages: float) -> int:
        """Return the memory that the build takes."""
        if self.lists is None:
            return int(min(_MOST_GRAPH_KIB, passages * _GRAPH_KIB))
        # pgvector keeps the distance of each sample to each centre, and refuses to build with less.
        samples = max(50 * self.lists, 10_000)
        return (samples * (4 * self.lists + 1600) + 8 * self.lists**2) // 1024


async def has_half_index(connection: AsyncConnection[Any]) -> bool:
    """Return whether the index that is in use holds two bytes a number."""
    return bool(await _fetch(connection, _IS_HALF))


async def keep_vector_index(
    database_url: str, *, retry_seconds: float = _RETRY_SECONDS, look_again_seconds: float = _LOOK_AGAIN_SECONDS
) -> None:
    """Do `renew_vector_index` now and then, for ever, and sooner while it cannot be done."""
    outage = OutageLog(_LOG, "building the index of vectors")
    while True:
        is_done = False
        try:
            is_done = await renew_vector_index(database_url)
        except Exception as error:  # noqa: BLE001 - it must not end the process that it runs in
            outage.failed(error)
        await asyncio.sleep(look_again_seconds if is_done else retry_seconds)


async def renew_vector_index(database_url: str) -> bool:
    """Have the index of vectors be of the form for as many passages as there are. False if another process does so.

    Readers and writers go on meanwhile. What a process that was killed has left is dropped and built again. Does
    nothing where the server has no type for it. Raises `CatalogUnavailable`, `InvalidSettings` or `CatalogRefused`.
    """
    connection = await connect_async(database_url, autocommit=True)
    async with connection:
        with postgres_errors("build the index of vectors"):
            if not await _fetch(connection, _TAKE_LOCK, [_LOCK_KEY]):
                return False
            if await _fetch(connection, _KNOWS_HALF):
                await _renew(connection)
    return True


async def _renew(connection: AsyncConnection[Any]) -> None:
    passages = float(await _fetch(connection, _PASSAGES) or 0)
    present = await _present(connection)
    wanted = Form.for_passages(passages, next((one for one in present if one.name == BY_LISTS), None))
    await _drop(connection, _NEXT, _OLD)
    if wanted not in present:
        await connection.execute(_SETTINGS, {"kibibytes": wanted.kibibytes(passages)})
        _LOG.info("building %s for %d passages; search and ingestion go on", wanted.name, passages)
        if wanted.lists is None:
            await connection.execute(_BUILD_GRAPH)
        else:
            await connection.execute(SQL(_BUILD_LISTS).format(lists=wanted.lists))
        async with connection.transaction():
            for rename in _RENAMES[wanted.name].split(";"):
                await connection.execute(rename)
        _LOG.info("%s is in use", wanted.name)
    others = {BY_HALF, BY_LISTS, BY_WHOLE} - {wanted.name}
    await _drop(connection, _OLD, *others)


async def _present(connection: AsyncConnection[Any]) -> list[Form]:
    """Return the forms that are complete: more than one while one replaces another."""
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute(_PRESENT, {})
    return [Form(name=name, lists=lists) for name, lists in await cursor.fetchall()]


async def _drop(connection: AsyncConnection[Any], *names: str) -> None:
    for name in names:
        await connection.execute(_DROPS[name])


async def _fetch(
    connection: AsyncConnection[Any], statement: LiteralString, parameters: list[Any] | None = None
) -> Any:
    cursor = connection.cursor(row_factory=scalar_row)
    return await (await cursor.execute(statement, parameters)).fetchone()
