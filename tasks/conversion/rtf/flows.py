"""One text of an RTF file as it is collected: its paragraphs, its tables, its text boxes; then as Markdown."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tasks.conversion.markdown_writer import Body, Run, inline, table
from tasks.conversion.rtf.state import Paragraph, Sheet
from tasks.conversion.spans import Cell, nested, without_spans

_HEADING_NAME = re.compile(
    r"(?:heading|überschrift|titre|titolo|título|kop|rubrik|overskrift)\s*([1-9])", re.IGNORECASE
)
_TITLE_NAMES = frozenset({"title", "titel", "titre", "titolo", "título"})
_PLAIN_NUMBER = re.compile(r"\d{1,9}[.)]")
_WORD = re.compile(r"[^\W_]")


@dataclass
class CellShape:
    """What a row's definition says of one cell: its right edge (twips), whether it begins or continues a merge."""

    edge: int = 0
    continues_columns: bool = False
    begins_rows: bool = False
    continues_rows: bool = False


@dataclass
class _Row:
    texts: list[str]
    shapes: list[CellShape]


@dataclass
class _Table:
    rows: list[_Row] = field(default_factory=list[_Row])
    texts: list[str] = field(default_factory=list[str])
    lines: list[str] = field(default_factory=list[str])

    def end_cell(self) -> None:
        self.texts.append("\\\n".join(self.lines))
        self.lines = []

    def end_row(self, shapes: list[CellShape]) -> None:
        if self.lines:
            self.end_cell()
        if self.texts:
            self.rows.append(_Row(self.texts, list(shapes)))
        self.texts = []

    def flat(self) -> list[list[str]]:
        """Return the rows with every cell in a place of its own."""
        grid = _grid(self.rows)
        return without_spans([_cells(self.rows, number, grid) for number in range(len(self.rows))])


@dataclass
class Flow:
    """A text: paragraphs and tables in order. *sheet* says which styles are headings."""

    sheet: Sheet
    body: Body = field(default_factory=Body)
    label: str | None = None
    """The label of the list item that begins, as the file gives it."""
    floats: list[Flow] = field(default_factory=list["Flow"])
    """Text boxes that are anchored in the paragraph."""
    texts: list[str] = field(default_factory=list[str])
    """The paragraphs as Markdown without their places: for a note or a head."""
    _runs: list[Run] = field(default_factory=list[Run])
    _tables: list[_Table] = field(default_factory=list[_Table])

    def add(self, run: Run) -> None:
        """Add a run to the paragraph."""
        self._runs.append(run)

    @property
    def is_empty(self) -> bool:
        """Whether the paragraph has no text yet."""
        return not any(run.text.strip() for run in self._runs)

    def end_paragraph(self, paragraph: Paragraph) -> None:
        """End the paragraph: it becomes a block, or a line of the cell that it is in."""
        label, self.label = self.label, None
        markdown = self._markdown()
        self._runs = []
        if paragraph.in_table:
            self._deepen(max(1, paragraph.table_depth))
            if markdown:
                self._tables[-1].lines.append(f"{_shown(label)} {markdown}".strip())
        else:
            self._end_tables()
            self._write(paragraph, label, markdown)
        if markdown:
            self.texts.append(f"{_shown(label)} {markdown}".strip())
        self._write_floats()

    def _markdown(self) -> str:
        runs = [run for run in self._runs if run.text.strip()]
        if len(runs) == 1 and runs[0].markdown and runs[0].text.startswith("$"):  # a formula alone is displayed
            return f"${runs[0].text}$"
        return inline(self._runs)

    def end_cell(self, paragraph: Paragraph) -> None:
        """End a cell of the table that *paragraph* is in."""
        depth = max(1, paragraph.table_depth)
        self.end_paragraph(Paragraph(in_table=True, table_depth=depth))
        self._deepen(depth)
        self._tables[-1].end_cell()

    def end_row(self, shapes: list[CellShape], depth: int) -> None:
        """End a row of the table of *depth*, whose cells have *shapes*."""
        self._deepen(depth)
        self._tables[-1].end_row(shapes)

    def finish(self, paragraph: Paragraph) -> None:
        """End the text: what is left of a paragraph and of tables is written."""
        if self._runs or self.floats:
            self.end_paragraph(paragraph)
        self._end_tables()

    def _deepen(self, depth: int) -> None:
        """Open or end tables until *depth* are open; a table that ends is lines of the cell that it is in."""
        while len(self._tables) < depth:
            self._tables.append(_Table())
        while len(self._tables) > depth:
            ended = self._tables.pop()
            ended.end_row([])
            self._tables[-1].lines += nested(ended.flat())

    def _end_tables(self) -> None:
        if self._tables:
            self._deepen(1)
            ended = self._tables.pop()
            ended.end_row([])
            self.body.block(table(ended.flat()))

    def _write(self, paragraph: Paragraph, label: str | None, markdown: str) -> None:
        level = self._heading_level(paragraph)
        if level is not None:
            title = markdown.replace("**", "") if markdown.startswith("**") and markdown.endswith("**") else markdown
            self.body.heading(level + 1, f"{_shown(label)} {title}" if title else "")
        elif label is None or not markdown:
            self.body.paragraph(markdown)
        elif _is_bullet(label):
            self.body.item("-", markdown, paragraph.level)
        elif _PLAIN_NUMBER.fullmatch(label):
            self.body.item(label, markdown, paragraph.level)
        else:
            self.body.paragraph(f"{_shown(label)} {markdown}")

    def _heading_level(self, paragraph: Paragraph) -> int | None:
        """Return the level of heading (from 0) that a paragraph is: it says so, or its style does."""
        style = self.sheet.styles.get(paragraph.style)
        if paragraph.outline is not None and 0 <= paragraph.outline <= 8:
            return paragraph.outline
        if style is None:
            return None
        if style.name.lower() in _TITLE_NAMES:
            return 0
        named = _HEADING_NAME.match(style.name)
        if named is not None:
            return int(named[1]) - 1
        return style.outline if style.outline is not None and 0 <= style.outline <= 8 else None

    def _write_floats(self) -> None:
        floats, self.floats = self.floats, []
        for flow in floats:
            flow.finish(Paragraph())
            if self._tables:
                self._tables[-1].lines += flow.texts
            else:
                self.body.block(str(flow.body))


