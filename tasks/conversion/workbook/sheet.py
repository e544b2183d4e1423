"""A sheet as it is read: its cells in Markdown, what is merged, and what stands around them; pure.

Owns the bounds that a sheet of any format has.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

# What worksheets of Excel have; a place outside is a fault of the file.
MAX_ROWS, MAX_COLUMNS = 1_048_576, 16_384
# A table is limited by the worker's memory; a limit of 100,000 cells would refuse ordinary exports.
MAX_CELLS = 5_000_000
# Values repeat (days, rates, counts); to remember more of what they look like would be memory for little.
MAX_REMEMBERED = 50_000
_REFERENCE = re.compile(r"\$?([A-Za-z]{1,3})\$?(\d{1,7})")

Place = tuple[int, int]
"""Row and column, from 1."""
Area = tuple[int, int, int, int]
"""First row, first column, last row, last column, from 1."""


class TooManyCells(Exception):
    """A workbook with more cells than `MAX_CELLS`."""


@dataclass(slots=True)
class Sheet:
    """One sheet. `rows` holds Markdown by row and column from 1; `below` are the blocks that follow its cells."""

    name: str
    hidden: bool = False
    rows: dict[int, dict[int, str]] = field(default_factory=dict[int, dict[int, str]])
    merged: list[Area] = field(default_factory=list[Area])
    below: list[str] = field(default_factory=list[str])
    # Results of formulas that are the number 0, which some programs write in place of computing them.
    zeros: list[Place] = field(default_factory=list[Place])

    def places_in(self, area: Area) -> Iterator[Place]:
        """Yield the places in *area* that have a cell."""
        first_row, first_column, last_row, last_column = area
        if last_row - first_row > len(self.rows):
            rows = [row for row in self.rows if first_row <= row <= last_row]
        else:
            rows = [row for row in range(first_row, last_row + 1) if row in self.rows]
        for row in rows:
            for column in self.rows[row]:
                if first_column <= column <= last_column:
                    yield row, column


@dataclass(slots=True)
class Budget:
    """What a workbook may still hold, and what was lost in it."""

    cells: int = field(default_factory=lambda: MAX_CELLS)
    formulas: int = 0
    losses: Counter[str] = field(default_factory=Counter[str])

    def spend(self, cells: int = 1) -> None:
        """Count *cells*. Raises `TooManyCells`."""
        self.cells -= cells
        if self.cells < 0:
            raise TooManyCells


@lru_cache(maxsize=20_000)
def column_number(letters: str) -> int:
    """Return the number of a column from 1: 27 for ``AA``."""
    number = 0
    for letter in letters.upper():
        number = number * 26 + ord(letter) - 64
    return number


def place_of(reference: str) -> Place | None:
    """Return the place of a reference like ``B7``; None for another text or a place that no sheet has."""
    found = _REFERENCE.fullmatch(reference)
    if found is None:
        return None
    row, column = int(found[2]), column_number(found[1])
    return (row, column) if 1 <= row <= MAX_ROWS and column <= MAX_COLUMNS else None


def area_of(reference: str) -> Area | None:
    """Return the area of a reference like ``B7:C9`` or ``B7``; None for another text."""
    first, _, last = reference.partition(":")
    start, end = place_of(first), place_of(last or first)
    if start is None or end is None:
        return None
    return min(start[0], end[0]), min(start[1], end[1]), max(start[0], end[0]), max(start[1], end[1])
