"""Where rows come from: a query of any database that SQLAlchemy reaches, or a csv file.

A query is one statement in a read-only transaction, and its rows come through a cursor of the server. Errors of the
database are translated: they may quote values, and a connection string.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import psycopg

from blocks.errors import ExportRefused, InvalidOptions, WaybillError
from blocks.postgres import connect

# Rows that are in memory at a time.
BATCH_ROWS = 5000

Batch = Sequence[Sequence[Any]]


class RecordSource(Protocol):
    """Rows with named columns. Used by one thread at a time."""

    columns: Sequence[str]

    def batches(self) -> Iterator[Batch]:
        """Yield all rows, some at a time."""
        ...

    def close(self) -> None:
        """Release what the source holds. Idempotent."""
        ...


@dataclass
class Rows:
    """Rows in memory, as a source."""

    columns: Sequence[str]
    rows: Sequence[Batch]

    def batches(self) -> Iterator[Batch]:
        """Yield the batches."""
        yield from self.rows

    def close(self) -> None:
        """Forget the rows."""
        self.rows = []


def open_query(database_url: str, sql: str) -> RecordSource:
    """Return the rows of *sql*. Raises `ExportRefused` for a query that fails, `InvalidOptions` for a wrong URL.

    Raises `CatalogUnavailable` and `InvalidSettings` like other uses of Postgres.
    """
    if _is_postgres(database_url):
        return _PostgresQuery(database_url, sql)
    return _Query(database_url, sql)


def open_file(path: str) -> RecordSource:
    """Return the rows of a csv file with a line of names, every value as text. Raises `ExportRefused`."""
    return _CsvFile(Path(path))


class _PostgresQuery:
    """A query through a cursor that holds no second statement and nothing but a query."""

    def __init__(self, database_url: str, sql: str) -> None:
        url = database_url.replace("postgresql+psycopg://", "postgresql://", 1)
        self._connection = connect(url)
        try:
            self._connection.read_only = True
            self._cursor = self._connection.cursor(name="export")
            self._cursor.execute(sql.encode())
            self.columns: Sequence[str] = [column.name for column in self._cursor.description or ()]
        except BaseException as exc:
            self.close()
            if isinstance(exc, (psycopg.Error, UnicodeError)):
                raise _refused(exc) from exc
            raise

    def batches(self) -> Iterator[Batch]:
        try:
            while rows := self._cursor.fetchmany(BATCH_ROWS):
                yield rows
        except psycopg.Error as exc:
            raise _refused(exc) from exc

    def close(self) -> None:
        with suppress(psycopg.Error, AttributeError):
            self._cursor.close()
        self._connection.close()


class _Query:
    """A query through SQLAlchemy, with a driver that is installed."""

    def __init__(self, database_url: str, sql: str) -> None:
        from sqlalchemy import create_engine
        from sqlalchemy.exc import SQLAlchemyError
        from sqlalchemy.pool import NullPool

        self._errors = SQLAlchemyError
        try:
            self._engine = create_engine(database_url, poolclass=NullPool)
            self._connection = self._engine.connect().execution_options(stream_results=True, max_row_buffer=BATCH_ROWS)
        except (SQLAlchemyError, ImportError) as exc:
            raise InvalidOptions(f"this database cannot be opened ({type(exc).__name__})") from None
        try:
            if self._engine.dialect.name == "sqlite":
                self._connection.exec_driver_sql("pragma query_only = on")
            self._result = self._connection.exec_driver_sql(sql)
            self.columns: Sequence[str] = list(self._result.keys())
        except SQLAlchemyError as exc:
            self.close()
            raise _refused(exc) from None

    def batches(self) -> Iterator[Batch]:
        try:
            while rows := self._result.fetchmany(BATCH_ROWS):
                yield cast("Batch", rows)
        except self._errors as exc:
            raise _refused(exc) from None

    def close(self) -> None:
        with suppress(self._errors):
            self._connection.rollback()
        self._connection.close()
        self._engine.dispose()


class _CsvFile:
    def __init__(self, path: Path) -> None:
        if not path.name.endswith(".csv"):
            raise ExportRefused("this version reads csv files alone; the name of the input has to end with .csv")
        self._stream = path.open(encoding="utf-8-sig", newline="")
        self._reader = csv.reader(self._stream, strict=True)
        try:
            self.columns: Sequence[str] = next(self._reader)
        except (StopIteration, csv.Error, UnicodeError) as exc:
            self.close()
            raise ExportRefused("the input is no csv file in UTF-8 with a line of column names") from exc

    def batches(self) -> Iterator[Batch]:
        batch: list[list[str]] = []
        try:
            for row in self._reader:
                if len(row) != len(self.columns):
                    line = self._reader.line_num
                    raise ExportRefused(f"line {line} of the input has {len(row)} values, not {len(self.columns)}")
                batch.append(row)
                if len(batch) == BATCH_ROWS:
                    yield batch
                    batch = []
        except (csv.Error, UnicodeError) as exc:
            raise ExportRefused(f"line {self._reader.line_num} of the input is no csv in UTF-8") from exc
        if batch:
            yield batch

    def close(self) -> None:
        self._stream.close()


def _is_postgres(database_url: str) -> bool:
    scheme = database_url.partition("://")[0]
    return "://" not in database_url or scheme in {"postgresql", "postgres", "postgresql+psycopg"}


def _refused(exc: Exception) -> WaybillError:
    """Return the error for a query that fails: the server's own first line, which names columns and never rows."""
    said = exc.diag.message_primary if isinstance(exc, psycopg.Error) else None
    return ExportRefused(f"the database refuses the query: {said or type(exc).__name__}")
