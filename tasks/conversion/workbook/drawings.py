"""What is drawn on a sheet: text boxes, charts, diagrams and pictures, from the top (ECMA-376 part 1, 20.5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from blocks.errors import UnreadableDocument
from tasks.conversion.markdown_writer import Body
from tasks.conversion.office.package import Element, Package, local_name
from tasks.conversion.office.pictures import description
from tasks.conversion.presentation.frames import Frames
from tasks.conversion.presentation.paragraphs import Text, text_block
from tasks.conversion.whole_numbers import whole_number

_DRAWN = frozenset({"sp", "grpSp", "graphicFrame", "pic", "AlternateContent", "contentPart"})
_ANCHORS = frozenset({"twoCellAnchor", "oneCellAnchor", "absoluteAnchor"})


def drawings(package: Package, sheet_member: str, lost: Counter[str]) -> str:
    """Return what is drawn on a sheet as Markdown; what cannot be carried over counts in *lost*."""
    body = Body()
    for member in package.related(sheet_member, "drawing"):
        try:
            root = package.parse(member)
        except UnreadableDocument:
            lost["part"] += 1
            continue
        _Drawing(package, member, lost, body).write(root)
    return str(body)


class _Drawing:
    def __init__(self, package: Package, member: str, lost: Counter[str], body: Body) -> None:
        relations = package.relations(member)

        def target(identity: str) -> str:
            found = relations.get(identity)
            return found.target if found is not None and found.external else ""

        self._text = Text(target, lost)
        self._frames = Frames(package, member, self._text, lost)
        self._lost, self._body = lost, body

    def write(self, root: Element) -> None:
        for anchor in sorted(_drawn(root, _ANCHORS), key=_place):
            for shape in _drawn(anchor, _DRAWN):
                self._shape(shape)

    def _shape(self, shape: Element) -> None:
        kind = local_name(shape)
        properties = shape.find("./*/{*}cNvPr")
        if properties is not None and properties.get("hidden") in ("1", "true"):
            self._lost["hidden-text"] += any((one.text or "").strip() for one in shape.iter("{*}t"))
        elif kind == "sp":
            text_body = shape.find("{*}txBody")
            if text_body is not None:
                self._text.write(self._body, text_body)
        elif kind == "grpSp":
            for child in _drawn(shape, _DRAWN):
                self._shape(child)
        elif kind == "graphicFrame":
            self._frames.write(self._body, shape)
        elif kind == "contentPart":  # ink
            self._lost["image"] += 1
        elif text := description(properties.get("descr") if properties is not None else None):
            self._body.paragraph(text_block(text))
        elif not any(one.get("val") in ("1", "true") for one in shape.iter("{*}decorative")):
            self._lost["image"] += 1


def _drawn(parent: Element, kinds: frozenset[str]) -> Iterator[Element]:
    """Yield the children of *kinds*; of alternatives the one for programs that know it (part 3, 9.3)."""
    for child in parent:
        kind = local_name(child)
        if kind == "AlternateContent":
            choice, fallback = child.find("{*}Choice"), child.find("{*}Fallback")
            chosen = choice if choice is not None and any(True for _ in _drawn(choice, kinds)) else fallback
            if chosen is not None:
                yield from _drawn(chosen, kinds)
        elif kind in kinds:
            yield child


def _place(anchor: Element) -> tuple[int, int]:
    """Return the row and column of an anchor's corner."""
    return whole_number(anchor.findtext("{*}from/{*}row")), whole_number(anchor.findtext("{*}from/{*}col"))
