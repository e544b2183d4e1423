"""What the styles of an OpenDocument file mean for text: its weight and position, whether it shows, its list.

Styles inherit from their parents (part 3, 16.2). Automatic styles of the content come before the common ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from tasks.conversion.markdown_writer import Position
from tasks.conversion.office.package import Element, local_name
from tasks.conversion.opendocument.document import attribute
from tasks.conversion.whole_numbers import whole_number

# Longer chains of parents are cycles.
_MAX_PARENTS = 30
_NO = ("", "none")
_LOWERED = re.compile(r"sub\b|-\d")
_RAISED = re.compile(r"super\b|[1-9]")


@dataclass(frozen=True, slots=True)
class Format:
    """How text is shown."""

    bold: bool = False
    italic: bool = False
    struck: bool = False
    position: Position = ""
    hidden: bool = False
    font: str = ""


@dataclass(frozen=True, slots=True)
class ParagraphStyle:
    """What a paragraph's style adds to its text; `is_title` says that it is the title of the document."""

    format: Format = Format()
    list_style: str = ""
    outline_level: int = 0
    is_title: bool = False


class Styles:
    """The styles of one document, from the roots of its content and its styles part."""

    def __init__(self, roots: Iterable[Element | None]) -> None:
        self._styles: dict[tuple[str, str], Element] = {}
        self.lists: dict[str, Element] = {}
        self.outline: Element | None = None
        self._families: dict[str, str] = {}
        for root in roots:
            for group in () if root is None else root:
                if local_name(group) in ("automatic-styles", "styles"):
                    self._add(group)
                elif local_name(group) == "font-face-decls":
                    self._families |= {attribute(face, "name"): attribute(face, "font-family") for face in group}

    def _add(self, group: Element) -> None:
        for style in group:
            kind = local_name(style)
            if kind == "style":
                self._styles.setdefault((attribute(style, "family"), attribute(style, "name")), style)
            elif kind == "list-style":
                self.lists.setdefault(attribute(style, "name"), style)
            elif kind == "outline-style" and self.outline is None:
                self.outline = style

    def text(self, name: str, base: Format) -> Format:
        """Return the format of text in the character style *name* inside text of the format *base*."""
        return self._over("text", name, base)

    def paragraph(self, name: str) -> ParagraphStyle:
        """Return what the paragraph style *name* means."""
        chain = self._chain("paragraph", name)
        list_style = next((attribute(one, "list-style-name") for one in chain if attribute(one, "list-style-name")), "")
        level = next((attribute(one, "default-outline-level") for one in chain), "")
        names = {attribute(one, "name") for one in chain} | {name}
        return ParagraphStyle(
            format=self._over("paragraph", name, Format()),
            list_style=list_style,
            outline_level=whole_number(level),
            is_title="Title" in names,
        )

    def property(self, family: str, name: str, wanted: str) -> str:
        """Return the property *wanted* of a style of any kind; empty if no style in its chain has it."""
        for style in self._chain(family, name):
            for properties in style:
                if value := attribute(properties, wanted):
                    return value
        return ""

    def family(self, font: str) -> str:
        """Return the family of the font that is declared as *font*, without quotation marks."""
        return self._families.get(font, font).strip("'\"")

    def master_pages(self) -> set[str]:
        """Return the names of the master pages that paragraphs or tables ask for."""
        return {name for style in self._styles.values() if (name := attribute(style, "master-page-name"))}

    def _over(self, family: str, name: str, base: Format) -> Format:
        for style in reversed(self._chain(family, name)):
            properties = style.find("{*}text-properties")
            if properties is not None:
                base = _changed(base, properties)
        return base

    def _chain(self, family: str, name: str) -> list[Element]:
        """Return the style *name* and its parents, the nearest first."""
        chain: list[Element] = []
        while name and len(chain) < _MAX_PARENTS:
            style = self._styles.get((family, name))
            if style is None:
                break
            chain.append(style)
            name = attribute(style, "parent-style-name")
        return chain


def _changed(base: Format, properties: Element) -> Format:
    weight, slant = attribute(properties, "font-weight"), attribute(properties, "font-style")
    struck = attribute(properties, "text-line-through-style") or attribute(properties, "text-line-through-type")
    position, display = attribute(properties, "text-position"), attribute(properties, "display")
    font = attribute(properties, "font-name") or attribute(properties, "font-family")
    return replace(
        base,
        bold=base.bold if not weight else weight == "bold" or whole_number(weight) >= 600,
        italic=base.italic if not slant else slant in ("italic", "oblique"),
        struck=base.struck if not struck else struck not in _NO,
        position=_position(position) if position else base.position,
        hidden=base.hidden if not display else display == "none",
        font=font or base.font,
    )


def _position(written: str) -> Position:
    """Return the position of ``super 58%``, ``-33% 58%``: the first word says how far up or down."""
    if _LOWERED.match(written):
        return "lowered"
    return "raised" if _RAISED.match(written) else ""
