"""Rows of one SQL query: of Postgres, of any database that SQLAlchemy reaches, or through an ADBC driver.

The query reads only, in one statement. On Postgres the server sees to that: the statement is declared as a cursor in a
read-only transaction. SQLite files are opened for reading alone. With other databases the transaction is rolled back at
the end; give them an account that may only read. Errors of a database are translated: they quote values and addresses.
"""
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# Arrow has no types for a checker.

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any, cast

from blocks.errors import ExportRefused, InvalidOptions
from blocks.runtime.threads import StopCheck
from tasks.export.source import (
    BATCH_ROWS,
    FIRST_ROWS,
    TIME_IS_OVER,
    ArrowSource,
    Batch,
    RecordSource,
    Rows,
    rows_to_fetch,
    size_of,
)

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
) -> RecordSource:
    """Return the rows of *sql*, one SELECT, on *database_url*.

    The URL is one of Postgres, of SQLAlchemy, or ``adbc:DRIVER:URI`` with the module or the library of an ADBC driver.
    *time_limit* bounds the statement on Postgres and SQLite, *role* is set before it on Postgres. What *check* raises
    ends a statement of SQLite that is under way; elsewhere a caller checks between batches. A query can leave its role
    again (``set_config``): only an account that has no more rights than *role* is a boundary. Raises
    `ExportRefused` for a query that fails, `InvalidOptions` for a URL that opens no database, and
    like other uses of Postgres.
    """
    if database_url.startswith(_ADBC):
        return _adbc(database_url, _one_select(sql))
    if "://" not in database_url or database_url.partition("://")[0] in _POSTGRES:
        from tasks.export.postgres import open_postgres

        url = database_url.replace("postgresql+psycopg://", "postgresql://", 1)
        return open_postgres(url, sql, time_limit=time_limit, role=role, read_only=read_only)
    end = _Ended(time_limit, check)
    return _sqlalchemy(database_url, _one_select(sql) if read_only else sql, end, read_only=read_only)


class _Ended:
    """Whether a statement has to end: its time is over, or *check* raises."""

    def __init__(self, time_limit: timedelta | None, check: StopCheck) -> None:
        self._until = None if time_limit is None else time.monotonic() + time_limit.total_seconds()
        self._check = check
        self.reason: Exception | None = None

    def __call__(self) -> bool:
        try:
            self._check()
        except Exception as exc:  # noqa: BLE001 - kept for the caller: the driver would replace it by its own
            self.reason = exc
        else:
            if self._until is not None and time.monotonic() > self._until:
                self.reason = ExportRefused(TIME_IS_OVER)
        return self.reason is not None

    def refused(self, exc: Exception) -> Exception:
        """Return why the statement ended with *exc*."""
        return self.reason or _refused(exc)


def _one_select(sql: str) -> str:
    """Return *sql* if it begins like a query. What it does is for the database to refuse."""
    if _READS.match(sql) is None:
        raise ExportRefused("an export runs one query: it begins with select, with, values or table")
    return sql


def _sqlalchemy(database_url: str, sql: str, end: _Ended, *, read_only: bool) -> RecordSource:
    from sqlalchemy.exc import SQLAlchemyError

    engine = connection = None
    try:
        engine = _engine(database_url, read_only=read_only)
        connection = engine.connect().execution_options(stream_results=True, max_row_buffer=BATCH_ROWS)
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
            connection.connection.driver_connection.set_progress_handler(end, _STEPS_BETWEEN_CHECKS)
        result = connection.exec_driver_sql(sql)
        if not result.returns_rows:
            raise ExportRefused("the statement returns no rows: an export runs a query")
        source = Rows(list(result.keys()), _fetched(result, end))
    except SQLAlchemyError as exc:
        close()
        raise end.refused(exc) from None
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


def _fetched(result: Any, end: _Ended) -> Iterator[Batch]:
    from sqlalchemy.exc import SQLAlchemyError

    wanted = FIRST_ROWS
    try:
        while rows := result.fetchmany(wanted):
            batch = cast("Batch", rows)
            wanted = rows_to_fetch(len(batch), size_of(batch))
            yield batch
    except SQLAlchemyError as exc:
        raise end.refused(exc) from None


def _adbc(database_url: str, sql: str) -> RecordSource:
    try:
        from adbc_driver_manager import dbapi
    except ImportError as exc:
        raise InvalidOptions("ADBC needs the package adbc-driver-manager, which is not installed") from exc

    driver, separator, uri = database_url.removeprefix(_ADBC).partition(":")
    if not driver or not separator:
        raise InvalidOptions("an ADBC database is adbc:DRIVER:URI, such as adbc:adbc_driver_sqlite:file:a.db?mode=ro")
    try:
        connection = cast("Any", dbapi).connect(driver=_driver_path(driver), db_kwargs={"uri": uri}, autocommit=False)
    except Exception as exc:  # noqa: BLE001 - a driver is foreign code
        raise InvalidOptions(f"the ADBC driver {driver[:80]} opens no database there ({type(exc).__name__})") from None
    cursor = connection.cursor()

    def close() -> None:
        for step in (cursor.close, connection.rollback, connection.close):
            with suppress(Exception):
                step()

    try:
        cursor.execute(sql)
        reader = cursor.fetch_record_batch()
    except Exception as exc:  # noqa: BLE001 - a driver is foreign code
        close()
        raise _refused(exc) from None

    def read() -> Iterator[Any]:
        try:
            yield from reader
        except Exception as exc:  # noqa: BLE001 - a driver is foreign code
            raise _refused(exc) from None

    return ArrowSource(reader.schema, read, close)


def _driver_path(driver: str) -> str:
    """Return the library of a driver that is a Python module; else *driver*, which the driver manager looks for."""
    import importlib.util

    if not driver.isidentifier() or not driver.startswith("adbc_driver_") or importlib.util.find_spec(driver) is None:
        return driver
    from importlib import import_module

    path = getattr(import_module(driver), "_driver_path", None)
    return str(path()) if path is not None else driver


def _refused(exc: Exception) -> ExportRefused:
    """Return the error for a query that fails. Only the type: messages of drivers quote values."""
    return ExportRefused(f"the database refuses the query ({type(exc).__name__}): check its syntax, names and rights")
