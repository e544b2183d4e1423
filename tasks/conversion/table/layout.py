"""Where the tables of a text file are: the lines above and below them, and the names of their columns; pure.

Owns the decision which row is a header. Bank exports, instruments and statistics offices put titles, account data and
remarks above it, some without any mark. A row is moved out of a table only on evidence (it is narrower, an empty line
separates it, the row below it begins the values); without evidence the first row is the header.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from tasks.conversion.table.cells import can_be_header, extent, filled, is_absent, is_value, units, value_kind

# Account data and remarks are some lines; a header further down is none.
_MAX_ROWS_ABOVE = 60
# Names with values over a wider table; more are a table of their own.
_MAX_PAIRS = 15
# How a column of values of all kinds is called.
_VALUE_HEADERS = frozenset(
    {
        *("value", "values", "description", "content", "contents", "text", "setting", "result", "answer", "data"),
        *("wert", "beschreibung", "inhalt", "angabe", "valeur", "valor", "valore", "waarde", "wartość", "hodnota"),
    }
)
# Of the lines above a table one may have as many cells, as amounts with commas have.
_MOSTLY_NARROW = 0.7
# Rows that agree, of those below a header: tables have ragged rows and totals.
_MIN_AGREEING_SHARE = 0.6
# Rows that are looked at below a header.
_ROWS_BELOW = 40
# A row of one cell with more words is a remark.
_MAX_WORDS_OF_A_CELL = 3
# A further table in the same file has at most this many lines of title.
_MAX_TITLE_ROWS = 4

_SPACED = re.compile(r"[,;] +\S")
_COMMENT = re.compile(r"\s*(?:#|//|%)")


class Row(NamedTuple):
    """A row that is not empty. `raw` is its text in the file."""

    cells: list[str]
    after_blank: bool
    raw: str


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The beginning of a table: *above* rows of text, then *header_rows*; `names` is None for a table without names."""

    above: int
    header_rows: int
    names: tuple[str, ...] | None


def first_layout(rows: Sequence[Row]) -> Layout:
    """Return how the file begins, from its first rows (at least one)."""
    start = _header_index(rows)
    header = rows[start].cells
    if _are_properties(rows, start) or (not can_be_header(header) and _is_like_the_next(rows, start)):
        return Layout(above=start, header_rows=0, names=None)
    return _with_neighbours(rows, start, first=0)


def next_layout(rows: Sequence[Row], columns: int) -> Layout | None:
    """Return how a further table begins with the first of *rows*, which an empty line precedes; None if none does.

    *columns* is the extent of the table above. A header must differ from it or have a title, and begin typed values.
    """
    titles = 0
    while titles < min(len(rows) - 2, _MAX_TITLE_ROWS) and extent(rows[titles].cells) == 1:
        titles += 1
    if titles >= len(rows) - 1:
        return None
    header = rows[titles].cells
    if filled(header) < 2 or not _begins_values(rows, titles) or not _fits(rows, titles):
        return None
    if not titles and extent(header) == columns:
        return None
    return _with_neighbours(rows, titles, first=0)


def is_remark(row: Row, columns: int, *, after_blank: bool, spaced: bool) -> bool:
    """Return whether *row* may be a line of text below a table of *columns*: a total or remark with one or two cells.

    It is one only if no row of the table follows. *after_blank*: an empty line precedes it or the remarks before it.
    *spaced*: the table's own rows have blanks after their delimiters, so that these are no sign of prose.
    """
    used = extent(row.cells)
    if after_blank:
        return used == 1 or used == 2 < columns
    if used >= columns or (used > 1 and (spaced or not is_spaced(row))):
        return False
    return is_comment(row) or sum(len(cell.split()) for cell in row.cells) > _MAX_WORDS_OF_A_CELL


def is_comment(row: Row) -> bool:
    """Return whether the row's line begins with a sign for comments."""
    return _COMMENT.match(row.raw) is not None


def is_spaced(row: Row) -> bool:
    """Return whether a blank follows a delimiter outside quotes, as in prose."""
    return '"' not in row.raw and _SPACED.search(row.raw) is not None


def as_line(row: Row, delimiter: str) -> str:
    """Return a row as a line of text: a pair as ``name: value``, several cells as they stand in the file."""
    cells = [" ".join(cell.split()) for cell in row.cells if cell.strip()]
    if is_comment(row):
        return row.raw.strip().rstrip(delimiter + " ")
    if len(cells) > 1 and delimiter in ",;" and is_spaced(row):
        return " ".join(row.raw.strip().rstrip(delimiter + " ").split())
    if len(cells) == 2:
        return f"{cells[0]}{'' if cells[0][-1] in ':=' else ':'} {cells[1]}"
    return (f"{delimiter} " if delimiter in ",;" else " | ").join(cells)


