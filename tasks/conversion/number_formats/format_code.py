"""The grammar of number formats: sections, conditions, placeholders and literal text; pure.

A code is up to four sections, for positive numbers, negative ones, zero and text, unless conditions say otherwise
(ECMA-376 part 1, 18.8.31). Colours, locales and numeral shapes are read over; what is not known is literal text.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

Kind = Literal[
    "literal",
    "space",
    "fill",
    "digit",
    "point",
    "comma",
    "percent",
    "exponent",
    "slash",
    "text",
    "general",
    "date",
    "elapsed",
    "half_day",
]

# Excel allows 255 characters; a longer code is not one that it wrote.
MAX_CODE_CHARACTERS = 1_000

_TOKEN = re.compile(
    r'"(?P<quoted>[^"]*)"?|\\(?P<escaped>.?)|_(?P<space>.?)|\*(?P<fill>.?)|\[(?P<bracket>[^\]]*)\]?'
    r"|(?P<general>general|standard)|(?P<half_day>am/pm|a/p|上午/下午|午前/午後|오전/오후)|(?P<exponent>E[+-])"
    r"|(?P<date>y+|m+|d+|h+|s+|e+|g+|b+|a{3,})|(?P<digit>[0#?])|(?P<point>\.)|(?P<comma>,)|(?P<percent>%)"
    r"|(?P<slash>/)|(?P<text>@)|(?P<section>;)|(?P<other>.)",
    re.IGNORECASE | re.DOTALL,
)
_CURRENCY = re.compile(r"\$([^-]*)(?:-.*)?", re.DOTALL)
_CONDITION = re.compile(r"\s*(<=|>=|<>|<|>|=)\s*(-?\d+(?:\.\d*)?(?:E[+-]?\d{1,3})?)\s*", re.IGNORECASE)
_ELAPSED = re.compile(r"h+|m+|s+", re.IGNORECASE)
_COMPARISONS: dict[str, Callable[[Decimal, Decimal], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "<>": operator.ne,
}


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a section. `text` is what it shows (literals), or its letters in lower case (dates)."""

    kind: Kind
    text: str


@dataclass(slots=True)
class Section:
    """One section of a code, with its condition if it has one (``[>=1000]``)."""

    tokens: list[Token] = field(default_factory=list[Token])
    comparison: str = ""
    limit: Decimal = Decimal(0)

    def applies(self, value: Decimal) -> bool:
        """Return whether the section's own condition holds for *value*; false without one."""
        return bool(self.comparison) and _COMPARISONS[self.comparison](value, self.limit)

    @property
    def only_negative(self) -> bool:
        """Whether its condition holds for negative numbers only, whose sign it then does not show."""
        return (self.comparison == "<" and self.limit <= 0) or (self.comparison in ("<=", "=") and self.limit < 0)

    def has(self, *kinds: Kind) -> bool:
        """Return whether there is a token of one of *kinds*."""
        return any(token.kind in kinds for token in self.tokens)


def sections_of(code: str) -> list[Section]:
    """Return the sections of *code*, at least one."""
    sections = [Section()]
    for found in _TOKEN.finditer(code[:MAX_CODE_CHARACTERS]):
        kind, text = str(found.lastgroup), found[str(found.lastgroup)]
        if kind == "section":
            sections.append(Section())
        elif kind == "bracket":
            _add_bracket(sections[-1], text)
        elif token := _token(kind, text):
            sections[-1].tokens.append(token)
    return sections


def _token(kind: str, text: str) -> Token | None:
    if kind in ("quoted", "escaped", "other"):
        return Token("literal", text) if text else None
    if kind == "space":
        return Token("space", " ")
    if kind == "fill":
        return Token("fill", "")
    if kind in ("date", "half_day"):
        return Token(kind, text.lower())
    # The pattern's other names are kinds.
    return Token(kind, text)  # pyright: ignore[reportArgumentType]


def _add_bracket(section: Section, text: str) -> None:
    if currency := _CURRENCY.fullmatch(text):
        if currency[1]:
            section.tokens.append(Token("literal", currency[1]))
    elif condition := _CONDITION.fullmatch(text):
        section.comparison, section.limit = condition[1], Decimal(condition[2])
    elif _ELAPSED.fullmatch(text):
        section.tokens.append(Token("elapsed", text.lower()))
