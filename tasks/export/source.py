"""What rows come from: a schema and record batches of Arrow. Rows of Python values become such a source here."""
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# Arrow has no types for a checker.

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
# Before anything is known about the width of rows.
FIRST_ROWS = 10
# Rows of a batch whose width stands for all.
_SAMPLE_ROWS = 50
# Of those that decide the types of a source without any.
_GUESS_BYTES = 8 * BATCH_BYTES

# Marks a text column whose values are numbers of any size, for formats in which a number is more useful than text.
NUMERIC = {b"waybill.numeric": b"true"}

TIME_IS_OVER = "the query took longer than its time limit; narrow it down, or raise the limit"

Batch = Sequence[Sequence[Any]]


class RecordSource(Protocol):
    """Rows with named, typed columns. Used by one thread at a time."""

    @property
    def schema(self) -> Any:
        """The `pyarrow.Schema` of all batches."""
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

    def batches(self) -> Iterator[Any]:
        """Yield what *read* yields."""
        return self.read()

    def close(self) -> None:
        """Call *release*."""
        self.release()


class Rows:
    """Rows of Python values as a source. Types come from the first `BATCH_ROWS` rows; mixed columns become text."""

    def __init__(self, columns: Sequence[str], rows: Iterable[Batch]) -> None:
        self._batches = iter(rows)
        self._first: list[Sequence[Any]] = []
        size = 0
        for batch in self._batches:
            self._first.extend(batch)
            size += size_of(batch)
            if len(self._first) >= BATCH_ROWS or size >= _GUESS_BYTES:
                break
        arrays = [_guessed(values) for values in _columns_of(self._first, len(columns))]
        self.schema = pa.schema([pa.field(name, array.type) for name, array in zip(columns, arrays, strict=True)])

    def batches(self) -> Iterator[Any]:
        """Yield the rows. Raises `ExportRefused` for a value of another type than its column's."""
        row = 0
        first, self._first = self._first, []
        for start in range(0, len(first), BATCH_ROWS):
            batch = first[start : start + BATCH_ROWS]
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
        count, batch = 0, list[Sequence[Any]]()
        for row in rows:
            batch.append([row.get(name) for name in schema.names])
            if len(batch) == BATCH_ROWS:
                yield record_batch(batch, schema, count)
                count, batch = count + len(batch), []
        if batch:
            yield record_batch(batch, schema, count)

    return ArrowSource(schema, read)


def record_batch(rows: Batch, schema: Any, rows_before: int) -> Any:
    """Return *rows* as a batch of *schema*. Raises `ExportRefused` with column and row where a value does not fit."""
    columns = _columns_of(rows, len(schema))
    arrays = [
        typed_array(values, column.type, column.name, rows_before)
        for values, column in zip(columns, schema, strict=True)
    ]
    return batch_of(arrays, schema, len(rows))


def rows_to_fetch(rows: int, size: int) -> int:
    """Return how many rows to fetch after a batch of *rows* with *size* bytes: `BATCH_ROWS`, or fewer wide ones.

    Grows fourfold at most, because rows of one kind often come together: the next may be wider.
    """
    wanted = BATCH_BYTES * rows // max(1, size)
    return max(1, min(BATCH_ROWS, wanted, 4 * rows))


def size_of(rows: Batch) -> int:
    """Return the bytes of the texts and bytes of *rows*, by a sample of them."""
    step = max(1, len(rows) // _SAMPLE_ROWS)
    sample = rows[::step]
    measured = sum(len(value) for row in sample for value in row if isinstance(value, (str, bytes)))
    return measured * len(rows) // max(1, len(sample))


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
