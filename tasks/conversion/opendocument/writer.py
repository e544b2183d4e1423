"""The blocks of an OpenDocument text: headings, paragraphs, lists, tables, sections, and what is anchored in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tasks.conversion.markdown_writer import Body, Run, escape_line_starts, inline, table
from tasks.conversion.office.package import Element, local_name
from tasks.conversion.office.pictures import description
from tasks.conversion.opendocument.document import attribute
from tasks.conversion.opendocument.numbers import MAX_LEVEL, Counter, levels_of
from tasks.conversion.opendocument.objects import Objects
from tasks.conversion.opendocument.paragraphs import FLOATS, Context, Paragraph
from tasks.conversion.reading import clean_text
from tasks.conversion.spans import MAX_COLUMNS, Cell, nested, without_spans
from tasks.conversion.whole_numbers import whole_number

# Programs fill a table to its end with one repeated row or cell.
_MAX_REPEATED_ROWS = 1_000
_ROW_GROUPS = frozenset({"table-header-rows", "table-rows", "table-row-group"})
_CONTAINERS = frozenset(
    {
        *("section", "index-body", "index-title", "numbered-paragraph", "text-box", "page"),
        *("table-of-content", "illustration-index", "table-index", "object-index", "user-index"),
        *("alphabetical-index", "bibliography"),
    }
)


@dataclass
class Writer:
    """Writes blocks of one document; `objects` reads its charts and formulas."""

    context: Context
    objects: Objects
    _outline: Counter = field(init=False)
    _lists: dict[str, Counter] = field(default_factory=dict[str, Counter])

    def __post_init__(self) -> None:
        self._outline = Counter(levels_of(self.context.styles.outline))

    def write(self, body: Body, children: Iterable[Element]) -> None:
        """Add the blocks *children* to *body*."""
        for child in children:
            kind = local_name(child)
            if kind == "p":
                self._write_paragraph(body, child)
            elif kind == "h":
                self._write_heading(body, child, "")
            elif kind == "list":
                self._write_list(body, child, 1, None)
            elif kind == "table":
                body.block(table(self._rows(child)))
            elif kind in FLOATS:
                self.write_float(body, child)
            elif kind in _CONTAINERS:
                self._write_container(body, child)

    def _write_container(self, body: Body, element: Element) -> None:
        if attribute(element, "display") in ("none", "condition") and attribute(element, "condition") in ("", "true"):
            self.context.lost["hidden-text"] += 1
        else:
            self.write(body, element)

    def _write_paragraph(self, body: Body, element: Element) -> None:
        style = self.context.styles.paragraph(attribute(element, "style-name"))
        paragraph = Paragraph(self.context)
        markdown = paragraph.markdown(element, style.format)
        if style.is_title:
            body.heading(1, _without_emphasis(markdown))
        else:
            body.paragraph(markdown)
        self._write_floats(body, paragraph)

    def _write_heading(self, body: Body, element: Element, label: str) -> None:
        paragraph = Paragraph(self.context)
        style = self.context.styles.paragraph(attribute(element, "style-name"))
        hidden = style.format.hidden
        markdown = paragraph.markdown(element, style.format)
        written = attribute(element, "outline-level", "1")
        level = min(MAX_LEVEL, max(1, whole_number(written, 1)))
        if not label and not hidden and markdown and attribute(element, "is-list-header") != "true":
            start = attribute(element, "start-value") if attribute(element, "restart-numbering") == "true" else ""
            label = self._outline.next_label(level, start)
        shown = "" if label == "-" else label.strip()
        body.heading(level, f"{shown} {_without_emphasis(markdown)}" if markdown else "")
        self._write_floats(body, paragraph)

    def _write_floats(self, body: Body, paragraph: Paragraph) -> None:
        for one in paragraph.floats:
            self.write_float(body, one)

    def _write_list(self, body: Body, element: Element, level: int, counter: Counter | None) -> None:
        counter = counter or self._counter(element)
        for item in element:
            start = attribute(item, "start-value")
            labelled = local_name(item) != "list-item"
            for child in item:
                kind = local_name(child)
                if kind == "list":
                    self._write_list(body, child, min(MAX_LEVEL, level + 1), counter)
                elif kind in ("p", "h") and not labelled:
                    labelled = True
                    self._write_item(body, child, counter.next_label(level, start), level)
                elif kind == "p":
                    paragraph = Paragraph(self.context)
                    body.continuation(escape_line_starts(self._inline(child, paragraph)))
                    self._write_floats(body, paragraph)
                else:
                    self.write(body, [child])

    def _write_item(self, body: Body, element: Element, label: str, level: int) -> None:
        if local_name(element) == "h":
            self._write_heading(body, element, label or "-")
            return
        paragraph = Paragraph(self.context)
        markdown = self._inline(element, paragraph)
        label = label.strip()
        if label == "-" or (label[:-1].isdecimal() and label[-1:] in (".", ")")):
            body.item(label, markdown, level - 1)
        else:
            body.paragraph(f"{inline([Run(text=label)])} {markdown}" if markdown else "")
        self._write_floats(body, paragraph)

    def _inline(self, element: Element, paragraph: Paragraph) -> str:
        return paragraph.markdown(element, self.context.styles.paragraph(attribute(element, "style-name")).format)

    def _counter(self, element: Element) -> Counter:
        """Return the counter of a top-level list: a new one, or that of the list that it continues."""
        style = attribute(element, "style-name") or next(self._paragraph_list_styles(element), "")
        continued = attribute(element, "continue-list")
        # LibreOffice names lists that it has not written; the list of the same style goes on then.
        if continued not in self._lists and (continued or attribute(element, "continue-numbering") == "true"):
            continued = style
        counter = self._lists.get(continued) if continued else None
        if counter is None:
            counter = Counter(levels_of(self.context.styles.lists.get(style)))
        for name in (style, attribute(element, "id")):
            if name:
                self._lists[name] = counter
        return counter

    def _paragraph_list_styles(self, element: Element) -> Iterator[str]:
        for paragraph in element.iter("{*}p", "{*}h"):
            if style := self.context.styles.paragraph(attribute(paragraph, "style-name")).list_style:
                yield style

    def _rows(self, element: Element) -> list[list[str]]:
        return without_spans([row for group in element for row in self._row_group(group)])

    def _row_group(self, element: Element) -> Iterator[list[Cell]]:
        kind = local_name(element)
        if kind in _ROW_GROUPS:
            for child in element:
                yield from self._row_group(child)
        elif kind == "table-row":
            row = [*self._cells(element)]
            times = min(_MAX_REPEATED_ROWS, _count(element, "number-rows-repeated"))
            yield from [row] * (times if any(cell.text for cell in row) else 1)

    def _cells(self, row: Element) -> Iterator[Cell]:
        for child in row:
            if local_name(child) == "table-cell":
                rows, columns = _count(child, "number-rows-spanned"), _count(child, "number-columns-spanned")
                cell = Cell("\\\n".join(self._lines(child)), rows=rows, columns=columns)
                for _ in range(min(MAX_COLUMNS, _count(child, "number-columns-repeated"))):
                    yield cell

    def _lines(self, element: Element) -> Iterator[str]:
        """Yield the lines of a cell: its paragraphs, the items of its lists, the rows of a table in it."""
        for child in element:
            kind = local_name(child)
            if kind in ("p", "h"):
                paragraph = Paragraph(self.context)
                if markdown := self._inline(child, paragraph):
                    yield markdown
                for one in paragraph.floats:
                    inner = Body()
                    self.write_float(inner, one)
                    yield from (line for line in str(inner).split("\n") if line)
            elif kind == "list":
                yield from self._list_lines(child, 1, self._counter(child))
            elif kind == "table":
                yield from nested(self._rows(child))

    def _list_lines(self, element: Element, level: int, counter: Counter) -> Iterator[str]:
        for item in element:
            label = counter.next_label(level, attribute(item, "start-value")) if local_name(item) == "list-item" else ""
            for child in item:
                if local_name(child) == "list":
                    yield from self._list_lines(child, min(MAX_LEVEL, level + 1), counter)
                elif markdown := self._inline(child, Paragraph(self.context)):
                    yield f"{label} {markdown}".strip()
                    label = ""

    def write_float(self, body: Body, element: Element) -> None:
        """Add what a frame or a shape shows to *body*: text, a table, an object or the description of a picture."""
        kind = local_name(element)
        if kind in ("a", "g"):
            for child in element:
                if local_name(child) in FLOATS:
                    self.write_float(body, child)
        elif kind != "frame":
            self.write(body, element)
        else:
            self._write_frame(body, element)

    def _write_frame(self, body: Body, frame: Element) -> None:
        shown = {local_name(child): child for child in reversed(list(frame))}
        if "text-box" in shown:
            self.write(body, shown["text-box"])
        elif "table" in shown:
            self.write(body, [shown["table"]])
        elif "object" in shown:
            self.objects.write(body, shown["object"])
        elif "object-ole" in shown or "plugin" in shown or "floating-frame" in shown:
            self.context.lost["object"] += 1
        elif "image" in shown:
            self._write_picture(body, frame)

    def _write_picture(self, body: Body, frame: Element) -> None:
        text = description(frame.findtext("{*}desc")) or description(frame.findtext("{*}title"))
        if text:
            body.paragraph(inline([Run(text=clean_text(text))]))
        elif attribute(frame, "decorative") != "true":
            self.context.lost["image"] += 1


def _without_emphasis(markdown: str) -> str:
    """Return a heading's Markdown without the emphasis of the whole of it, which its style gives."""
    for mark in ("***", "**", "*"):
        inner = markdown[len(mark) : -len(mark)]
        if markdown.startswith(mark) and markdown.endswith(mark) and inner and "*" not in inner:
            return inner
    return markdown


def _count(element: Element, name: str) -> int:
    return whole_number(attribute(element, name), 1)
