"""Who is making which output right now, across runs: Postgres advisory locks on stage keys.

Two runs that are given the same content at the same time would both find nothing to reuse and do the work twice. The
locks belong to one connection per run, so the death of a run frees them. They are a courtesy, not a guarantee: without
them the same output is made twice, and both copies are right. Needs a session, so no transaction-pooling proxy.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from typing import Any, Self

import psycopg

from blocks.postgres import connect_async, postgres_errors

_TRY = """
    select key from unnest(%(keys)s::text[]) as key
     where pg_try_advisory_lock(hashtextextended(key, 0))
"""
_RELEASE = "select pg_advisory_unlock(hashtextextended(key, 0)) from unnest(%(keys)s::text[]) as key"


class OutputLocks:
    """Locks of one run. Counted: a key acquired twice is released twice."""

    def __init__(self, connection: psycopg.AsyncConnection[tuple[Any, ...]]) -> None:
        self._connection = connection
        self._turn = asyncio.Lock()  # one statement at a time on one connection

    @classmethod
    @asynccontextmanager
    async def open(cls, database_url: str) -> AsyncGenerator[Self]:
        """A connection for locks, for the length of the block. Raises `CatalogUnavailable`."""
        connection = await connect_async(database_url, autocommit=True)
        try:
            yield cls(connection)
        finally:
            await connection.close()

    async def try_acquire(self, keys: Collection[str]) -> set[str]:
        """Those of *keys* that nobody else holds; they are held from now on. Does not wait."""
        return {str(row[0]) for row in await self._execute(_TRY, keys)}

    async def release(self, keys: Collection[str]) -> None:
        """Give *keys* back."""
        await self._execute(_RELEASE, keys)

    async def _execute(self, statement: str, keys: Collection[str]) -> list[tuple[Any, ...]]:
        if not keys:
            return []
        async with self._turn:
            with postgres_errors("lock the outputs to be made"):
                cursor = await self._connection.execute(statement.encode(), {"keys": list(keys)})
                return await cursor.fetchall()
