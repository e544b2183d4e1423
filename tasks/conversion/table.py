"""CSV and TSV files as one GFM table.

Owns delimiter detection, escaping and the bounds: the file is streamed twice (once to find its width, once to write),
so memory grows with the output only. Refuses no file for its quoting: quotes that make no sense are taken as ordinary
characters, with a warning.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tasks.conversion.encodings import find_encoding
from tasks.conversion.reading import Reading, clean_text

CONVERTER = "waybill-table 1"

_DELIMITERS = ",;\t|"
# Enough lines to distinguish a delimiter from a comma in prose.
_SAMPLE_CHARACTERS = 64 << 10
# A cell has a text at most; a longer one is an unclosed quote.
_MAX_QUOTED_CHARACTERS = 1 << 20
# Addresses and comments have a few lines; hundreds mean that a stray quote swallowed the rows.
_MAX_QUOTED_LINES = 200
# Without quotes a cell ends with its line at the latest, so the csv module needs no bound of its own (a C long).
_NO_CELL_BOUND = (1 << 31) - 1
# Rows are joined in batches: a string per row would double the memory of tables with short rows.
_ROWS_PER_PART = 5_000

_EXCEL_HINT = re.compile(r"\ufeff?sep=(.)\s*", re.IGNORECASE)
_PIPE = re.compile(r"(?<!\\)(\\*+)\|")
_TAG_START = re.compile(r"<(?=[A-Za-z/!?])")


class _QuotesMakeNoSense(Exception):
    """A quoted cell without a plausible end."""


@dataclass(frozen=True, kw_only=True)
class _Dialect:
    codec: str
    delimiter: str
    quoted: bool
    skip_first_line: bool


def read_table(path: Path, encoding: str | None, delimiter: str | None) -> Reading:
    """Return the table with its first row as header. *encoding* and *delimiter* override detection."""
    found = find_encoding(path, encoding)
    with path.open(encoding=found.codec, errors="replace", newline="") as file:
        sample = file.read(_SAMPLE_CHARACTERS)
    hint = _EXCEL_HINT.fullmatch(sample.split("\n", 1)[0])
    dialect = _Dialect(
        codec=found.codec,
        delimiter=delimiter or (hint[1] if hint else _detect_delimiter(sample)),
        quoted=True,
        skip_first_line=hint is not None,
    )
    warnings = found.warnings
    try:
        columns = _width(path, dialect)
    except _QuotesMakeNoSense:
        dialect = replace(dialect, quoted=False)
        columns = _width(path, dialect)
        warnings = (*warnings, "quotes are not balanced and were taken as ordinary characters")
    body = "".join(_markdown(path, dialect, columns)) if columns else ""
    return Reading(body=body, converter=CONVERTER, warnings=warnings)


def _detect_delimiter(sample: str) -> str:
    """Return the delimiter that cuts most of the first lines into the same number of cells, at least two."""
    lines = sample.splitlines()
    lines = lines[:-1] if len(lines) > 1 else lines  # the last one may be cut
    best = (0.0, 0, ",")
    for delimiter in _DELIMITERS:
        widths = Counter(len(row) for row in csv.reader(lines, delimiter=delimiter) if row)
        usual, times = max(widths.items(), key=lambda item: (item[1], item[0]), default=(0, 0))
        if usual > 1:
            best = max(best, (times / widths.total(), usual, delimiter))
    return best[2]


def _rows(path: Path, dialect: _Dialect) -> Iterator[list[str]]:
    """Yield the rows that are not empty. Raises `_QuotesMakeNoSense`."""
    csv.field_size_limit(_MAX_QUOTED_CHARACTERS if dialect.quoted else _NO_CELL_BOUND)
    quoting = csv.QUOTE_MINIMAL if dialect.quoted else csv.QUOTE_NONE
    with path.open(encoding=dialect.codec, errors="replace", newline="") as file:
        if dialect.skip_first_line:
            file.readline()
        reader = csv.reader(file, delimiter=dialect.delimiter, quoting=quoting)
        lines_before = 0
        try:
            for row in reader:
                if dialect.quoted and reader.line_num - lines_before > _MAX_QUOTED_LINES:
                    raise _QuotesMakeNoSense
                lines_before = reader.line_num
                if any(cell.strip() for cell in row):
                    yield row
        except csv.Error as exc:
            raise _QuotesMakeNoSense from exc


def _width(path: Path, dialect: _Dialect) -> int:
    return max((len(row) for row in _rows(path, dialect)), default=0)


def _markdown(path: Path, dialect: _Dialect, columns: int) -> Iterator[str]:
    """Yield the table (GFM 4.10). Only the header is widened to all columns: short data rows are legal."""
    rows = _rows(path, dialect)
    header = next(rows)
    yield _line([*header, *[""] * (columns - len(header))])
    yield f"|{' --- |' * columns}\n"
    part: list[str] = []
    for row in rows:
        part.append(_line(row))
        if len(part) == _ROWS_PER_PART:
            yield "".join(part)
            part.clear()
    yield "".join(part)


def _line(row: list[str]) -> str:
    return f"| {' | '.join(map(_cell, row))} |\n"


def _cell(value: str) -> str:
    """Return a cell's text on one line: pipes escaped, line breaks as ``<br>``, and no HTML tags."""
    text = clean_text(value).strip()
    if "<" in text:
        text = _TAG_START.sub(r"\\<", text)
    if "|" in text:  # backslashes before a pipe are doubled: one would escape the escape
        text = _PIPE.sub(lambda found: f"{found[1]}{found[1]}\\|", text)
    return text.replace("\n", "<br>") if "\n" in text else text
