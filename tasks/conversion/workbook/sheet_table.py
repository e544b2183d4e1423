"""A table of a sheet as Markdown: the names of its columns, its merged cells, its empty columns; pure.

A merged cell repeats its text in each row that it covers, in the header also in each column. A name over several
columns stands in front of the names below it: ``2023`` over ``Q1`` and ``Q2`` is ``2023 Q1``.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tasks.conversion.table.cells import can_be_header, units
from tasks.conversion.workbook.cell_kinds import Row, is_value_cell
from tasks.conversion.workbook.sheet import Area, Budget

_YEAR = re.compile(r"(?:19|20)\d\d")
# Rows that are looked at below names, which may be two levels of names themselves.
ROWS_BELOW = 3
# Labels of a form; a list of two columns without a header.
_FORM_LABEL_END = ":"


@dataclass(slots=True)
class MergedCells:
    """The merged areas of a sheet by their first row."""

    areas: list[Area]
    starts: list[int] = field(default_factory=list[int])
    ends: dict[tuple[int, int], int] = field(default_factory=dict[tuple[int, int], int])

    def __post_init__(self) -> None:
        self.areas = sorted(area for area in self.areas if area[2] > area[0] or area[3] > area[1])
        self.starts = [area[0] for area in self.areas]
        self.ends = {area[:2]: area[3] for area in self.areas}

    def within(self, first_row: int, last_row: int) -> list[Area]:
        """Return the areas that begin in these rows."""
        return self.areas[bisect_left(self.starts, first_row) : bisect_right(self.starts, last_row)]


def table_of(rows: dict[int, Row], numbers: Sequence[int], merged: MergedCells, budget: Budget) -> str:
    """Return the Markdown of the table in the rows *numbers*. Raises `TooManyCells`."""
    areas = merged.within(numbers[0], numbers[-1])
    table = [dict(rows[number]) for number in numbers] if areas else [rows[number] for number in numbers]
    columns = sorted({column for row in table for column, text in row.items() if text})
    shown = _with_gaps(columns, areas, budget)
    budget.spend(len(shown) * len(table))
    header_rows = _header_rows(table, numbers, areas, columns)
    _repeat(table, numbers, columns, areas, budget, header_end=numbers[max(0, header_rows - 1)])
    names, header_rows = _names(table, numbers, columns, header_rows)
    lines = [_line([names.get(column, "") for column in shown]), _line(["---"] * len(shown))]
    lines += [_line([row.get(column, "") for column in shown]) for row in table[header_rows:]]
    return "\n".join(lines)


def _header_rows(table: Sequence[Row], numbers: Sequence[int], areas: Sequence[Area], columns: Sequence[int]) -> int:
    """Return how many rows name the columns: more than one where a name stands over several columns with names."""
    if _is_list_of_properties(table, columns):
        return 0
    over_columns = {area[0] for area in areas if area[3] > area[1] and area[2] == area[0]}
    rows = 1
    while rows + 1 < len(table) and numbers[rows - 1] in over_columns and _follow(numbers, rows):
        names = [table[rows].get(column, "") for column in columns]
        following = table[rows + 1 : rows + 1 + ROWS_BELOW]
        begins_values = any(is_value_cell(row.get(column, "")) for row in following for column in columns)
        if not begins_values or not can_be_header(names):
            break
        rows += 1
    return rows


def _names(
    table: Sequence[Row], numbers: Sequence[int], columns: Sequence[int], rows: int
) -> tuple[dict[int, str], int]:
    """Return the names of the columns from the first *rows*, and how many rows name them after all.

    A row of groups that are not merged, above names that are not unique without it, and a row of units below the names
    belong to them too.
    """
    if rows == 1 and (groups := _groups(table, numbers, columns)):
        table, rows = [groups, *table[1:]], 2
    names: dict[int, str] = {}
    for row in table[:rows]:
        names = {column: _joined(names.get(column, ""), row.get(column, "")) for column in columns}
    if rows and _follow(numbers, rows) and rows + 1 < len(table):
        given = units([table[rows].get(column, "") for column in columns])
        below = table[rows + 1]
        if given and all(
            is_value_cell(below.get(column, "")) for column, unit in zip(columns, given, strict=True) if unit
        ):
            return {column: _joined(names[column], unit) for column, unit in zip(columns, given, strict=True)}, rows + 1
    return names, rows


def _follow(numbers: Sequence[int], index: int) -> bool:
    """Return whether no empty row stands in front of the row at *index*."""
    return index < len(numbers) and numbers[index] == numbers[index - 1] + 1


def _groups(table: Sequence[Row], numbers: Sequence[int], columns: Sequence[int]) -> dict[int, str] | None:
    """Return the first row with each label written over the columns up to the next one; None if it is no such row."""
    if len(table) < 3 or not _follow(numbers, 1) or table[0].get(columns[0]):
        return None
    names = [table[1].get(column, "") for column in columns]
    begins_values = any(is_value_cell(table[2].get(column, "")) for column in columns)
    if not all(names) or len(set(names)) == len(names) or not can_be_header(names) or not begins_values:
        return None
    label, groups = "", dict[int, str]()
    for column in columns:
        label = groups[column] = table[0].get(column) or label
    joined = {(groups[column], name) for column, name in zip(columns, names, strict=True)}
    return groups if len(joined) == len(columns) else None


def _joined(above: str, below: str) -> str:
    return above if above == below else f"{above} {below}".strip()


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _with_gaps(columns: Sequence[int], areas: Sequence[Area], budget: Budget) -> list[int]:
    """Return *columns* with one empty column for each gap between them that no merged cell covers."""
    shown = list(columns[:1])
    for left, right in pairwise(columns):
        if right > left + 1:
            budget.spend(len(areas))
            if not any(area[1] < right and area[3] > left for area in areas):
                shown.append(left + 1)
        shown.append(right)
    return shown


def _repeat(
    table: list[Row],
    numbers: Sequence[int],
    columns: Sequence[int],
    areas: Sequence[Area],
    budget: Budget,
    *,
    header_end: int,
) -> None:
    """Write the text of merged cells where they cover rows, and in the header where they cover columns."""
    for first_row, first_column, last_row, last_column in areas:
        start = bisect_left(numbers, first_row)
        text = table[start].get(first_column, "") if numbers[start] == first_row else ""
        if not text:
            continue
        in_header = first_row <= header_end
        covered = [column for column in columns if first_column < column <= last_column] if in_header else []
        for row in table[start : bisect_right(numbers, last_row)]:
            budget.spend(1 + len(covered))
            for column in (first_column, *covered):
                row[column] = row.get(column) or text


def _is_list_of_properties(table: Sequence[Row], columns: Sequence[int]) -> bool:
    """Return whether the first row of a table with two columns is a name and its value, not a header."""
    if len(columns) != 2 or len(table) < 2:
        return False
    first, value = (table[0].get(column, "") for column in columns)
    is_named_value = is_value_cell(value) and not _YEAR.fullmatch(value)
    if not is_named_value and not first.endswith(_FORM_LABEL_END):
        return False
    names = [row.get(columns[0], "") for row in table]
    if any(not name or is_value_cell(name) for name in names):
        return False
    return is_named_value or all(name.endswith(_FORM_LABEL_END) for name in names)