def _is_bullet(label: str) -> bool:
    """Return whether *label* is a sign and no number; "o" is the sign that Word takes for the second level."""
    return label == "o" or not _WORD.search(label)


def _shown(label: str | None) -> str:
    return "" if label is None or _is_bullet(label) else inline([Run(text=label)])


def _grid(rows: list[_Row]) -> list[int]:
    """Return the right edges of the columns, if one row has them all; else none, and cells are counted.

    LibreOffice writes a cell over several columns as a wide one.
    """
    finest = max(([shape.edge for shape in row.shapes] for row in rows), key=len) if rows else []
    is_grid = 0 not in finest and all(shape.edge in finest for row in rows for shape in row.shapes)
    return finest if is_grid and finest == sorted(set(finest)) else []


def _cells(rows: list[_Row], number: int, grid: list[int]) -> list[Cell]:
    """Return the cells of a row, without those that a merge covers."""
    row = rows[number]
    cells: list[Cell] = []
    covered = 0
    for index, text in enumerate(row.texts):
        shape = _shape(row, index)
        until = grid.index(shape.edge) + 1 if shape.edge in grid else covered + 1
        columns, covered = max(1, until - covered), until
        if shape.continues_columns and cells:
            cells[-1] = Cell(cells[-1].text, rows=cells[-1].rows, columns=cells[-1].columns + columns)
        elif not (shape.continues_rows and number):
            height = _height(rows, number, shape, index) if shape.begins_rows else 1
            cells.append(Cell(text, rows=height, columns=columns))
    return cells


def _height(rows: list[_Row], number: int, first: CellShape, index: int) -> int:
    height = 1
    while number + height < len(rows) and _below(rows[number + height], first, index).continues_rows:
        height += 1
    return height


def _below(row: _Row, first: CellShape, index: int) -> CellShape:
    """Return the cell of *row* that ends where *first* does, else the one with its *index*."""
    return next((shape for shape in row.shapes if shape.edge == first.edge), _shape(row, index))


def _shape(row: _Row, index: int) -> CellShape:
    return row.shapes[index] if index < len(row.shapes) else CellShape()
