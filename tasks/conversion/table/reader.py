"""CSV and TSV files as GFM tables, with the lines above and below them as text.

Owns detection of the delimiter, escaping and the bounds: the file is streamed twice (once to find where its tables
begin and how wide they are, once to write), so memory grows with the output only. Refuses no file for its quoting:
quotes that make no sense are taken as ordinary characters, with a warning.
"""

from __future__ import annotations

import csv
import re
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from pathlib import Path
from typing import TextIO

from tasks.conversion.plain.encodings import find_encoding
from tasks.conversion.plain.markdown import plain_to_markdown
from tasks.conversion.reading import Reading, clean_text
from tasks.conversion.table.cells import extent
from tasks.conversion.table.layout import (
    Layout,
    Row,
    as_line,
    first_layout,
    is_comment,
    is_remark,
    is_spaced,
    next_layout,
)

CONVERTER = "waybill-table 2"

# Delimiters by how seldom they stand in texts: between equals, the first is taken.
_DELIMITERS = "\t;|,"
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
# Rows from which the beginning of a table is decided: a page of account data, and enough rows below.
_FIRST_WINDOW_ROWS = 200
_NEXT_WINDOW_ROWS = 20
# Reports have some tables in a file; further ones are rows of the last.
_MAX_TABLES = 100
# More lines below a table are a table of one column.
_MAX_REMARKS = 50

_EXCEL_HINT = re.compile(r"\ufeff?\"?sep=(.)\"?\s*", re.IGNORECASE)
_RULER = re.compile(r"\s*:?[-=+]{2,}:?\s*|\s*")
_PIPE = re.compile(r"(?<!\\)(\\*+)\|")
# What a renderer, or stage 4, would take for emphasis, code, a link, a tag or an entity. Most cells have none of it.
_MARKUP = re.compile(
    r"[*`]|\\(?!\\*\|)(?=[!-/:-@\[-`{-~\n])|(?<![^\W_])_|_(?![^\W_])|~~|<(?=[A-Za-z/!?])|&(?=#?\w{1,31};)"
    r"|\[(?=[^\]\n]{0,200}\][(\[:])|\[(?=\^)"
)
_MAY_HAVE_MARKUP = re.compile(r"[*`\\_~<&\[]")


class _QuotesMakeNoSense(Exception):
    """A quoted cell without a plausible end."""


@dataclass(frozen=True, kw_only=True)
class _Dialect:
    codec: str
    delimiter: str
    quoted: bool
    skip_first_line: bool
    blanks_before_quotes: bool


@dataclass(kw_only=True)
class _Section:
    """One table: rows by their number in the file, from 0. Rows from *end* on are in *below*."""

    first: int
    names: tuple[str, ...] | None
    above: str
    wide: int
    spaced: bool  # blanks follow the delimiters
    columns: int
    end: int
    remarks: list[Row] = field(default_factory=list[Row])

    def take(self, row: Row) -> None:
        """Count one more row of the table, or a remark below it."""
        if not self.remarks and len(row.cells) >= self.wide and row.cells[self.wide - 1]:  # most rows
            self.columns = max(self.columns, len(row.cells))
            self.end += 1
            return
        after_blank = self.remarks[0].after_blank if self.remarks else row.after_blank
        may_be = self.wide > 1 and len(self.remarks) < _MAX_REMARKS
        if may_be and is_remark(row, self.wide, after_blank=after_blank, spaced=self.spaced):
            self.remarks.append(row)
            return
        for taken in (*self.remarks, row):
            self.columns = max(self.columns, len(taken.cells))
            self.end += 1
        self.remarks.clear()


