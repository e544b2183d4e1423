"""Pages of columns that the library reads across, written anew in the order of the file.

xberg 1.3.9 takes some pages of two columns for one, and goes from line to line across the gutter. LaTeX, word
processors and browsers write one column after another. Owns the two proofs that a page needs before its text is
replaced: lines that follow each other in the file do not in the Markdown, and the file goes down one column before it
begins another.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tasks.conversion.markdown_writer import escape, escape_line_starts
from tasks.conversion.pdf.page_signs import PageSigns, Run, decoded, runs
from tasks.conversion.pdf.placement import Condensed, condense

_LINE_END = re.compile(r"\r\n|\ufffe")
# As pdfium says that a hyphen ends a line.
_HYPHENS = {0x02: "-", 0xFFFE: "-"}
# Signs of a line that is looked for, and of one that is looked at.
_SIGNS, _LEAST_SIGNS = 10, 15
# Pages of fewer lines prove nothing. Of the lines of a page that is read right, notes and raised signs hide some.
_LEAST_LINES, _READ_RIGHT = 24, 0.85
# How many lines may be followed by one at their side: the cells of a table, a number in the margin.
_MOST_CROSSINGS = 0.1
_COLUMN_LINES = 6
# Some pages of signs.
_WINDOW = 20_000
# Page numbers, and those of notes and sections, stand anywhere.
_NUMBER_SIGNS = 4
# In heights of a line.
_INDENT, _SHORT, _PARAGRAPH_GAP, _SAME_LINE, _MOST_GAP = 0.7, 3.0, 1.75, 0.4, 2.0
_HEADING_SIZE, _HEADING_SIGNS = 1.3, 100


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    left: float
    right: float
    bottom: float
    height: float


def read_across(markdown: str, pages: Sequence[PageSigns]) -> list[int]:
    """Return the pages (from 0) whose lines do not follow each other in *markdown* as they do in the file."""
    condensed = condense(markdown)
    torn: list[int] = []
    near = 0
    for number, page in enumerate(pages):
        lines = [line for line in map(condense, _LINE_END.split(page.text)) if len(line) >= _LEAST_SIGNS]
        if len(lines) < _LEAST_LINES:
            continue
        found = 0
        for above, below in pairwise(lines):
            wanted = above[-_SIGNS:] + below[:_SIGNS]
            at = condensed.find(wanted, max(0, near - _WINDOW), near + _WINDOW)  # pages come in order, mostly
            at = at if at >= 0 else condensed.find(wanted)
            if at >= 0:
                found, near = found + 1, at
        if found < _READ_RIGHT * (len(lines) - 1):
            torn.append(number)
    return torn


def in_file_order(text_page: Any) -> str | None:
    """Return the Markdown of a page in the order of the file; None where that is not one column after another."""
    lines = _lines(text_page)
    if len(lines) < _LEAST_LINES or not _goes_down_columns(lines):
        return None
    body = Counter(round(line.height, 1) for line in lines for _ in line.text).most_common(1)[0][0]
    blocks: list[list[_Line]] = []
    for line in lines:
        if blocks and not _starts_block(blocks[-1][-1], line, lines):
            blocks[-1].append(line)
        else:
            blocks.append([line])
    return "\n\n".join(_block(block, body) for block in blocks)


def with_pages_replaced(markdown: str, page_texts: Sequence[str], replaced: dict[int, str]) -> str:
    """Return *markdown* with some of its pages replaced. *page_texts* are its pages in order.

    Where the pages do not make up the Markdown, nothing is replaced.
    """
    condensed = Condensed(markdown)
    lengths = [len(condense(text)) for text in page_texts]
    if sum(lengths) != len(condensed.text):
        return markdown
    parts: list[str] = []
    start = at = 0
    for number, length in enumerate(lengths):
        at += length
        if number in replaced:
            first = condensed.start_of_line(at - length)
            parts += (markdown[start:first].strip("\n"), replaced[number])
            start = condensed.start_of_line(at)
    return "\n\n".join(part for part in (*parts, markdown[start:].strip("\n")) if part) + "\n"


def _lines(text_page: Any) -> list[_Line]:
    lines: list[_Line] = []
    first = 0
    for run in runs(text_page):
        before = lines[-1] if lines else None
        if (
            before is not None
            and _overlap(before, run) > _SAME_LINE * min(before.height, run.height)
            and -before.height < run.left - before.right < _MOST_GAP * max(before.height, run.height)
        ):
            # A line is as high as its longest part: signs of mathematics are higher, notes are lower.
            longest = before if before.right - before.left >= run.right - run.left else run
            text = _clean(text_page, first, run.last)
            lines[-1] = _Line(text, before.left, run.right, longest.bottom, longest.height)
            continue
        first = run.first
        lines.append(_Line(_clean(text_page, first, run.last), run.left, run.right, run.bottom, run.height))
    return [line for line in lines if line.text]


def _overlap(line: _Line, run: Run) -> float:
    return min(line.bottom + line.height, run.bottom + run.height) - max(line.bottom, run.bottom)


def _clean(text_page: Any, first: int, last: int) -> str:
    return " ".join(decoded(text_page.raw, first, last + 1).translate(_HYPHENS).split())


def _goes_down_columns(lines: list[_Line]) -> bool:
    aside = [
        (above, below)
        for above, below in pairwise(lines)
        if (below.left >= above.right or below.right <= above.left)
        and min(len(above.text), len(below.text)) > _NUMBER_SIGNS
    ]
    switches = [pair for pair in aside if pair[1].bottom > pair[0].bottom + _COLUMN_LINES * pair[0].height]
    return bool(switches) and len(aside) <= max(2, _MOST_CROSSINGS * len(lines))


def _starts_block(above: _Line, below: _Line, lines: list[_Line]) -> bool:
    if abs(above.height - below.height) > 0.08 * above.height:
        return True
    gap = above.bottom - below.bottom
    if gap > 0 and gap > _PARAGRAPH_GAP * below.height:
        return True
    left, right = _column(below, lines)[0], _column(above, lines)[1]
    return below.left > left + _INDENT * below.height or above.right < right - _SHORT * above.height


def _column(line: _Line, lines: list[_Line]) -> tuple[float, float]:
    """Return the edges of the column that *line* is in, as most of its lines have them."""
    inside = [one for one in lines if one.left < line.right and one.right > line.left]
    left = Counter(round(one.left) for one in inside).most_common(1)[0][0]
    right = Counter(round(one.right) for one in inside if one.left >= left - 1).most_common(1)
    return left, right[0][0] if right else line.right


def _block(lines: list[_Line], body: float) -> str:
    text = escape(" ".join(line.text for line in lines))
    if lines[0].height >= _HEADING_SIZE * body and len(text) <= _HEADING_SIGNS:
        return f"## {text}"
    return escape_line_starts(text)
