"""Write csv (RFC 4180, UTF-8, lines end with a line feed): text quoted, null empty, empty text ``""``."""
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# Arrow has no types for a checker.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from tasks.export import cells

if TYPE_CHECKING:
    from tasks.export.write import RowStream

# What a spreadsheet takes for a formula; the wide forms are read like the others in some languages.
_FORMULA = "^[\\s\\x00]*[=+\\-@＝＋－＠]|^[\\t\\r\\n]"
_SCALE_WITHOUT_EXPONENT = 6


def write_csv(rows: RowStream, sink: Any, *, safe_formulas: bool) -> None:
    """Write *rows* to *sink*. Raises `ExportRefused`."""
    if not rows.schema.names:
        for _ in rows:
            pass
        return
    alone = len(rows.schema) == 1
    schema = pa.schema(
        [pa.field(_name(column.name, safe_formulas), _kind(column.type, alone)) for column in rows.schema]
    )
    options = arrow_csv.WriteOptions(include_header=True, batch_size=1024, quoting_style="needed")
    with arrow_csv.CSVWriter(sink, schema, write_options=options) as writer:
        for batch in rows:
            arrays = [
                _array(array, column.name, rows.rows, alone, safe_formulas)
                for array, column in zip(batch.columns, rows.schema, strict=True)
            ]
            if alone and batch.columns[0].null_count:
                rows.note("nulls are written as empty text: readers skip empty lines, and there is one column alone")
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))


def _kind(kind: Any, alone: bool) -> Any:
    """Return the type that a column of type *kind* is written as."""
    return _array(pa.nulls(0, kind), "", 0, alone, False).type


def _array(array: Any, column: str, rows_before: int, alone: bool, safe_formulas: bool) -> Any:
    text = _form(array, column, rows_before)
    if safe_formulas and cells.is_text(text.type):
        text = _safe(text)
    return pc.fill_null(text.cast(pa.string()), "") if alone else text


def _form(array: Any, column: str, rows_before: int) -> Any:
    kind = array.type
    if pa.types.is_null(kind):
        return array.cast(pa.string())
    if cells.is_nested(kind):
        return cells.json_text(array)
    if cells.is_bytes(kind):
        return cells.bytes_text(array)
    if pa.types.is_duration(kind):
        return cells.duration_text(array)
    if pa.types.is_decimal(kind) and not 0 <= kind.scale <= _SCALE_WITHOUT_EXPONENT:
        return cells.decimal_text(array)
    if pa.types.is_timestamp(kind):
        cells.check_times(array, column, rows_before)
        return array if kind.tz in (None, "UTC") else array.cast(pa.timestamp(kind.unit, "UTC"))
    return array


def _safe(text: Any) -> Any:
    formula = pc.match_substring_regex(text, _FORMULA)
    return pc.if_else(formula, pc.binary_join_element_wise("'", text, ""), text)


def _name(name: str, safe_formulas: bool) -> str:
    return _safe(pa.array([name]))[0].as_py() if safe_formulas else name
