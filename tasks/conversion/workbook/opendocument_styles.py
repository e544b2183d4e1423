"""Styles of an OpenDocument spreadsheet: which sheets are hidden, how dates are shown, what is printed on each page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tasks.conversion.number_formats.number_format import NumberFormat, number_format
from tasks.conversion.office.package import Element, local_name
from tasks.conversion.opendocument.document import attribute
from tasks.conversion.workbook.page_heads import head_text

# Longer chains of parents are cycles.
_MAX_PARENTS = 30
_DATE_PARTS = {
    "year": "yyyy",
    "era": "g",
    "month": "mm",
    "day": "dd",
    "day-of-week": "dddd",
    "week-of-year": "yyyy-mm-dd",
    "quarter": "yyyy-mm",
    "hours": "hh",
    "minutes": "mm",
    "seconds": "ss",
}
_PAGE_FIELDS = frozenset({"page-number", "page-count"})
_COMPUTER_FIELDS = frozenset({"date", "time", "sheet-name", "file-name", "title"})


class CellStyles:
    """The styles of cells and sheets by name; those of the content are added to the common ones."""

    def __init__(self, common: Element | None) -> None:
        self._cells: dict[str, tuple[str, str]] = {}  # the name of the data style, and the parent
        self._dates: dict[str, NumberFormat] = {}
        self._hidden_tables: set[str] = set()
        for group in () if common is None else common:
            if local_name(group) in ("styles", "automatic-styles"):
                self.add(group)

    def add(self, group: Iterable[Element]) -> None:
        """Add the styles of a group of styles."""
        for style in group:
            kind, name = local_name(style), attribute(style, "name")
            family = attribute(style, "family")
            if kind == "date-style":
                self._dates[name] = _date_format(style)
            elif kind == "style" and family == "table-cell":
                self._cells[name] = (attribute(style, "data-style-name"), attribute(style, "parent-style-name"))
            elif kind == "style" and family == "table":
                shown = style.find("{*}table-properties")
                if shown is not None and attribute(shown, "display", "true") == "false":
                    self._hidden_tables.add(name)

    def hides_table(self, name: str) -> bool:
        """Return whether sheets with this style are hidden."""
        return name in self._hidden_tables

    def date_format(self, name: str) -> NumberFormat | None:
        """Return how cells with the style *name* show dates; None if they have no style for dates."""
        for _ in range(_MAX_PARENTS):
            if name not in self._cells:
                return None
            data_style, parent = self._cells[name]
            if data_style:
                return self._dates.get(data_style)
            name = parent
        return None


def _date_format(style: Element) -> NumberFormat:
    """Return a date style (part 3, 16.27.10) as a format of Excel's kind."""
    parts: list[str] = []
    for part in style:
        kind = local_name(part)
        if kind == "text":
            parts.append('"{}"'.format((part.text or "").replace('"', "")))
        elif kind in _DATE_PARTS:
            parts.append(_DATE_PARTS[kind])
    return number_format("".join(parts))


def printed_texts(common: Element | None) -> Iterator[str]:
    """Yield the texts of page heads and feet that say more than the number of a page."""
    for kind in ("{*}header", "{*}footer"):
        for area in () if common is None else common.iter(kind):
            if attribute(area, "display", "true") != "false":
                texts = (head_text(_coded(paragraph)) for paragraph in area.iter("{*}p"))
                if text := " | ".join(text for text in texts if text):
                    yield text


def _coded(element: Element) -> str:
    """Return a paragraph in the codes of Excel's heads, which set fields apart from text."""
    coded = (element.text or "").replace("&", "&&")
    for child in element:
        kind = local_name(child)
        if kind in _PAGE_FIELDS:
            coded += "&P"
        elif kind not in _COMPUTER_FIELDS:
            coded += _coded(child)
        coded += (child.tail or "").replace("&", "&&")
    return coded
