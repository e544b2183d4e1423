"""Postgres: connecting, executing, pooling, and what a failure there means. Knows no table."""

from blocks.postgres.connection import (
    check_url,
    connect,
    connect_arguments,
    connect_async,
    is_missing_extension,
    postgres_errors,
    translated,
)
from blocks.postgres.execute import Connection, Row, execute, single_connection

__all__ = [
    "Connection",
    "Row",
    "check_url",
    "connect",
    "connect_arguments",
    "connect_async",
    "execute",
    "is_missing_extension",
    "postgres_errors",
    "single_connection",
    "translated",
]
