"""The reader of a workbook by its format."""

from __future__ import annotations

from pathlib import Path

from blocks.errors import TooLarge
from blocks.filetype import FileType
from tasks.conversion.reading import Reading
from tasks.conversion.workbook.excel import read_excel
from tasks.conversion.workbook.sheet import MAX_CELLS, TooManyCells


def read_workbook(path: Path, file_type: FileType, shown: str) -> Reading:
    """Return the sheets of a workbook. Raises `UnreadableDocument`, `TooLarge`, `EncryptedDocument`."""
    try:
        return read_excel(path, file_type, shown)
    except TooManyCells as exc:
        raise TooLarge(
            f"{shown!r} ({file_type.label}) is larger than a document may be: more than {MAX_CELLS:,} cells"
        ) from exc
