"""Drawings in a paragraph: pictures, text boxes, charts, diagrams, embedded objects.

Reads DrawingML (ECMA-376 part 1, 20.4) and VML (part 4, 19), which older documents have in its place. A text box is
read as the story that it is, a chart becomes a table, a diagram a list, a picture what its description says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tasks.conversion.markdown_writer import Run, escape_line_starts, inline
from tasks.conversion.office.charts import read_chart
from tasks.conversion.office.diagrams import diagram_items
from tasks.conversion.office.package import local_name
from tasks.conversion.office.pictures import description
from tasks.conversion.word.names import MC, VML, A, Element, R, W, chosen

if TYPE_CHECKING:
    from tasks.conversion.word.document import Document

_FORMULA_PROGRAMS = ("Equation", "MathType")


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a drawing shows below its paragraph: a text box, Markdown, or the items of a diagram with their levels."""

    box: Element | None = None
    markdown: str = ""
    items: tuple[tuple[int, str], ...] = ()


@dataclass(slots=True)
class _Found:
    drawn: list[Drawn] = field(default_factory=list[Drawn])
    pictures: int = 0
    objects: list[str] = field(default_factory=list[str])
    descriptions: list[str] = field(default_factory=list[str])
    decorative: bool = False


def read_drawing(document: Document, part: str, element: Element) -> tuple[str, list[Drawn]]:
    """Return what a drawing (`w:drawing`, `w:pict`, `w:object`) says in its line, and what it shows below."""
    if any(one.get("hidden") in ("1", "true") for one in element.iterfind("*/{*}docPr")):
        document.lost["hidden-text"] += 1
        return "", []
    found = _Found()
    _look_into(document, part, element, found)
    said = next((text for given in found.descriptions if (text := description(given))), "")
    for program in found.objects:
        document.lost["formula" if program.startswith(_FORMULA_PROGRAMS) else "object"] += 1
    if not (said or found.decorative or found.objects):
        document.lost["image"] += found.pictures
    return ("" if found.drawn else said), found.drawn


def _look_into(document: Document, part: str, element: Element, found: _Found) -> None:
    for child in chosen(element) if element.tag == f"{MC}AlternateContent" else element:
        if not isinstance(child.tag, str):
            continue
        name = local_name(child)
        if child.tag == f"{W}txbxContent":
            found.drawn.append(Drawn(box=child))
        elif name == "chart" and child.get(f"{R}id"):
            found.drawn += _chart(document, document.target(part, child.get(f"{R}id", "")))
        elif name == "relIds" and child.get(f"{R}dm"):
            found.drawn += _diagram(document, document.target(part, child.get(f"{R}dm", "")))
        elif child.tag == f"{A}txBody":
            found.drawn += [Drawn(markdown=text) for text in _shape_text(child)]
        elif child.tag == f"{VML}textpath":
            found.drawn += [Drawn(markdown=_markdown(text)) for text in [child.get("string", "")] if text.strip()]
        else:
            _note(child, name, found)
            _look_into(document, part, child, found)


def _note(child: Element, name: str, found: _Found) -> None:
    """Note what an element says of the drawing that it is in."""
    if name in ("docPr", "cNvPr"):
        found.descriptions += [child.get("descr", ""), child.get("title", "")]
    elif name == "decorative":
        found.decorative = found.decorative or child.get("val") in ("1", "true")
    elif name in ("pic", "contentPart"):
        found.pictures += 1
    elif child.tag == f"{VML}imagedata":
        found.pictures += 1
        found.descriptions += [value for key, value in child.attrib.items() if key.endswith("}title")]
    elif child.tag == f"{W}control":
        found.objects.append("control")
    elif name == "OLEObject":
        found.objects.append(child.get("ProgID", ""))
    elif child.tag.startswith(VML):
        found.descriptions.append(child.get("alt", ""))


def _chart(document: Document, target: str) -> Iterator[Drawn]:
    root = document.parse(target) if target else None
    chart = read_chart(root) if root is not None else None
    if chart is None or not chart.complete:
        document.lost["chart"] += 1
    if chart is not None and chart.markdown:
        yield Drawn(markdown=chart.markdown)


def _diagram(document: Document, target: str) -> Iterator[Drawn]:
    root = document.parse(target) if target else None
    items = tuple(diagram_items(root)) if root is not None else ()
    if items:
        yield Drawn(items=items)
    else:
        document.lost["diagram"] += 1


def _shape_text(body: Element) -> Iterator[str]:
    for paragraph in body.iterchildren(f"{A}p"):
        text = "".join("\n" if one.tag == f"{A}br" else one.text or "" for one in paragraph.iter(f"{A}t", f"{A}br"))
        if text.strip():
            yield _markdown(text)


def _markdown(text: str) -> str:
    return escape_line_starts(inline([Run(text=text)]))
