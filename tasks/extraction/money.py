"""Amounts of money: a number with a currency before or after it, and its sign.

Owns where the minus of accounts is: before the currency or the number, after the number, or brackets. An amount has no
value where two readings compete: brackets that may be an aside, a hyphen that may be a dash, CR and DR, a sign that is
written for several currencies of the document.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tasks.extraction import measures, vocabulary
from tasks.extraction.evidence import Mention
from tasks.extraction.numbers import BLANK, number_at
from tasks.extraction.signs import (
    LABEL_CHARACTERS,
    LEFT_CHARACTERS,
    begins_line,
    is_alternative,
    is_label,
    is_one_number,
    sign_before,
)
from tasks.extraction.spans import Span
from tasks.extraction.units import (
    CURRENCY_AFTER,
    CURRENCY_BEFORE,
    CURRENCY_WORD,
    LETTER,
    currency,
    normal_unit,
    scale_at,
    unit_pattern,
)

_SCALED = rf"(?:(?P<scale>[TkM]|(?:Mio|Mrd|Mia)\.?{BLANK}?|ml[nd]{BLANK})(?={measures.MAIN_CURRENCIES}))"
_BEFORE = re.compile(
    rf"(?P<outer>\\?[-−–+]?)(?P<outergap>{BLANK}?)(?P<open>\(?)(?<!{LETTER}){_SCALED}?(?P<currency>{CURRENCY_BEFORE})"
    rf"(?P<gap>{BLANK}{{0,2}})(?P<bracket>\(?)(?P<sign>[-−–+]?)$"
)
# What every currency before a number has; most numbers have nothing of it.
_SOME_CURRENCY = re.compile(rf"[A-Z{''.join(sign for sign in measures.CURRENCY_SYMBOLS if len(sign) == 1)}]|uro|zł|Kč")
_GAP = rf"(?:{BLANK}|\r?\n)?"
_AFTER = re.compile(
    rf"{_GAP}(?:{_SCALED}|(?P<of>de |di |d['’]))?(?P<unit>{CURRENCY_AFTER})|-(?P<word>{CURRENCY_WORD})(?!{LETTER})"
)
_NO_CENTS = re.compile(r"[.,][-–—]{1,2}(?!\d)")
_TRAILING_MINUS = re.compile(rf"[-−](?={BLANK}{CURRENCY_AFTER}|[€$£]|[,;)]|\.(?:\s|$)|{BLANK}*(?:\||$|\r?\n))")
_MINUS_WORD = re.compile(r"(?<!\w)(?:minus|moins|meno|menos|min) $", re.I)
_NUMBER_NEXT = re.compile(rf"{BLANK}?(?=\d)")
_MINUS_AFTER_ALL = re.compile(rf"[-−](?={BLANK}|[|;,)]|$|\n|\.(?:\s|$))")
_RANGE_GOES_ON = re.compile(r"[-–—]\d")
_LETTER_SCALE = re.compile(rf"(?P<scale>{measures.LETTER_SCALE})(?![\w²³^/'’])")
_PER = re.compile(r"/(?:[^\W\d_]{1,20}[²³]?)(?!\w)")
_DEBIT = re.compile(rf"{BLANK}?(?:CR|DR|Cr|Dr|[SH](?={BLANK}*(?:\||$|\n)))(?!\w)\.?")
# In accounts an amount in brackets follows its period: "Q4 ($0.2m)".
_PERIOD = re.compile(r"(?<!\w)(?:[QHT][1-4]|FY ?\d\d|(?:19|20)\d\d)(?: (?:19|20)\d\d)?:? $")
_DAY_OR_TIME = re.compile(rf"\.(?:{BLANK}[A-ZÄ]|{BLANK}?\d)|{BLANK}?(?:Uhr|h)\b")
_ENDS_CELL = re.compile(rf"{BLANK}*\|")
_ACCOUNT = re.compile(rf"\b(?:{vocabulary.ACCOUNTS})\b", re.I)
# After these a bracket cannot be an aside: "the result was ($2,400)".
_NEEDS_AMOUNT = re.compile(
    r"\b(?:is|was|were|of|to|at|by|from|totall?ed|reached|ist|war|von|auf|betrug|beträgt|um|est|était|de|à|fu|è|di|a"
    r"|es|fue|van|op|was)[ \u00a0]$|[:=][ \u00a0]?$",
    re.I,
)


def currency_before(text: str, start: int, free: int) -> re.Match[str] | None:
    """Return the currency before the number at *start*, if no earlier amount, which ends at *free*, has it."""
    begin = max(free, start - LABEL_CHARACTERS)
    return _BEFORE.search(text, begin, start) if _SOME_CURRENCY.search(text, begin, start) else None


def money(text: str, span: Span, before: re.Match[str] | None, language: str, shared: frozenset[str]) -> Mention | None:
    """Return the amount of money of the number, or None."""
    end = span.end
    cents, minus = _NO_CENTS.match(text, end), None
    if cents is not None:
        end = cents.end()
    elif minus := _TRAILING_MINUS.match(text, end):
        end = minus.end()
    power, end = _scale(text, end, language)
    closed_end = 0
    if text[end : end + 1] == ")":
        outer_power, closed_end = (0, end + 1) if power else _scale(text, end + 1, language)  # $(5) million
        power = power or outer_power
    after = _AFTER.match(text, closed_end or end)
    if after and (
        (after["of"] and not power) or not _is_own(text, after.end(), language, has_other=before is not None)
    ):
        after = None
    if before is None and after is None:
        return None
    amount = _Amount(text, span, before, after, power, end, closed_end, minus is not None, shared)
    return amount.from_before(before) if before else amount.from_after()


def _is_own(text: str, end: int, language: str, *, has_other: bool) -> bool:
    """Return whether the currency that ends at *end* belongs to the number before it, and not to the one after it."""
    following = _NUMBER_NEXT.match(text, end)
    if following is None:
        return True
    other = number_at(text, following.end(), language)
    if has_other or other is None:
        return False
    # "9 USD 10 EUR", "5 EUR 500 g"; but "2023 EUR 500", "2024 EUR 6 million".
    power, place = _scale(text, other.end, language)
    if _AFTER.match(text, place) is not None:
        return True
    blank = re.compile(rf"{BLANK}?").match(text, place)
    return not power and blank is not None and unit_pattern(language).match(text, blank.end()) is not None


def _scale(text: str, end: int, language: str) -> tuple[int, int]:
    """Return the power of ten after the number, and where it ends."""
    if letter := _LETTER_SCALE.match(text, end):
        return measures.LETTER_SCALES[letter["scale"]], letter.end()
    return scale_at(text, end, language)


@dataclass(slots=True)
class _Amount:
    """What stands around a number; `end` is after its power of ten, `closed_end` after a bracket there, or 0."""

    text: str
    span: Span
    before: re.Match[str] | None
    after: re.Match[str] | None
    power: int
    end: int
    closed_end: int
    minus: bool
    shared: frozenset[str]

    def from_after(self) -> Mention | None:
        """Return the amount of a number with its currency after it."""
        number = self.span.number
        sign = sign_before(self.text, number.start)
        if sign is None or self.after is None:
            return None
        if (
            is_label(self.text, sign.start)
            or is_alternative(self.text, sign.start, "")
            or not is_one_number(self.text, number)
        ):
            return None
        start, end, minus, competes = sign.start, self.after.end(), sign.sign, sign.competes
        opened = self.text[start - 1 : start] == "("
        if self.closed_end:
            if not opened:
                return None
            start, minus = start - 1, "-"
        elif self.minus:
            minus = "-"
        elif opened and self.text[end : end + 1] == ")":
            start, end, minus, competes = self._bracketed(start, end, minus)
        written = self.after["unit"] or self.after["word"]
        return self._made(start, end, minus, written, _raised(self.after["scale"]), competes=competes)

    def from_before(self, before: re.Match[str]) -> Mention | None:
        """Return the amount of a number with its currency before it."""
        written = before["currency"]
        if self.text[max(0, before.start("open") - 1) : before.start("open")] in (
            "/",
            "_",
            "^",
        ) or not self._is_amount_of(written):
            return None
        start, minus, competes = self._sign(before)
        end = self.end
        if before["bracket"]:
            if not self.closed_end:
                return None
            minus, end = "-", self.closed_end
        elif self.minus:
            minus = "-"
            competes |= not _ENDS_CELL.match(self.text, end)
        if self.after is not None:
            if written != "$" and self.after["unit"] != written:
                return None
            written, end = self.after["unit"] or written, self.after.end()
        if before["open"] and not before["bracket"]:
            inside = before.end("open")
            start = inside if start == before.start("open") else start
            if self.text[end : end + 1] == ")" and minus != "-":
                start, end, minus, competes = self._bracketed(inside, end, minus)
        return self._made(start, end, minus, written, _raised(before["scale"]), competes=competes)

    def _sign(self, before: re.Match[str]) -> tuple[int, str, bool]:
        """Return where an amount begins whose currency stands before it, its sign, and whether that competes."""
        outer, inner, start = before["outer"].lstrip("\\"), before["sign"], before.start("open")
        if inner in ("-", "−", "–"):
            # "USD-5" may be a hyphen.
            return start, "-", not before["gap"] and before["currency"][-1:].isalpha()
        if word := _MINUS_WORD.search(self.text, max(0, start - LABEL_CHARACTERS), start):
            return (word.start(), "-", False) if word[0].lower() == "minus " else (start, "", True)
        if outer not in ("-", "−", "–"):
            return start, "", False
        sign = sign_before(self.text, start)
        if sign is None:
            return start, "", False  # "€5–€10", "USA-$5"
        return sign.start if sign.sign else start, sign.sign, sign.competes

    def _is_amount_of(self, written: str) -> bool:
        """Return whether a currency's name before the number is one: not "Euro 6", "Euro 2024"."""
        number = self.span.number
        if written == "Fr.":  # "Mo.–Fr. 8–16 Uhr" are days
            return not _DAY_OR_TIME.match(self.text, self.span.end) and (
                _NO_CENTS.match(self.text, self.span.end) is not None
                or (len(number.written) > 2 and not number.is_year_like and not self.span.other)
            )
        if written.lower() != "euro":
            return True
        return bool(self.power) or not number.is_whole or (len(number.written) > 2 and not number.is_year_like)

    def _bracketed(self, start: int, end: int, minus: str) -> tuple[int, int, str, bool]:
        """Return place, sign and doubt of an amount between brackets, which accounts write for a minus."""
        line = self.text[max(0, start - 1 - LEFT_CHARACTERS) : start - 1].rpartition("\n")[2]
        is_cell = line.rstrip().endswith("|") and _ENDS_CELL.match(self.text, end + 1)
        if is_cell or _NEEDS_AMOUNT.search(line):
            return start - 1, end + 1, "-", False
        competes = _ACCOUNT.search(line) or _PERIOD.search(line) or begins_line(self.text, start - 1)
        return start, end, minus, bool(competes)

    def _made(self, start: int, end: int, sign: str, written: str, power: int, *, competes: bool) -> Mention:
        per = _PER.match(self.text, end)
        if per is not None:
            end = per.end()
        if (
            _DEBIT.match(self.text, end)
            or _MINUS_AFTER_ALL.match(self.text, end)
            or (self.power and _RANGE_GOES_ON.match(self.text, end))  # $1m-2m
        ):
            competes = True
        code = currency(written, self.shared)
        unit = f"{code}{normal_unit(per[0])}" if per else code
        value = "" if competes or not code else f"{self.span.value(sign, self.power + power)} {unit}"
        return Mention(start, end, "money", value)


def _raised(scale: str | None) -> int:
    """Return the power of ten of a scale that is written with the currency: "TEUR", "k€", "Mio. EUR"."""
    return measures.CURRENCY_SCALES[scale.rstrip(" .\u00a0\u2009\u202f\u2007")] if scale else 0
