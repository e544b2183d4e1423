"""A worksheet of Excel's packages, read as a stream (ECMA-376 part 1, 18.3).

Owns what each kind of cell shows. Memory grows with the cells that have text, not with the places that a sheet claims.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from tasks.conversion.number_formats.moments import SECONDS_A_DAY
from tasks.conversion.office.package import Element, Package
from tasks.conversion.workbook.cell_text import decoded, linked, plain_cell, rich_text, struck
from tasks.conversion.workbook.sheet import (
    MAX_CELLS,
    MAX_COLUMNS,
    MAX_REMEMBERED,
    MAX_ROWS,
    Area,
    Budget,
    Sheet,
    area_of,
    column_number,
)
from tasks.conversion.workbook.styles import GENERAL, CellStyle

# Digits that the format General shows as they are.
_PLAIN_DIGITS = 15
_HEADS = ("oddHeader", "firstHeader", "evenHeader", "oddFooter", "firstFooter", "evenFooter")
_HYPERLINK = re.compile(r'\s*(?:_xlfn\.)?HYPERLINK\(\s*"([^"]+)"', re.IGNORECASE)
_EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001 - days of a workbook have no zone


@dataclass(slots=True)
class Book:
    """What the sheets of a workbook share."""

    strings: Sequence[str]
    styles: Sequence[CellStyle]
    from_1904: bool
    budget: Budget
    # What a number looks like, by its style and as the file writes it.
    shown: dict[tuple[str | None, str | None], str] = field(default_factory=dict[tuple[str | None, str | None], str])


@dataclass(slots=True)
class Worksheet:
    """A worksheet's cells, and the texts of its page heads and feet with their codes."""

    sheet: Sheet
    heads: list[str] = field(default_factory=list[str])


def read_worksheet(package: Package, member: str, sheet: Sheet, book: Book) -> Worksheet:
    """Read the worksheet *member* into *sheet*. Raises `TooManyCells` and what `Package.parse` raises."""
    reader = _Reader(sheet, book)
    names = ("c", "row", "col", "mergeCell", "hyperlink", "oleObject", *_HEADS)
    for element in package.iterate(member, *names):
        reader.take(element)
    reader.link(package, member)
    return Worksheet(sheet, reader.heads)


