"""Output locks: which run is making which output now, as Postgres advisory locks on stage keys.

Without them, two runs with the same content at the same time would both find nothing to reuse and do the work twice.
The locks belong to one connection per run, so Postgres releases them when a run dies. They are an optimisation, not a
guarantee: without them both copies are correct. They need a session, so no transaction-pooling proxy.
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
    """The locks of one run. Counted: a stage key acquired twice is released twice."""

    def __init__(self, connection: psycopg.AsyncConnection[tuple[Any, ...]]) -> None:
        self._connection = connection
        self._one_statement = asyncio.Lock()  # a connection runs one at a time

    @classmethod
    @asynccontextmanager
    async def open(cls, database_url: str) -> AsyncGenerator[Self]:
        """Open a connection for locks, for the length of the block. Raises `CatalogUnavailable`."""
        connection = await connect_async(database_url, autocommit=True)
        try:
            yield cls(connection)
        finally:
            await connection.close()

    async def try_acquire(self, keys: Collection[str]) -> set[str]:
        """Lock those of the stage *keys* that no other session holds, and return them. Does not wait."""
        return {str(row[0]) for row in await self._execute(_TRY, keys)}

    async def release(self, keys: Collection[str]) -> None:
        """Unlock *keys*."""
        await self._execute(_RELEASE, keys)

    async def _execute(self, statement: str, keys: Collection[str]) -> list[tuple[Any, ...]]:
        if not keys:
            return []
        async with self._one_statement:
            with postgres_errors("lock the outputs to be made"):
                cursor = await self._connection.execute(statement.encode(), {"keys": list(keys)})
                return await cursor.fetchall()
