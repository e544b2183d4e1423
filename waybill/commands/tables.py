"""How commands print tables: each row in one line of a terminal, and whole where a program reads.

Rich is imported only where a terminal shows a table.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

import typer

from waybill.commands.output import escaped

# Columns that a table can spare are left out until each name that is cut, and each sentence, has this much room.
_NAME_CELLS, _SENTENCE_CELLS = 16, 36
# In a narrower terminal a column that is cut keeps this much, and rows are folded.
_LEAST_CELLS = 10
# The end of a name often has a number and an extension.
_TAIL_CHARACTERS = 8
# Rich's padding of two neighbours.
_BETWEEN_COLUMNS = 2

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# Up to each dash of an id; commands take an id by its first eight digits.
_ID_LENGTHS = (8, 13, 18, 23)
# Ids of version 7 begin with the time to the millisecond: with fewer digits, those of the same minute look alike.
_TIMED_ID_LENGTH, _VERSION_PLACE = 13, 14


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numeric: Sequence[str] = (),
    cut: Sequence[str] = (),
    prose: Sequence[str] = (),
    spare: Sequence[str] = (),
) -> None:
    """Print a table to standard output; columns in *numeric* are aligned to the right.

    Where a row is too wide for the terminal, ids have their first digits alone, then empty columns and those in *spare*
    are left out, in this order, and then names in the columns *cut* lose their middle and sentences in *prose* their
    end. A file or a pipe gets everything, with one line for each row.
    """
    lines = [[escaped(cell) for cell in row] for row in rows]
    cells = {name: [line[place] for line in lines] for place, name in enumerate(columns)}
    if sys.stdout.isatty():
        _print_fitted(cells, numeric, cut, prose, spare)
        return
    widths = {name: max(map(len, (name, *column))) for name, column in cells.items()}
    for line in (columns, *lines):
        padded = (
            cell.rjust(widths[name]) if name in numeric else cell.ljust(widths[name])
            for name, cell in zip(columns, line, strict=True)
        )
        typer.echo("  ".join(padded).rstrip())


def _print_fitted(
    cells: dict[str, list[str]],
    numeric: Sequence[str],
    cut: Sequence[str],
    prose: Sequence[str],
    spare: Sequence[str],
) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    fitted = _fitted(cells, console.width, cut=cut, prose=prose, spare=spare)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in fitted:
        table.add_column(name, justify="right" if name in numeric else "left", overflow="fold")
    for row in zip(*fitted.values(), strict=True):
        # As `Text`: brackets in a file's name are not Rich's markup.
        table.add_row(*map(Text, row))
    console.print(table)


def _fitted(
    cells: Mapping[str, list[str]], width: int, *, cut: Sequence[str], prose: Sequence[str], spare: Sequence[str]
) -> dict[str, list[str]]:
    """Return the columns *cells* so that a row is at most *width* wide, if that can be."""
    from rich.cells import cell_len

    shown = dict(cells)
    needed = {name: max(map(cell_len, (name, *column))) for name, column in cells.items()}
    flexible = {**dict.fromkeys(cut, _without_middle), **dict.fromkeys(prose, _without_end)}

    def too_wide(enough: Callable[[str], int]) -> bool:
        return sum(map(enough, shown)) + _BETWEEN_COLUMNS * (len(shown) - 1) > width

    def enough(name: str) -> int:
        cells = _SENTENCE_CELLS if name in prose else _NAME_CELLS if name in cut else needed[name]
        return min(needed[name], cells)

    if not too_wide(needed.__getitem__):
        return shown
    for name, column in cells.items():
        if name not in flexible and any(column) and all(map(_ID.fullmatch, filter(None, column))):
            shown[name] = _short_ids(column)
            needed[name] = max(map(cell_len, (name, *shown[name])))
    empty = [name for name, column in cells.items() if column and not any(column)]
    for name in dict.fromkeys((*empty, *spare)):
        if too_wide(enough):
            del shown[name]
    fixed = sum(needed[name] for name in shown if name not in flexible) + _BETWEEN_COLUMNS * (len(shown) - 1)
    widths = _shares({name: needed[name] for name in shown if name in flexible}, width - fixed)
    return {
        name: [flexible[name](cell, widths[name]) for cell in column] if name in widths else column
        for name, column in shown.items()
    }


def _short_ids(column: Sequence[str]) -> list[str]:
    """Return ids by their first digits, as many as distinguish those of the column."""
    ids = set(filter(None, column))
    timed = any(one[_VERSION_PLACE] == "7" for one in ids)
    for length in _ID_LENGTHS:
        if length >= (_TIMED_ID_LENGTH if timed else 0) and len({one[:length] for one in ids}) == len(ids):
            return [one[:length] for one in column]
    return list(column)


def _shares(needed: Mapping[str, int], room: int) -> dict[str, int]:
    """Return the widths of columns that share *room*: what one does not need, the wider ones have."""
    widths: dict[str, int] = {}
    for name in sorted(needed, key=needed.__getitem__):
        share = room // (len(needed) - len(widths))
        widths[name] = min(needed[name], max(_LEAST_CELLS, share))
        room -= widths[name]
    return widths


def _without_middle(text: str, cells: int) -> str:
    """Return *text* in at most *cells* of a terminal, without its middle: names often differ at their end alone.

    Of a path the end is shown.
    """
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) <= cells:
        return text
    # Characters of East Asia have two cells: half of one is a space here.
    if text.startswith("/"):
        return f"…{set_cell_size(text[::-1], cells - 1)[::-1].lstrip()}"
    end = text[-_TAIL_CHARACTERS:]
    tail = set_cell_size(end[::-1], min(cell_len(end), cells // 2))[::-1].strip()
    return f"{set_cell_size(text, cells - cell_len(tail) - 1).rstrip()}…{tail}"


def _without_end(text: str, cells: int) -> str:
    """Return the beginning of *text* in at most *cells* of a terminal, up to the end of a word if one is near."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) <= cells:
        return text
    words = set_cell_size(text, cells).rpartition(" ")[0].rstrip(" ,;:")
    if cell_len(words) < cells // 2:
        words = set_cell_size(text, cells - 1).rstrip()
    return f"{words}…"
