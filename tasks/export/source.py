"""What rows come from: a schema and record batches of Arrow. Rows of Python values become such a source here."""
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# Arrow has no types for a checker.

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol, cast
from uuid import UUID

import pyarrow as pa

from blocks.errors import ExportRefused

# Rows that are in memory at a time: enough that the work per batch does not count, and few megabytes.
BATCH_ROWS = 5000
# Bytes that are in memory at a time, several times over: wide rows come in smaller batches.
BATCH_BYTES = 4 * 2**20
# Rows that a driver is asked for at a time: they are in memory before their width is known.
FETCH_ROWS = 16
# Of a slow query a person sees how far it is.
_LONGEST_SECONDS = 1.0
# Of a value that is neither text nor bytes; an estimate.
_VALUE_BYTES = 8
# Of those that decide the types of a source without any.
_GUESS_BYTES = 8 * BATCH_BYTES

# Marks a text column whose values are numbers of any size, for formats in which a number is more useful than text.
NUMERIC = {b"waybill.numeric": b"true"}

Batch = Sequence[Sequence[Any]]


class RecordSource(Protocol):
    """Rows with named, typed columns. Used by one thread at a time."""

    @property
    def schema(self) -> Any:
        """The `pyarrow.Schema` of all batches."""
        ...

    @property
    def rows_expected(self) -> int | None:
        """The number of all rows, None where it is not known before they are read."""
        ...

    def batches(self) -> Iterator[Any]:
        """Yield all rows once, as `pyarrow.RecordBatch`."""
        ...

    def close(self) -> None:
        """Release what the source holds. Idempotent."""
        ...


@dataclass
class ArrowSource:
    """Record batches from *read*, and what to call at the end."""

    schema: Any
    read: Callable[[], Iterator[Any]]
    release: Callable[[], None] = field(default=lambda: None)
    rows_expected: int | None = None
    _reading: Iterator[Any] | None = field(default=None, init=False)

    def batches(self) -> Iterator[Any]:
        """Yield what *read* yields."""
        self._reading = self.read()
        return self._reading

    def close(self) -> None:
        """End the reading where it is, then call *release*."""
        if isinstance(self._reading, Generator):
            self._reading.close()
        self.release()


class Rows:
    """Rows of Python values as a source. Types come from the first `BATCH_ROWS` rows; mixed columns become text."""

    rows_expected: int | None = None

    def __init__(self, columns: Sequence[str], rows: Iterable[Batch]) -> None:
        self._batches = iter(rows)
        self._first: list[Sequence[Any]] = []
        size = 0
        for batch in self._batches:
            self._first.extend(batch)
            size += sum(map(width, batch))
            if len(self._first) >= BATCH_ROWS or size >= _GUESS_BYTES:
                break
        arrays = [_guessed(values) for values in _columns_of(self._first, len(columns))]
        self.schema = pa.schema([pa.field(name, array.type) for name, array in zip(columns, arrays, strict=True)])

    def batches(self) -> Iterator[Any]:
        """Yield the rows. Raises `ExportRefused` for a value of another type than its column's."""
        row = 0
        first, self._first = self._first, []
        for batch in in_batches(first):
            yield record_batch(batch, self.schema, row)
            row += len(batch)
        for batch in self._batches:
            yield record_batch(batch, self.schema, row)
            row += len(batch)

    def close(self) -> None:
        """Forget the rows."""
        self._first, self._batches = [], iter(())


def open_rows(schema: Any, rows: Iterable[Mapping[str, Any]]) -> RecordSource:
    """Return *rows*, dictionaries, as a source with the `pyarrow.Schema` *schema*; a missing key is null."""

    def read() -> Iterator[Any]:
        count = 0
        for batch in in_batches([row.get(name) for name in schema.names] for row in rows):
            yield record_batch(batch, schema, count)
            count += len(batch)

    return ArrowSource(schema, read)


