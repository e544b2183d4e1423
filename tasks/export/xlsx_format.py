"""Write xlsx: one sheet with a line of names; what a sheet cannot hold is text where that keeps it, else refused.

Every record is built from one list of columns, because the writer goes by the position of a value and not by its name
(``findings/xlsx_rows_by_position.sh``).
"""
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# Arrow has no types for a checker.

from __future__ import annotations

import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from blocks.errors import ExportRefused
from tasks.export import cells
from tasks.export.source import NUMERIC

if TYPE_CHECKING:
    from tasks.export.write import RowStream

# Of Excel's own specification.
MAX_ROWS, MAX_COLUMNS, MAX_CELL_UNITS = 1_048_575, 16_384, 32_767
_SHEET = "Export"
# To the millisecond, which is what a sheet keeps of a time.
_TIME_FORMAT = "yyyy-mm-dd hh:mm:ss.000"
_DAY_MILLISECONDS = 86_400_000.0
# From 1899-12-30, the day 0 of a sheet, to 1970.
_ZERO_MILLISECONDS = 25_569 * 86_400_000
# Excel has a 29 February 1900, so that days before are counted differently from program to program; and no year 10000.
_FIRST_TIME, _LAST_TIME = (61 - 25_569) * 86_400_000, 253_402_300_800_000
# Every decimal of 15 digits is another double.
_EXACT_DIGITS = 15
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_INSTEAD = "export as csv or parquet instead"
_FEWER = f"{_INSTEAD}, or fewer rows with a query (limit {MAX_ROWS})"


def write_xlsx(rows: RowStream, stream: BinaryIO, folder: Path) -> None:
    """Write *rows* to *stream*; the library needs a file of its own in *folder*. Raises `ExportRefused`."""
    from rustpy_xlsxwriter import Format, write_worksheet

    if len(rows.schema) > MAX_COLUMNS:
        raise ExportRefused(f"a sheet has at most {MAX_COLUMNS:,} columns, not {len(rows.schema):,}; {_INSTEAD}")
    if rows.rows_expected is not None and rows.rows_expected > MAX_ROWS:
        raise ExportRefused(
            f"a sheet has at most {MAX_ROWS:,} rows and a header, and there are {rows.rows_expected:,} rows; {_FEWER}"
        )
    names = _names(rows)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".", suffix=".partial") as file:
        forms = {
            name: Format().set_num_format(_TIME_FORMAT)
            for name, column in zip(names, rows.schema, strict=True)
            if pa.types.is_timestamp(column.type)
        }
        try:
            write_worksheet(_records(rows, names), file.name, _SHEET, column_formats=forms or None)
        except OSError as exc:
            numbered = _with_number(exc)
            if numbered is exc:
                raise
            raise numbered from exc
        with Path(file.name).open("rb") as written:
            shutil.copyfileobj(written, stream, 2**20)


def _with_number(error: OSError) -> OSError:
    """Return the *error* of the library, written in Rust, with the number that it has in its text alone."""
    number = _OS_ERROR.search(str(error)) if error.errno is None else None
    return error if number is None else OSError(int(number[1]), os.strerror(int(number[1])))


def _names(rows: RowStream) -> list[str]:
    """Return the names of the columns: those of times with a zone say that they are in UTC."""
    names: list[str] = []
    taken: set[str] = set()
    for column in rows.schema:
        zone = pa.types.is_timestamp(column.type) and column.type.tz is not None
        name = f"{column.name} (UTC)" if zone else column.name
        while name in taken:
            name += "_"
        if _units(name) > MAX_CELL_UNITS:
            raise ExportRefused(f"the name of a column is longer than the {MAX_CELL_UNITS:,} characters of a cell")
        names.append(name)
        taken.add(name)
    return names


def _records(rows: RowStream, names: list[str]) -> Iterator[dict[str, Any]]:
    empty = True
    for batch in rows:
        if rows.rows + batch.num_rows > MAX_ROWS:
            raise ExportRefused(
                f"a sheet has at most {MAX_ROWS:,} rows and a header, and row {MAX_ROWS + 1:,} does not fit; {_FEWER}"
            )
        columns = [
            _values(array, column, rows.rows, rows) for array, column in zip(batch.columns, rows.schema, strict=True)
        ]
        for row in zip(*columns, strict=True):
            empty = False
            yield dict(zip(names, row, strict=True))
    if empty and names:
        yield dict.fromkeys(names)  # the writer takes the header from a record; empty cells are not written


