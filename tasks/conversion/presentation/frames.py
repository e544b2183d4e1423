"""Graphic frames of a slide: tables, charts, diagrams (SmartArt) and embedded objects."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from blocks.errors import UnreadableDocument
from tasks.conversion.markdown_writer import Body, Run, inline, table
from tasks.conversion.office.charts import read_chart
from tasks.conversion.office.diagrams import diagram_items
from tasks.conversion.office.package import Element, Package, local_name
from tasks.conversion.presentation.paragraphs import Text
from tasks.conversion.reading import clean_text
from tasks.conversion.spans import Cell, without_spans
from tasks.conversion.whole_numbers import whole_number


@dataclass
class Frames:
    """Reads the frames of one slide; what cannot be carried over counts in `lost`."""

    package: Package
    slide: str
    text: Text
    lost: Counter[str]

    def write(self, body: Body, frame: Element) -> None:
        """Add what *frame* shows to *body*."""
        data = frame.find("{*}graphic/{*}graphicData")
        writers = {"tbl": self._write_table, "chart": self._write_chart, "relIds": self._write_diagram}
        for child in data.iter() if data is not None else ():
            kind = local_name(child)
            if kind in writers:
                writers[kind](body, child)
                return
            if kind == "oleObj":
                self.lost["object"] += 1
                return

    def _write_table(self, body: Body, element: Element) -> None:
        rows = [
            [
                self._cell(cell)
                for cell in row.iterfind("{*}tc")
                if not (_is_on(cell, "hMerge") or _is_on(cell, "vMerge"))
            ]
            for row in element.iterfind("{*}tr")
        ]
        body.block(table(without_spans(rows)))

    def _cell(self, cell: Element) -> Cell:
        text_body = cell.find("{*}txBody")
        text = self.text.cell(text_body) if text_body is not None else ""
        return Cell(text, rows=_span(cell, "rowSpan"), columns=_span(cell, "gridSpan"))

    def _write_chart(self, body: Body, reference: Element) -> None:
        root = self._related(reference, "id")
        chart = read_chart(root) if root is not None else None
        if chart is None or not chart.complete:
            self.lost["chart"] += 1
        if chart is not None:
            body.block(clean_text(chart.markdown))

    def _write_diagram(self, body: Body, reference: Element) -> None:
        root = self._related(reference, "dm")
        items = diagram_items(root) if root is not None else []
        if not items:
            self.lost["diagram"] += 1
        for level, text in items:
            body.item("-", inline([Run(text=clean_text(text))]), level)

    def _related(self, element: Element, name: str) -> Element | None:
        """Return the root of the part that *element*'s relation attribute *name* points to; None if it is not there."""
        relation = next((value for key, value in element.attrib.items() if key.endswith(f"}}{name}")), "")
        try:
            found = self.package.relations(self.slide).get(relation)
            return None if found is None or found.external else self.package.parse_optional(found.target)
        except UnreadableDocument:
            return None


def _is_on(cell: Element, name: str) -> bool:
    return cell.get(name) in ("1", "true")


def _span(cell: Element, name: str) -> int:
    return whole_number(cell.get(name), 1)
