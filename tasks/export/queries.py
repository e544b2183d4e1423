"""Rows of one SQL query: of Postgres, of any database that SQLAlchemy reaches, or through an ADBC driver.

The query reads only, in one statement. On Postgres the server sees to that: the statement is declared as a cursor in a
read-only transaction. SQLite files are opened for reading alone. With other databases the transaction is rolled back at
the end; give them an account that may only read. A query ends when its time is over or its caller has gone, where the
database allows that. Errors of a database are translated: they quote values and addresses.
"""
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# Arrow has no types for a checker.

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

from blocks.errors import ExportRefused, InvalidOptions
from blocks.runtime.threads import StopCheck
from tasks.export.ending import Ending
from tasks.export.source import FETCH_ROWS, ArrowSource, RecordSource, Rows, in_batches, query_refused

_ADBC = "adbc:"
# Instructions of SQLite's machine: about a millisecond.
_STEPS_BETWEEN_CHECKS = 100_000
_POSTGRES = {"postgresql", "postgres", "postgresql+psycopg"}
_READS = re.compile(
    r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*[(\s]*(?:select|with|values|table)\b", re.IGNORECASE | re.DOTALL
)


def open_query(
    database_url: str,
    sql: str,
    *,
    time_limit: timedelta | None = None,
    role: str | None = None,
    read_only: bool = True,
    check: StopCheck = lambda: None,
    session: str = "waybill",
) -> RecordSource:
    """Return the rows of *sql*, one SELECT, on *database_url*.

    The URL is one of Postgres, of SQLAlchemy, or ``adbc:DRIVER:URI`` with the module or the library of an ADBC driver.
    *time_limit* bounds the query, and what *check* raises ends one that is under way, on Postgres, SQLite and through
    ADBC; elsewhere a caller checks between batches. On Postgres *role* is set before the query, and *session* is the
    name by which the server lists it. A query can leave its role again (``set_config``): only an account that has no
    more rights than *role* is a boundary. Raises `ExportRefused` for a query that fails, `InvalidOptions` for a URL
    that opens no database, and like other uses of Postgres.
    """
    ending = Ending(time_limit, check)
    if database_url.startswith(_ADBC):
        from tasks.export.adbc import open_adbc

        return open_adbc(database_url.removeprefix(_ADBC), _one_select(sql), ending, read_only=read_only)
    if "://" not in database_url or database_url.partition("://")[0] in _POSTGRES:
        from tasks.export.postgres import open_postgres

        url = database_url.replace("postgresql+psycopg://", "postgresql://", 1)
        return open_postgres(
            url, sql, ending=ending, time_limit=time_limit, role=role, read_only=read_only, session=session
        )
    return _sqlalchemy(database_url, _one_select(sql) if read_only else sql, ending, read_only=read_only)


def _one_select(sql: str) -> str:
    """Return *sql* if it begins like a query. What it does is for the database to refuse."""
    if _READS.match(sql) is None:
        raise ExportRefused("an export runs one query: it begins with select, with, values or table")
    return sql


def _sqlalchemy(database_url: str, sql: str, ending: Ending, *, read_only: bool) -> RecordSource:
    from sqlalchemy.exc import SQLAlchemyError

    engine = connection = None
    try:
        engine = _engine(database_url, read_only=read_only)
        connection = engine.connect().execution_options(stream_results=True, max_row_buffer=FETCH_ROWS)
    except (SQLAlchemyError, ImportError, ValueError, OSError) as exc:
        # `from None`: the message of the driver may hold the URL.
        raise InvalidOptions(
            f"this database cannot be opened ({type(exc).__name__}): check its URL, and that its driver is installed"
        ) from None

    def close() -> None:
        with suppress(SQLAlchemyError):
            connection.rollback()
        connection.close()
        engine.dispose()

    try:
        if engine.dialect.name == "sqlite":
            if read_only:
                connection.exec_driver_sql("pragma query_only = on")
            # It runs in this process: nothing else could end it.
            connection.connection.driver_connection.set_progress_handler(ending, _STEPS_BETWEEN_CHECKS)
        result = connection.exec_driver_sql(sql)
        if not result.returns_rows:
            raise ExportRefused("the statement returns no rows: an export runs a query")
        source = Rows(list(result.keys()), _fetched(result, ending))
    except SQLAlchemyError as exc:
        close()
        raise ending.reason or query_refused(type(exc).__name__) from None
    except BaseException:
        close()
        raise
    return ArrowSource(source.schema, source.batches, close)


def _engine(database_url: str, *, read_only: bool) -> Any:
    from sqlalchemy import create_engine
    from sqlalchemy.engine import make_url
    from sqlalchemy.pool import NullPool

    url = make_url(database_url)
    if read_only and url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:"):
        path = str(url.database)
        if not path.startswith("file:"):
            from pathlib import Path

            path = Path(path).absolute().as_uri()
        joint = "&" if "?" in path else "?"
        # `mode` is SQLite's own, in the URI of the file; `uri` has the driver read it as one.
        url = url.set(database=f"{path}{joint}mode=ro").update_query_dict({"uri": "true"})
    return create_engine(url, poolclass=NullPool)


def _fetched(result: Any, ending: Ending) -> Iterator[Any]:
    from sqlalchemy.exc import SQLAlchemyError

    def rows() -> Iterator[Any]:
        while fetched := result.fetchmany(FETCH_ROWS):
            yield from fetched

    try:
        yield from in_batches(rows())
    except SQLAlchemyError as exc:
        raise ending.reason or query_refused(type(exc).__name__) from None