class _Reader:
    """Takes the elements of one worksheet in their order."""

    def __init__(self, sheet: Sheet, book: Book) -> None:
        self.heads: list[str] = []
        self._sheet, self._book, self._budget = sheet, book, book.budget
        self._shown = book.shown
        self._row_number, self._column, self._count = 1, 0, 0
        self._columns: dict[str, int] = {}
        self._row: dict[int, str] = {}
        self._zeros: list[int] = []
        self._links: list[tuple[Area, Element]] = []
        self._hidden_columns: list[tuple[int, int]] = []
        self._objects: set[str] = set()
        self._tag = ""
        self._value_tag = ""

    def take(self, element: Element) -> None:
        """Take an element that has ended."""
        tag: str = element.tag
        if tag == self._tag:
            self._cell(element)
            return
        name = tag.rpartition("}")[2]
        if name == "c":
            self._tag, self._value_tag = tag, f"{tag[:-1]}v"
            self._cell(element)
        elif name == "row":
            self._end_row(element)
        elif name == "mergeCell":
            self._budget.spend()
            if area := area_of(element.get("ref", "")):
                self._sheet.merged.append(area)
        elif name == "hyperlink":
            self._budget.spend()
            if area := area_of(element.get("ref", "")):
                self._links.append((area, element))
        elif name == "oleObject":  # written twice, for older programs too
            self._objects.add(element.get("shapeId", ""))
        elif name == "col":
            self._hide_columns(element)
        elif element.text and element.text not in self.heads:
            self.heads.append(element.text)

    def _end_row(self, element: Element) -> None:
        number = _whole(element.get("r"), self._row_number)
        if self._row and 1 <= number <= MAX_ROWS:
            self._sheet.zeros += [(number, column) for column in self._zeros]
            self._sheet.rows.setdefault(number, {}).update(self._row)
            if element.get("hidden") in ("1", "true"):
                self._budget.losses["hidden-row"] += 1
        else:
            self._budget.losses["cell"] += len(self._row)
        self._budget.spend(max(len(self._row), self._count - MAX_COLUMNS))
        self._row, self._zeros, self._row_number, self._column, self._count = {}, [], number + 1, 0, 0
        _forget(element)

    def _hide_columns(self, element: Element) -> None:
        if element.get("hidden") in ("1", "true"):
            self._hidden_columns.append((_whole(element.get("min"), 1), _whole(element.get("max"), MAX_COLUMNS)))

    def _cell(self, element: Element) -> None:
        reference = element.get("r")
        if reference:
            letters = reference.rstrip("0123456789")
            column = self._columns.get(letters) or self._columns.setdefault(letters, column_number(letters))
        else:
            column = self._column + 1
        self._column = column
        self._count += 1
        value = formula = None
        for child in element:
            if child.tag == self._value_tag:
                value = child.text
            elif child.tag[-2:] == "}f":
                formula = child
        kind = element.get("t", "n")
        if value is None and kind != "inlineStr":
            if formula is not None and kind != "str":
                self._budget.losses["value"] += 1
        elif column > MAX_COLUMNS:
            self._budget.losses["cell"] += 1
        else:
            text = self._shown.get((element.get("s"), value)) if kind == "n" else None
            text = self._text(element, kind, value or "") if text is None else text
            if text:
                self._row[column] = text if formula is None else self._of_formula(text, formula, value, column)
        if self._count > MAX_COLUMNS:  # a row of more cells than a sheet has columns does not fill the memory
            self._budget.spend(0 if self._count < MAX_CELLS else MAX_CELLS)
            _forget(element)

    def _of_formula(self, text: str, formula: Element, value: str | None, column: int) -> str:
        self._budget.formulas += 1
        if value == "0":
            self._zeros.append(column)
        link = _HYPERLINK.match(formula.text or "")
        return linked(text, link[1]) if link else text

    def _text(self, element: Element, kind: str, value: str) -> str:
        """Return the Markdown of a cell of *kind* (18.18.11)."""
        style = element.get("s")
        if kind == "n":
            return self._number(style, value)
        if kind == "s":
            index = _whole(value, -1)
            if not 0 <= index < len(self._book.strings):
                self._budget.losses["cell"] += 1
                return ""
            text = self._book.strings[index]
        elif kind == "inlineStr":
            item = element.find("{*}is")
            text = rich_text(item) if item is not None else plain_cell(decoded(value))
        elif kind == "b":
            return "TRUE" if value.strip() in ("1", "true") else "FALSE"
        elif kind == "d":
            return self._iso(style, value)
        else:  # the result of a formula, or an error
            text = plain_cell(decoded(value))
        return self._styled(text, style) if style and text else text

    def _number(self, style: str | None, value: str) -> str:
        chosen = self._style(style)
        if chosen.format.is_general and value.isdecimal() and value.isascii() and len(value) <= _PLAIN_DIGITS:
            shown = value.lstrip("0") or "0"
        else:
            shown = plain_cell(chosen.format.show(value, from_1904=self._book.from_1904))
        if chosen.format.hides:
            self._budget.losses["hidden-text"] += 1
        if chosen.struck:
            shown = struck(shown)
        if len(self._shown) < MAX_REMEMBERED:
            self._shown[style, value] = shown
        return shown

    def _iso(self, style: str | None, value: str) -> str:
        """Return a day that is written as ISO 8601, in the cell's format if that is one of dates."""
        chosen = self._style(style)
        try:
            moment = datetime.fromisoformat(value.strip().rstrip("Z"))
        except ValueError:
            return plain_cell(value)
        if not chosen.format.is_date:
            return plain_cell(value.strip().rstrip("Z").replace("T", " ").removesuffix(" 00:00:00"))
        since = moment.replace(tzinfo=None) - _EPOCH
        return chosen.format.show(str(Decimal(since.days) + Decimal(since.seconds) / SECONDS_A_DAY))

    def _styled(self, text: str, style: str) -> str:
        chosen = self._style(style)
        shown = chosen.format.show_text(text)
        if not shown:
            self._budget.losses["hidden-text"] += 1
        return struck(shown) if chosen.struck and shown else shown

    def _style(self, style: str | None) -> CellStyle:
        index = _whole(style, 0)
        return self._book.styles[index] if 0 <= index < len(self._book.styles) else GENERAL

    def link(self, package: Package, member: str) -> None:
        """Write the targets of the sheet's links, and count its hidden columns and its objects."""
        self._budget.losses["object"] += len(self._objects)
        rows = self._sheet.rows
        relations = package.relations(member) if self._links else {}
        for area, element in self._links:
            identity = next((value for name, value in element.items() if name.endswith("}id")), "")
            relation = relations.get(identity)
            if relation is None or not relation.external:
                continue
            for row, column in self._sheet.places_in(area):
                self._budget.spend()
                if text := rows[row][column]:
                    rows[row][column] = linked(text, relation.target)
        for first, last in self._hidden_columns:
            used = {column for row in rows.values() for column in row if first <= column <= last}
            self._budget.losses["hidden-column"] += len(used)


def _forget(element: Element) -> None:
    """Free the memory of an element that was read, and of those in front of it."""
    element.clear()
    while element.getprevious() is not None:
        del element.getparent()[0]


def _whole(text: str | None, otherwise: int) -> int:
    try:
        return int(text) if text is not None else otherwise
    except ValueError:
        return otherwise
