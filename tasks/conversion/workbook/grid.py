"""The cells of a sheet laid out as Markdown: tables, and the lines of text around them; pure.

A sheet becomes one table, from its first used row and column to its last ones, without its empty rows. Conservative
exceptions: a row with one cell above a wider row is text, as are such rows behind an empty row at the end; and a new
table begins behind an empty row where a row of labels follows that has other columns, or stands where the table above
has numbers. A merged cell repeats its text in each row that it covers, in the header also in each column.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tasks.conversion.markdown_writer import escape_line_starts
from tasks.conversion.table_cells import can_be_header, is_value, units
from tasks.conversion.workbook.sheet import Area, Budget, Sheet

Rows = dict[int, dict[int, str]]

# An amount with its unit, which is a value as a bare number is.
_MEASURE = re.compile(r"[-+]?\d[\d.,]*\s?[^\W\d_]{1,4}[²³]?")
_MARK = re.compile(r"\[\^c\d+\]")
_YEAR = re.compile(r"(?:19|20)\d\d")
# Rows that are looked at below names, which may be two levels of names themselves.
_ROWS_BELOW = 3
# Rows of a table whose values are looked at.
_ROWS_LOOKED_AT = 100
# A sheet of one column is prose if it has sentences, else a list with its title.
_PROSE_CHARACTERS = 100
_SENTENCE_END = re.compile(r"[.!?:。！？]\)?$")
# Labels of a form; a list of two columns without a header.
_FORM_LABEL_END = ":"


@dataclass(slots=True)
class _Merged:
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
            if not self.has_header and _is_line(rows[number]):
                continue
            self.used |= _used(rows[number])
            if self.has_header and len(self.numbers) < _ROWS_LOOKED_AT:
                self.numeric |= _numeric(rows[number])
            self.has_header = True


def layout(sheet: Sheet, budget: Budget) -> Iterator[str]:
    """Yield the blocks of *sheet*: tables and paragraphs. Raises `TooManyCells`."""
    rows = sheet.rows
    numbers = sorted(number for number, row in rows.items() if any(row.values()))
    if _is_prose(rows, numbers):
        yield from _paragraphs(rows, numbers)
        return
    merged = _Merged(sheet.merged)
    for block, is_table in _blocks(rows, numbers):
        lines = _lines_above(rows, block, merged) if is_table else len(block)
        if len(block) == 1 < len(numbers) and len(_used(rows[block[0]])) == 2:
            lines = 1  # a title with its date
        yield from _paragraphs(rows, block[:lines])
        if lines < len(block):
            yield _table(rows, block[lines:], merged, budget)


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
    has_table = any(len(_used(rows[number])) > 1 for number in numbers)
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


def _is_value(text: str) -> bool:
    plain = _MARK.sub("", text) if text.endswith("]") else text
    return is_value(plain) or _MEASURE.fullmatch(plain) is not None


def _used(row: dict[int, str]) -> set[int]:
    return {column for column, text in row.items() if text}


def _numeric(row: dict[int, str]) -> set[int]:
    return {column for column, text in row.items() if _is_value(text)}


def _is_line(row: dict[int, str]) -> bool:
    texts = [text for text in row.values() if text]
    return len(texts) == 1 and not _is_value(texts[0])


def _is_text(rows: Rows, segment: Sequence[int]) -> bool:
    """Return whether *segment* is rows of one cell, of which one at least is no value."""
    return all(len(_used(rows[number])) == 1 for number in segment) and any(
        _is_line(rows[number]) for number in segment
    )


def _is_prose(rows: Rows, numbers: Sequence[int]) -> bool:
    """Return whether the sheet is one cell, or a column of sentences."""
    texts = [text for number in numbers[:2] for text in rows[number].values() if text]
    if len(numbers) == 1 or len(texts) < 2:
        return len(texts) == 1
    if not all(_is_line(rows[number]) for number in numbers):
        return False
    texts = [text for number in numbers for text in rows[number].values() if text]
    return any(len(text) > _PROSE_CHARACTERS or _SENTENCE_END.search(text) for text in texts)


def _begins_table(rows: Rows, above: _Growing, segment: Sequence[int]) -> bool:
    """Return whether *segment* is a table of its own, not the continuation of the one *above*."""
    own = _Growing()
    own.add(rows, segment)
    header = next((number for number in segment if not _is_line(rows[number])), segment[0])
    labels = _used(rows[header])
    if header == segment[-1] or len(labels) < 2 or _numeric(rows[header]):
        return False
    return own.used != above.used or bool(own.numeric & above.numeric & labels)


def _paragraphs(rows: Rows, numbers: Sequence[int]) -> Iterator[str]:
    for number in numbers:
        texts = [text for _, text in sorted(rows[number].items()) if text]
        line = (" " if len(texts) == 2 else " | ").join(texts)
        yield escape_line_starts(line.replace("<br>", "\\\n").replace("\\|", "|"))


def _lines_above(rows: Rows, numbers: Sequence[int], merged: _Merged) -> int:
    """Return how many of the first rows are text above the table: they have one cell, or are a title with its date."""
    wide = next((i for i, number in enumerate(numbers) if len(_used(rows[number])) > 1), 0)
    first_column = min(min(_used(rows[number])) for number in numbers[: wide + 1])
    for index, number in enumerate(numbers[:wide]):
        column = min(_used(rows[number]))
        if column > first_column and merged.ends.get((number, column), 0) > column:
            return index  # the label of a group of columns
    while wide + 2 < len(numbers) and _is_title(rows, numbers[wide:], merged):
        wide += 1
    return wide


def _is_title(rows: Rows, numbers: Sequence[int], merged: _Merged) -> bool:
    """Return whether the first of the rows is a title in two or three cells, because the next one names all columns."""
    title, names = rows[numbers[0]], rows[numbers[1]]
    cells, columns = _used(title), set[int]().union(*(_used(rows[number]) for number in numbers[: _ROWS_BELOW + 2]))
    is_sparse = len(cells) * 2 <= len(columns) or (_has_gap(cells) and bool(_numeric(title)))
    return (
        is_sparse
        and min(cells) == min(columns)
        and _used(names) == columns
        and can_be_header([names[column] for column in sorted(columns)])
        and len(set(names.values()) - {""}) == len(columns)  # else the row above says which is which
        and not any((numbers[0], column) in merged.ends for column in cells if column > min(cells))
    )


def _has_gap(columns: set[int]) -> bool:
    return max(columns) - min(columns) >= len(columns)


def _table(rows: Rows, numbers: Sequence[int], merged: _Merged, budget: Budget) -> str:
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


def _header_rows(
    table: Sequence[dict[int, str]], numbers: Sequence[int], areas: Sequence[Area], columns: Sequence[int]
) -> int:
    """Return how many rows name the columns: more than one where a name stands over several columns with names."""
    if _is_list_of_properties(table, columns):
        return 0
    over_columns = {area[0] for area in areas if area[3] > area[1] and area[2] == area[0]}
    rows = 1
    while rows + 1 < len(table) and numbers[rows - 1] in over_columns and _follow(numbers, rows):
        names = [table[rows].get(column, "") for column in columns]
        following = table[rows + 1 : rows + 1 + _ROWS_BELOW]
        begins_values = any(_is_value(row.get(column, "")) for row in following for column in columns)
        if not begins_values or not can_be_header(names):
            break
        rows += 1
    return rows


def _names(
    table: Sequence[dict[int, str]], numbers: Sequence[int], columns: Sequence[int], rows: int
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
        if given and all(_is_value(below.get(column, "")) for column, unit in zip(columns, given, strict=True) if unit):
            return {column: _joined(names[column], unit) for column, unit in zip(columns, given, strict=True)}, rows + 1
    return names, rows


def _follow(numbers: Sequence[int], index: int) -> bool:
    """Return whether no empty row stands in front of the row at *index*."""
    return index < len(numbers) and numbers[index] == numbers[index - 1] + 1


def _groups(table: Sequence[dict[int, str]], numbers: Sequence[int], columns: Sequence[int]) -> dict[int, str] | None:
    """Return the first row with each label written over the columns up to the next one; None if it is no such row."""
    if len(table) < 3 or not _follow(numbers, 1) or table[0].get(columns[0]):
        return None
    names = [table[1].get(column, "") for column in columns]
    begins_values = any(_is_value(table[2].get(column, "")) for column in columns)
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
    table: list[dict[int, str]],
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


def _is_list_of_properties(table: Sequence[dict[int, str]], columns: Sequence[int]) -> bool:
    """Return whether the first row of a table with two columns is a name and its value, not a header."""
    if len(columns) != 2 or len(table) < 2:
        return False
    names = [row.get(columns[0], "") for row in table]
    if any(not name or _is_value(name) for name in names):
        return False
    value = table[0].get(columns[1], "")
    is_value = _is_value(value) and not _YEAR.fullmatch(value)
    return is_value or all(name.endswith(_FORM_LABEL_END) for name in names)
