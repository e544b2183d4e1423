"""Rows of a query of Postgres, through a cursor of the server, in the types of its columns.

A thread cancels the statement when it has to end, whatever limit a query sets for itself: it is our own session, so no
other one is touched, and no right is needed.
"""
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# Arrow has no types for a checker.

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from datetime import timedelta
from typing import Any, cast

import psycopg
import pyarrow as pa
from psycopg.sql import SQL, Identifier, Literal
from psycopg.types.string import TextLoader

from blocks.errors import CatalogUnavailable, ExportRefused, WaybillError
from blocks.postgres import connect
from blocks.postgres.connection import translated
from tasks.export.ending import TIME_IS_OVER, Ending, Watch
from tasks.export.source import (
    BATCH_ROWS,
    FETCH_ROWS,
    NUMERIC,
    ArrowSource,
    RecordSource,
    batch_of,
    in_batches,
    typed_array,
)

# Types whose values psycopg reads as Python has them; of all others the text of Postgres is read.
_NATIVE = {
    "bool": pa.bool_(),
    "int2": pa.int16(),
    "int4": pa.int32(),
    "int8": pa.int64(),
    "oid": pa.int64(),
    "float4": pa.float32(),
    "float8": pa.float64(),
    "bytea": pa.binary(),
}
_TIMES = {
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", "UTC"),
}
_TEXT_ELEMENTS = {"text", "varchar", "uuid", "numeric", "date", "timestamp", "timestamptz", "name"}
_MOST_DIGITS = 76
_SMALL_DIGITS = 38
_TIME = re.compile(r"(?:(\d{4,})-(\d\d)-(\d\d))?\s?(?:(\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?)?(?:\+00)?( BC)?")
_MICROSECONDS = 10**6
_ONE_QUERY = "an export is one query that reads, such as: select title from documents"
_DAY_MICROSECONDS = 86_400 * _MICROSECONDS
# A server that is there confirms in milliseconds that it cancels.
_CANCEL_SECONDS = 5.0
_CURSOR = "export"

_Types = dict[int, tuple[str, bool]]


def open_postgres(
    database_url: str,
    sql: str,
    *,
    ending: Ending,
    time_limit: timedelta | None,
    role: str | None,
    read_only: bool,
    session: str,
) -> RecordSource:
    """Return the rows of *sql*. Raises `ExportRefused` for a query that fails, and what `connect` raises."""
    connection = connect(database_url)
    watch = Watch(ending, _interrupt(connection))
    cursor: Any = None

    def close() -> None:
        with suppress(psycopg.Error):
            if cursor is not None:
                cursor.close()
        watch.stop()
        connection.close()

    try:
        connection.read_only = read_only
        # Written so that another program reads it; Postgres's own form is for people.
        connection.execute("set local intervalstyle = 'iso_8601'")
        connection.execute(SQL("set application_name = {}").format(Literal(session)))
        if time_limit is not None:
            milliseconds = max(1, round(time_limit.total_seconds() * 1000))
            connection.execute(SQL("set local statement_timeout = {}").format(Literal(milliseconds)))
        if role is not None:
            connection.execute(SQL("set local role {}").format(Identifier(role)))
        known = _as_text(connection)
        cursor = connection.cursor(name=_CURSOR)
        # Bytes: the statement is the user's, and goes to the server as it is.
        cursor.execute(sql.encode())
        columns = [_column(column, known) for column in cursor.description or ()]
    except BaseException as exc:
        # Of a connection that is lost too; a server that is there says so of a query with parameters ($1).
        refused = isinstance(exc, psycopg.errors.ProtocolViolation) and not connection.closed
        close()
        if refused:
            raise ExportRefused("the database refuses the query: it has a parameter, such as $1") from exc
        if isinstance(exc, psycopg.Error):
            raise ending.reason or _refused(exc) from exc
        if isinstance(exc, UnicodeError):
            raise ExportRefused("the query has a character that is no valid Unicode (a lone surrogate)") from exc
        raise
    schema = pa.schema([field for field, _ in columns])
    return ArrowSource(schema, lambda: _batches(connection, schema, [load for _, load in columns], ending), close)


def _interrupt(connection: psycopg.Connection[Any]) -> Callable[[], None]:
    """Return what cancels the statement under way; called again, it closes the connection: nothing else answers."""
    cancelled = False

    def interrupt() -> None:
        nonlocal cancelled
        if not cancelled:
            cancelled = True
            connection.cancel_safe(timeout=_CANCEL_SECONDS)
            return
        with socket.socket(fileno=connection.fileno()) as shared:
            try:
                shared.shutdown(socket.SHUT_RDWR)
            finally:
                shared.detach()  # libpq closes it

    return interrupt


def _batches(
    connection: psycopg.Connection[Any], schema: Any, loads: Sequence[Callable[..., Any]], ending: Ending
) -> Iterator[Any]:
    before = 0
    # Only these columns hold values of any width.
    wide = [number for number, field in enumerate(schema) if not pa.types.is_primitive(field.type)]
    try:
        with closing(_rows(connection)) as fetched:
            for rows in in_batches(fetched, wide):
                values = list(zip(*rows, strict=True))
                arrays = [
                    load(column, field.type, field.name, before)
                    for load, column, field in zip(loads, values, schema, strict=True)
                ]
                before += len(rows)
                yield batch_of(arrays, schema, len(rows))
    except psycopg.Error as exc:
        raise ending.reason or _refused(exc) from exc
    except UnicodeError as exc:
        raise ExportRefused(f"after row {before}: the database holds text that is not in its encoding") from exc


