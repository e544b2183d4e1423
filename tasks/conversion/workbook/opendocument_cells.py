"""What a cell of an OpenDocument spreadsheet shows (part 3, 9.1.4 and 19.385)."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal

from tasks.conversion.markdown_writer import cell
from tasks.conversion.number_formats.general import general
from tasks.conversion.number_formats.moments import SECONDS_A_DAY
from tasks.conversion.office.package import Element
from tasks.conversion.opendocument.paragraphs import Context, Paragraph
from tasks.conversion.opendocument.styles import Format
from tasks.conversion.workbook.cell_text import plain_cell
from tasks.conversion.workbook.opendocument_styles import CellStyles
from tasks.conversion.workbook.remarks import said
from tasks.conversion.workbook.sheet import MAX_REMEMBERED, Budget

TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
_OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
_PARAGRAPH = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}p"
_VALUE_TYPE, _DATE_VALUE, _FORMULA = f"{_OFFICE}value-type", f"{_OFFICE}date-value", f"{TABLE}formula"
_DURATION = re.compile(r"(-?)PT(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?")
_EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001 - days of a spreadsheet have no zone
# Before it the day numbers of Excel, whose formats show the date, are off by one.
_FIRST_DAY = datetime(1900, 3, 1)  # noqa: DTZ001
_BOOLEANS = {"true": "TRUE", "false": "FALSE"}


class CellReader:
    """Reads the cells of one spreadsheet."""

    def __init__(self, context: Context, styles: CellStyles, budget: Budget) -> None:
        self._context = context
        self._styles = styles
        self._budget = budget
        self._dates: dict[tuple[str, str], str] = {}

    def text(self, element: Element, style: str) -> str:
        """Return the Markdown of a cell whose style has the name *style*."""
        kind = element.get(_VALUE_TYPE) or ""
        if kind == "date":
            written = element.get(_DATE_VALUE) or ""
            known = self._dates.get((style, written))
            if known is None:
                known = plain_cell(self._date(written, style))
                if len(self._dates) < MAX_REMEMBERED:
                    self._dates[style, written] = known
            if known:
                return known
        if len(element) == 1:
            only = element[0]
            shown = self._line(only) if only.tag == _PARAGRAPH else ""
        else:
            lines = [self._line(child) for child in element if child.tag == _PARAGRAPH]
            shown = "<br>".join(lines).strip() if any(lines) else ""
        shown = shown or plain_cell(_value(element, kind))
        if not shown and not kind and element.get(_FORMULA):
            self._budget.losses["value"] += 1
        return shown

    def comment(self, annotation: Element) -> str:
        """Return a cell's comment as Markdown; empty if it says nothing."""
        text = "\n".join("".join(one.itertext()) for one in annotation.iterfind("{*}p"))
        return said(annotation.findtext("{*}creator") or "", text) if text.strip() else ""

    def _line(self, paragraph: Element) -> str:
        if not len(paragraph):
            text = paragraph.text or ""
            return plain_cell(text if text.isprintable() and "  " not in text else " ".join(text.split()))
        return cell(Paragraph(self._context).markdown(paragraph, Format()))

    def _date(self, written: str, style: str) -> str:
        """Return a date in ISO 8601 with the parts that its style shows; empty for what is no date."""
        try:
            moment = datetime.fromisoformat(written.rstrip("Z")).replace(tzinfo=None)
        except ValueError:
            return ""
        shown = self._styles.date_format(style)
        if shown is None or moment < _FIRST_DAY:
            return moment.isoformat(" ", "minutes").removesuffix(" 00:00")
        since = moment - _EPOCH
        return shown.show(str(Decimal(since.days) + Decimal(since.seconds) / SECONDS_A_DAY))


def _value(element: Element, kind: str) -> str:
    """Return the value of a cell without text, which some programs write."""
    value = element.get(f"{_OFFICE}value", "")
    if kind == "string":
        return element.get(f"{_OFFICE}string-value", "")
    if kind == "boolean":
        return _BOOLEANS.get(element.get(f"{_OFFICE}boolean-value", ""), "")
    if kind == "time":
        found = _DURATION.fullmatch(element.get(f"{_OFFICE}time-value", ""))
        return (
            f"{found[1]}{int(found[2] or 0):02}:{int(found[3] or 0):02}:{float(found[4] or 0):02.0f}" if found else ""
        )
    try:
        number = float(value) if value else None
    except ValueError:
        return ""
    if number is None:
        return ""
    if kind == "percentage":
        return f"{general(number * 100)}%"
    return f"{general(number)} {element.get(f'{_OFFICE}currency', '')}".strip()


def is_paragraph(element: Element) -> bool:
    """Return whether *element* is a paragraph of a cell's text."""
    return element.tag == _PARAGRAPH


def whole(text: str | None) -> int:
    """Return a count, which is 1 where the file says nothing."""
    return max(1, int(text)) if text is not None and text.isdecimal() and len(text) < 10 else 1
