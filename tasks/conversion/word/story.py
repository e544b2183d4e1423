"""A story of a document, its main text, a note, a head or a text box, as blocks in order.

Owns which paragraphs are one: a paragraph whose mark is deleted, moved away or hidden goes on in the next one
(ECMA-376 part 1, 17.13.5.15, 17.3.2.41). Deleted rows and cells are left out (17.13.5.12, 17.13.5.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace

from tasks.conversion.markdown_writer import Run
from tasks.conversion.word.blocks import Block, Bullets, Markdown, Paragraph, Table, TableCell
from tasks.conversion.word.chunks import read_chunk
from tasks.conversion.word.document import Document
from tasks.conversion.word.names import MC, VAL, Element, M, W, chosen, integer, is_on
from tasks.conversion.word.numbering import Item
from tasks.conversion.word.runs import TAB, Content, RunReader
from tasks.conversion.word.styles import outline_level

# Word has no more columns; a claim of millions would fill the memory.
_MAX_COLUMNS = 63
_CONTENTS_STYLE = re.compile(r"(?:toc|contents|verzeichnis|tm|inhopg|sommario|índice)\s*([1-9])", re.IGNORECASE)
_PAGE_AT_END = re.compile(rf"[{TAB}\s.·…]+(?:\d{{1,4}}|[ivxlc]{{1,7}})\s*$")
_DEEPER_LIST_STYLE = re.compile(r"list (?:bullet|number) ([2-5])")
_BODY_LEVEL = 9


@dataclass(slots=True)
class _Pending:
    """A paragraph that goes on in the next one."""

    content: Content
    properties: Element | None
    style: str


class Story:
    """Reads the blocks of one story, which stands in *part*."""

    def __init__(self, document: Document, part: str, *, in_head: bool = False) -> None:
        self._document = document
        self._part = part
        self._in_head = in_head
        self._runs = RunReader(document, part, in_head=in_head)
        self._pending: _Pending | None = None
        self._fields_are_whole = True

    def read(self, root: Element) -> Iterator[Block]:
        """Yield the blocks of the story in *root*."""
        kinds = [one.get(f"{W}fldCharType") for one in root.iter(f"{W}fldChar")]
        self._fields_are_whole = kinds.count("begin") == kinds.count("end")
        marked = {one.get(f"{W}id") for one in root.iter(f"{W}commentReference")}
        ends = {one.get(f"{W}id", "") for one in root.iter(f"{W}commentRangeEnd")}
        self._runs.comment_ends = frozenset(ends - marked)
        yield from self._container(root)

    def _container(self, element: Element) -> Iterator[Block]:
        yield from self._blocks(element)
        yield from self._flush()

    def _blocks(self, element: Element) -> Iterator[Block]:
        for child in element:
            yield from self._block(child)

    def _block(self, child: Element) -> Iterator[Block]:
        tag = child.tag
        if tag == f"{W}p":
            yield from self._paragraph(child)
        elif tag == f"{W}tbl":
            yield from self._flush()
            yield self._table(child)
        elif tag == f"{W}sdt":
            yield from self._control(child)
        elif tag in _TRANSPARENT:
            yield from self._blocks(child)
        elif tag == f"{MC}AlternateContent":
            for one in chosen(child):
                yield from self._block(one)
        elif tag in (f"{M}oMathPara", f"{M}oMath"):
            yield from self._paragraph(child)
        elif tag == f"{W}altChunk":
            yield from self._flush()
            yield Markdown(read_chunk(self._document, self._part, child))

    def _control(self, element: Element) -> Iterator[Block]:
        found: list[Block] = []
        self._runs.control(element, lambda content: found.extend(self._blocks(content)))
        return iter(found)

    def _paragraph(self, element: Element) -> Iterator[Block]:
        properties = element.find(f"{W}pPr")
        style = self._document.styles.paragraph_style(properties)
        in_contents = self._runs.fields.in_contents
        content = self._runs.read(element if element.tag == f"{W}p" else _wrapped(element), style)
        if not self._fields_are_whole:
            self._runs.fields.close_all()
        if self._pending is not None:
            first, self._pending = self._pending, None
            if not (first.content.is_empty or _is_initial(first.properties)):
                properties, style = first.properties, first.style
            content = _joined(first.content, content)
        if self._goes_on(element.find(f"{W}pPr")):
            self._pending = _Pending(content, properties, style)
            return
        yield from self._finished(content, properties, style, in_contents=in_contents or self._runs.fields.in_contents)

    def _flush(self) -> Iterator[Block]:
        if self._pending is not None:
            last, self._pending = self._pending, None
            if not last.content.is_empty:
                yield from self._finished(last.content, last.properties, last.style, in_contents=False)

    def _goes_on(self, properties: Element | None) -> bool:
        """Return whether a paragraph's mark is deleted or hidden, or it is the initial of the next one.

        A style separator ends a heading in the line, which is a heading all the same.
        """
        if _is_initial(properties):
            return True
        mark = None if properties is None else properties.find(f"{W}rPr")
        if mark is None:
            return False
        if mark.find(f"{W}del") is not None or mark.find(f"{W}moveFrom") is not None:
            return True
        return is_on(mark.find(f"{W}vanish")) and not is_on(mark.find(f"{W}specVanish"))

    def _finished(
        self, content: Content, properties: Element | None, style: str, *, in_contents: bool
    ) -> Iterator[Block]:
        item = self._item(properties, style)
        code = item is None and self._document.styles.is_code(style)
        if code or not content.is_empty or (item is not None and item.label):
            heading = self._heading(properties, style)
            contents_level = self._contents_level(style, in_contents=in_contents and heading is None)
            if contents_level is not None:
                heading = None
                _drop_page_number(content)
            display = content.display if content.only_math else ()
            yield Paragraph(content.runs, item, heading, contents_level, display, code)
        for drawn in content.drawn:
            if drawn.box is not None:
                yield from self._nested(drawn.box)
            elif drawn.items:
                yield Bullets(drawn.items)
            else:
                yield Markdown(drawn.markdown)

    def _item(self, properties: Element | None, style: str) -> Item | None:
        """Return a paragraph's place in its list. "List Bullet 2" is a list of its own, shown below "List Bullet"."""
        item = self._document.numbering.item(properties, style)
        if item is not None and item.level == 0:
            found = _DEEPER_LIST_STYLE.fullmatch(self._document.styles.name(style))
            return replace(item, level=int(found[1]) - 1) if found else item
        return item

    def _nested(self, root: Element) -> Iterator[Block]:
        """Yield the blocks of a text box, whose fields and paragraphs are its own."""
        story = Story(self._document, self._part, in_head=self._in_head)
        yield from story.read(root)

    def _heading(self, properties: Element | None, style: str) -> int | None:
        own = outline_level(properties)
        if own is not None:
            return own + 1 if own < _BODY_LEVEL else None
        return self._document.styles.heading_level(style)

    def _contents_level(self, style: str, *, in_contents: bool) -> int | None:
        """Return the level from 0 of an entry in a table of contents; None for other paragraphs."""
        found = _CONTENTS_STYLE.fullmatch(self._document.styles.name(style).strip())
        if found:
            return int(found[1]) - 1
        return 0 if in_contents else None

    def _table(self, element: Element) -> Table:
        table = Table()
        heads, in_head = 0, True
        for row, is_prompt in _rows(element):
            properties = row.find(f"{W}trPr")
            if self._is_left_out(row, properties):
                continue
            self._runs.in_placeholder += is_prompt
            cells = self._row(row, properties)
            self._runs.in_placeholder -= is_prompt
            if not any(cell.blocks for cell in cells) and next(row.iter(f"{W}moveFrom", f"{W}del"), None) is not None:
                continue  # the row was moved away
            table.rows.append(cells)
            in_head = in_head and properties is not None and is_on(properties.find(f"{W}tblHeader"))
            heads += in_head
        return Table(table.rows, heads)

    def _is_left_out(self, row: Element, properties: Element | None) -> bool:
        if properties is None:
            return False
        if properties.find(f"{W}del") is not None:
            return True
        if is_on(properties.find(f"{W}hidden")):
            self._document.lost["hidden-text"] += any(text.text for text in row.iter(f"{W}t"))
            return True
        return False

    def _row(self, row: Element, properties: Element | None) -> list[TableCell]:
        before = None if properties is None else properties.find(f"{W}gridBefore")
        column = 0 if before is None else min(max(integer(before.get(VAL)) or 0, 0), _MAX_COLUMNS)
        cells: list[TableCell] = []
        if column:
            cells.append(TableCell((), 0, column, ""))
        for cell, is_prompt in _cells(row):
            own = cell.find(f"{W}tcPr")
            span = _span(own)
            if own is not None and own.find(f"{W}cellDel") is not None:
                continue
            self._runs.in_placeholder += is_prompt
            blocks = list(self._container(cell))
            self._runs.in_placeholder -= is_prompt
            if cells and _merge(own, "hMerge") == "continue":
                last = cells.pop()
                cells.append(TableCell(last.blocks, last.column, last.columns + span, last.merge))
            elif column < _MAX_COLUMNS:
                cells.append(TableCell(blocks, column, span, _merge(own, "vMerge")))
            column += span
        return cells


