"""The labels of list items and headings, as the program shows them (part 3, 16.30 to 16.36).

A level has a format (1, a, I), a prefix, a suffix, a start, and the number of levels that its label shows. Lists of one
style that continue each other count on; a list of its own starts again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tasks.conversion.office.numerals import numeral
from tasks.conversion.office.package import Element, local_name
from tasks.conversion.opendocument.document import attribute
from tasks.conversion.whole_numbers import whole_number

MAX_LEVEL = 10
_FORMATS = {"1": "decimal", "a": "lowerLetter", "A": "upperLetter", "i": "lowerRoman", "I": "upperRoman"}


@dataclass(frozen=True, slots=True)
class Level:
    """A level of a list style. `format` is empty for one without a label, ``-`` for a bullet."""

    format: str
    prefix: str = ""
    suffix: str = ""
    start: int = 1
    shown: int = 1


def levels_of(style: Element | None) -> dict[int, Level]:
    """Return the levels of a list style or of the outline style, by number from 1."""
    found: dict[int, Level] = {}
    for level in () if style is None else style:
        number = whole_number(attribute(level, "level"), 0)
        if local_name(level).endswith(("-bullet", "-image")):
            found[number] = Level("-")
        elif number:
            found[number] = Level(
                format=attribute(level, "num-format"),
                prefix=attribute(level, "num-prefix"),
                suffix=attribute(level, "num-suffix"),
                start=whole_number(attribute(level, "start-value"), 1),
                shown=whole_number(attribute(level, "display-levels"), 1),
            )
    return found


@dataclass
class Counter:
    """Counts the items of one list on every level."""

    levels: Mapping[int, Level]
    counts: dict[int, int] = field(default_factory=dict[int, int])
    _numbered: set[int] = field(default_factory=set[int])

    def next_label(self, level: int, start: str = "") -> str:
        """Return the label of the next item on *level* (from 1): ``-`` for a bullet, empty if nothing is shown.

        *start* is the number that the item itself asks for; empty if it asks for none.
        """
        for deeper in [known for known in self.counts if known > level]:
            del self.counts[deeper]
        if start:
            self._numbered.add(level)
        one = self._level(level)
        before = self.counts.get(level, one.start - 1)
        self.counts[level] = whole_number(start, before + 1)
        if one.format in ("", "-"):
            return one.format
        return f"{one.prefix}{self._numbers(level, one)}{one.suffix}"

    def _level(self, level: int) -> Level:
        # A level that no style describes is numbered once an item of it asks for a number.
        return self.levels.get(level) or (Level("1", suffix=".") if level in self._numbered else Level("-"))

    def _numbers(self, level: int, one: Level) -> str:
        parts: list[str] = []
        for shown in range(max(1, level - one.shown + 1), level + 1):
            upper = self.levels.get(shown, one)
            if upper.format not in ("", "-"):
                number = self.counts.get(shown, upper.start)
                parts.append(numeral(number, _FORMATS.get(upper.format, "decimal")))
        return ".".join(parts)
