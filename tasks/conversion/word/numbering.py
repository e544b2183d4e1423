"""Labels of lists, clauses and headings, counted as Word counts them; pure.

Implements ECMA-376 part 1, 17.9. All numberings of one abstract numbering count together, so a list goes on after other
paragraphs; an override of the start counts anew when its numbering is used first. A level begins anew after each item
of a higher level, or of the level that it names (`lvlRestart`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Literal

from tasks.conversion.office.list_labels import is_known, label_of
from tasks.conversion.office.symbol_fonts import in_symbol_font
from tasks.conversion.word.names import VAL, Element, W, integer, is_on, value
from tasks.conversion.word.styles import ListPlace, Styles, direct_look, list_place

MAX_LEVELS = 9
# A chain of links between numberings and styles that is longer has a circle.
_MAX_LINKS = 10
# Word allows no more; each paragraph repeats it.
_MAX_LABEL_CHARACTERS = 255
_PLACE_OF_NUMBER = re.compile(r"%([1-9])")
# Bullets that say something themselves.
_MEANT_BULLETS = frozenset("☐☑☒✓✔✗✘❑❒□■")
_CUSTOM_ZEROS = re.compile(r"\s*(0+)1\s*,")

Kind = Literal["bullet", "number", "label", "none"]


@dataclass(frozen=True, slots=True)
class Item:
    """A paragraph's place in a list. `kind` "number" is a plain decimal list ("7.", "7)"), "label" any other text.

    `glued` says that nothing stands between the label and the paragraph's text.
    """

    kind: Kind
    label: str
    level: int
    number: int
    glued: bool = False


@dataclass(frozen=True, slots=True)
class _Level:
    start: int = 1
    kind: str = "decimal"
    zeros: int = 0
    text: str = ""
    suffix: str = "tab"
    legal: bool = False
    restart: int | None = None
    style: str = ""
    hidden: bool = False
    picture: bool = False


@dataclass(slots=True)
class _Number:
    """A numbering: the abstract one that it counts with, and what it overrides, by level."""

    abstract: str
    levels: dict[int, _Level]
    starts: dict[int, int] = field(default_factory=dict[int, int])


class Numbering:
    """Counts the items of one story. `unknown` counts the number formats that were written as decimal numbers."""

    def __init__(self, root: Element | None, styles: Styles) -> None:
        self._styles = styles
        self._abstract: dict[str, dict[int, _Level]] = {}
        self._links: dict[str, str] = {}
        self._numbers: dict[str, _Number] = {}
        self._language = styles.language or "en"
        self.unknown: set[str] = set()
        self.restart()
        if root is None:
            return
        for element in root.iterchildren(f"{W}abstractNum"):
            identifier = element.get(f"{W}abstractNumId", "")
            self._abstract[identifier] = _levels(element)
            if link := value(element, "numStyleLink"):
                self._links[identifier] = link
        for element in root.iterchildren(f"{W}num"):
            self._numbers[element.get(f"{W}numId", "")] = _number(element)

    def restart(self) -> None:
        """Begin to count anew, for another story."""
        self._counts: dict[str, list[int | None]] = {}
        self._started: set[tuple[str, int]] = set()

    def item(self, properties: Element | None, style: str) -> Item | None:
        """Count a paragraph with *properties* in *style*, and return its place in its list; None without one."""
        place = self._place(properties, style)
        if place is None or place.number is None or place.number == "0" or place.number not in self._numbers:
            return None
        number = self._resolved(self._numbers[place.number])
        levels = self._abstract.get(number.abstract, {}) | number.levels
        index = min(max(place.level or 0, 0), MAX_LEVELS - 1)
        level = levels.get(index)
        if level is None:
            return None
        count = self._count(place.number, number, levels, index)
        return self._shown(level, levels, number, index, count)

    def _place(self, properties: Element | None, style: str) -> ListPlace | None:
        """Return the list of a paragraph: its own, or its style's; each says the level, or is linked from it."""
        own, inherited = list_place(properties), self._styles.list_place(style)
        if own is None and inherited is None:
            return None
        place, saying = inherited or (ListPlace(None, None), style)
        number = own.number if own is not None and own.number is not None else place.number
        level = own.level if own is not None else None
        if level is None and number in self._numbers:
            # A style of a multilevel list is linked from its level; its own level is not always stored.
            level = self._level_of_style(self._numbers[number], (style, saying))
        return ListPlace(number, place.level if level is None else level)

    def _level_of_style(self, number: _Number, styles: tuple[str, ...]) -> int | None:
        resolved = self._resolved(number)
        levels = self._abstract.get(resolved.abstract, {}) | resolved.levels
        for style in styles:
            for index, level in levels.items():
                if level.style == style:
                    return index
        return None

    def _resolved(self, number: _Number) -> _Number:
        """Follow the links of an abstract numbering to a style of numberings, and from there to its own."""
        for _ in range(_MAX_LINKS):
            link = self._links.get(number.abstract)
            target = self._numbers.get(self._styles.numbering_of(link) or "") if link else None
            if target is None:
                break
            number = replace(target, levels=target.levels | number.levels, starts=target.starts | number.starts)
        return number

    def _count(self, identifier: str, number: _Number, levels: dict[int, _Level], index: int) -> int:
        counts = self._counts.setdefault(number.abstract, [None] * MAX_LEVELS)
        overridden = index in number.starts and (identifier, index) not in self._started
        before = counts[index]
        count = number.starts.get(index, levels[index].start) if before is None or overridden else before + 1
        self._started.add((identifier, index))
        counts[index] = count
        for above in range(index):
            if counts[above] is None and above in levels:
                counts[above] = number.starts.get(above, levels[above].start)
        for below in range(index + 1, MAX_LEVELS):
            restart = levels[below].restart if below in levels else None
            if restart is None or index < restart:
                counts[below] = None
        return count

    def _shown(self, level: _Level, levels: dict[int, _Level], number: _Number, index: int, count: int) -> Item:
        if level.hidden or (level.kind == "bullet" and not level.text and not level.picture):
            return Item("none", "", index, count)
        if level.picture or (level.kind == "bullet" and not _says_something(level.text)):
            sign = level.text.strip()
            return Item("bullet", sign if sign in _MEANT_BULLETS else "", index, count)
        counts = self._counts[number.abstract]

        def written(found: re.Match[str]) -> str:
            shown = int(found[1]) - 1
            value_there = counts[shown] if shown < len(counts) else None
            other = levels.get(shown)
            if value_there is None or other is None or shown > index:
                return ""
            return self._written(value_there, other, legal=level.legal)

        label = _PLACE_OF_NUMBER.sub(written, level.text).strip()[:_MAX_LABEL_CHARACTERS]
        if not label:
            return Item("none", "", index, count)
        plain = level.kind == "decimal" and not level.zeros and re.fullmatch(rf"%{index + 1}[.)]", level.text.strip())
        kind: Kind = "number" if plain and count >= 0 else "label"
        return Item(kind, label, index, count, glued=level.suffix == "nothing")

    def _written(self, count: int, level: _Level, *, legal: bool) -> str:
        if legal:
            return str(count)
        if level.zeros:
            return f"{count:0{level.zeros + 1}d}"
        if not is_known(level.kind, self._language):
            self.unknown.add(level.kind)
            return str(count)
        return label_of(count, level.kind, self._language)


