"""Tables whose cells span rows and columns, as plain rows; pure.

Owns the rule of what stands in the places that a spanning cell covers: its text again in each row, because a row is
read by itself; nothing in the further columns, but for the first row, where each column needs its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Spans of hostile tables claim more; a real table has no more columns.
MAX_COLUMNS = 2_000
# What a table repeats is bounded, or a page of text over a million claimed rows would fill the memory. A longer text is
# no name or value that a row needs by itself.
MAX_REPEATED_TEXT = 1_000
MAX_REPEATED_IN_ALL = 10_000_000


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell in Markdown and how many rows and columns it covers."""

    text: str
    rows: int = 1
    columns: int = 1


def nested(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the *rows* of a table inside a cell as lines: "Car: 31; Built: 1954". Its first row names the columns.

    A table of one row or one column has no names.
    """
    if len(rows) < 2 or len(rows[0]) < 2:
        return [line for row in rows if (line := "; ".join(text for text in row if text))]
    names = [*(name if len(name) <= MAX_REPEATED_TEXT else "" for name in rows[0]), *[""] * max(map(len, rows))]
    lines = (
        "; ".join(f"{name}: {text}" if name else text for name, text in zip(names, row, strict=False) if text)
        for row in rows[1:]
    )
    return [line for line in lines if line]


def without_spans(rows: Sequence[Sequence[Cell]]) -> list[list[str]]:
    """Return the texts of *rows*, where every cell has a place of its own; rows may have different lengths."""
    flat: list[list[str]] = []
    covered: dict[int, tuple[int, str]] = {}  # by column: for how many more rows, and with which text
    left_to_repeat = MAX_REPEATED_IN_ALL
    for number, row in enumerate(rows):
        texts: list[str] = []
        cells = iter(row)
        cell = next(cells, None)
        while len(texts) < MAX_COLUMNS and (cell is not None or any(column >= len(texts) for column in covered)):
            column = len(texts)
            if column in covered:
                left, text = covered.pop(column)
                left_to_repeat -= len(text)
                texts.append(text if left_to_repeat >= 0 else "")
                if left > 1:
                    covered[column] = (left - 1, text)
            elif cell is None:
                texts.append("")
            else:
                short = cell.text if len(cell.text) <= MAX_REPEATED_TEXT else ""
                for offset in range(max(1, min(cell.columns, MAX_COLUMNS - column))):
                    again = short if offset == 0 or number == 0 else ""
                    texts.append(again if offset else cell.text)
                    if cell.rows > 1:
                        covered[column + offset] = (cell.rows - 1, again)
                cell = next(cells, None)
        flat.append(texts)
    return flat
