"""Rows of Markdown pipe tables (GFM 4.10) with place and column names, even if the header row is elsewhere; pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tasks.text.prose import plain_text
from tasks.text.scanner import raw_cells, scan_blocks

_LINE = re.compile(r"[^\r\n]+")
# Without these signs a cell's words are what is written.
_MARKUP = re.compile(r"[\\`*_~^<>\[\]&$]")
_DELIMITER_ROW = re.compile(r"[|:\- \t]+")


@dataclass(frozen=True, slots=True)
class Row:
    """Characters ``[start, end)`` of the text: one row. `cells` are plain words by the name of their column."""

    start: int
    end: int
    cells: tuple[tuple[str, str], ...]

    @property
    def is_heading(self) -> bool:
        """Whether the row is a heading of the rows below it: one cell with words, alone or repeated in all columns."""
        filled = [value for _, value in self.cells if value]
        return (
            len(self.cells) > 1
            and len(set(filled)) == 1
            and any(map(str.isalpha, filled[0]))
            and (len(filled) == 1 or len(filled) == len(self.cells))
        )

    def __str__(self) -> str:
        """Return the row as words: "Year: 2024; Passengers: 468500". Empty cells are left out.

        Without names of columns, two cells are a name and its value: "Invoice no.: 2024-17".
        """
        if len(self.cells) == 2 and not any(name for name, _ in self.cells) and all(value for _, value in self.cells):
            (_, name), (_, value) = self.cells
            return f"{name.removesuffix(':')}: {value}"
        return "; ".join(f"{name}: {value}" if name else value for name, value in self.cells if value)


def table_rows(text: str, header_row: str = "", inside: str = "") -> Iterator[Row]:
    """Yield the body rows of the tables in *text*.

    *header_row* is that of a table, and *inside* the opening line of a code block, that *text* begins inside.
    """
    for block in scan_blocks(text, inside=inside):
        lines = _LINE.finditer(text, block.start, block.end)
        if block.kind == "table":
            names = cells(next(lines)[0])
        elif block.kind == "paragraph" and header_row and not text[: block.start].strip():
            names = cells(header_row)
        else:
            continue
        for line in lines:
            if "|" in line[0] and not _DELIMITER_ROW.fullmatch(line[0]):
                yield _row(line, names)


def cells(row: str) -> list[str]:
    """Return the cells of a row as plain words."""
    if _MARKUP.search(row) is None:  # as in most rows of large tables
        return [" ".join(cell.split()) for cell in raw_cells(row.strip())]
    return [plain_text(cell.replace("\\|", "|")) for cell in raw_cells(row.strip())]


def _row(line: re.Match[str], names: Sequence[str]) -> Row:
    values = cells(line[0])
    named = [*names, *[""] * len(values)][: len(values)]
    content = line[0].strip()
    start = line.start() + line[0].index(content)
    return Row(start, start + len(content), tuple(zip(named, values, strict=True)))