def _values(array: Any, column: Any, rows_before: int, rows: RowStream) -> list[Any]:
    kind = array.type
    if pa.types.is_null(kind) or pa.types.is_boolean(kind):
        return array.to_pylist()
    if pa.types.is_integer(kind):
        return _integers(array)
    if pa.types.is_floating(kind):
        return _floats(cells.short_floats(array) if pa.types.is_float32(kind) else array)
    if pa.types.is_decimal(kind) and kind.scale >= 0 and kind.precision <= _EXACT_DIGITS:
        return cells.decimal_text(array).cast(pa.float64()).to_pylist()  # by its digits: the nearest double
    if pa.types.is_decimal(kind):
        return [None if value is None else _number(value) for value in array.to_pylist()]
    if pa.types.is_timestamp(kind):
        return _times(array, column.name, rows_before, rows)
    if column.metadata is not None and NUMERIC.items() <= column.metadata.items():
        return [None if text is None else _number_of(text) for text in array.to_pylist()]
    return _checked(_text(array, column.name, rows_before), column.name, rows_before)


def _text(array: Any, name: str, rows_before: int) -> Any:
    kind = array.type
    if cells.is_nested(kind):
        return cells.json_text(array)
    if cells.is_bytes(kind):
        return cells.bytes_text(array)
    if pa.types.is_duration(kind):
        return cells.duration_text(array)
    return cells.time_text(array, name, rows_before) if pa.types.is_temporal(kind) else array


def _checked(text: Any, name: str, rows_before: int) -> list[str | None]:
    values: list[str | None] = text.to_pylist()
    longest = pc.max(pc.utf8_length(text)).as_py() or 0
    if longest * 2 <= MAX_CELL_UNITS:  # a character has at most two units
        return values
    for number, value in enumerate(values):
        if value is not None and _units(value) > MAX_CELL_UNITS:
            raise ExportRefused(
                f"column {name!r}, row {rows_before + number + 1}: a cell has at most {MAX_CELL_UNITS:,} characters "
                f"(UTF-16), and this text has {_units(value):,}; shorten it in the query, or {_INSTEAD}"
            )
    return values


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _integers(array: Any) -> list[int | str | None]:
    span = pc.min_max(array).as_py()
    values: list[int | None] = array.to_pylist()
    most = 10**_EXACT_DIGITS - 1  # a double has more, and spreadsheets show zeros in their place
    if span["min"] is None or (span["max"] <= most and span["min"] >= -most):
        return list(values)
    return [value if value is None or abs(value) <= most else str(value) for value in values]


def _floats(array: Any) -> list[float | str | None]:
    values: list[float | None] = array.to_pylist()
    if not pc.any(pc.invert(pc.is_finite(array))).as_py():
        return list(values)
    return [value if value is None or math.isfinite(value) else str(value) for value in values]


def _number(value: Decimal) -> float | str:
    """Return *value* as a number if a double has all of its digits, else as text."""
    if not value.is_finite():
        return str(value)
    digits = "".join(map(str, value.as_tuple().digits)).strip("0")
    exact = len(digits) <= _EXACT_DIGITS and -300 < value.adjusted() < 300
    return float(value) if exact else format(value, "f")


def _number_of(text: str) -> float | str:
    return _number(Decimal(text))


def _times(array: Any, name: str, rows_before: int, rows: RowStream) -> list[float | str | None]:
    """Return times as the days since 1899-12-30 that a sheet counts; the writer's own form has no parts of a second."""
    kind = pa.timestamp(array.type.unit)
    if array.type.tz is not None:
        array = array.cast(pa.timestamp(array.type.unit, "UTC")).cast(kind)
    cells.check_times(array, name, rows_before)
    milliseconds = array.cast(pa.timestamp("ms"), safe=False)
    if pc.any(pc.not_equal(milliseconds.cast(kind, safe=False), array)).as_py():
        rows.note(f"column {name!r} has times to the millisecond: a sheet keeps no more")
    counts = milliseconds.cast(pa.int64())
    days: list[float | None] = pc.divide(
        pc.add(counts, _ZERO_MILLISECONDS).cast(pa.float64()), _DAY_MILLISECONDS
    ).to_pylist()
    span = pc.min_max(counts).as_py()
    if span["min"] is None or (span["min"] >= _FIRST_TIME and span["max"] < _LAST_TIME):
        return list(days)
    texts = milliseconds.cast(pa.string()).to_pylist()
    return [
        day if count is None or _FIRST_TIME <= count < _LAST_TIME else text
        for count, day, text in zip(counts.to_pylist(), days, texts, strict=True)
    ]
