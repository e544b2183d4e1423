"""XLSX samples: one sheet for each CSV file, with numbers and dates as such, written by xlsxwriter."""

from __future__ import annotations

import csv
import io
import re
from datetime import date, datetime
from pathlib import Path
from typing import Any

import xlsxwriter
from xlsxwriter.worksheet import Worksheet

from tools.sample_writers.archive import repack

_NUMBER = re.compile(r"-?\d+(?:\.(\d+))?")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
# The calendar of XLSX begins in 1900 and has a wrong leap day in its second month; what is earlier is text.
_FIRST_DATE = date(1900, 3, 1)


def write_workbook(sheets: list[tuple[str, Path]], properties: dict[str, Any]) -> bytes:
    """The XLSX with a sheet of the given title for each CSV file, in order. *properties* needs a fixed `created`."""
    buffer = io.BytesIO()
    with xlsxwriter.Workbook(buffer, {"in_memory": True}) as workbook:
        workbook.set_properties(properties)
        bold = workbook.add_format({"bold": True, "text_wrap": True})
        day = workbook.add_format({"num_format": "yyyy-mm-dd"})
        # Keep the decimals of the source: 0.000 km is not 0 km.
        decimals = [workbook.add_format({"num_format": "0." + "0" * places if places else "0"}) for places in range(4)]
        for title, path in sheets:
            with path.open(encoding="utf-8", newline="") as file:
                header, *rows = csv.reader(file)
            sheet = workbook.add_worksheet(title)
            sheet.freeze_panes(1, 1)
            for column, name in enumerate(header):
                sheet.write_string(0, column, name, bold)
                sheet.set_column(column, column, max(10, min(60, max(len(row[column]) for row in rows))))
            for row_number, row in enumerate(rows, start=1):
                for column, value in enumerate(row):
                    _write(sheet, row_number, column, value, day, decimals)
    return repack(buffer.getvalue())


def _write(sheet: Worksheet, row: int, column: int, value: str, day: Any, decimals: list[Any]) -> None:
    if _DATE.fullmatch(value) and date.fromisoformat(value) >= _FIRST_DATE:
        sheet.write_datetime(row, column, datetime.fromisoformat(value), day)
    elif match := _NUMBER.fullmatch(value):
        sheet.write_number(row, column, float(value), decimals[len(match[1] or "")])
    elif value:
        sheet.write_string(row, column, value)
