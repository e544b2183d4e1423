"""The reader of a workbook by its format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from blocks.errors import TooLarge, UnreadableDocument
from blocks.filetype import FileType
from tasks.conversion.reading import Reading
from tasks.conversion.workbook.sheet import MAX_CELLS, TooManyCells

_WITHOUT_FORMATS = "values are without their number formats (percent, currencies, units); save it as xlsx to keep them"


def read_workbook(path: Path, file_type: FileType, shown: str) -> Reading:
    """Return the sheets of a workbook. Raises `UnreadableDocument`, `TooLarge`, `EncryptedDocument`."""
    try:
        if file_type.extension == "xls":
            return _read_binary(path, file_type, shown)
        if file_type.extension == "xlsb":
            return _without_formats(path, file_type, shown)
        if file_type.extension == "ods":
            from tasks.conversion.workbook.opendocument import read_spreadsheet

            return read_spreadsheet(path, file_type, shown)
        from tasks.conversion.workbook.excel import read_excel

        return read_excel(path, file_type, shown)
    except TooManyCells as exc:
        raise TooLarge(
            f"{shown!r} ({file_type.label}) is larger than a document may be: more than {MAX_CELLS:,} cells"
        ) from exc


def _read_binary(path: Path, file_type: FileType, shown: str) -> Reading:
    """Return what our own reader makes of the workbook; of a slightly damaged one, what xberg still finds."""
    from tasks.conversion.workbook.binary import read_binary

    try:
        return read_binary(path, file_type, shown)
    except UnreadableDocument:
        return _without_formats(path, file_type, shown)


def _without_formats(path: Path, file_type: FileType, shown: str) -> Reading:
    from tasks.conversion.xberg_reader import extract

    reading = extract(path, file_type, shown)
    return replace(reading, warnings=(*reading.warnings, _WITHOUT_FORMATS)) if reading.body.strip() else reading
