"""Columns of Arrow in the forms that text formats take: nested values as JSON, decimals as plain digits, times in UTC.

Works on whole arrays where Arrow can, on single values where it cannot. One form per column, never per value.
"""
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# Arrow has no types for a checker.

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from blocks.errors import ExportRefused

# Beyond it a double, and so most readers of JSON and every spreadsheet, rounds.
LARGEST_EXACT = 2**53
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
# Arrow writes years of at most 32767 as text.
_MOST_SECONDS = 30_000 * 365 * 86_400
# Of a decimal with 256 and with 128 bits.
_MOST_DIGITS, _SMALL_DIGITS = 76, 38

types = pa.types


def plain(array: Any) -> Any:
    """Return *array* without encodings and types that only Arrow knows."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        if kind.extension_name == "arrow.uuid":
            return _each(array.storage, lambda raw: str(UUID(bytes=raw)))
        return plain(array.storage)
    if types.is_dictionary(kind):
        return plain(array.dictionary_decode())
    if types.is_run_end_encoded(kind):
        return plain(pc.run_end_decode(array))
    if types.is_string_view(kind):
        return array.cast(pa.string())
    if types.is_binary_view(kind) or types.is_fixed_size_binary(kind):
        return array.cast(pa.binary())
    if types.is_interval(kind):
        return _each(array, _interval)
    if types.is_union(kind):
        return json_text(array)
    if types.is_float16(kind):
        return array.cast(pa.float32())
    if types.is_decimal(kind) and kind.scale < 0:  # parquet has none of these
        return _without_negative_scale(array)
    return array


def _without_negative_scale(array: Any) -> Any:
    digits = array.type.precision - array.type.scale
    if digits > _MOST_DIGITS:
        return decimal_text(array)
    return array.cast(pa.decimal256(digits, 0) if digits > _SMALL_DIGITS else pa.decimal128(digits, 0))


def is_nested(kind: Any) -> bool:
    """Return whether values of type *kind* hold other values."""
    return types.is_nested(kind) or types.is_list_view(kind) or types.is_large_list_view(kind)


def is_bytes(kind: Any) -> bool:
    """Return whether values of type *kind* are bytes."""
    return types.is_binary(kind) or types.is_large_binary(kind)


def is_text(kind: Any) -> bool:
    """Return whether values of type *kind* are text."""
    return types.is_string(kind) or types.is_large_string(kind)


def json_text(array: Any) -> Any:
    """Return nested values as JSON text."""
    return _each(array, lambda value: orjson.dumps(json_value(value)).decode())


def bytes_text(array: Any) -> Any:
    """Return bytes as base64."""
    return _each(array, lambda value: base64.b64encode(value).decode())


def decimal_text(array: Any) -> Any:
    """Return decimals as plain digits, never with an exponent."""
    text = array.cast(pa.string())
    if pc.any(pc.match_substring(text, "E")).as_py():
        return _each(array, lambda value: format(value, "f"))
    return text


def duration_text(array: Any) -> Any:
    """Return durations in ISO 8601: ``PT86400.000001S``."""
    per_second = _PER_SECOND[array.type.unit]
    return _each(array.cast(pa.int64()), lambda count: f"PT{_seconds(count, per_second)}S")


def time_text(array: Any, column: str, rows_before: int, *, separator: str = " ") -> Any:
    """Return dates, times and times of day in ISO 8601, with ``Z`` where they have a zone."""
    if types.is_timestamp(array.type):
        check_times(array, column, rows_before)
        if array.type.tz is not None:
            array = array.cast(pa.timestamp(array.type.unit, "UTC"))
        text = array.cast(pa.string())
        return text if separator == " " else pc.replace_substring(text, " ", separator, max_replacements=1)
    return array.cast(pa.string())


def check_times(array: Any, column: str, rows_before: int) -> None:
    """Raise `ExportRefused` for a time in a year that has no text form."""
    most = _MOST_SECONDS * _PER_SECOND[array.type.unit]
    counts = array.cast(pa.int64())
    lowest_and_highest = pc.min_max(counts).as_py()
    lowest, highest = lowest_and_highest["min"], lowest_and_highest["max"]
    if lowest is None or (lowest >= -most and highest <= most):
        return
    row = next(number for number, count in enumerate(counts.to_pylist()) if count is not None and abs(count) > most)
    raise ExportRefused(
        f"column {column!r}, row {rows_before + row + 1}: a time beyond the year 30000 cannot be written; convert the "
        "column to text in the query"
    )


def short_floats(array: Any) -> Any:
    """Return 32-bit floats as the doubles that have the same shortest digits: 0.1 stays 0.1."""
    return array.cast(pa.string()).cast(pa.float64())


def json_value(value: Any) -> Any:
    """Return a nested value with all of its parts in a form that JSON has."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return value if abs(value) <= LARGEST_EXACT else str(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return f"PT{_seconds(value // timedelta(microseconds=1), 10**6)}S"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {str(key): json_value(one) for key, one in cast("dict[Any, Any]", value).items()}
    if isinstance(value, tuple):  # a map has pairs
        return [json_value(one) for one in cast("tuple[Any, ...]", value)]
    if isinstance(value, list):
        return [json_value(one) for one in cast("list[Any]", value)]
    return str(value)


def _each(array: Any, form: Callable[[Any], str]) -> Any:
    values: Sequence[Any] = array.to_pylist()
    return pa.array([None if value is None else form(value) for value in values], pa.string())


def _seconds(count: int, per_second: int) -> str:
    whole, part = divmod(abs(count), per_second)
    digits = f"{whole}.{part:0{len(str(per_second)) - 1}d}".rstrip("0").rstrip(".") if part else str(whole)
    return f"-{digits}" if count < 0 else digits


def _interval(value: Any) -> str:
    months, days, nanoseconds = value
    return f"P{months}M{days}DT{_seconds(nanoseconds, 10**9)}S"