def read_table(path: Path, encoding: str | None, delimiter: str | None) -> Reading:
    """Return the file's tables and the text around them. *encoding* and *delimiter* override detection."""
    found = find_encoding(path, encoding)
    with path.open(encoding=found.codec, errors="replace", newline="") as file:
        sample = file.read(_SAMPLE_CHARACTERS)
    hint = _EXCEL_HINT.fullmatch(sample.split("\n", 1)[0])
    between = delimiter or (hint[1] if hint else _detect_delimiter(sample))
    dialect = _Dialect(
        codec=found.codec,
        delimiter=between,
        quoted=True,
        skip_first_line=hint is not None,
        blanks_before_quotes=_has_blanks_before_quotes(sample, between),
    )
    warnings = found.warnings
    try:
        sections = _sections(path, dialect)
    except _QuotesMakeNoSense:
        dialect = replace(dialect, quoted=False)
        sections = _sections(path, dialect)
        warnings = (*warnings, "quotes are not balanced and were taken as ordinary characters")
    body = "".join(_markdown(path, dialect, sections))
    return Reading(body=body, converter=CONVERTER, warnings=warnings)


def _detect_delimiter(sample: str) -> str:
    """Return the delimiter that cuts most lines, from where it begins to, into one number of cells, at least two.

    Commas that stand between digits only are decimal signs where there is another delimiter.
    """
    lines = sample.splitlines()
    lines = lines[:-1] if len(lines) > 1 else lines  # the last one may be cut
    best = (False, 0.0, 0, 0, 0, ",")
    for rank, delimiter in enumerate(reversed(_DELIMITERS)):
        widths = [len(row) for row in csv.reader(lines, delimiter=delimiter) if any(cell.strip() for cell in row)]
        counted = Counter(width for width in widths if width > 1)
        if not counted:
            continue
        usual, times = max(counted.items(), key=lambda item: (item[1], item[0]))
        share = times / (len(widths) - widths.index(usual))
        is_decimal = delimiter == "," and not re.search(r"(?<!\d),|,(?!\d)", sample)
        best = max(best, (not is_decimal, share * times, times, usual, rank, delimiter))
    return best[-1]


def _has_blanks_before_quotes(sample: str, delimiter: str) -> bool:
    """Return whether blanks stand between a delimiter and a quoted cell, and each such cell ends like one."""
    mark = re.escape(delimiter)
    begun = len(re.findall(rf'{mark} +"', sample))
    ended = len(re.findall(rf'{mark} +"(?:[^"]|"")*" *(?={mark}|\r|\n|\Z)', sample))
    return 0 < begun == ended