def _header_index(rows: Sequence[Row]) -> int:
    """Return the index of the header, or of the first row of a table without one."""
    first = 0
    while first < min(len(rows) - 1, _MAX_ROWS_ABOVE) and _is_plain_comment(rows, first):
        first += 1
    typed_at_once = _begins_values(rows, first) and _fits(rows, first) and not _is_mixed_pairs(rows, first)
    if typed_at_once and extent(rows[first].cells) > 2:
        return first
    for at in range(first + 1, min(len(rows) - 1, _MAX_ROWS_ABOVE)):
        if _ends_what_is_above(rows, first, at, typed_at_once=typed_at_once):
            return at
    return first if first < len(rows) else 0


def _is_plain_comment(rows: Sequence[Row], at: int) -> bool:
    """Return whether a line is a comment and not a header that begins with a hash ("#chrom", "#")."""
    if not is_comment(rows[at]):
        return False
    cells = rows[at].cells
    is_header = extent(cells) > 1 and _begins_values(rows, at) and extent(cells) == extent(rows[at + 1].cells)
    return not is_header


def _ends_what_is_above(rows: Sequence[Row], first: int, at: int, *, typed_at_once: bool) -> bool:
    """Return whether the rows from *first* on are text above the header at *at*; *typed_at_once*: values are there."""
    header, above = rows[at], rows[first:at]
    wide, used = extent(header.cells), filled(header.cells)
    if wide < 2 or used < max(2, wide / 2) or not _fits(rows, at):
        return False
    if not can_be_header(header.cells):  # titles over a table without names of columns
        titles = all(extent(row.cells) == 1 or is_comment(row) for row in above)
        return titles and not typed_at_once and _is_like_the_next(rows, at)
    pairs = all(extent(row.cells) <= 2 for row in above) and len(above) <= _MAX_PAIRS
    if typed_at_once:  # a table, or account data that looks like one
        return pairs and wide > 2 and header.after_blank
    prose = not any(map(is_spaced, rows[at : at + _ROWS_BELOW]))
    spoken = [extent(row.cells) == 1 or is_comment(row) or (prose and is_spaced(row)) for row in above]
    narrow = sum(extent(row.cells) < wide or filled(row.cells) * 2 <= used for row in above)
    typed = _begins_values(rows, at)
    if narrow == len(above) and (typed or all(spoken) or not can_be_header(rows[first].cells)):
        return True
    if any(row.after_blank for row in rows[first + 1 : at + 1]) and narrow >= _MOSTLY_NARROW * len(above):
        return narrow == len(above) or header.after_blank
    unlike = all(
        is_spoken or len(row.cells) != len(header.cells) or extent(row.cells) < wide
        for row, is_spoken in zip(above, spoken, strict=True)
    )
    return typed and (unlike or header.after_blank or (pairs and _has_other_values(rows, first, at)))


def _has_other_values(rows: Sequence[Row], first: int, at: int) -> bool:
    """Return whether the second cells above a header are values of other kinds than those below it."""
    above = {value_kind(row.cells[1]) for row in rows[first:at] if len(row.cells) > 1}
    below = {value_kind(cells[1]) for cells in _block_below(rows, at) if len(cells) > 1}
    return not can_be_header(rows[first].cells) and above.isdisjoint(below)


def _is_mixed_pairs(rows: Sequence[Row], at: int) -> bool:
    """Return whether the rows from *at* on are names with values of several kinds: account data and no table."""
    below = _block_below(rows, at)
    if any(extent(cells) > 2 for cells in (rows[at].cells, *below)):
        return False
    return len({value_kind(cells[1]) for cells in below if len(cells) > 1}) > 1


def _are_properties(rows: Sequence[Row], at: int) -> bool:
    """Return whether each row is a name with its value, the first one too, so that no row names the columns."""
    pairs = [row.cells for row in rows[at:]]
    if len(pairs) < 3 or any(extent(cells) != 2 for cells in pairs) or pairs[0][1].strip().lower() in _VALUE_HEADERS:
        return False
    names = {cells[0].strip() for cells in pairs}
    kinds = {value_kind(cells[1]) for cells in pairs}
    distinct = len(names) == len(pairs) and not any(map(is_value, names))
    return distinct and "" in kinds and len(kinds) > 2


def _block_below(rows: Sequence[Row], at: int) -> list[list[str]]:
    """Return the cells of the rows below *at* up to an empty line, not many."""
    below: list[list[str]] = []
    for row in rows[at + 1 : at + 1 + _ROWS_BELOW]:
        if row.after_blank and below:
            break
        below.append(row.cells)
    return below


