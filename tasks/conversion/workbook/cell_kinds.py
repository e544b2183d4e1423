"""What the cells of a row are, by their look: values, or text that can be a name; pure."""

from __future__ import annotations

import re

from tasks.conversion.table.cells import is_value

Row = dict[int, str]
"""Markdown by column from 1."""

# An amount with its unit, which is a value as a bare number is.
_MEASURE = re.compile(r"[-+]?\d[\d.,]*\s?[^\W\d_]{1,4}[²³]?")
_MARK = re.compile(r"\[\^c\d+\]")


def is_value_cell(text: str) -> bool:
    """Return whether a cell is a number, a date, an amount with its unit, whatever note it has."""
    plain = _MARK.sub("", text) if text.endswith("]") else text
    return is_value(plain) or _MEASURE.fullmatch(plain) is not None


def used_columns(row: Row) -> set[int]:
    """Return the columns of a row that have text."""
    return {column for column, text in row.items() if text}


def value_columns(row: Row) -> set[int]:
    """Return the columns of a row that have values."""
    return {column for column, text in row.items() if is_value_cell(text)}


def is_line(row: Row) -> bool:
    """Return whether a row has one cell, which is text."""
    texts = [text for text in row.values() if text]
    return len(texts) == 1 and not is_value_cell(texts[0])
