"""Excel 97-2003 workbooks (BIFF5 and BIFF8 in a compound file), read through the library xlrd.

Owns how xlrd is called and how its faults are translated: on damaged files it raises whatever its parsing trips over.
The compound file around the workbook is read here, because xlrd follows chains of sectors that lead back to themselves.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from blocks.errors import EncryptedDocument, UnreadableDocument
from blocks.filetype import FileType
from tasks.conversion.markdown_writer import Position, Run
from tasks.conversion.number_formats.number_format import number_format
from tasks.conversion.office.package import CoreProperties
from tasks.conversion.outlook.storage import CompoundFile
from tasks.conversion.presentation.paragraphs import text_block
from tasks.conversion.reading import Reading
from tasks.conversion.workbook.binary_objects import DrawnObjects
from tasks.conversion.workbook.cell_text import linked, plain_cell, runs_cell, struck
from tasks.conversion.workbook.properties import summary_properties
from tasks.conversion.workbook.remarks import said
from tasks.conversion.workbook.sheet import MAX_REMEMBERED, Budget, Place, Sheet, TooManyCells
from tasks.conversion.workbook.styles import CellStyle
from tasks.conversion.workbook.workbook_text import WorkbookText

_xlrd: Any = import_module("xlrd")  # it has no types
_EMPTY, _TEXT, _NUMBER, _DATE, _BOOLEAN, _ERROR = range(6)
_SUMMARY = "\x05SummaryInformation"
# 65,536 rows of 256 columns in every cell have less.
_MAX_STREAM_BYTES = 512 << 20
_POSITIONS: dict[int, Position] = {1: "raised", 2: "lowered"}


def read_binary(path: Path, file_type: FileType, shown: str) -> Reading:
    """Return the sheets of a workbook. Raises `TooManyCells`, `UnreadableDocument`, `EncryptedDocument`."""
    with _translated(file_type, shown), Path(os.devnull).open("w") as nowhere:
        with path.open("rb") as file:
            root = CompoundFile(file, max_stream_bytes=_MAX_STREAM_BYTES).root
            workbook, about = root.stream("Workbook") or root.stream("Book"), root.stream(_SUMMARY)
        if workbook is None:
            raise ValueError("no workbook")
        book = _xlrd.open_workbook(
            file_contents=workbook, logfile=nowhere, formatting_info=True, on_demand=True, ragged_rows=True
        )
        return _Workbook(book, DrawnObjects(workbook)).read(summary_properties(about))


@contextmanager
def _translated(file_type: FileType, shown: str) -> Generator[None]:
    try:
        yield
    except (MemoryError, TooManyCells):
        raise
    except Exception as exc:
        if "encrypted" in str(exc):
            raise EncryptedDocument(
                f"{shown!r} is a password-protected {file_type.label}; save it without a password and send it again"
            ) from exc
        raise UnreadableDocument(
            f"{shown!r} could not be read as {file_type.label} ({type(exc).__name__}); "
            "check that it opens and send it again"
        ) from exc


class _Workbook:
    def __init__(self, book: Any, drawn: DrawnObjects) -> None:
        self._book, self._drawn = book, drawn
        self._budget = Budget(losses=drawn.lost)
        self._from_1904 = book.datemode == 1
        self._styles: list[CellStyle] = [self._style(xf) for xf in book.xf_list]
        self._shown: dict[tuple[int, float], str] = {}

    def read(self, about: CoreProperties) -> Reading:
        text = WorkbookText(self._budget)
        for index, name in enumerate(self._book.sheet_names()):
            source = self._book.sheet_by_index(index)
            sheet = Sheet(name, hidden=source.visibility != 0)
            self._read_cells(source, sheet)
            sheet.merged = [(first + 1, left + 1, last, right) for first, last, left, right in source.merged_cells]
            sheet.below = [text_block(line) for box in self._drawn.texts[index] for line in box.split("\n") if line]
            text.add(sheet, self._comments(source))
            self._book.unload_sheet(index)
        return text.reading(about, ())

    def _read_cells(self, source: Any, sheet: Sheet) -> None:
        used: set[int] = set()
        for row in range(source.nrows):
            cells = {column + 1: text for column, text in self._cells_of(source, row)}
            if not cells:
                continue
            self._budget.spend(len(cells))
            sheet.rows[row + 1] = cells
            used |= cells.keys()
            info = source.rowinfo_map.get(row)
            self._budget.losses["hidden-row"] += info is not None and bool(info.hidden)
        hidden = {column + 1 for column, info in source.colinfo_map.items() if info.hidden}
        self._budget.losses["hidden-column"] += len(used & hidden)

    def _cells_of(self, source: Any, row: int) -> Iterator[tuple[int, str]]:
        kinds, values = source.row_types(row), source.row_values(row)
        links = source.hyperlink_map
        for column, (kind, value) in enumerate(zip(kinds, values, strict=True)):
            if _EMPTY < kind <= _ERROR and (text := self._text(source, row, column, kind, value)):
                link = links.get((row, column)) if links else None
                target = link.url_or_path if link is not None and link.type == "url" else None
                yield column, linked(text, str(target)) if target else text

    def _text(self, source: Any, row: int, column: int, kind: int, value: Any) -> str:
        index: int = source.cell_xf_index(row, column)
        if kind in (_NUMBER, _DATE):
            return self._number(index, float(value))
        style = self._styles[index]
        if kind == _BOOLEAN:
            return "TRUE" if value else "FALSE"
        if kind == _ERROR:
            return str(_xlrd.error_text_from_code.get(value, "#N/A"))
        runs = source.rich_text_runlist_map.get((row, column))
        text = self._rich_text(str(value), runs) if runs else plain_cell(str(value))
        shown = style.format.show_text(text)
        if text and not shown:
            self._budget.losses["hidden-text"] += 1
        return struck(shown) if style.struck and shown else shown

    def _number(self, index: int, value: float) -> str:
        known = self._shown.get((index, value))
        if known is not None:
            return known
        style = self._styles[index]
        shown = plain_cell(style.format.show(value, from_1904=self._from_1904))
        if style.format.hides:
            self._budget.losses["hidden-text"] += 1
        shown = struck(shown) if style.struck and shown else shown
        if len(self._shown) < MAX_REMEMBERED:
            self._shown[index, value] = shown
        return shown

    def _rich_text(self, text: str, starts: list[tuple[int, int]]) -> str:
        ends = [*(start for start, _ in starts[1:]), len(text)]
        runs = [Run(text=text[: starts[0][0]])]
        for (start, font), end in zip(starts, ends, strict=True):
            look = self._book.font_list[font]
            position = _POSITIONS.get(look.escapement, "")
            runs.append(Run(text=text[start:end], position=position, struck=bool(look.struck_out)))
        return runs_cell(runs)

    def _style(self, xf: Any) -> CellStyle:
        described = self._book.format_map.get(xf.format_key)
        code = str(described.format_str) if described is not None else "General"
        return CellStyle(number_format(code), struck=bool(self._book.font_list[xf.font_index].struck_out))

    def _comments(self, source: Any) -> dict[Place, str]:
        return {
            (row + 1, column + 1): said(note.author, note.text)
            for (row, column), note in source.cell_note_map.items()
            if note.text.strip()
        }
