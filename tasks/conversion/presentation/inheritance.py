"""What a shape takes over from its layout and its master: its place, and the bullets of its paragraphs.

Owns the chain of ECMA-376 part 1, 19.3.1.36: a placeholder looks in the layout's placeholder of the same index or type,
then in the master's of the same type, then in the master's text styles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from blocks.errors import UnreadableDocument
from tasks.conversion.office.package import Element, Package, local_name
from tasks.conversion.office.reading_order import Box

_BULLETS = ("buNone", "buChar", "buAutoNum", "buBlip")
# Types of placeholder by the master's style for them; every other placeholder with text is a body.
_TITLES = frozenset({"title", "ctrTitle"})
_OTHERS = frozenset({"dt", "ftr", "sldNum", "hdr"})
# What the master calls the placeholder that a type of a layout goes back to.
_MASTER_TYPES = {"ctrTitle": "title", "subTitle": "body", "obj": "body", "": "body"}


@dataclass(frozen=True)
class Placeholder:
    """What a shape stands for in its layout: `type` is empty for contents of any kind."""

    type: str
    index: str

    @property
    def is_title(self) -> bool:
        return self.type in _TITLES


@dataclass
class Chain:
    """The shapes that a shape inherits from, the nearest first, and the master's list style for it at the end."""

    shapes: list[Element] = field(default_factory=list[Any])
    style: Element | None = None

    def bullet(self, level: int) -> Element | None:
        """Return the bullet that paragraphs of *level* (from 0) inherit; None where nothing says."""
        styles = [style for shape in self.shapes for style in shape.iterfind("{*}txBody/{*}lstStyle")]
        for style in [*styles, *([] if self.style is None else [self.style])]:
            properties = style.find(f"{{*}}lvl{level + 1}pPr")
            if properties is not None and (found := own_bullet(properties)) is not None:
                return found
        return None

    def box(self) -> Box | None:
        """Return the place that the shape inherits."""
        return next((box for shape in self.shapes if (box := own_box(shape)) is not None), None)


class Inheritance:
    """The layouts and masters of a presentation, each read once."""

    def __init__(self, package: Package) -> None:
        self._package = package
        self._parts: dict[str, Element | None] = {}

    def chain(self, slide: str, shape: Element) -> Chain:
        """Return what *shape* of the part *slide* inherits from."""
        placeholder = placeholder_of(shape)
        if placeholder is None:
            return Chain()
        chain = Chain()
        layout = self._above(slide, "slideLayout")
        master = self._above(layout, "slideMaster") if layout else None
        if found := _matching(self._root(layout), placeholder):
            chain.shapes.append(found[0])
            placeholder = found[1]
        if found := _matching(self._root(master), Placeholder(_master_type(placeholder), "")):
            chain.shapes.append(found[0])
        root = self._root(master)
        chain.style = root.find(f"{{*}}txStyles/{{*}}{_style_name(placeholder)}") if root is not None else None
        return chain

    def _above(self, part: str, kind: str) -> str | None:
        try:
            return next(iter(self._package.related(part, kind)), None)
        except UnreadableDocument:
            return None

    def _root(self, part: str | None) -> Element | None:
        """Return the root of a layout or master; None for one that is damaged, because its slides can be read."""
        if part is None:
            return None
        if part not in self._parts:
            try:
                self._parts[part] = self._package.parse(part)
            except UnreadableDocument:
                self._parts[part] = None
        return self._parts[part]


def placeholder_of(shape: Element) -> Placeholder | None:
    """Return what *shape* stands for in its layout, or None if it is free."""
    found = shape.find("./*/{*}nvPr/{*}ph")
    return None if found is None else Placeholder(found.get("type", ""), found.get("idx", ""))


def own_bullet(properties: Element) -> Element | None:
    """Return the bullet in a paragraph's own *properties*, which may be ``buNone``; None if they say nothing."""
    return next((child for child in properties if local_name(child) in _BULLETS), None)


def own_box(shape: Element) -> Box | None:
    """Return the place that *shape* has itself, in the coordinates of what it is in."""
    transform = next(_transforms(shape), None)
    if transform is None:
        return None
    offset, extent = transform.find("{*}off"), transform.find("{*}ext")
    if offset is None or extent is None:
        return None
    numbers = (offset.get("x"), offset.get("y"), extent.get("cx"), extent.get("cy"))
    try:
        left, top, width, height = (int(number) for number in numbers)
    except (TypeError, ValueError):
        return None
    return Box(left, top, width, height)


def _transforms(shape: Element) -> Iterator[Element]:
    for path in ("{*}spPr/{*}xfrm", "{*}grpSpPr/{*}xfrm", "{*}xfrm"):
        yield from shape.iterfind(path)


def _matching(root: Element | None, wanted: Placeholder) -> tuple[Element, Placeholder] | None:
    """Return the shape of *root* that *wanted* goes back to: by index, else by type."""
    if root is None:
        return None
    shapes = [(shape, found) for shape in root.iter("{*}sp") if (found := placeholder_of(shape)) is not None]
    by_index = (one for one in shapes if wanted.index and one[1].index == wanted.index)
    by_type = (one for one in shapes if one[1].type == wanted.type or (one[1].is_title and wanted.is_title))
    return next(by_index, None) or next(by_type, None)


def _master_type(placeholder: Placeholder) -> str:
    return _MASTER_TYPES.get(placeholder.type, placeholder.type)


def _style_name(placeholder: Placeholder) -> str:
    if placeholder.is_title:
        return "titleStyle"
    return "otherStyle" if placeholder.type in _OTHERS else "bodyStyle"
