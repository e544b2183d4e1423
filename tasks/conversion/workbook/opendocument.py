"""OpenDocument spreadsheets (part 3, 9), read as a stream.

Cells are the text that the program stored as shown, except dates, which are ISO 8601 with the parts that their style
shows. Rows and cells that claim to be repeated a million times, as programs write the empty rest of a sheet, take no
room; those with text count against the limit of cells.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from blocks.filetype import FileType
from tasks.conversion.markdown_writer import Body
from tasks.conversion.office.package import Element, Package, local_name
from tasks.conversion.opendocument.document import open_document, optional_part, properties
from tasks.conversion.opendocument.objects import Objects
from tasks.conversion.opendocument.paragraphs import FLOATS, Context
from tasks.conversion.opendocument.styles import Styles
from tasks.conversion.opendocument.writer import Writer
from tasks.conversion.reading import Reading
from tasks.conversion.workbook.opendocument_cells import TABLE, CellReader, is_paragraph, whole
from tasks.conversion.workbook.opendocument_styles import CellStyles, printed_texts
from tasks.conversion.workbook.sheet import MAX_COLUMNS, MAX_ROWS, Budget, Place, Sheet
from tasks.conversion.workbook.workbook_text import WorkbookText

# Names are put together once: a sheet may have a million cells.
_COVERED, _CELL = f"{TABLE}covered-table-cell", f"{TABLE}table-cell"
_COLUMNS_REPEATED, _ROWS_REPEATED = f"{TABLE}number-columns-repeated", f"{TABLE}number-rows-repeated"
_COLUMNS_SPANNED, _ROWS_SPANNED = f"{TABLE}number-columns-spanned", f"{TABLE}number-rows-spanned"
_NAME, _STYLE, _VISIBILITY = f"{TABLE}name", f"{TABLE}style-name", f"{TABLE}visibility"
_DEFAULT_STYLE = f"{TABLE}default-cell-style-name"
_HIDDEN = ("collapse", "filter")


def read_spreadsheet(path: Path, file_type: FileType, shown: str) -> Reading:
    """Return the sheets of a spreadsheet. Raises `TooManyCells`, `UnreadableDocument`, `EncryptedDocument`."""
    with open_document(path, file_type, shown) as package:
        return _Spreadsheet(package).read()


class _Table:
    """One sheet while its rows are read."""

    def __init__(self, element: Element, styles: CellStyles) -> None:
        self.element = element
        name = element.get(_NAME, "")
        self.sheet = Sheet(name, hidden=styles.hides_table(element.get(_STYLE, "")))
        self.row = 1
        self.columns: list[tuple[int, str, bool]] = []  # last column, default style of its cells, whether it is hidden
        self.comments: dict[Place, str] = {}
        self.below = Body()

    def add_column(self, element: Element) -> None:
        last = (self.columns[-1][0] if self.columns else 0) + whole(element.get(_COLUMNS_REPEATED))
        style = element.get(_DEFAULT_STYLE, "")
        self.columns.append((last, style, element.get(_VISIBILITY) in _HIDDEN))

    def default_style(self, column: int) -> str:
        return next((style for last, style, _ in self.columns if column <= last), "")

    def hidden_columns(self) -> int:
        if not any(hidden for *_, hidden in self.columns):
            return 0
        used = {column for row in self.sheet.rows.values() for column in row}
        first, count = 1, 0
        for last, _, hidden in self.columns:
            count += sum(first <= column <= last for column in used) if hidden else 0
            first = last + 1
        return count


class _Spreadsheet:
    def __init__(self, package: Package) -> None:
        self._package = package
        self._budget = Budget()
        self._common = optional_part(package, "styles.xml")
        self._styles = CellStyles(self._common)
        self._table: _Table | None = None
        self._text = WorkbookText(self._budget)
        self._use_styles(None)

    def _use_styles(self, automatic: Element | None) -> None:
        """Read the styles of cells and texts; the *automatic* ones stand in front of the sheets."""
        groups: Sequence[Element] = () if automatic is None else (automatic,)
        for group in groups:
            self._styles.add(group)
        context = Context(Styles([groups, self._common]), lost=self._budget.losses)
        self._cells = CellReader(context, self._styles, self._budget)
        self._writer = Writer(context, Objects(self._package, self._budget.losses))

    def read(self) -> Reading:
        names = ("automatic-styles", "shapes", "table-column", "table-row", "table")
        for element in self._package.iterate("content.xml", *names):
            kind = local_name(element)
            if kind == "automatic-styles":
                self._use_styles(element)
            elif kind == "table":
                self._end_table(element)
            elif (table := self._table_of(element)) is not None:
                if kind == "table-column":
                    table.add_column(element)
                elif kind == "shapes":
                    self._draw(table, element)
                else:
                    self._read_row(table, element)
        self._text.heads.update(dict.fromkeys(printed_texts(self._common)))
        return self._text.reading(properties(self._package), ())

    def _table_of(self, element: Element) -> _Table | None:
        """Return the sheet that *element* belongs to; None inside of a table that is in a cell."""
        found = next(element.iterancestors(f"{TABLE}table"), None)
        if found is None or local_name(found.getparent()) != "spreadsheet":
            return None
        if self._table is None or self._table.element is not found:
            self._table = _Table(found, self._styles)
        return self._table

    def _end_table(self, element: Element) -> None:
        table = self._table
        if local_name(element.getparent()) != "spreadsheet":
            return
        if table is None or table.element is not element:
            table = _Table(element, self._styles)
        if table.below:
            table.sheet.below.append(str(table.below))
        self._budget.losses["hidden-column"] += table.hidden_columns()
        self._text.add(table.sheet, table.comments)
        self._table = None
        element.clear()

    def _read_row(self, table: _Table, element: Element) -> None:
        times = whole(element.get(_ROWS_REPEATED))
        if table.row <= MAX_ROWS:
            cells = dict(self._read_cells(table, element))
            shown = min(times, MAX_ROWS - table.row + 1) if cells else 0
            self._budget.spend(len(cells) * shown)
            for number in range(table.row, table.row + shown):
                table.sheet.rows[number] = dict(cells)
            if element.get(_VISIBILITY) in _HIDDEN:
                self._budget.losses["hidden-row"] += shown
        table.row += times
        element.clear()
        while element.getprevious() is not None:
            del element.getparent()[0]

    def _read_cells(self, table: _Table, row: Element) -> Iterator[tuple[int, str]]:
        column = 1
        row_style = row.get(_DEFAULT_STYLE, "")
        for element in row:
            tag = element.tag
            if tag not in (_CELL, _COVERED):
                continue
            repeated = element.get(_COLUMNS_REPEATED)
            times = 1 if repeated is None else whole(repeated)
            if tag == _CELL and column <= MAX_COLUMNS and (len(element) or len(element.attrib) > 1):
                style = element.get(_STYLE) or row_style or table.default_style(column)
                if text := self._cells.text(element, style):
                    yield column, text
                    for number in range(column + 1, min(column + times, MAX_COLUMNS + 1)):
                        yield number, text
                if (
                    len(element) > 1
                    or element.get(_ROWS_SPANNED)
                    or element.get(_COLUMNS_SPANNED)
                    or (len(element) and not is_paragraph(element[0]))
                ):
                    self._note_the_rest(table, element, column)
            column += times

    def _note_the_rest(self, table: _Table, element: Element, column: int) -> None:
        """Note what else a cell says: that it spans others, its comment, what is drawn on it."""
        rows = whole(element.get(_ROWS_SPANNED))
        columns = whole(element.get(_COLUMNS_SPANNED))
        if rows > 1 or columns > 1:
            self._budget.spend()
            table.sheet.merged.append((table.row, column, table.row + rows - 1, column + columns - 1))
        for child in element:
            kind = local_name(child)
            if kind == "annotation" and (comment := self._cells.comment(child)):
                table.comments[table.row, column] = comment
            elif kind in FLOATS:
                self._writer.write_float(table.below, child)

    def _draw(self, table: _Table, shapes: Element) -> None:
        for child in shapes:
            if local_name(child) in FLOATS:
                self._writer.write_float(table.below, child)