def _rows(connection: psycopg.Connection[Any]) -> Generator[Any]:
    """Yield the rows of the server's cursor, of which a few are in memory at a time: any of them may be wide."""
    size = FETCH_ROWS if psycopg.capabilities.has_stream_chunked() else 1
    seen = BATCH_ROWS
    while seen == BATCH_ROWS:
        seen = 0
        with connection.cursor() as cursor, closing(_stream(cursor, size)) as rows:
            for row in rows:
                seen += 1
                yield row


def _stream(cursor: psycopg.Cursor[Any], size: int) -> Generator[Any]:
    fetch = SQL("fetch forward {} from {}").format(Literal(BATCH_ROWS), Identifier(_CURSOR))
    return cast("Generator[Any]", cursor.stream(fetch, size=size))


def _as_text(connection: psycopg.Connection[Any]) -> _Types:
    """Have all types that are not `_NATIVE` read as text. Returns the names of the types that psycopg knows, by oid,
    and whether each is an array."""
    known: _Types = {}
    for info in connection.adapters.types:
        known[info.oid] = (info.name, False)
        if info.array_oid:
            known[info.array_oid] = (info.name, True)
        if info.name not in _NATIVE:
            connection.adapters.register_loader(info.oid, TextLoader)
        if info.array_oid and info.name not in _NATIVE and info.name not in _TEXT_ELEMENTS:
            connection.adapters.register_loader(info.array_oid, TextLoader)
    return known


def _column(column: psycopg.Column, known: _Types) -> tuple[Any, Callable[..., Any]]:
    """Return the field of *column*, and what makes an array of its values."""
    name, is_array = known.get(column.type_code, ("", False))
    if is_array:
        element = _NATIVE.get(name) or (pa.string() if name in _TEXT_ELEMENTS else None)
        kind = pa.string() if element is None else pa.list_(element)
        return pa.field(column.name, kind), typed_array
    if name in _NATIVE:
        return pa.field(column.name, _NATIVE[name]), typed_array
    if name in _TIMES:
        return pa.field(column.name, _TIMES[name]), _times
    if name == "numeric":
        digits, scale = column.precision, column.scale
        if digits is not None and scale is not None and 0 <= scale <= digits <= _MOST_DIGITS:
            made = pa.decimal128 if digits <= _SMALL_DIGITS else pa.decimal256
            return pa.field(column.name, made(digits, scale)), _decimals
        return pa.field(column.name, pa.string(), metadata=NUMERIC), typed_array
    return pa.field(column.name, pa.string()), typed_array


def _decimals(values: Sequence[str | None], kind: Any, name: str, rows_before: int) -> Any:
    try:
        return pa.array(values, pa.string()).cast(kind)
    except pa.ArrowInvalid as exc:
        raise _no_value(values, kind, name, rows_before, exc) from exc


def _times(values: Sequence[str | None], kind: Any, name: str, rows_before: int) -> Any:
    """Return the texts of Postgres as times, also those before the year 1 and after 9999."""
    if not pa.types.is_time(kind):
        with suppress(pa.ArrowInvalid):
            return pa.array(values, pa.string()).cast(kind)
    counts: list[int | None] = []
    for number, text in enumerate(values):
        count = None if text is None else _count(text, kind)
        if text is not None and count is None:
            raise _no_value(values[number : number + 1], kind, name, rows_before + number, None)
        counts.append(count)
    whole = pa.int32() if pa.types.is_date(kind) else pa.int64()
    return pa.array(counts, whole).view(kind)


def _count(text: str, kind: Any) -> int | None:
    """Return the days or microseconds of *text*; None for ``infinity``, and for 24:00:00, which Arrow has not."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    year, month, day, hours, minutes, seconds, part, before_christ = match.groups()
    micros = int((part or "").ljust(6, "0") or 0)
    if hours is not None:
        micros += ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * _MICROSECONDS
    if year is None:
        return micros if micros < _DAY_MICROSECONDS else None
    days = _days(1 - int(year) if before_christ else int(year), int(month), int(day))
    return days if pa.types.is_date(kind) else days * _DAY_MICROSECONDS + micros


def _days(year: int, month: int, day: int) -> int:
    """Return the days since 1970-01-01 in the Gregorian calendar of all times, as Postgres counts (Hinnant's
    ``days_from_civil``)."""
    year -= month <= 2
    era, year_of_era = divmod(year, 400)
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return era * 146_097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719_468


def _no_value(
    values: Sequence[str | None], kind: Any, name: str, rows_before: int, exc: Exception | None
) -> ExportRefused:
    number = 0
    for number, text in enumerate(values):  # noqa: B007 - the number of the first that does not fit
        try:
            if text is not None:
                pa.scalar(text, pa.string()).cast(kind)
        except pa.ArrowException:
            break
    return ExportRefused(
        f"column {name!r}, row {rows_before + number + 1}: the value (NaN, infinity or 24:00:00, say) does not fit the "
        f"column's type {kind}; convert the column to text in the query (cast ... as text)"
    )


def _refused(exc: psycopg.Error) -> WaybillError:
    """Return the error for a query that fails: the server's own first line, which names columns and never rows."""
    error = translated(exc, "run the query of an export")
    # A function that writes is refused by the transaction, which stays as it is when the query is run again.
    lasting = isinstance(exc, (psycopg.errors.QueryCanceled, psycopg.errors.ReadOnlySqlTransaction))
    if isinstance(error, CatalogUnavailable) and not lasting:
        return error
    if isinstance(exc, psycopg.errors.QueryCanceled):
        return ExportRefused(TIME_IS_OVER)
    said = exc.diag.message_primary if (exc.sqlstate or "")[:2] != "22" else None  # class 22 quotes values
    hint = f"; {_ONE_QUERY}" if isinstance(exc, psycopg.errors.SyntaxError) else ""
    return ExportRefused(f"the database refuses the query: {said or type(exc).__name__}{hint}")
