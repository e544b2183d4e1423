"""Tables of LaTeX: rows and cells of the tabular environments as a table of HTML."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from tasks.conversion.html.tree import Element, etree
from tasks.conversion.tex.source import Definitions, Source
from tasks.conversion.whole_numbers import whole_number

_SKIPPED_ARGUMENTS = {
    "cline": 1,
    "hhline": 1,
    "cmidrule": 1,
    "specialrule": 3,
    "addlinespace": 0,
    "noalign": 1,
    "rowcolor": 1,
}
_RULES = frozenset({"hline", "toprule", "bottomrule", "midrule", "Xhline", "tabularnewline", "centering"})
_SPAN = re.compile(r"\s*\\(multicolumn|multirow)(?![A-Za-z])")


@dataclass
class _Cell:
    text: str
    columns: int = 1
    rows: int = 1


def rows_of(body: str, definitions: Definitions) -> tuple[list[list[_Cell]], int]:
    """Return the cells of a table's *body* by row, and how many of its first rows a rule sets apart as its head."""
    rows: list[list[_Cell]] = []
    cells: list[str] = [""]
    head = 0
    first_head: int | None = None
    source = Source(body, definitions)

    def end_row() -> None:
        if any(cell.strip() for cell in cells) or len(cells) > 1:
            rows.append([_cell(cell, definitions) for cell in cells])
        cells[:] = [""]

    while sign := source.token():
        name = sign[1:]
        if sign == "\\\\" or sign == "\\tabularnewline":
            source.star()
            source.option()
            end_row()
        elif sign == "&":
            cells.append("")
        elif sign == "{":
            source.push_back("{")
            cells[-1] += f"{{{source.argument()}}}"
        elif sign == "\\begin":
            environment = source.argument()
            inner = source.environment(environment)
            cells[-1] += f"\\begin{{{environment}}}{inner}\\end{{{environment}}}"
        elif name in _RULES or name in _SKIPPED_ARGUMENTS:
            if name == "midrule" or (name == "hline" and not head and len(rows) == 1):
                end_row()
                head = head or len(rows)
            source.option()
            source.take(re.compile(r"\([^)]*\)"))
            for _ in range(_SKIPPED_ARGUMENTS.get(name, 0)):
                source.argument()
        elif name in ("endhead", "endfirsthead", "endfoot", "endlastfoot"):
            end_row()
            if name == "endfirsthead":
                first_head = len(rows)
            elif name == "endhead":
                del rows[first_head if first_head is not None else len(rows) :]
                head = len(rows)
            elif name == "endfoot":
                del rows[head:]
        elif sign[0] == "\\" and source.expand(name):
            continue
        else:
            follows_word = sign[0] == "\\" and sign[-1].isalpha()
            cells[-1] += sign + (" " if follows_word and source.peek().isalpha() else "")
    end_row()
    return _without_covered(rows), head


def _cell(text: str, definitions: Definitions) -> _Cell:
    cell = _Cell(text.strip())
    while found := _SPAN.match(cell.text):
        source = Source(cell.text[found.end() :], definitions)
        source.star()
        source.option()
        count = source.argument()
        source.option()
        source.argument()
        source.option()
        cell.text = (source.argument() + source.rest()).strip()
        number = whole_number(count.strip().lstrip("-"), 1)  # rows are counted upwards where the cell stands last
        if found[1] == "multicolumn":
            cell.columns = max(1, min(number, 200))
        else:
            cell.rows = max(1, min(number, 1000))
    return cell


def _without_covered(rows: list[list[_Cell]]) -> list[list[_Cell]]:
    """Return *rows* without the empty cells that LaTeX asks for below a cell over several rows."""
    covered: dict[int, int] = {}
    result: list[list[_Cell]] = []
    for row in rows:
        kept: list[_Cell] = []
        column = 0
        for cell in row:
            if covered.get(column, 0) > 0 and not cell.text:
                for index in range(column, column + cell.columns):
                    covered[index] = covered.get(index, 0) - 1
            else:
                kept.append(cell)
                for index in range(column, column + cell.columns):
                    covered[index] = cell.rows - 1
            column += cell.columns
        result.append(kept)
    return result


def build(parent: Element, body: str, definitions: Definitions, fill: Callable[[Element, str], None]) -> None:
    """Add the table to *parent*; *fill* writes LaTeX into an element."""
    rows, head = rows_of(body, definitions)
    table = etree.SubElement(parent, "table", role="table")
    for index, row in enumerate(rows):
        group = etree.SubElement(etree.SubElement(table, "thead" if index < head else "tbody"), "tr")
        for cell in row:
            spans = {"colspan": str(cell.columns), "rowspan": str(cell.rows)}
            fill(etree.SubElement(group, "th" if index < head else "td", spans), cell.text)
