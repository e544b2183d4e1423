"""Tables of HTML as pipe tables (GFM 4.10), each value in every row that its cell covers.

Owns the grid of cells (HTML Living Standard 4.9.12), which rows are the head, and which tables are only layout: these
are written as the text that stands in them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from blocks.errors import TooLarge
from tasks.conversion.html.block import Block
from tasks.conversion.html.tree import Element
from tasks.conversion.markdown_writer import table
from tasks.conversion.spans import nested

if TYPE_CHECKING:
    from tasks.conversion.html.writer import Writer

# The standard's limits are 1,000 columns and 65,534 rows; a page that used both would fill the memory.
_MAX_COLUMNS = 1_000
_MAX_REPEATED_CHARACTERS = 2_000_000
_MAX_REPEATED_CELL = 1_000
# Spans make a thousand cells of one: a table of more cells than this has at least one of its own for every fifty.
_MAX_CELLS = 1_000_000
_MAX_CELLS_OF_ONE = 50
_SECTIONS = frozenset({"thead", "tbody", "tfoot", "form", "span", "div"})
_BLOCKS_OF_LAYOUT = frozenset(
    {"h1", "h2", "h3", "h4", "h5", "h6", "pre", "blockquote", "hr", "figure", "form", "section", "article"}
)


class _Cell(NamedTuple):
    text: str
    heads: bool


_EMPTY = _Cell("", heads=False)


def written(writer: Writer, element: Element) -> list[Block]:
    """Return the table with its caption, or the text in it if it is only layout."""
    rows = _rows(element)
    caption = [block for one in element if one.tag == "caption" for block in writer.caption(one)]
    if not rows or _is_layout(element, rows):
        return [*caption, *_unrolled(writer, element, rows)]
    titles = 0
    while titles < len(rows) - 1 and _is_title(rows, titles):
        titles += 1
    above = [block for row, _ in rows[:titles] for one in _cells(row) for block in writer.blocks(one)]
    writer.in_cell += 1
    grid = _grid(writer, rows[titles:])
    writer.in_cell -= 1
    grid, heads = _with_head(_trimmed(grid), sum(head for _, head in rows[titles:]))
    if not grid:
        return [*caption, *above]
    body = [[_flat(value.text) for value in row] for row in grid[heads:]]
    return [*caption, *above, Block(table([_joined_head(grid[:heads]), *body]))]


def _is_title(rows: list[tuple[Element, bool]], index: int) -> bool:
    """Return whether a row is one cell over all columns, and so a title and no column's name."""
    cells = _cells(rows[index][0])
    width = max(sum(_span(one.get("colspan"), _MAX_COLUMNS) for one in _cells(row)) for row, _ in rows)
    alone = len(cells) == 1 and _span(cells[0].get("rowspan"), _MAX_COLUMNS) == 1
    return alone and width > 1 and _span(cells[0].get("colspan"), _MAX_COLUMNS) >= width


def _rows(element: Element) -> list[tuple[Element, bool]]:
    """Return the rows of *element* itself, those of its foot last, and whether each is in its head."""
    rows: list[tuple[Element, bool]] = []
    foot: list[tuple[Element, bool]] = []

    def collect(parent: Element, head: bool, into: list[tuple[Element, bool]]) -> None:
        for child in parent:
            if child.tag == "tr":
                into.append((child, head))
            elif child.tag in _SECTIONS:
                collect(child, child.tag == "thead", foot if child.tag == "tfoot" else into)

    collect(element, False, rows)
    return [*(row for row in rows if row[1]), *(row for row in rows if not row[1]), *foot]


def _cells(row: Element) -> list[Element]:
    return [child for child in row if child.tag in ("td", "th")]


def _is_layout(element: Element, rows: list[tuple[Element, bool]]) -> bool:
    role = (element.get("role") or "").lower()
    if role in ("presentation", "none", "table", "grid"):
        return role in ("presentation", "none")
    widest = max(len(_cells(row)) for row, _ in rows)
    if widest <= 1 and (len(rows) == 1 or _holds_layout(rows)):
        return True
    if any(head for _, head in rows) or any(child.tag == "th" for row, _ in rows for child in row):
        return False
    return _holds_layout(rows)


def _holds_layout(rows: list[tuple[Element, bool]]) -> bool:
    for row, _ in rows:
        for one in _cells(row):
            for inner in one.iter("table", *_BLOCKS_OF_LAYOUT):
                return inner is not None
    return False


def _unrolled(writer: Writer, element: Element, rows: list[tuple[Element, bool]]) -> list[Block]:
    """Return what stands in the cells one after another, and text that stands outside of them."""
    result: list[Block] = []
    for row, _ in rows:
        for one in row:
            result += writer.blocks(one) if one.tag in ("td", "th") else writer.blocks_around(one)
    if not rows:
        for one in element:
            if one.tag not in ("caption", "colgroup", "col"):
                result += writer.blocks(one)
    return result