_TRANSPARENT = frozenset(f"{W}{name}" for name in ("customXml", "ins", "moveTo", "sdtContent", "smartTag"))


def _rows(element: Element) -> Iterator[tuple[Element, bool]]:
    yield from _inside(element, f"{W}tr")


def _cells(row: Element) -> Iterator[tuple[Element, bool]]:
    yield from _inside(row, f"{W}tc")


def _inside(element: Element, wanted: str) -> Iterator[tuple[Element, bool]]:
    """Yield the rows or cells in *element*, and whether a content control shows its prompt there."""
    for child in chosen(element) if element.tag == f"{MC}AlternateContent" else element:
        if child.tag == wanted:
            yield child, False
        elif child.tag == f"{W}sdt":
            prompt = is_on(child.find(f"{W}sdtPr/{W}showingPlcHdr"))
            for content in child.iterchildren(f"{W}sdtContent"):
                yield from ((found, inner or prompt) for found, inner in _inside(content, wanted))
        elif child.tag in _TRANSPARENT or child.tag == f"{MC}AlternateContent":
            yield from _inside(child, wanted)


def _span(properties: Element | None) -> int:
    element = None if properties is None else properties.find(f"{W}gridSpan")
    return 1 if element is None else min(max(integer(element.get(VAL)) or 1, 1), _MAX_COLUMNS)


