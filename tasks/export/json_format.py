"""Write one JSON array, or JSON lines: an object for each row, its keys in the order of the columns.

A column of 64-bit integers is numbers if all of them are exact in a double, else text; so one look at all rows comes
first, and such rows wait in a file without a name. Decimals are always text. NaN and infinity are null.
"""
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# Arrow has no types for a checker.

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import ipc

from tasks.export import cells

if TYPE_CHECKING:
    from tasks.export.write import RowStream

# orjson takes some kilobytes for each row and gives back what it does not need, which leaves holes in the memory.
_LINES = 500
_NUMBER_TYPES = (pa.types.is_int64, pa.types.is_uint64)


def write_json(rows: RowStream, sink: Any, folder: Path, *, array: bool) -> None:
    """Write *rows* to *sink*; *folder* is where rows wait. Raises `ExportRefused`."""
    with tempfile.TemporaryFile(dir=folder) as waiting:
        large = _wide_columns(rows)
        batches: Iterator[tuple[int, Any]]
        if large:
            large = _spool(rows, large, waiting)
            waiting.seek(0)
            batches = _spooled(rows, waiting)
        else:
            batches = ((rows.rows, batch) for batch in rows)
        for number in large:
            rows.note(f"column {rows.schema.names[number]!r} is text: it has integers that most readers would round")
        _write(rows, batches, sink, large, array=array)


def _write(rows: RowStream, batches: Iterator[tuple[int, Any]], sink: Any, large: set[int], *, array: bool) -> None:
    names = rows.schema.names
    between = b",\n" if array else b"\n"
    sink.write(b"[" if array else b"")
    first = True
    for before, batch in batches:
        columns = [
            _values(column, names[number], before, rows, as_text=number in large)
            for number, column in enumerate(batch.columns)
        ]
        records = (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))
        lines = map(orjson.dumps, records) if columns else repeat(b"{}", batch.num_rows)
        while part := between.join(islice(lines, _LINES)):
            sink.write((b"\n" if array else b"") if first else between)
            sink.write(part)
            first = False
    sink.write(b"\n]\n" if array else (b"" if first else b"\n"))


def _wide_columns(rows: RowStream) -> set[int]:
    return {
        number for number, column in enumerate(rows.schema) if any(is_type(column.type) for is_type in _NUMBER_TYPES)
    }


def _spool(rows: RowStream, wide: set[int], waiting: BinaryIO) -> set[int]:
    """Write all rows to *waiting*, and return which of the *wide* columns hold an integer that a double would round."""
    found: set[int] = set()
    options = ipc.IpcWriteOptions(compression="lz4")
    with ipc.new_stream(pa.PythonFile(waiting, mode="w"), rows.schema, options=options) as writer:
        for batch in rows:
            found |= {number for number in wide - found if _is_large(batch.column(number))}
            writer.write_batch(batch)
    return found


def _is_large(column: Any) -> bool:
    span = pc.min_max(column).as_py()
    return span["min"] is not None and (span["max"] > cells.LARGEST_EXACT or span["min"] < -cells.LARGEST_EXACT)


def _spooled(rows: RowStream, waiting: BinaryIO) -> Iterator[tuple[int, Any]]:
    before = 0
    with ipc.open_stream(waiting) as reader:
        for batch in reader:
            rows.check()
            yield before, batch
            before += batch.num_rows


def _values(column: Any, name: str, rows_before: int, rows: RowStream, *, as_text: bool) -> list[Any]:
    kind = column.type
    if as_text:
        return column.cast(pa.string()).to_pylist()
    if cells.is_nested(kind):
        return [cells.json_value(value) for value in column.to_pylist()]
    if pa.types.is_floating(kind):
        if pc.any(pc.invert(pc.is_finite(column))).as_py():
            rows.note(f"column {name!r} has NaN or infinity, which JSON has not: they are null")
        return (cells.short_floats(column) if pa.types.is_float32(kind) else column).to_pylist()
    if pa.types.is_decimal(kind):
        return cells.decimal_text(column).to_pylist()
    if cells.is_bytes(kind):
        return cells.bytes_text(column).to_pylist()
    if pa.types.is_duration(kind):
        return cells.duration_text(column).to_pylist()
    if pa.types.is_temporal(kind):
        return cells.time_text(column, name, rows_before, separator="T").to_pylist()
    return column.to_pylist()
