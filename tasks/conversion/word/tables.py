"""Tables of Word as plain rows of Markdown cells; pure.

Owns what Markdown's tables lack: cells over several rows and columns, headers of several rows, a title in the first
row, tables inside of cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tasks.conversion.spans import Cell, nested, without_spans
from tasks.conversion.word.blocks import Block, Bullets, Markdown, Paragraph, Table, TableCell

_LINE_END = "\\\n"


@dataclass(frozen=True)
class LaidOut:
    """A table as rows, the first one its header, after the paragraphs of its titles; or the blocks of its only cell."""

    rows: list[list[str]] = field(default_factory=list[list[str]])
    titles: list[str] = field(default_factory=list[str])
    only_cell: Sequence[Block] | None = None


@dataclass(slots=True)
class _Placed:
    """A cell of the grid, its text, and how many rows it covers."""

    cell: TableCell
    text: str
    rows: int = 1


def laid_out(table: Table) -> LaidOut:
    """Return *table* as it is written."""
    if len(table.rows) == 1 and len(table.rows[0]) == 1:
        return LaidOut(only_cell=table.rows[0][0].blocks)
    rows = _placed(table)
    titles: list[str] = []
    width = max((sum(one.cell.columns for one in row) for row in rows), default=0)
    while len(rows) > 1 and width > 1 and len(rows[0]) == 1 and rows[0][0].cell.columns >= width:
        titles.append(rows.pop(0)[0].text)
    heads = max(min(table.heads - len(titles), len(rows) - 1), _spanned_heads(rows), 1)
    flat = without_spans([_cells(row, in_head=number < heads) for number, row in enumerate(rows)])
    if heads > 1:
        flat = [_merged_heads(flat[:heads]), *flat[heads:]]
    if flat:
        flat[0] = _without_bold(flat[0])
    return LaidOut(rows=flat, titles=titles)


def cell_text(blocks: Iterable[Block]) -> str:
    """Return the blocks of a cell as the lines of one."""
    lines: list[str] = []
    for block in blocks:
        if isinstance(block, Paragraph):
            lines.append(block.labelled())
        elif isinstance(block, Table):
            lines += _inner_table(block)
        elif isinstance(block, Bullets):
            lines += [text for _, text in block.items]
        else:
            lines.append(_one_line(block))
    return _LINE_END.join(line for line in lines if line.strip())


def _placed(table: Table) -> list[list[_Placed]]:
    """Return the rows' cells with the rows that they cover; what continues a cell above is that cell."""
    rows: list[list[_Placed]] = []
    open_cells: dict[int, _Placed] = {}
    for row in table.rows:
        placed: list[_Placed] = []
        still_open: dict[int, _Placed] = {}
        for cell in row:
            above = open_cells.get(cell.column)
            if cell.merge == "continue" and above is not None:
                above.rows += 1
                still_open[cell.column] = above
                continue
            one = _Placed(cell, cell_text(cell.blocks))
            placed.append(one)
            if cell.merge:
                still_open[cell.column] = one
        open_cells = still_open
        rows.append(placed)
    return rows


def _spanned_heads(rows: Sequence[Sequence[_Placed]]) -> int:
    """Return how many rows make the header, where a name over several columns stands above names of its own."""
    first = rows[0] if rows else ()
    if not any(one.cell.columns > 1 for one in first):
        return 1
    tall = max((one.rows for one in first), default=1)
    return tall if tall < len(rows) else 1


def _cells(row: Sequence[_Placed], *, in_head: bool) -> list[Cell]:
    """Return a row's cells; a name over several columns of the header is that of each."""
    if not in_head:
        return [Cell(one.text, rows=one.rows, columns=one.cell.columns) for one in row]
    return [Cell(one.text, rows=one.rows) for one in row for _ in range(one.cell.columns)]


def _merged_heads(heads: Sequence[Sequence[str]]) -> list[str]:
    """Return one row of names from several, each with the names above it."""
    names: list[str] = []
    for column in range(max(map(len, heads))):
        parts = dict.fromkeys(row[column] for row in heads if column < len(row) and row[column])
        names.append(" ".join(parts))
    return names


def _without_bold(names: list[str]) -> list[str]:
    """Return the names of a header without the bold that all of them have: Markdown's header says it."""
    filled = [name for name in names if name]
    if not all(name.startswith("**") and name.endswith("**") and name.count("**") == 2 for name in filled):
        return names
    return [name[2:-2] if name else name for name in names]


def _inner_table(table: Table) -> list[str]:
    """Return a table that stands in a cell as a line for each row, with its columns' names."""
    laid = laid_out(table)
    if laid.only_cell is not None:
        return [cell_text(laid.only_cell)]
    rows = [[cell.replace(_LINE_END, " ") for cell in row] for row in laid.rows]
    return [*laid.titles, *nested(rows)]


def _one_line(block: Markdown) -> str:
    return _LINE_END.join(line for line in block.text.split("\n") if line.strip())
