"""A Markdown passage as a person reads it, with the place of each character in the Markdown; pure.

Signs of headings, quotes, fences and rules go, cells of a table have a point between them; `inline` reads the rest. A
passage is a part of a document: it may begin in a table without its head, or inside a code block. So lines are read one
by one, and nothing is expected around them. Code stays as it is.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import repeat

from blocks.sentences import Span
from tasks.text.inline import shown

_LINE = re.compile(r"[^\n]+\n?|\n")
_QUOTE = re.compile(r"[ \t]{0,3}(?:>[ \t]?)+")
_FENCE = re.compile(r"[ \t]*(`{3,}(?=[^`]*$)|~{3,})(.*)")
_RULE = re.compile(r"[ \t]*(?:[-*_=][ \t]*){3,}|(?=[^-]*-)(?=[^|]*\|)[|:\- \t]+")
_HEADING = re.compile(r"[ \t]{0,3}#{1,6}(?:[ \t]+|$)")
_HEADING_END = re.compile(r"(?:^|[ \t]+)#+$")
_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]+")
_CELL = re.compile(r"(?:\\.?|[^|\\])+")
_BETWEEN_CELLS = " · "
_BLANKS = " \t\r"


@dataclass(frozen=True, kw_only=True)
class Readable:
    """The text, and for each of its characters its place in the Markdown; places never decrease."""

    text: str
    places: list[int]

    def span(self, start: int, end: int) -> Span:
        """Return which characters of the text show ``[start, end)`` of the Markdown; none of what is not shown."""
        return bisect_left(self.places, start), bisect_left(self.places, max(start, end))


def readable(markdown: str) -> Readable:
    """Return what a person reads in *markdown*, without the blank lines at its end."""
    reader = _Reader(markdown)
    for line in _LINE.finditer(markdown):
        reader.read(line.span())
    reader.end_paragraph()
    text = "".join(reader.text).rstrip()
    return Readable(text=text, places=reader.places[: len(text)])


class _Reader:
    """Reads line by line; the lines of a paragraph are collected, because emphasis and links go on over them."""

    def __init__(self, markdown: str) -> None:
        self.text: list[str] = []
        self.places: list[int] = []
        self._markdown = markdown
        self._paragraph: list[Span] = []
        # Of the code that is open: the signs that end it, and whether its lines are quoted.
        self._fence = "```" if _begins_in_code(markdown) else ""
        self._is_quoted = False

    def read(self, line: Span) -> None:
        start, end = line[0], _content_end(self._markdown, line)
        quote = _QUOTE.match(self._markdown, start, end) if self._is_quoted or not self._fence else None
        start = quote.end() if quote else start
        fence = _FENCE.fullmatch(self._markdown, start, end)
        if self._fence:
            if fence and not fence[2] and fence[1].startswith(self._fence):
                self._fence = ""
            else:
                self._show((start, end))
                self._end_line(end)
        elif fence:
            self.end_paragraph()
            self._fence, self._is_quoted = fence[1], bool(quote)
        else:
            self._read_text(start, end)

    def end_paragraph(self) -> None:
        """Show the lines that belong together."""
        if self._paragraph:
            self._show_inline(self._paragraph)
            self._end_line(self._paragraph[-1][1])
            self._paragraph = []

    def _read_text(self, start: int, end: int) -> None:
        heading = _HEADING.match(self._markdown, start, end)
        is_row = self._markdown[start:end].lstrip(_BLANKS).startswith("|")
        item = _ITEM.match(self._markdown, start, end)
        is_rule = _RULE.fullmatch(self._markdown, start, end)
        if start == end or is_rule or heading or is_row or item:
            self.end_paragraph()
        if is_rule:
            return
        if heading:
            closing = _HEADING_END.search(self._markdown, heading.end(), end)
            self._show_inline([(heading.end(), closing.start() if closing else end)])
        elif is_row:
            self._show_row(start, end)
        elif start < end:
            if item:
                self._show(item.span())
            self._paragraph.append((item.end() if item else start, end))
            return
        self._end_line(end)

    def _show_row(self, start: int, end: int) -> None:
        is_first = True
        for cell in _CELL.finditer(self._markdown, start, end):
            content = cell[0].strip(_BLANKS)
            if content:
                place = cell.start() + cell[0].index(content)
                if not is_first:
                    self._add(zip(_BETWEEN_CELLS, repeat(cell.start() - 1)))
                self._show_inline([(place, place + len(content))])
                is_first = False

    def _show_inline(self, lines: list[Span]) -> None:
        places: list[int] = []
        for start, end in lines:
            if places:
                places.append(self._markdown.rindex("\n", 0, start))
            places += range(start, end)
        characters = shown("\n".join(self._markdown[start:end] for start, end in lines))
        self._add((character, places[at]) for character, at in characters)

    def _show(self, part: Span) -> None:
        self._add(zip(self._markdown[slice(*part)], range(*part), strict=True))

    def _end_line(self, content_end: int) -> None:
        """Show the end of a line whose content ends at *content_end*; the last one may have none."""
        place = self._markdown.find("\n", content_end)
        if place >= 0:
            self._show((place, place + 1))

    def _add(self, characters: Iterable[tuple[str, int]]) -> None:
        for character, place in characters:
            self.text.append(character)
            self.places.append(place)


def _content_end(markdown: str, line: Span) -> int:
    return line[0] + len(markdown[slice(*line)].rstrip(_BLANKS + "\n"))


def _begins_in_code(markdown: str) -> bool:
    """Return whether the first fence seems to end code: it names no language, has text before it, and no partner."""
    lines = (_QUOTE.sub("", line).rstrip() for line in markdown.split("\n"))
    fences = [fence for fence in map(_FENCE.fullmatch, lines) if fence]
    if not fences or fences[0][2] or markdown.lstrip().startswith(fences[0][1]):
        return False
    return len(fences) % 2 == 1 or bool(fences[1][2])
