"""Tables of AsciiDoc: cells with their spans by row, as HTML."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from typing import NamedTuple

from tasks.conversion.whole_numbers import whole_number

_CELL = re.compile(
    r"(?:(?<=\s)|^)((?:\d+\*|(?:\d+)?(?:\.\d+)?\+)?[<^>]?(?:\.[<^>])?[aehlmdsv]?)(?<!\\)\|", re.MULTILINE
)
_SPAN = re.compile(r"(?:(\d+)\*|(\d+)?(?:\.(\d+))?\+)?.*?([aehlmdsv]?)\Z")
_MAX_COPIES = 100


class _Cell(NamedTuple):
    text: str
    columns: int = 1
    rows: int = 1
    style: str = ""


def html(lines: list[str], attributes: dict[str, str], inline: Callable[[str], str]) -> str:
    """Return the table whose body is *lines*; *attributes* are those of its block."""
    options = f"{attributes.get('options', '')},{attributes.get('opts', '')},{attributes.get('1', '')}"
    text = "\n".join(lines)
    separator = attributes.get("separator", "")
    if attributes.get("format") in ("csv", "dsv", "tsv"):
        delimiter = separator or {"dsv": ":", "tsv": "\t"}.get(attributes["format"], ",")
        rows = [[_Cell(cell) for cell in row] for row in csv.reader(lines, delimiter=delimiter[:1]) if row]
    else:
        cells = list(_cells(text))
        first = next((line for line in lines if line.strip()), "")
        width = _width(attributes.get("cols", "")) or max(1, sum(cell.columns for cell in _cells(first)))
        rows = _rows(cells, width)
    nonblank = next((index for index, line in enumerate(lines) if line.strip()), 0)
    implicit = nonblank == 0 and len(lines) > 1 and not lines[1].strip() and "noheader" not in options
    heads = 1 if "header" in options.replace("noheader", "") or (implicit and len(rows) > 1) else 0
    columns = [part.strip() for part in attributes.get("cols", "").split(",")]
    parts = ["<table role='table'>"]
    for index, row in enumerate(rows):
        parts.append("<thead><tr>" if index < heads else "<tr>")
        for column, cell in enumerate(row):
            style = cell.style or (columns[column][-1:] if column < len(columns) else "")
            tag = "th" if index < heads or style == "h" else "td"
            content = inline(cell.text)
            if style in ("m", "l"):
                content = f"<code>{content}</code>"
            paragraphs = content.replace("\n\n", "<br><br>")
            parts.append(f"<{tag} colspan='{cell.columns}' rowspan='{cell.rows}'>{paragraphs}</{tag}>")
        parts.append("</tr></thead>" if index < heads else "</tr>")
    return "".join([*parts, "</table>"])


def _cells(text: str) -> list[_Cell]:
    found = list(_CELL.finditer(text))
    cells: list[_Cell] = []
    for index, mark in enumerate(found):
        end = found[index + 1].start() if index + 1 < len(found) else len(text)
        content = text[mark.end() : end].strip().replace("\\|", "|")
        span = _SPAN.match(mark[1])
        copies, columns, rows, style = span.groups() if span else (None, None, None, "")
        cell = _Cell(content, min(whole_number(columns, 1), 200), min(whole_number(rows, 1), 1000), style or "")
        cells += [cell] * min(whole_number(copies, 1), _MAX_COPIES)
    return cells


def _width(columns: str) -> int:
    """Return the number of columns that ``cols`` says: "1,2,3" or "3*"."""
    total = 0
    for part in re.split(r"[,;]", columns.strip().strip('"')) if columns.strip() else []:
        times = re.match(r"\s*(\d+)\*", part)
        total += min(whole_number(times[1]), 200) if times else 1
    return total


def _rows(cells: list[_Cell], width: int) -> list[list[_Cell]]:
    rows: list[list[_Cell]] = []
    row: list[_Cell] = []
    below: list[int] = []  # cells of the rows above that reach into each further row
    used = 0
    for cell in cells:
        row.append(cell)
        used += cell.columns
        for index in range(1, cell.rows):
            below += [0] * (index + 1 - len(below))
            below[index] += cell.columns
        if used + (below[0] if below else 0) >= width:
            rows.append(row)
            row, used = [], 0
            below = below[1:]
    return [*rows, row] if row else rows
