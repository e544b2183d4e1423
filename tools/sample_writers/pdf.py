"""PDF samples: pages with headings, bookmarks, lists and tables, written by reportlab.

Only the built-in fonts are used, so no font is embedded and texts are limited to the characters of Windows-1252.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any
from xml.sax.saxutils import escape

from reportlab.lib import colors
from reportlab.lib.enums import TA_JUSTIFY
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, ListFlowable, ListItem, SimpleDocTemplate, Spacer
from reportlab.platypus import PageBreak as NewPage
from reportlab.platypus import Paragraph as TextFlow
from reportlab.platypus import Table as TableFlow

from tools.sample_writers.markup import Block, Heading, Items, PageBreak, Paragraph, Table, Text

_BODY = ParagraphStyle("body", fontName="Times-Roman", fontSize=11, leading=14.3, spaceAfter=9, alignment=TA_JUSTIFY)
_TITLE = ParagraphStyle("title", fontName="Helvetica-Bold", fontSize=22, leading=27, spaceAfter=4)
_SUBTITLE = ParagraphStyle("subtitle", fontName="Helvetica", fontSize=12.5, leading=16, spaceAfter=18)
_CELL = ParagraphStyle("cell", fontName="Times-Roman", fontSize=9.5, leading=12)
_HEAD_CELL = ParagraphStyle("head-cell", parent=_CELL, fontName="Helvetica-Bold", fontSize=9)
_HEADINGS = {
    1: ParagraphStyle(
        "h1", fontName="Helvetica-Bold", fontSize=15, leading=19, spaceBefore=14, spaceAfter=6, keepWithNext=1
    ),
    2: ParagraphStyle(
        "h2", fontName="Helvetica-Bold", fontSize=12, leading=15, spaceBefore=8, spaceAfter=4, keepWithNext=1
    ),
}
_MARGIN = 25 * mm
# How much narrower than the page's text area a table is, in points: the frame's own padding and some air.
_TABLE_INSET = 40


class _Bookmark(Flowable):
    """Takes no room; adds an entry to the outline that leads to where it stands."""

    def __init__(self, title: str, key: str, level: int) -> None:
        super().__init__()
        self._entry = (title, key, level)

    def wrap(self, aW: float, aH: float) -> tuple[float, float]:  # noqa: N803 - reportlab's names
        return (0, 0)

    def draw(self) -> None:
        title, key, level = self._entry
        canvas: Any = self.canv  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
        canvas.bookmarkHorizontal(key, 0, 20)
        canvas.addOutlineEntry(title, key, level, closed=False)


def write_pdf(text: Text, *, language: str, page_word: str) -> bytes:
    """The PDF of *text*: title and headings in the outline, *page_word* ("Page", "Seite") and number in the foot."""
    buffer = io.BytesIO()
    header = text.header
    document = SimpleDocTemplate(
        buffer,
        pagesize=A4,
        leftMargin=_MARGIN,
        rightMargin=_MARGIN,
        topMargin=22 * mm,
        bottomMargin=22 * mm,
        title=header["title"],
        author=header["author"],
        subject=header["subject"],
        keywords=header["keywords"],
        lang=language,
        invariant=1,
        pageCompression=0,  # see archive.py: compressed bytes differ between builds of zlib
    )
    story: list[Flowable] = [
        _Bookmark(header["title"], "title", 0),
        TextFlow(escape(header["title"]), _TITLE),
        TextFlow(escape(header["subtitle"]), _SUBTITLE),
    ]
    for number, block in enumerate(text.blocks):
        story.extend(_flow(block, f"section-{number}"))
    foot = _foot(page_word)
    document.build(story, onFirstPage=foot, onLaterPages=foot)
    return buffer.getvalue()


def _foot(page_word: str) -> Callable[[Canvas, Any], None]:
    def draw(canvas: Canvas, document: Any) -> None:
        canvas.saveState()
        canvas.setFont("Helvetica", 8)
        canvas.drawCentredString(A4[0] / 2, 12 * mm, f"{page_word} {document.page}")
        canvas.restoreState()

    return draw


def _flow(block: Block, key: str) -> list[Flowable]:
    match block:
        case Heading(level, title):
            return [_Bookmark(title, key, level), TextFlow(escape(title), _HEADINGS[level])]
        case Paragraph(words):
            return [TextFlow(escape(words), _BODY)]
        case Items(texts, numbered):
            return [_list(texts, numbered), Spacer(1, 4)]
        case PageBreak():
            return [NewPage()]
        case Table(head, rows):
            return [_table(head, rows), Spacer(1, 10)]
        case _:
            raise ValueError(f"the PDF samples hold no {type(block).__name__}")


def _list(texts: tuple[str, ...], numbered: bool) -> ListFlowable:
    items: list[Any] = [ListItem(TextFlow(escape(item), _BODY), leftIndent=16) for item in texts]
    kind: dict[str, Any] = (
        {"bulletType": "1", "bulletFormat": "%s."}
        if numbered
        # A dash: reportlab writes the round bullet under a code that readers take for a control character.
        else {"bulletType": "bullet", "start": "\u2013"}
    )
    return ListFlowable(items, leftIndent=16, bulletFontName=_BODY.fontName, bulletFontSize=_BODY.fontSize, **kind)


def _table(head: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> TableFlow:
    cells = [[TextFlow(escape(cell), _HEAD_CELL) for cell in head]]
    cells += [[TextFlow(escape(cell), _CELL) for cell in row] for row in rows]
    style = [
        ("GRID", (0, 0), (-1, -1), 0.4, colors.grey),
        ("BACKGROUND", (0, 0), (-1, 0), colors.whitesmoke),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
    ]
    return TableFlow(cells, colWidths=_widths(head, rows), style=style, repeatRows=1, hAlign="LEFT")


def _widths(head: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> list[float]:
    """Column widths in points that share the line in proportion to the longest cell, within reason."""
    longest = [min(max(len(row[column]) for row in (head, *rows)), 42) + 7 for column in range(len(head))]
    available = A4[0] - 2 * _MARGIN - _TABLE_INSET
    return [available * length / sum(longest) for length in longest]
