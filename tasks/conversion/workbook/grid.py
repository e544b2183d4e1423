"""The cells of a sheet laid out as Markdown: tables, and the lines of text around them; pure.

A sheet becomes one table, from its first used row and column to its last ones, without its empty rows. Conservative
exceptions: a row with one cell above a wider row is text, as are such rows behind an empty row at the end; and a new
table begins behind an empty row where a row of labels follows that has other columns, or stands where the table above
has numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tasks.conversion.markdown_writer import escape_line_starts
from tasks.conversion.table.cells import can_be_header
from tasks.conversion.workbook.cell_kinds import Row, is_line, used_columns, value_columns
from tasks.conversion.workbook.sheet import Budget, Sheet
from tasks.conversion.workbook.sheet_table import ROWS_BELOW, MergedCells, table_of

Rows = dict[int, Row]

# Rows of a table whose values are looked at.
_ROWS_LOOKED_AT = 100
# A sheet of one column is prose if it has sentences, else a list with its title.
_PROSE_CHARACTERS = 100
_SENTENCE_END = re.compile(r"[.!?:。！？]\)?$")


@dataclass(slots=True)
class _Growing:
    """The rows of a table so far, and which columns it uses, for what."""

    numbers: list[int] = field(default_factory=list[int])
    used: set[int] = field(default_factory=set[int])
    numeric: set[int] = field(default_factory=set[int])
    has_header: bool = False

    def add(self, rows: Rows, numbers: Sequence[int]) -> None:
        for number in numbers:
            self.numbers.append(number)
            if not self.has_header and is_line(rows[number]):
                continue
            self.used |= used_columns(rows[number])
            if self.has_header and len(self.numbers) < _ROWS_LOOKED_AT:
                self.numeric |= value_columns(rows[number])
            self.has_header = True


def layout(sheet: Sheet, budget: Budget) -> Iterator[str]:
    """Yield the blocks of *sheet*: tables and paragraphs. Raises `TooManyCells`."""
    rows = sheet.rows
    numbers = sorted(number for number, row in rows.items() if any(row.values()))
    if _is_prose(rows, numbers):
        yield from _paragraphs(rows, numbers)
        return
    merged = MergedCells(sheet.merged)
    for block, is_table in _blocks(rows, numbers):
        lines = _lines_above(rows, block, merged) if is_table else len(block)
        if len(block) == 1 < len(numbers) and len(used_columns(rows[block[0]])) == 2:
            lines = 1  # a title with its date
        yield from _paragraphs(rows, block[:lines])
        if lines < len(block):
            yield table_of(rows, block[lines:], merged, budget)


def _segments(numbers: Sequence[int]) -> Iterator[list[int]]:
    """Yield runs of consecutive row numbers."""
    segment: list[int] = []
    for number in numbers:
        if segment and number != segment[-1] + 1:
            yield segment
            segment = []
        segment.append(number)
    if segment:
        yield segment


def _blocks(rows: Rows, numbers: Sequence[int]) -> Iterator[tuple[list[int], bool]]:
    """Yield row numbers and whether they are a table, with the lines above it, or lines that stand for themselves."""
    segments = list(_segments(numbers))
    if len(segments) == 1:
        yield segments[0], True
        return
    has_table = any(len(used_columns(rows[number])) > 1 for number in numbers)
    table = _Growing()
    lines: list[int] = []  # these belong to the table below, unless it is the end
    for segment in segments:
        if has_table and _is_text(rows, segment):
            lines += segment
            continue
        if table.numbers and _begins_table(rows, table, segment):
            yield table.numbers, True
            table = _Growing()
        table.add(rows, lines + segment)
        lines = []
    if table.numbers:
        yield table.numbers, True
    if lines:
        yield lines, False


def _is_text(rows: Rows, segment: Sequence[int]) -> bool:
    """Return whether *segment* is rows of one cell, of which one at least is no value."""
    return all(len(used_columns(rows[number])) == 1 for number in segment) and any(
        is_line(rows[number]) for number in segment
    )


def _is_prose(rows: Rows, numbers: Sequence[int]) -> bool:
    """Return whether the sheet is one cell, or a column of sentences."""
    texts = [text for number in numbers[:2] for text in rows[number].values() if text]
    if len(numbers) == 1 or len(texts) < 2:
        return len(texts) == 1
    if not all(is_line(rows[number]) for number in numbers):
        return False
    texts = [text for number in numbers for text in rows[number].values() if text]
    return any(len(text) > _PROSE_CHARACTERS or _SENTENCE_END.search(text) for text in texts)


def _begins_table(rows: Rows, above: _Growing, segment: Sequence[int]) -> bool:
    """Return whether *segment* is a table of its own, not the continuation of the one *above*."""
    own = _Growing()
    own.add(rows, segment)
    header = next((number for number in segment if not is_line(rows[number])), segment[0])
    labels = used_columns(rows[header])
    if header == segment[-1] or len(labels) < 2 or value_columns(rows[header]):
        return False
    return own.used != above.used or bool(own.numeric & above.numeric & labels)


def _paragraphs(rows: Rows, numbers: Sequence[int]) -> Iterator[str]:
    for number in numbers:
        texts = [text for _, text in sorted(rows[number].items()) if text]
        line = (" " if len(texts) == 2 else " | ").join(texts)
        yield escape_line_starts(line.replace("<br>", "\\\n").replace("\\|", "|"))


def _lines_above(rows: Rows, numbers: Sequence[int], merged: MergedCells) -> int:
    """Return how many of the first rows are text above the table: they have one cell, or are a title with its date."""
    wide = next((i for i, number in enumerate(numbers) if len(used_columns(rows[number])) > 1), 0)
    first_column = min(min(used_columns(rows[number])) for number in numbers[: wide + 1])
    for index, number in enumerate(numbers[:wide]):
        column = min(used_columns(rows[number]))
        if column > first_column and merged.ends.get((number, column), 0) > column:
            return index  # the label of a group of columns
    while wide + 2 < len(numbers) and _is_title(rows, numbers[wide : wide + ROWS_BELOW + 2], merged):
        wide += 1
    return wide


def _is_title(rows: Rows, numbers: Sequence[int], merged: MergedCells) -> bool:
    """Return whether the first of the rows is a title in two or three cells, because the next one names all columns."""
    title, names = rows[numbers[0]], rows[numbers[1]]
    cells = used_columns(title)
    columns = set[int]().union(*(used_columns(rows[number]) for number in numbers))
    is_sparse = len(cells) * 2 <= len(columns) or (_has_gap(cells) and bool(value_columns(title)))
    return (
        is_sparse
        and min(cells) == min(columns)
        and used_columns(names) == columns
        and can_be_header([names[column] for column in sorted(columns)])
        and len(set(names.values()) - {""}) == len(columns)  # else the row above says which is which
        and not any((numbers[0], column) in merged.ends for column in cells if column > min(cells))
    )


def _has_gap(columns: set[int]) -> bool:
    return max(columns) - min(columns) >= len(columns)