def _fits(rows: Sequence[Row], at: int) -> bool:
    """Return whether most rows below *at* have as many cells as it has."""
    cells, below = rows[at].cells, _block_below(rows, at)
    fitting = sum(len(row) == len(cells) or extent(row) == extent(cells) for row in below)
    return bool(below) and fitting >= _MIN_AGREEING_SHARE * len(below)


def _begins_values(rows: Sequence[Row], at: int) -> bool:
    """Return whether the row is names, and a column of the rows right below it is values."""
    cells = rows[at].cells
    below = _block_below(rows, at)
    if not below or not can_be_header(cells):
        return False
    if len(below) > 1 and units([*below[0], *[""] * len(cells)][: len(cells)]):
        below = below[1:]
    return any(
        column < len(below[0]) and is_value(below[0][column]) and _mostly_values(below, column)
        for column in range(extent(cells))
        if not is_value(cells[column]) or cells[column].strip().isdecimal()
    )


def _mostly_values(rows: Sequence[Sequence[str]], column: int) -> bool:
    there = [row[column] for row in rows if column < len(row) and not is_absent(row[column])]
    return sum(map(is_value, there)) >= _MIN_AGREEING_SHARE * len(there)


def _is_like_the_next(rows: Sequence[Row], at: int) -> bool:
    """Return whether the row has values where the rows below it have values, so it is one of them."""
    cells = rows[at].cells
    below = _block_below(rows, at)
    if not below:
        return True
    values = [column for column, cell in enumerate(cells) if is_value(cell)]
    same = [column for column in values if _mostly_values(below, column)]
    return bool(values) and len(same) >= _MIN_AGREEING_SHARE * len(values)


def _with_neighbours(rows: Sequence[Row], at: int, *, first: int) -> Layout:
    """Return the header at *at*, joined with a row of groups above it or below it and with a row of units below it."""
    names, above, end = [cell.strip() for cell in rows[at].cells], at, at + 1
    if at > first and not rows[at].after_blank and (joined := _grouped(rows[at - 1].cells, names)):
        names, above = joined, at - 1
    elif end < len(rows) - 1 and not rows[end].after_blank and can_be_header(rows[end].cells):
        below = [cell.strip() for cell in rows[end].cells]
        if not _begins_values(rows, at) and _begins_values(rows, end) and (joined := _grouped(names, below)):
            names, end = joined, end + 1
    given = units(rows[end].cells) if end < len(rows) - 1 and len(rows[end].cells) <= len(names) else None
    if given is not None and _units_belong(rows, end):
        given += [""] * (len(names) - len(given))
        names = [f"{name} {unit}".strip() for name, unit in zip(names, given, strict=True)]
        end += 1
    elif end == at + 1 and above == at and _lacks_the_name_of_row_numbers(rows, at):
        names = ["", *names]
    return Layout(above=above, header_rows=end - above, names=tuple(names))


def _units_belong(rows: Sequence[Row], at: int) -> bool:
    """Return whether numbers stand below each unit of the row at *at*."""
    below = _block_below(rows, at)
    columns = [column for column, cell in enumerate(rows[at].cells) if not is_absent(cell)]
    return bool(below) and all(
        _mostly_values(below, column) and any(is_value(row[column]) for row in below if column < len(row))
        for column in columns
    )


def _grouped(groups: Sequence[str], names: Sequence[str]) -> list[str] | None:
    """Return *names* with the group over each in front; None unless this makes each name distinct and complete."""
    groups = [cell.strip() for cell in groups]
    wide = extent(names)
    needed = len({name for name in names[:wide] if name}) < wide
    spans = len({group for group in groups if group}) < wide  # a group is over several columns
    if not needed or not spans or filled(groups) < 2 or extent(groups) > wide or not can_be_header(groups):
        return None
    over, joined = "", list[str]()
    for column, name in enumerate(names):
        if column < len(groups) and groups[column]:
            over = groups[column]
        joined.append(" ".join(part for part in (over if column < wide else "", name) if part))
    complete = len(set(joined[:wide])) == wide and all(joined[:wide])
    return joined if complete else None


def _lacks_the_name_of_row_numbers(rows: Sequence[Row], at: int) -> bool:
    """Return whether all rows have one cell more than the header, which counts the rows, as statistics programs write.

    R's `write.table` names no column for the names of rows.
    """
    below = rows[at + 1 :]
    width = len(rows[at].cells)
    if len(below) < 2 or any(len(row.cells) != width + 1 for row in below):
        return False
    numbers = [row.cells[0].strip() for row in below]
    return all(number.isdecimal() for number in numbers) and all(
        int(after) == int(before) + 1 for before, after in pairwise(numbers)
    )