def record_batch(rows: Batch, schema: Any, rows_before: int) -> Any:
    """Return *rows* as a batch of *schema*. Raises `ExportRefused` with column and row where a value does not fit."""
    columns = _columns_of(rows, len(schema))
    arrays = [
        typed_array(values, column.type, column.name, rows_before)
        for values, column in zip(columns, schema, strict=True)
    ]
    return batch_of(arrays, schema, len(rows))


def in_batches(rows: Iterable[Sequence[Any]], columns: Sequence[int] | None = None) -> Iterator[list[Sequence[Any]]]:
    """Yield *rows* in batches of at most `BATCH_ROWS` rows and `BATCH_BYTES`, or of one row; slow ones are not held up.

    Only the values of *columns* are measured, by default all.
    """
    batch, size, begun = list[Sequence[Any]](), 0, time.monotonic()
    for row in rows:
        more = width(row if columns is None else [row[number] for number in columns])
        if batch and size + more > BATCH_BYTES:
            yield batch
            batch, size, begun = [], 0, time.monotonic()
        batch.append(row)
        size += more
        if len(batch) == BATCH_ROWS or time.monotonic() - begun > _LONGEST_SECONDS:
            yield batch
            batch, size, begun = [], 0, time.monotonic()
    if batch:
        yield batch


def width(values: Sequence[Any]) -> int:
    """Return about how many bytes *values* take, those of lists included."""
    total = 0
    for value in values:
        if isinstance(value, (str, bytes)):
            total += len(value)
        elif isinstance(value, (list, tuple)):
            total += width(cast("Sequence[Any]", value))
        elif isinstance(value, dict):
            total += width(list(cast("dict[Any, Any]", value).items()))
        else:
            total += _VALUE_BYTES
    return total


def batch_of(arrays: Sequence[Any], schema: Any, rows: int) -> Any:
    """Return a batch of *arrays*; one without columns still counts its rows."""
    if not arrays:
        return pa.RecordBatch.from_struct_array(pa.array([{}] * rows, pa.struct([])))
    return pa.RecordBatch.from_arrays(list(arrays), schema=schema)


def typed_array(values: Sequence[Any], kind: Any, name: str, rows_before: int) -> Any:
    """Return *values* as an array of type *kind*. Raises `ExportRefused` with column and row."""
    values = [None if value is None else _text(value) for value in values] if pa.types.is_string(kind) else values
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        pass
    for number, value in enumerate(values):
        try:
            pa.array([value], kind)
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as exc:
            raise ExportRefused(
                f"column {name!r}, row {rows_before + number + 1}: a value of the type {type(value).__name__} does not "
                f"fit the column, which is {kind}; convert the column to text in the query (cast ... as text)"
            ) from exc
    raise AssertionError("unreachable: one of the values does not fit")


def query_refused(kind: str) -> ExportRefused:
    """Return the error for a query that fails with an error of the type *kind*: messages of drivers quote values."""
    return ExportRefused(f"the database refuses the query ({kind}): check its syntax, names and rights")


def _columns_of(rows: Batch, width: int) -> list[Sequence[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]


def _guessed(values: Sequence[Any]) -> Any:
    """Return an array of the type that *values* have in common; text where there is none."""
    found: Any = None
    if not any(isinstance(value, (UUID, Decimal)) for value in values):
        with suppress(pa.ArrowException, ValueError, TypeError, OverflowError):
            found = pa.array(values)
    # Arrow takes text for bytes where a column has both.
    mixed = found is not None and pa.types.is_binary(found.type) and any(isinstance(value, str) for value in values)
    if found is None or mixed or pa.types.is_null(found.type):
        return pa.array([None if value is None else _text(value) for value in values], pa.string())
    return found


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Decimal):
        return format(value, "f") if value.is_finite() else str(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(cast("object", value), ensure_ascii=False, default=str)
    return str(value).encode("utf-8", "replace").decode()