def _levels(element: Element) -> dict[int, _Level]:
    levels: dict[int, _Level] = {}
    for child in element.iterchildren(f"{W}lvl"):
        index = integer(child.get(f"{W}ilvl"))
        if index is not None and 0 <= index < MAX_LEVELS:
            levels[index] = _level(child)
    return levels


def _level(element: Element) -> _Level:
    numeric = next(element.iter(f"{W}numFmt"), None)  # the newer formats stand in alternative content
    kind = "decimal" if numeric is None else numeric.get(VAL, "decimal")
    zeros = 0
    if kind == "custom" and numeric is not None:
        custom = _CUSTOM_ZEROS.match(numeric.get(f"{W}format", ""))
        zeros = len(custom[1]) if custom else 0
        kind = "decimal"
    text, restart = value(element, "lvlText"), element.find(f"{W}lvlRestart")
    look = direct_look(element.find(f"{W}rPr"))
    font = str(look.get("font", ""))
    if kind == "bullet":
        text = in_symbol_font(font, text) if font else "".join("•" if _is_private(char) else char for char in text)
    start = integer(value(element, "start"))
    return _Level(
        start=0 if start is None else start,
        kind=kind,
        zeros=zeros,
        text=text,
        suffix=value(element, "suff", "tab"),
        legal=is_on(element.find(f"{W}isLgl")),
        restart=None if restart is None else integer(restart.get(VAL)),
        style=value(element, "pStyle"),
        hidden=bool(look.get("vanish")),
        picture=element.find(f"{W}lvlPicBulletId") is not None,
    )


def _number(element: Element) -> _Number:
    number = _Number(abstract=value(element, "abstractNumId"), levels={})
    for override in element.iterchildren(f"{W}lvlOverride"):
        index = integer(override.get(f"{W}ilvl"))
        if index is None or not 0 <= index < MAX_LEVELS:
            continue
        own = override.find(f"{W}lvl")
        if own is not None:
            number.levels[index] = _level(own)
        start = integer(value(override, "startOverride"))
        if start is not None:
            number.starts[index] = start
    return number


def _says_something(bullet: str) -> bool:
    """Return whether a bullet is text, and not a sign; "o" is the circle of a typewriter."""
    return len(bullet.strip()) > 1 and any(char.isalnum() for char in bullet)


def _is_private(char: str) -> bool:
    return 0xE000 <= ord(char) <= 0xF8FF