def _merge(properties: Element | None, name: str) -> str:
    element = None if properties is None else properties.find(f"{W}{name}")
    return "" if element is None else element.get(VAL, "continue")


def _is_initial(properties: Element | None) -> bool:
    """Return whether a paragraph is the large first letter of the next one."""
    frame = None if properties is None else properties.find(f"{W}framePr")
    return frame is not None and frame.get(f"{W}dropCap", "none") != "none"


def _joined(first: Content, second: Content) -> Content:
    return Content(
        runs=[*first.runs, *second.runs],
        drawn=[*first.drawn, *second.drawn],
        display=[*first.display, *second.display],
        only_math=first.only_math and second.only_math,
    )


def _drop_page_number(content: Content) -> None:
    """Remove the page number at the end of an entry of a table of contents, and the tabs in it."""
    runs = [replace(run, text=run.text.rstrip()) if run is content.runs[-1] else run for run in content.runs]
    text = "".join(run.text for run in runs)
    found = _PAGE_AT_END.search(text)
    left = found.start() if found else len(text.rstrip())
    kept: list[Run] = []
    for run in runs:
        kept.append(replace(run, text=run.text[: max(left, 0)].replace(TAB, " "), link=""))
        left -= len(run.text)
    content.runs[:] = kept


def _wrapped(formula: Element) -> Element:
    """Return a paragraph that holds a formula which stands between paragraphs."""
    paragraph = formula.makeelement(f"{W}p")
    paragraph.append(deepcopy(formula))
    return paragraph
