"""Write rows as csv, as one JSON array, or as lines of JSON.

Values keep all of their digits: a Decimal, and an integer that a reader of JSON would round, is text in JSON. Times
have their zone. Text is quoted in csv and other values are not, so that an empty text is not a missing value.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, cast
from uuid import UUID

from blocks.errors import ExportRefused
from blocks.json_cleaning import without_surrogates
from blocks.runtime.threads import StopCheck
from tasks.export.formats import check_format
from tasks.export.sources import RecordSource

# Beyond it a double, and so most readers of JSON, rounds.
_EXACT = 2**53


@dataclass(frozen=True, kw_only=True)
class Written:
    """A written file: its *rows*, *size* in bytes, *columns*, and *notes* on what it holds in another form."""

    rows: int
    size: int
    columns: int
    notes: tuple[str, ...] = ()


def write_export(
    source: RecordSource,
    target: Path,
    *,
    format: str,  # noqa: A002 - the name that users know it by
    compression: str | None = None,
    on_rows: Callable[[int], None],
    check: StopCheck,
) -> Written:
    """Write all rows of *source* to *target*, a file of the caller that no one else reads yet.

    *on_rows* is called with the rows so far, *check* between batches. Raises `ExportRefused` for names of columns that
    JSON would lose, and what *source*, *on_rows* and *check* raise.
    """
    check_format(format, compression)
    columns = list(source.columns)
    if format != "csv" and len(set(columns)) != len(columns):
        raise ExportRefused("two columns have the same name, and JSON keeps one of them; name each by 'as'")
    rows = 0
    with target.open("wb") as raw:
        stream = cast("BinaryIO", gzip.GzipFile(fileobj=raw, mode="wb", mtime=0)) if compression else raw
        with io.TextIOWrapper(stream, encoding="utf-8", newline="") as text:
            begin, between, end, line = _form(format, columns)
            text.write(begin)
            for batch in source.batches():
                check()
                lines = [line(row) for row in batch]
                text.write((between if rows else "") + between.join(lines) if lines else "")
                rows += len(lines)
                on_rows(rows)
            text.write(end if rows else end.lstrip())
    return Written(rows=rows, size=target.stat().st_size, columns=len(columns))


def _form(format: str, columns: Sequence[str]) -> tuple[str, str, str, Callable[[Sequence[Any]], str]]:  # noqa: A002
    """Return what begins the file, stands between two rows, ends the file, and writes one row."""
    if format == "csv":
        return _csv_row(columns) + "\r\n", "\r\n", "\r\n", _csv_row

    def line(row: Sequence[Any]) -> str:
        return json.dumps(dict(zip(columns, map(_json_value, row), strict=True)), ensure_ascii=False, allow_nan=False)

    return ("[\n", ",\n", "\n]\n", line) if format == "json" else ("", "\n", "\n", line)


def _csv_row(row: Sequence[Any]) -> str:
    return ",".join(map(_csv_value, row))


def _csv_value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, Decimal):
        return format(value, "f") if value.is_finite() else str(value)
    if isinstance(value, (date, time)):
        return value.isoformat(" ") if isinstance(value, datetime) else value.isoformat()
    if isinstance(value, (list, tuple, Mapping)):
        value = json.dumps(_json_value(value), ensure_ascii=False)
    quoted = _text(value).replace('"', '""')
    return f'"{quoted}"'


def _json_value(value: Any) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return without_surrogates(value) if isinstance(value, str) else value
    if isinstance(value, int):
        return value if abs(value) <= _EXACT else str(value)
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)
    if isinstance(value, Decimal):
        return format(value, "f") if value.is_finite() else str(value)
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, Mapping):
        entries = cast("Mapping[Any, Any]", value).items()
        return {_text(key): _json_value(one) for key, one in entries}
    if isinstance(value, (list, tuple)):
        return [_json_value(one) for one in cast("Sequence[Any]", value)]
    return _text(value)


def _text(value: Any) -> str:
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    if isinstance(value, timedelta):
        return f"{value.total_seconds():f}".rstrip("0").rstrip(".") + "s"
    if isinstance(value, UUID):
        return str(value)
    return without_surrogates(str(value))
