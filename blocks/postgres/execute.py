"""Execute one statement, with psycopg's errors translated."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, LiteralString, cast

import psycopg
from psycopg.rows import dict_row

from blocks.errors import CatalogRefused
from blocks.postgres.connection import connect_async, postgres_errors

Row = dict[str, Any]
Connection = psycopg.AsyncConnection[Row]


async def execute(connection: Connection, statement: str, values: Mapping[str, Any]) -> psycopg.AsyncCursor[Row]:
    """Execute one statement with its *values*. Raises `CatalogUnavailable` and `CatalogRefused`."""
    # Statements are constants; values are always passed as parameters.
    try:
        with postgres_errors("use the catalogue"):
            return await connection.execute(cast("LiteralString", statement), values)
    except UnicodeEncodeError as exc:
        raise CatalogRefused("a name or path holds a character that is no valid Unicode (a lone surrogate)") from exc


@asynccontextmanager
async def single_connection(database_url: str) -> AsyncGenerator[Connection]:
    """Open a connection without a pool, for a process with one thing to write; each statement commits by itself.

    Raises `CatalogUnavailable` and `InvalidSettings`.
    """
    connection = cast("Connection", await connect_async(database_url, autocommit=True))
    connection.row_factory = dict_row
    async with connection:
        with postgres_errors("use the catalogue"):
            yield connection
