"""The cells of a sheet in LibreOffice's flat XML (OpenDocument 1.3, part 3): their types and values."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

Cell = tuple[str, Any]
"""``text``, ``number``, ``boolean``, ``time``, ``formula`` or ``empty``, and the value."""

_TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
_OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
_TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
# What LibreOffice makes of the Booleans of a sheet.
_BOOLEANS = {"of:=TRUE()": True, "of:=FALSE()": False}
_EMPTY: Cell = ("empty", None)
# A sheet says of empty rows and columns how many there are, up to its last.
_MOST_REPEATED = 1000


def cells_of(document: ElementTree.Element) -> list[list[Cell]]:
    """Return the rows of the first sheet, as long as the first one, without empty rows at the end."""
    sheet = next(document.iter(f"{_TABLE}table"))
    rows: list[list[Cell]] = []
    for row in sheet.iter(f"{_TABLE}table-row"):
        cells: list[Cell] = []
        for cell in row.iter(f"{_TABLE}table-cell"):
            times = int(cell.get(f"{_TABLE}number-columns-repeated", 1))
            cells.extend([_cell(cell)] * min(times, _MOST_REPEATED))
        rows.extend([cells] * min(int(row.get(f"{_TABLE}number-rows-repeated", 1)), _MOST_REPEATED))
    while rows and all(cell == _EMPTY for cell in rows[-1]):
        rows.pop()
    width = len([cell for cell in rows[0] if cell != _EMPTY])
    return [[*cells, *[_EMPTY] * width][:width] for cells in rows]


def _cell(cell: ElementTree.Element) -> Cell:
    kind = cell.get(f"{_OFFICE}value-type")
    formula = cell.get(f"{_TABLE}formula")
    if formula in _BOOLEANS:
        return "boolean", _BOOLEANS[formula]
    if formula is not None:
        return "formula", formula
    if kind is None:
        return _EMPTY
    if kind == "string":
        return "text", "\n".join(_paragraph(one) for one in cell.findall(f"{_TEXT}p"))
    if kind == "boolean":
        return "boolean", cell.get(f"{_OFFICE}boolean-value") == "true"
    if kind == "date":  # as it is shown: the value itself is written with fewer digits
        return "time", "".join(_paragraph(one) for one in cell.findall(f"{_TEXT}p"))
    return "number" if kind == "float" else kind, float(cell.get(f"{_OFFICE}value", "nan"))


def _paragraph(element: ElementTree.Element) -> str:
    """Return the text of a paragraph, in which white space is written as elements."""
    parts = [element.text or ""]
    for child in element:
        if child.tag == f"{_TEXT}s":
            parts.append(" " * int(child.get(f"{_TEXT}c", 1)))
        elif child.tag == f"{_TEXT}tab":
            parts.append("\t")
        elif child.tag == f"{_TEXT}line-break":
            parts.append("\n")
        else:
            parts.append(_paragraph(child))
        parts.append(child.tail or "")
    return "".join(parts)
