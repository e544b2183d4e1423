"""Postgres: connect, execute, pool, and translate its errors into ours. Knows no table.

Every call raises `CatalogUnavailable` (may pass, retried), `InvalidSettings` (a person must act) or `CatalogRefused`,
never psycopg's own errors; `connection.py` decides by SQLSTATE. `pool` and `page_cursor` are imported by name.
"""

from blocks.postgres.connection import (
    Connection,
    Row,
    connect,
    connect_async,
    execute,
    fetch_all,
    fetch_optional,
    fetch_row,
    is_missing_extension,
    postgres_errors,
    single_connection,
)

__all__ = [
    "Connection",
    "Row",
    "connect",
    "connect_async",
    "execute",
    "fetch_all",
    "fetch_optional",
    "fetch_row",
    "is_missing_extension",
    "postgres_errors",
    "single_connection",
]
