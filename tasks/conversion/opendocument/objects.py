"""Objects inside of an OpenDocument file: charts as tables, formulas as LaTeX (part 3, 11 and 14)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from tasks.conversion.formulas.mathml import to_latex
from tasks.conversion.markdown_writer import Body, Run, cell, inline, table
from tasks.conversion.office.package import Element, Package, local_name
from tasks.conversion.opendocument.document import attribute, optional_part
from tasks.conversion.reading import clean_text

_MAX_CHART_ROWS = 5_000
# LibreOffice writes an empty paragraph into references as well.
_ROOTS = frozenset({"math", "document", "document-content"})
_CHART = "{urn:oasis:names:tc:opendocument:xmlns:chart:1.0}chart"


@dataclass
class Objects:
    """Reads the objects of one package; what cannot be carried over counts in `lost`."""

    package: Package
    lost: Counter[str]

    def formula(self, frame: Element) -> Run | None:
        """Return the formula that *frame* shows, as LaTeX without signs around it; None if it shows no formula.

        A formula that cannot be read is its text, and is counted.
        """
        reference = frame.find("{*}object")
        root = self._root(reference) if reference is not None else None
        if root is None or local_name(root) != "math":
            return None
        latex = to_latex(root)
        if latex is None:
            self.lost["formula"] += 1
            words = [text for one in root.iter("{*}mi", "{*}mn", "{*}mo", "{*}mtext") if (text := one.text)]
            return Run(text=clean_text(" ".join(words)))
        return Run(text=f"${latex}$", markdown=True)

    def write(self, body: Body, reference: Element) -> None:
        """Add what the object behind a ``draw:object`` shows to *body*."""
        root = self._root(reference)
        chart = next(root.iter(_CHART), None) if root is not None else None
        if chart is not None:
            self._write_chart(body, chart)
        else:
            self.lost["object"] += 1

    def _root(self, reference: Element) -> Element | None:
        """Return the root of the object's content: it is inside the reference, or a folder of the package."""
        inside = next((child for child in reference if local_name(child) in _ROOTS), None)
        if inside is not None:
            return inside
        folder = attribute(reference, "href").removeprefix("./").rstrip("/")
        return optional_part(self.package, f"{folder}/content.xml") if folder else None

    def _write_chart(self, body: Body, chart: Element) -> None:
        """Add the table that a chart carries its values in (part 3, 11.1), below its title."""
        title = chart.find("{*}title")
        heading = " ".join("".join(title.itertext()).split()) if title is not None else ""
        rows = [[_text(one) for one in row if local_name(one) == "table-cell"] for row in chart.iter("{*}table-row")][
            :_MAX_CHART_ROWS
        ]
        rows = [row for row in rows if any(row)]
        if heading:
            body.block(inline([Run(text=clean_text(heading), bold=True)]))
        if len(rows) > 1:
            body.block(table(rows))
        else:
            self.lost["chart"] += 1


def _text(element: Element) -> str:
    """Return a cell of a chart's table: the text that it shows, else its value."""
    paragraphs = (" ".join("".join(one.itertext()).split()) for one in element.iter("{*}p"))
    shown = " ".join(text for text in paragraphs if text) or attribute(element, "value")
    # A chart writes missing values as NaN.
    return cell(inline([Run(text=clean_text(shown))])) if shown not in ("NaN", "1.#NAN") else ""
