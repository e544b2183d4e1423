"""What a value looks like in a number format of a workbook; pure.

`number_format` compiles a code once; `show` of what it returns renders numbers, `show_text` texts. The separators are
those of the file (a point and commas), not those of a reader's computer. Dates are ISO 8601 (`moments`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from tasks.conversion.number_formats import digits, moments
from tasks.conversion.number_formats.format_code import Section, sections_of
from tasks.conversion.number_formats.general import EXACT_WHOLE, general

# So many characters hold at most the 15 digits that Excel computes with.
_EXACT_CHARACTERS = 15
_COMPLEMENTS = {">": "<=", ">=": "<", "<": ">=", "<=": ">", "=": "<>", "<>": "="}
# The exponents of a double end at 308; a decimal number's would allow a gigabyte of zeros.
_MOST = 1e300


@dataclass(frozen=True, slots=True)
class _Part:
    """A section of a code, compiled. `show` is given the number without its sign, unless it shows a moment."""

    section: Section
    show: Callable[[Decimal, bool], str | None]
    is_moment: bool


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """A compiled code. `is_date` says that it shows numbers as dates or times, `hides` that it shows none at all."""

    is_date: bool
    hides: bool
    is_general: bool
    _parts: tuple[_Part, ...]
    _text: Section | None

    def show(self, value: str | float, *, from_1904: bool = False) -> str:
        """Return what the number *value* looks like; *from_1904* says that days are counted from 1904.

        A number that the format cannot show (a date before 1900) is shown by the format General. Text that is no
        number is returned as it is.
        """
        try:
            number = float(value)
        except ValueError:
            return str(value)
        if not math.isfinite(number):
            return str(value)
        if self.is_general or abs(number) > _MOST:
            return general(number)
        exact = _fifteen_digits(value, number)
        part = self._part_for(exact)
        shown = part and part.show(exact if part.is_moment else abs(exact), from_1904)
        if part is None or shown is None:
            return general(number)
        if exact < 0 and not part.is_moment and not part.section.only_negative:
            shown = f"-{shown.lstrip()}"
        return " ".join(shown.split())

    def show_text(self, text: str) -> str:
        """Return what the text of a cell looks like; almost always *text* itself."""
        if self._text is None:
            return text
        return "".join(text if token.kind == "text" else token.text for token in self._text.tokens).strip(" ")

    def _part_for(self, value: Decimal) -> _Part | None:
        if len(self._parts) == 1 and not self._parts[0].section.comparison:
            return self._parts[0]
        otherwise = None
        for part in self._parts:
            if not part.section.comparison:
                otherwise = part
            elif part.section.applies(value):
                return part
        return otherwise


@lru_cache(maxsize=1_000)
def number_format(code: str) -> NumberFormat:
    """Return the compiled format of *code*."""
    sections = sections_of(code)
    text = sections[3] if len(sections) > 3 else None
    numeric = sections[:3]
    if text is None and sections[-1].has("text"):
        text = numeric.pop()
    _complete_conditions(numeric)
    parts = tuple(_compiled(section) for section in numeric)
    return NumberFormat(
        is_date=any(part.is_moment for part in parts),
        hides=bool(parts) and not any(section.tokens for section in numeric),
        is_general=not parts or (len(parts) == 1 and _is_general(numeric[0])),
        _parts=parts,
        _text=text,
    )


def _fifteen_digits(value: str | float, number: float) -> Decimal:
    if isinstance(value, str) and len(value) <= _EXACT_CHARACTERS and "_" not in value:
        return Decimal(value)
    if number.is_integer() and abs(number) <= EXACT_WHOLE:
        return Decimal(int(number))
    return Decimal(f"{number:.15g}")


def _is_general(section: Section) -> bool:
    return not section.comparison and all(token.kind in ("general", "space", "fill") for token in section.tokens)


def _complete_conditions(sections: Sequence[Section]) -> None:
    """Set the conditions that sections have by their place (ECMA-376 part 1, 18.8.31)."""
    if len(sections) == 2:
        first, second = sections
        if not first.comparison and not second.comparison:
            first.comparison = ">="
        for one, other in ((first, second), (second, first)):
            if one.comparison and not other.comparison:
                other.comparison, other.limit = _COMPLEMENTS[one.comparison], one.limit
    elif len(sections) == 3:
        for section, comparison in zip(sections, (">", "<"), strict=False):
            section.comparison = section.comparison or comparison


def _compiled(section: Section) -> _Part:
    if moments.is_moment(section):
        return _Part(section, moments.renderer(section), is_moment=True)
    if section.has("general"):
        return _Part(section, _around_general(section), is_moment=False)
    render = digits.renderer(section)
    return _Part(section, lambda value, _from_1904: render(value), is_moment=False)


def _around_general(section: Section) -> Callable[[Decimal, bool], str]:
    def show(value: Decimal, _from_1904: bool) -> str:
        number = general(float(value))
        return "".join(number if token.kind == "general" else token.text for token in section.tokens)

    return show
