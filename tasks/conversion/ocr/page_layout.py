"""Recognised lines in reading order, as Markdown; pure.

Owns the rules: columns one after another where a gutter runs between long lines, rows of short pieces that stand under
each other as a table, lines of one block as a paragraph.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from tasks.conversion.line_ends import LineEnd, LineEnds, english_words, words_of
from tasks.conversion.markdown_writer import escape, escape_line_starts, table
from tasks.conversion.ocr.engine import Line

# In heights of a line.
_GUTTER, _PARAGRAPH_GAP, _SAME_ROW = 0.7, 0.65, 0.5
# Columns of text have at least so many lines, of at least so many characters; cells of a table have less.
_COLUMN_LINES, _COLUMN_CHARACTERS = 4, 18
# A line that ends before this share of its block's width ends a paragraph.
_FULL_LINE = 0.82
_TABLE_ROWS = 2
_CELL_CHARACTERS = 30


def page_markdown(lines: Sequence[Line]) -> str:
    """Return the Markdown of one page."""
    return "\n\n".join(block for region in _regions(list(lines)) for block in _blocks(region))


def confidence(lines: Sequence[Line]) -> float:
    """Return the mean confidence (0 to 1), longer lines counting more; 0 without lines."""
    characters = sum(len(line.text) for line in lines)
    return sum(line.confidence * len(line.text) for line in lines) / characters if characters else 0.0


def _regions(lines: list[Line]) -> list[list[Line]]:
    """Return *lines* in parts to be read one after another."""
    if len(lines) < 2:
        return [lines] if lines else []
    for cut in (_columns(lines), _bands(lines)):
        if cut is not None:
            return [region for part in cut for region in _regions(part)]
    return [lines]


def _columns(lines: list[Line]) -> tuple[list[Line], list[Line]] | None:
    """Return both sides of the widest gutter between columns of text."""
    height = median(line.height for line in lines)
    best: tuple[float, list[Line], list[Line]] | None = None
    for at, gap in _gaps([(line.left, line.right) for line in lines]):
        sides = [line for line in lines if line.right <= at], [line for line in lines if line.right > at]
        if gap < _GUTTER * height or not all(map(_is_column, sides)):
            continue
        if best is None or gap > best[0]:
            best = gap, *sides
    return best[1:] if best else None


def _is_column(lines: list[Line]) -> bool:
    return len(lines) >= _COLUMN_LINES and median(len(line.text) for line in lines) >= _COLUMN_CHARACTERS


def _bands(lines: list[Line]) -> tuple[list[Line], list[Line]] | None:
    """Return what is above and below the gap under a title that runs across columns, if columns come of it."""
    for at, _ in _gaps([(line.top, line.bottom) for line in lines]):
        above, below = [line for line in lines if line.bottom <= at], [line for line in lines if line.bottom > at]
        if _columns(below) is not None or _columns(above) is not None:
            return above, below
    return None


def _gaps(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return where a gap between *spans* begins, and how wide it is."""
    gaps: list[tuple[float, float]] = []
    ordered = sorted(spans)
    end = ordered[0][1]
    for start, stop in ordered[1:]:
        if start > end:
            gaps.append((end, start - end))
        end = max(end, stop)
    return gaps


def _blocks(lines: list[Line]) -> list[str]:
    """Return the Markdown blocks of a region."""
    rows = _rows(lines)
    left, right = min(line.left for line in lines), max(line.right for line in lines)
    blocks: list[str] = []
    paragraph: list[str] = []
    at = 0
    while at < len(rows):
        length = _table_length(rows[at:])
        starts_block = at > 0 and _gap(rows[at - 1], rows[at]) > _PARAGRAPH_GAP * rows[at][0].height
        if (length or starts_block) and paragraph:
            blocks.append(_paragraph(paragraph))
            paragraph = []
        if length:
            blocks.append(table([[escape(line.text) for line in row] for row in rows[at : at + length]]))
            at += length
            continue
        paragraph.append(" ".join(line.text for line in rows[at]))
        if rows[at][-1].right < left + _FULL_LINE * (right - left):
            blocks.append(_paragraph(paragraph))
            paragraph = []
        at += 1
    return [*blocks, _paragraph(paragraph)] if paragraph else blocks


def _rows(lines: list[Line]) -> list[list[Line]]:
    """Return the lines by rows from the top, each from the left."""
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: (line.top + line.bottom, line.left)):
        if rows:
            first = rows[-1][0]
            if abs(first.top + first.bottom - line.top - line.bottom) / 2 < _SAME_ROW * min(first.height, line.height):
                rows[-1].append(line)
                continue
        rows.append([line])
    for row in rows:
        row.sort(key=lambda line: line.left)
    return rows


def _table_length(rows: list[list[Line]]) -> int:
    """Return how many rows from the first one on have the same cells under each other; 0 if that is no table."""
    first = rows[0]
    if len(first) < 2 or not _are_cells(first):
        return 0
    length = 1
    while (
        length < len(rows)
        and len(rows[length]) == len(first)
        and _is_under(rows[length], first)
        and _are_cells(rows[length])
    ):
        length += 1
    return length if length >= _TABLE_ROWS else 0


def _are_cells(row: list[Line]) -> bool:
    return median(len(line.text) for line in row) <= _CELL_CHARACTERS


def _is_under(row: list[Line], first: list[Line]) -> bool:
    return all(
        abs(line.left - above.left) < 2 * above.height or abs(line.right - above.right) < 2 * above.height
        for line, above in zip(row, first, strict=True)
    )


def _gap(above: list[Line], below: list[Line]) -> float:
    return min(line.top for line in below) - max(line.bottom for line in above)


def _paragraph(lines: list[str]) -> str:
    """Return *lines* as one paragraph; hyphens at their ends by the rules of PDF."""
    ends = [
        LineEnd(left.rsplit(None, 1)[-1][:-1], right.split(None, 1)[0])
        for left, right in pairwise(lines)
        if left.endswith("-")
    ]
    rules = LineEnds(ends, words_of("\n".join(lines)), english_words()) if ends else None
    text, pending = lines[0], iter(ends)
    for line in lines[1:]:
        joint = rules.joint(next(pending)) if rules and text.endswith("-") else None
        text = f"{text} {line}" if joint is None else f"{text[:-1].rstrip()}{joint}{line}"
    return escape_line_starts(escape(text))