def _grid(writer: Writer, rows: list[tuple[Element, bool]]) -> list[list[_Cell]]:
    """Return the cells by row and column.

    A cell over several rows stands in each of them. One over several columns stands in the first of them, and in the
    head of the table in each. Raises `TooLarge` where spans make too many cells.
    """
    grid: list[list[_Cell]] = []
    below: dict[int, tuple[int, _Cell]] = {}  # column: for how many further rows, and what
    budget = _MAX_REPEATED_CHARACTERS
    declared = any(head for _, head in rows)
    names_columns, width, own = True, 0, 0
    for index, (row, head) in enumerate(rows):
        line: list[_Cell] = []
        names_columns = head or (not declared and names_columns and _names_columns(row, index))

        def fill(line: list[_Cell] = line) -> None:
            nonlocal budget
            while len(line) in below:
                left, value = below.pop(len(line))
                budget -= len(value.text)
                line.append(value if budget > 0 else _EMPTY)
                if left > 1:
                    below[len(line) - 1] = (left - 1, value)

        for one in _cells(row):
            fill()
            own += 1
            text = cell_text(writer, one)
            value = _Cell(text, heads=one.tag == "th")
            again = value if len(text) <= _MAX_REPEATED_CELL else _Cell("", heads=value.heads)
            further = again if names_columns else _Cell("", heads=value.heads)
            down = _span(one.get("rowspan"), len(rows) - index, zero=len(rows) - index)
            across = min(_span(one.get("colspan"), _MAX_COLUMNS), max(1, _MAX_COLUMNS - len(line)))
            for column in range(across):
                if down > 1:
                    below[len(line)] = (down - 1, further if column else again)
                line.append(further if column else value)
        fill()
        last = max(below, default=-1)
        while len(line) <= last:  # a short row under a cell further to the right
            line.append(_EMPTY)
            fill()
        grid.append(line)
        width = max(width, len(line))
        if width * len(grid) > max(_MAX_CELLS, _MAX_CELLS_OF_ONE * own):
            raise TooLarge(f"the cells of a table in the document span more than {_MAX_CELLS:,} places; simplify it")
    return [[*line, *[_EMPTY] * (width - len(line))] for line in grid]


def _names_columns(row: Element, index: int) -> bool:
    """Return whether a row belongs to the head: all its cells are headings, or it is the first one and none is."""
    kinds = {one.tag for one in _cells(row)}
    return kinds == {"th"} or (index == 0 and "th" not in kinds)


def _span(text: str | None, most: int, zero: int = 1) -> int:
    try:
        value = int(text or 1)
    except ValueError:
        return 1
    return max(1, min(value if value > 0 else zero, most))


def cell_text(writer: Writer, one: Element) -> str:
    """Return the blocks of a cell as lines; a table inside is one line per row, with the names of its columns."""
    return "\n".join(block.text for block in writer.blocks(one)).strip()


def as_lines(writer: Writer, element: Element) -> list[Block]:
    """Return a table that stands in a cell: one line per row, "Number: 31; Built: 1954"."""
    rows = _rows(element)
    grid, heads = _with_head(_trimmed(_grid(writer, rows)), sum(head for _, head in rows))
    texts = [[_flat(one.text) for one in row] for row in grid]
    if 0 < heads < len(grid) and len(grid[0]) > 1:
        texts = [_joined_head(grid[:heads]), *texts[heads:]]
    return [Block(line) for line in nested(texts)]


def _trimmed(grid: list[list[_Cell]]) -> list[list[_Cell]]:
    """Return *grid* without rows and columns that are empty."""
    rows = [row for row in grid if any(value.text for value in row)]
    used = [index for index in range(len(rows[0]) if rows else 0) if any(row[index].text for row in rows)]
    return rows if not rows or len(used) == len(rows[0]) else [[row[index] for index in used] for row in rows]


def _with_head(grid: list[list[_Cell]], declared: int) -> tuple[list[list[_Cell]], int]:
    """Return the grid and how many of its first rows are its head.

    Rows of heading cells are one. Where the first cell of every row is its heading there is none, so an empty row is
    put in. Else the first row is taken for it, because Markdown asks for one.
    """
    if not grid:
        return grid, 0
    heads = min(declared, len(grid))
    for row in grid if not declared else ():
        if not all(value.heads or not value.text for value in row):
            break
        heads += 1
    if heads == len(grid) and len(grid) > 1 and not declared:
        heads = 1
    if not heads and len(grid[0]) > 1 and all(row[0].heads for row in grid):
        return [[_EMPTY] * len(grid[0]), *grid], 1
    return grid, max(1, heads)


def _joined_head(rows: list[list[_Cell]]) -> list[str]:
    """Return one row of several: "Trains / Up". A name over several rows stands once."""
    return [
        " / ".join(dict.fromkeys(_flat(one.text) for one in column if one.text)) for column in zip(*rows, strict=True)
    ]


def _flat(text: str) -> str:
    return re.sub(r"[ \t]*(?:\\?\n)+[ \t]*", "<br>", text)
