"""Styles of a Word document: what they inherit, which are headings, how their text looks; pure.

Implements ECMA-376 part 1, 17.7: properties are inherited along `basedOn`; a switch such as bold that several kinds of
style set is switched for each of them (17.7.3), and a direct format overrides them all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tasks.conversion.markdown_writer import Position
from tasks.conversion.office.symbol_fonts import is_symbol_font
from tasks.conversion.word.names import VAL, Element, W, integer, is_on

# A chain of styles that is longer has a circle.
_MAX_CHAIN = 30
_BODY_LEVEL = 9
# Half points. Less is an adjustment of the line, not a raised digit.
_MIN_RAISED = 4

# Built-in names are stored in English. Some programs write those of their own language, without an outline level, and
# Word makes the style's id of the letters A to Z.
_HEADING = re.compile(
    r"(?:heading|h|ü?berschrift|titre|t[ií]?tulo|titolo|kop|rubrik|overskrift|otsikko|nag[łl]?[óo]?wek|nadpis|заголовок"
    r"|c[ií]?msor|ba[şs]?l[ıi]?k|标题|標題|見出し|제목|επικεφαλίδα|naslov|virsraksts|antraštė|pealkiri|titlu)"
    r"[ _-]*([1-9])",
    re.IGNORECASE,
)
_TITLES = frozenset({"title", "titel", "titre", "título", "titolo", "tytuł", "название", "标题", "表題", "제목"})

# Of Word, of LibreOffice, of pandoc, and names that people give.
_CODE = frozenset({"html preformatted", "preformatted text", "source code", "code", "code block", "listing"})

_SWITCHES = ("b", "i", "strike", "dstrike", "vanish", "specVanish")
_READ = {f"{W}{name}": name for name in (*_SWITCHES, "vertAlign", "position", "rFonts", "rStyle", "bCs", "iCs", "rtl")}
_NO_DIRECT: dict[str, object] = {}


@dataclass(frozen=True, slots=True)
class Look:
    """How a run looks, as far as Markdown can say it; `font` is the symbol font of its letters, or empty."""

    bold: bool = False
    italic: bool = False
    struck: bool = False
    hidden: bool = False
    position: Position = ""
    font: str = ""


@dataclass(frozen=True, slots=True)
class ListPlace:
    """Which list a paragraph belongs to: the id of its numbering, and its level from 0 (None: the style's)."""

    number: str | None
    level: int | None


@dataclass(frozen=True, slots=True)
class _Resolved:
    """What a style says together with those that it is based on; `place` with the id of the style that says so."""

    look: dict[str, object]
    heading: int | None
    is_code: bool
    place: tuple[ListPlace, str] | None


@dataclass(slots=True)
class _Style:
    name: str
    kind: str
    based_on: str
    look: dict[str, object]
    outline: int | None
    list_place: ListPlace | None


class Styles:
    """The styles of a document; without a part there are none, and ids that Word would make are known by name."""

    def __init__(self, root: Element | None) -> None:
        self._styles: dict[str, _Style] = {}
        self._default: dict[str, str] = {}
        self._defaults: dict[str, object] = {}
        self._resolved: dict[str, _Resolved] = {}
        self._looks: dict[tuple[str, tuple[tuple[str, object], ...]], Look] = {}
        self.language = ""
        if root is None:
            return
        defaults = root.find(f"{W}docDefaults/{W}rPrDefault/{W}rPr")
        self._defaults = direct_look(defaults)
        language = None if defaults is None else defaults.find(f"{W}lang")
        self.language = "" if language is None else language.get(VAL, "")
        for element in root.iterchildren(f"{W}style"):
            style = _style(element)
            identifier = element.get(f"{W}styleId", "")
            self._styles[identifier] = style
            if element.get(f"{W}default", "0").lower() in ("1", "true", "on"):
                self._default.setdefault(style.kind, identifier)

    def paragraph_style(self, properties: Element | None) -> str:
        """Return the id of the style of a paragraph with *properties*."""
        element = None if properties is None else properties.find(f"{W}pStyle")
        identifier = "" if element is None else element.get(VAL, "")
        return identifier or self._default.get("paragraph", "")

    def name(self, identifier: str) -> str:
        """Return a style's name in lower case; its id where there is no such style."""
        style = self._styles.get(identifier)
        return (style.name if style else identifier).lower()

    def heading_level(self, identifier: str) -> int | None:
        """Return the level from 1 of the headings in a paragraph style; None when it is of the body."""
        return self._resolve(identifier).heading

    def is_code(self, identifier: str) -> bool:
        """Return whether paragraphs of a style are lines of code."""
        return self._resolve(identifier).is_code

    def list_place(self, identifier: str) -> tuple[ListPlace, str] | None:
        """Return the list that a paragraph style belongs to, and the id of the style that says so."""
        return self._resolve(identifier).place

    def numbering_of(self, identifier: str) -> str | None:
        """Return the id of the numbering that a style of the kind "numbering" stands for."""
        style = self._styles.get(identifier)
        return style.list_place.number if style and style.list_place else None

    def look(self, paragraph: str, direct: dict[str, object]) -> Look:
        """Return how a run looks in the paragraph style *paragraph* with the format of its own, *direct*."""
        key = paragraph, tuple(direct.items())
        found = self._looks.get(key)
        if found is None:
            found = self._looks[key] = self._look(paragraph, direct)
        return found

    def _look(self, paragraph: str, own: dict[str, object]) -> Look:
        kinds = [self._resolve(paragraph).look, self._resolve(str(own.get("rStyle", ""))).look]
        on: dict[str, bool] = {}
        for name in _SWITCHES:
            if name in own:
                on[name] = bool(own[name])
            else:
                on[name] = bool(self._defaults.get(name)) or sum(bool(kind.get(name)) for kind in kinds) % 2 == 1
        last: dict[str, object] = {}
        for source in (self._defaults, *kinds, own):
            last.update(source)
        return Look(
            bold=on["b"],
            italic=on["i"],
            struck=on["strike"] or on["dstrike"],
            hidden=on["vanish"],
            position=_position(last),
            font=str(last.get("font", "")),
        )

    def _resolve(self, identifier: str) -> _Resolved:
        found = self._resolved.get(identifier)
        if found is None:
            chain = self._chain(identifier)
            look: dict[str, object] = {}
            for _, style in reversed(chain):
                look.update(style.look if style else {})
            look.pop("rStyle", None)
            is_code = any((style.name if style else known).lower() in _CODE for known, style in chain)
            found = _Resolved(look, _heading(chain), is_code, _place(chain))
            self._resolved[identifier] = found
        return found

    def _chain(self, identifier: str) -> list[tuple[str, _Style | None]]:
        """Return a style and those that it is based on; an unknown id alone."""
        chain: list[tuple[str, _Style | None]] = []
        while identifier and len(chain) < _MAX_CHAIN:
            style = self._styles.get(identifier)
            chain.append((identifier, style))
            identifier = style.based_on if style else ""
        return chain


def _heading(chain: list[tuple[str, _Style | None]]) -> int | None:
    """Return the level of a chain of styles: the first that has an outline level or a heading's name decides."""
    for known, style in chain:
        name = style.name if style else known
        if style is not None and style.outline is not None:
            return style.outline + 1 if style.outline < _BODY_LEVEL else None
        if found := _HEADING.fullmatch(name.strip()):
            return int(found[1])
        if name.strip().lower() in _TITLES:
            return 1
    return None


def _place(chain: list[tuple[str, _Style | None]]) -> tuple[ListPlace, str] | None:
    level: int | None = None
    for known, style in chain:
        place = style.list_place if style else None
        if place is None:
            continue
        level = place.level if level is None else level
        if place.number is not None:
            return ListPlace(place.number, level), known
    return None


def direct_look(properties: Element | None) -> dict[str, object]:
    """Return what the properties of a run (`w:rPr`) say of its look, by name."""
    if properties is None:
        return _NO_DIRECT
    found: dict[str, object] = {}
    for element in properties:
        name = _READ.get(element.tag)
        if name is None:
            continue
        if name == "rFonts":
            found["font"] = _symbol_font(element)
        elif name in ("vertAlign", "rStyle"):
            found[name] = element.get(VAL, "")
        elif name == "position":
            found[name] = integer(element.get(VAL)) or 0
        else:
            found[name] = is_on(element)
    if found.pop("rtl", False):
        # Text that runs from right to left has switches of its own.
        for name, of_complex in (("b", "bCs"), ("i", "iCs")):
            if of_complex in found:
                found[name] = found[of_complex]
            else:
                found.pop(name, None)
    found.pop("bCs", None)
    found.pop("iCs", None)
    return found


def list_place(properties: Element | None) -> ListPlace | None:
    """Return what the properties of a paragraph or a style (`w:pPr`) say of its list."""
    element = None if properties is None else properties.find(f"{W}numPr")
    if element is None:
        return None
    number, level = element.find(f"{W}numId"), element.find(f"{W}ilvl")
    return ListPlace(
        None if number is None else number.get(VAL, "0"), None if level is None else integer(level.get(VAL))
    )


def outline_level(properties: Element | None) -> int | None:
    """Return the outline level from 0 that the properties of a paragraph or a style set; 9 is the body."""
    element = None if properties is None else properties.find(f"{W}outlineLvl")
    return None if element is None else integer(element.get(VAL))


def _style(element: Element) -> _Style:
    properties = element.find(f"{W}pPr")
    name, based_on = element.find(f"{W}name"), element.find(f"{W}basedOn")
    return _Style(
        name="" if name is None else name.get(VAL, ""),
        kind=element.get(f"{W}type", "paragraph"),
        based_on="" if based_on is None else based_on.get(VAL, ""),
        look=direct_look(element.find(f"{W}rPr")),
        outline=outline_level(properties),
        list_place=list_place(properties),
    )


def _position(look: dict[str, object]) -> Position:
    if look.get("vertAlign") == "superscript":
        return "raised"
    if look.get("vertAlign") == "subscript":
        return "lowered"
    shift = look.get("position", 0)
    if isinstance(shift, int) and abs(shift) >= _MIN_RAISED:
        return "raised" if shift > 0 else "lowered"
    return ""


def _symbol_font(fonts: Element) -> str:
    """Return the symbol font of `w:rFonts`; a font of the theme is none."""
    for name in ("ascii", "hAnsi"):
        font = fonts.get(f"{W}{name}", "")
        if font and fonts.get(f"{W}{name}Theme") is None and is_symbol_font(font):
            return font
    return ""
