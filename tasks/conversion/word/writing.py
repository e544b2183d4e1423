"""Blocks as Markdown: lists with their numbers, headings, tables, formulas.

Owns which lists are lists of Markdown: bullets, and decimal numbers ("7.", "7)") that follow one another, because
Markdown counts by itself. Every other label is text before its paragraph.
"""

from __future__ import annotations

from collections.abc import Iterable

from tasks.conversion.markdown_writer import Body, Run, escape_line_starts, inline, table
from tasks.conversion.plain.reader import as_code_block
from tasks.conversion.word.blocks import Block, Bullets, Paragraph, Table
from tasks.conversion.word.numbering import Item
from tasks.conversion.word.tables import laid_out

_MAX_NUMBER = 999_999_999


class StoryWriter:
    """Writes the blocks of a story. Notes have no headings: theirs are bold."""

    def __init__(self, *, headings: bool = True) -> None:
        self._body = Body()
        self._headings = headings
        self._code: list[str] = []
        # The last sign and number of each level of the list that is open, None after a bullet.
        self._numbers: dict[int, tuple[str, int] | None] = {}

    def write(self, blocks: Iterable[Block]) -> None:
        """Add *blocks* in order."""
        for block in blocks:
            if isinstance(block, Paragraph) and block.code:
                self._code.append("".join(run.text for run in block.runs).rstrip())
                continue
            self._end_code()
            if isinstance(block, Paragraph):
                self._paragraph(block)
            elif isinstance(block, Table):
                self._table(block)
            elif isinstance(block, Bullets):
                self._items(block)
            else:
                self._end_list()
                self._body.block(block.text)
        self._end_code()

    def text(self, markdown: str) -> None:
        """Add a paragraph of Markdown."""
        self._end_list()
        self._body.paragraph(markdown)

    def block(self, markdown: str) -> None:
        """Add Markdown as it is."""
        self._end_list()
        self._body.block(markdown)

    def __str__(self) -> str:
        return str(self._body)

    def _paragraph(self, paragraph: Paragraph) -> None:
        if paragraph.heading is not None and self._headings:
            self._end_list()
            if not paragraph.is_empty:
                self._body.heading(paragraph.heading, paragraph.labelled())
        elif paragraph.display and not paragraph.label:
            self._end_list()
            for latex in paragraph.display:
                self._body.block(f"$${latex}$$")
        elif paragraph.contents_level is not None:
            self._item("-", paragraph.labelled(), paragraph.contents_level, None)
        elif paragraph.item is None or paragraph.item.kind == "none":
            self.text(paragraph.markdown())
        else:
            self._listed(paragraph)

    def _listed(self, paragraph: Paragraph) -> None:
        item = paragraph.item
        if item is None:
            return
        if item.kind == "bullet":
            if not paragraph.is_empty:
                self._item("-", f"{item.label} {paragraph.markdown()}".strip(), item.level, None)
        elif item.kind == "number" and self._goes_on(item):
            self._item(item.label, paragraph.markdown(), item.level, (item.label[-1], item.number))
        else:
            self._label(paragraph.labelled(), item.level)

    def _goes_on(self, item: Item) -> bool:
        """Return whether Markdown would count an item's number here: first in its list, or after the one before."""
        last = self._numbers.get(item.level)
        return item.number <= _MAX_NUMBER and (last is None or last[0] != item.label[-1] or item.number == last[1] + 1)

    def _item(self, marker: str, markdown: str, level: int, number: tuple[str, int] | None) -> None:
        self._numbers = {known: last for known, last in self._numbers.items() if known < level} | {level: number}
        self._body.item(marker, markdown, level)

    def _label(self, markdown: str, level: int) -> None:
        """Add a paragraph that begins with its label, below the item of a higher level if there is one."""
        self._numbers = {known: last for known, last in self._numbers.items() if known < level}
        if self._numbers:
            self._body.continuation(escape_line_starts(markdown), level)
        else:
            self.text(markdown)

    def _items(self, bullets: Bullets) -> None:
        self._end_list()
        for level, text in bullets.items:
            self._body.item("-", inline([Run(text=text)]), level)

    def _table(self, given: Table) -> None:
        self._end_list()
        laid = laid_out(given)
        if laid.only_cell is not None:
            self.write(laid.only_cell)
            return
        for title in laid.titles:
            self.text(title)
        self.block(table(laid.rows))

    def _end_code(self) -> None:
        """Write the lines of code that were read, in one block."""
        text = "\n".join(self._code).strip("\n")
        self._code.clear()
        if text.strip():
            self.block(as_code_block(f"{text}\n", ""))

    def _end_list(self) -> None:
        self._numbers.clear()