class _Lines:
    """The lines of a file, and those that were read since they were asked for last."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._read: list[str] = []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = next(self._file)
        self._read.append(line)
        return line

    def taken(self) -> str:
        text = "".join(self._read)
        self._read.clear()
        return text


def _rows(path: Path, dialect: _Dialect, *, with_raw: bool = False) -> Iterator[Row]:
    """Yield the rows that are not empty, their text in the file only if requested. Raises `_QuotesMakeNoSense`."""
    csv.field_size_limit(_MAX_QUOTED_CHARACTERS if dialect.quoted else _NO_CELL_BOUND)
    quoting = csv.QUOTE_MINIMAL if dialect.quoted else csv.QUOTE_NONE
    with path.open(encoding=dialect.codec, errors="replace", newline="") as file:
        if dialect.skip_first_line:
            file.readline()
        lines = _Lines(file)
        skip = dialect.quoted and dialect.blanks_before_quotes
        reader = csv.reader(
            lines if with_raw else file, delimiter=dialect.delimiter, quoting=quoting, skipinitialspace=skip
        )
        lines_before, after_blank = 0, False
        try:
            for read in reader:
                if dialect.quoted and reader.line_num - lines_before > _MAX_QUOTED_LINES:
                    raise _QuotesMakeNoSense
                lines_before, raw = reader.line_num, lines.taken()
                cells = _without_frame(read) if dialect.delimiter == "|" else read
                if any(cell.strip() for cell in cells):
                    yield Row(cells, after_blank, raw)
                    after_blank = False
                else:
                    after_blank = True
        except csv.Error as exc:
            raise _QuotesMakeNoSense from exc


def _without_frame(cells: list[str]) -> list[str]:
    """Return the cells of a row of a drawn table, as of Markdown or a database: without its outer lines and rulers."""
    if all(_RULER.fullmatch(cell) for cell in cells):
        return []
    framed = len(cells) > 2 and not cells[0].strip() and not cells[-1].strip()
    return cells[1:-1] if framed else cells


class _Ahead:
    """Rows one by one, with a look at those that follow."""

    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows = rows
        self._seen: deque[Row] = deque()
        self.taken = 0

    def __iter__(self) -> _Ahead:
        return self

    def __next__(self) -> Row:
        row = self._seen.popleft() if self._seen else next(self._rows)
        self.taken += 1
        return row

    def give_back(self, row: Row) -> None:
        self._seen.appendleft(row)
        self.taken -= 1

    def look(self, count: int) -> list[Row]:
        self._seen.extend(islice(self._rows, max(0, count - len(self._seen))))
        return list(islice(self._seen, count))

    def take(self, count: int) -> list[Row]:
        return list(islice(self, count))


def _sections(path: Path, dialect: _Dialect) -> list[_Section]:
    """Return where the tables of the file are."""
    rows = _Ahead(_rows(path, dialect, with_raw=True))
    window = rows.look(_FIRST_WINDOW_ROWS)
    if not window:
        return []
    sections = [_begin(rows, first_layout(window), dialect.delimiter)]
    for row in rows:
        if row.after_blank and len(sections) < _MAX_TABLES:
            rows.give_back(row)
            layout = next_layout(rows.look(_NEXT_WINDOW_ROWS), sections[-1].wide)
            if layout is not None:
                sections.append(_begin(rows, layout, dialect.delimiter))
                continue
            next(rows)
        sections[-1].take(row)
    return sections


def _begin(rows: _Ahead, layout: Layout, delimiter: str) -> _Section:
    above = rows.take(layout.above)
    header = rows.take(layout.header_rows)
    first = (header or rows.look(1))[0]
    return _Section(
        first=rows.taken,
        names=layout.names,
        above=_text(above, delimiter),
        wide=extent(layout.names if layout.names is not None else first.cells),
        spaced=is_spaced(first),
        columns=max([len(layout.names or ()), *(len(row.cells) for row in header)]),
        end=rows.taken,
    )


def _text(rows: list[Row], delimiter: str) -> str:
    """Return rows outside tables as Markdown: each a paragraph, comments as they stand under each other."""
    blocks: list[str] = []
    for are_comments, group in groupby(rows, key=is_comment):
        lines = [clean_text(as_line(row, delimiter)) for row in group]
        blocks += ["\n".join(lines)] if are_comments else lines
    return "\n\n".join(plain_to_markdown(block).strip("\n") for block in blocks)


def _markdown(path: Path, dialect: _Dialect, sections: list[_Section]) -> Iterator[str]:
    """Yield the tables (GFM 4.10). Only headers are widened to all columns: short data rows are legal."""
    rows = _rows(path, dialect)
    at = 0
    for number, section in enumerate(sections):
        names = section.names or ()
        yield ("\n" if number else "") + (f"{section.above}\n\n" if section.above else "")
        yield _line([*names, *[""] * (section.columns - len(names))])
        yield f"|{' --- |' * section.columns}\n"
        for _ in islice(rows, section.first - at):
            pass
        at = section.end
        body = islice(rows, section.end - section.first)
        while part := "".join(_line(row.cells) for row in islice(body, _ROWS_PER_PART)):
            yield part
        if section.remarks:
            yield f"\n{_text(section.remarks, dialect.delimiter)}\n"


def _line(row: list[str]) -> str:
    return f"| {' | '.join(map(_cell, row))} |\n"


def _cell(value: str) -> str:
    """Return a cell's text on one line: signs of markup escaped, line breaks as ``<br>``."""
    text = clean_text(value).strip()
    if _MAY_HAVE_MARKUP.search(text):
        text = _MARKUP.sub(r"\\\g<0>", text)
    if "|" in text:  # backslashes before a pipe are doubled: one would escape the escape
        text = _PIPE.sub(lambda found: f"{found[1]}{found[1]}\\|", text)
    return text.replace("\n", "<br>") if "\n" in text else text
