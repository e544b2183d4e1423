"""The index of vectors: of which form it is, and how an older database gets the present one without locking anyone out.

Both forms are graphs (HNSW). The present one, `BY_HALF`, holds each number in two bytes; the older one, `BY_WHOLE`, in
four. A database that had passages before keeps the older one until the present one has been built next to it, which
readers and writers do not notice; so does a server whose pgvector is older than 0.7 and has no such type.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, LiteralString

from psycopg import AsyncConnection
from psycopg.rows import scalar_row

from blocks.postgres import connect_async, postgres_errors
from blocks.runtime.outage_log import OutageLog

BY_HALF, BY_WHOLE = "indexed_chunks_by_half_vector", "indexed_chunks_by_embedding"

_HAS_HALF: LiteralString = """
    select exists (select from pg_index where indexrelid = to_regclass('indexed_chunks_by_half_vector') and indisvalid)
"""
_HAS_WHOLE: LiteralString = "select to_regclass('indexed_chunks_by_embedding') is not null"
_KNOWS_HALF: LiteralString = "select to_regtype('halfvec') is not null"
# As the migration makes it in a database without passages.
_BUILD: LiteralString = """
    create index concurrently indexed_chunks_by_half_vector
        on indexed_chunks using hnsw ((embedding::halfvec(384)) halfvec_cosine_ops) with (m = 16, ef_construction = 64)
"""
_DROP_HALF: LiteralString = "drop index concurrently if exists indexed_chunks_by_half_vector"
_DROP_WHOLE: LiteralString = "drop index concurrently if exists indexed_chunks_by_embedding"
# The graph of a million passages has 1.2 GB; in memory it is built several times quicker than on disk. One process: the
# memory of several comes from /dev/shm, of which a container has little.
_SETTINGS: LiteralString = """
    select set_config('maintenance_work_mem', greatest(
               pg_size_bytes(current_setting('maintenance_work_mem')) / 1024,
               least(1024 * 1024, (select reltuples * 1.5 from pg_class where oid = 'indexed_chunks'::regclass))
           )::bigint || 'kB', false),
           set_config('max_parallel_maintenance_workers', '0', false)
"""
# Any fixed number that no other program takes for its advisory lock ("vectors" in ASCII).
_LOCK_KEY = 0x766563746F7273
_TAKE_LOCK: LiteralString = "select pg_try_advisory_lock(%s)"
_PAUSE_SECONDS = 300.0

_LOG = logging.getLogger("waybill.search")


async def has_half_index(connection: AsyncConnection[Any]) -> bool:
    """Return whether the index that is in use is of the present form."""
    return await _fetch(connection, _HAS_HALF)


async def build_half_index_once(database_url: str, *, pause_seconds: float = _PAUSE_SECONDS) -> None:
    """Do `build_half_index`, and try again every *pause_seconds* while it cannot be done."""
    outage = OutageLog(_LOG, "building the index of vectors")
    while True:
        try:
            if await build_half_index(database_url):
                return
        except Exception as error:  # noqa: BLE001 - it must not end the process that it runs in
            outage.failed(error)
        await asyncio.sleep(pause_seconds)


async def build_half_index(database_url: str) -> bool:
    """Build the present index next to the older one, and drop that. Return False if another process is doing so.

    Readers and writers go on meanwhile. What a process that was killed has left is dropped and built again. Does
    nothing where the present one is in use, or the server has no type for it. Raises `CatalogUnavailable`,
    `InvalidSettings` or `CatalogRefused`.
    """
    connection = await connect_async(database_url, autocommit=True)
    async with connection:
        with postgres_errors("build the index of vectors"):
            if not await _fetch(connection, _TAKE_LOCK, [_LOCK_KEY]):
                return False
            if await _fetch(connection, _HAS_WHOLE) and await _fetch(connection, _KNOWS_HALF):
                if not await has_half_index(connection):
                    await connection.execute(_DROP_HALF)
                    await connection.execute(_SETTINGS)
                    _LOG.info("building %s next to %s; search and ingestion go on", BY_HALF, BY_WHOLE)
                    await connection.execute(_BUILD)
                await connection.execute(_DROP_WHOLE)
                _LOG.info("%s is in use", BY_HALF)
    return True


async def _fetch(
    connection: AsyncConnection[Any], statement: LiteralString, parameters: list[Any] | None = None
) -> bool:
    cursor = connection.cursor(row_factory=scalar_row)
    return bool(await (await cursor.execute(statement, parameters)).fetchone())
