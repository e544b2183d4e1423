"""One number, or two that make a range ("10–15") or a tolerance ("50 ± 0.1")."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from tasks.extraction.numbers import BLANK, Number, number_at

_RANGE = re.compile(r"(?:[-–—−]|\.{2,3}|…| (?:[-–—−]|to|bis|à|a|al|tot|do) )(?P<sign>[-−+]?)(?=\d)")
_BETWEEN = re.compile(r"(?<!\w)(?:between|zwischen|entre|tra|fra|tussen|między) $", re.I)
_AND = re.compile(r" (?:and|und|et|y|e|en|i|a) (?P<sign>[-−+]?)(?=\d)")
_TOLERANCE = re.compile(rf"{BLANK}?(?:±|\\?\+/[-−]){BLANK}?(?P<sign>)(?=\d)")
BETWEEN_CHARACTERS = 12


@dataclass(frozen=True, slots=True)
class Span:
    """`kind` is "to" or "±" between `number` and `other`; `sign` is that of *other*."""

    number: Number
    other: Number | None = None
    kind: str = ""
    sign: str = ""

    @property
    def last(self) -> Number:
        return self.other or self.number

    @property
    def end(self) -> int:
        return self.last.end

    def value(self, sign: str, power: int = 0) -> str:
        """Return the number, or "3 to 5", or "3 ± 0.1", as plain decimals."""
        first = f"{sign}{_plain(self.number, power)}"
        return f"{first} {self.kind} {self.sign}{_plain(self.other, power)}" if self.other else first


def span_of(text: str, number: Number, language: str, *, negative: bool) -> Span:
    """Return *number* with what follows it, if that makes a range or a tolerance of both."""
    between = _BETWEEN.search(text, max(0, number.start - BETWEEN_CHARACTERS), number.start)
    for joint, kind in ((_TOLERANCE, "±"), (_AND if between else _RANGE, "to")):
        joined = joint.match(text, number.end)
        other = number_at(text, joined.end(), language) if joined else None
        if joined is None or other is None or other.value is None or number.value is None:
            continue
        sign = "-" if joined["sign"] in ("-", "−") and joined["sign"] else ""
        first = -number.value if negative else number.value
        if kind == "±" or (-other.value if sign else other.value) > first:
            return Span(number, other, kind, sign)
    return Span(number)


def _plain(number: Number, power: int) -> str:
    return number.written if number.value is None else f"{Decimal(number.value).scaleb(power):f}"
