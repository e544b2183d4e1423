"""The sheets of a workbook as one Markdown text, with its notes and warnings."""

from __future__ import annotations

from tasks.conversion.markdown_writer import Body, Notes, Run, escape, inline
from tasks.conversion.office.package import CoreProperties
from tasks.conversion.reading import Reading, clean_text
from tasks.conversion.workbook.grid import layout
from tasks.conversion.workbook.sheet import Budget, Place, Sheet
from tasks.losses import losses

CONVERTER = "waybill-workbook 1"


class WorkbookText:
    """Collects the sheets in order. `heads` are the texts of printed pages, each once, which follow all sheets."""

    def __init__(self, budget: Budget) -> None:
        self.heads: dict[str, None] = {}
        self._budget = budget
        self._notes = Notes()
        self._sheets: list[Sheet] = []

    def add(self, sheet: Sheet, comments: dict[Place, str]) -> None:
        """Add *sheet* with the *comments* on its cells."""
        for place in sorted(comments):
            row, column = place
            key = f"{len(self._sheets)}:{row}:{column}"
            mark = self._notes.mark("comment", key).text
            self._notes.define("comment", key, comments[place])
            cells = sheet.rows.setdefault(row, {})
            cells[column] = f"{cells.get(column, '')}{mark}"
        self._budget.losses["hidden-sheet"] += sheet.hidden
        self._sheets.append(sheet)

    def forget_zeros(self) -> None:
        """Leave out the results of formulas, if each of them is 0; if some of them are, count these as doubtful.

        Programs that cannot compute write a 0 into every formula, and that the workbook is to be computed when opened.
        """
        zeros = sum(len(sheet.zeros) for sheet in self._sheets)
        if zeros != self._budget.formulas:
            self._budget.losses["zero"] += zeros
            return
        for sheet in self._sheets:
            for row, column in sheet.zeros:
                sheet.rows.get(row, {}).pop(column, None)
        self._budget.losses["value"] += zeros

    def reading(self, about: CoreProperties, warnings: tuple[str, ...]) -> Reading:
        """Return the whole text, which is empty if no sheet has any. Raises `TooManyCells`."""
        body = Body()
        is_empty = not self.heads and not any(sheet.rows or sheet.below for sheet in self._sheets)
        for sheet in [] if is_empty else self._sheets:
            name = f"{escape(clean_text(sheet.name))}{' (hidden)' if sheet.hidden else ''}"
            body.heading(2, name)
            for block in layout(sheet, self._budget):
                body.block(block)
            sheet.rows.clear()
            for block in sheet.below:
                body.block(block)
        for head in self.heads:
            body.paragraph(inline([Run(text=clean_text(head))]))
        for definition in self._notes.definitions():
            body.block(definition)
        return Reading(
            body=str(body),
            converter=CONVERTER,
            title=about.title,
            created=about.created,
            language=about.language,
            pages=len(self._sheets),
            warnings=(*losses(self._budget.losses), *warnings),
        )
