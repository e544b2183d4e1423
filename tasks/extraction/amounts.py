"""Amounts: money, percentages, quantities with a unit.

Owns what makes a number an amount and what its value is. A number alone is not an amount, nor is a number that is part
of something else: a part number, a version, a clause, a time, a score, a dimension. Where two readings compete, the
amount has no value or is left out ("31 520 kg" after "car"). Nothing is converted: units are kept as they are written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tasks.extraction import measures
from tasks.extraction.calendar import names_month
from tasks.extraction.evidence import Mention
from tasks.extraction.money import currency_before, money
from tasks.extraction.numbers import BLANK, Number, next_digits, number_at, number_of
from tasks.extraction.signs import (
    LABEL_CHARACTERS,
    Sign,
    is_alternative,
    is_label,
    is_one_number,
    is_share,
    may_begin,
    sign_before,
)
from tasks.extraction.spans import Span, span_of
from tasks.extraction.units import (
    COUNTED,
    PERCENT,
    TIME_OR_COUNTED,
    normal_percent,
    normal_unit,
    scale_at,
    unit_pattern,
)

_GAP = rf"(?:{BLANK}|\r?\n)?"
# A dimension, a ratio, a scale, a time: no part of it is an amount.
_TIMES = re.compile(rf"{BLANK}?(?:[x×]|\\?\*){BLANK}?(?=\d)|:(?=\d)|{BLANK}:{BLANK}(?=\d)|/(?=\d)")
# A cell that is only a number: most of the numbers of a large document, so it is decided first.
# What follows every amount whose currency is not before it.
_GOES_ON = re.compile(rf"{_GAP}(?:[^\W\d_.,;:]|[^\w\s.,;:|!?\"»”\]*`])|[.,][-–—]|\.\.")
_LONE = re.compile(r" {0,2}\|")
_FORMULA = re.compile(r"\$\$.{1,2000}?\$\$|\$(?=[^\s$])(?=[^$\n]{0,200}[\\^_={])[^$\n]{1,300}(?<=\S)\$(?!\d)", re.S)
_PERCENT = re.compile(rf"(?:{_GAP}|-)(?P<unit>{PERCENT})")
_UNIT_GAP = re.compile(rf"-(?=[^\W\d_]{{2}})|{_GAP}")
_LETTER_SCALE = re.compile(rf"(?P<scale>{measures.LETTER_SCALE})(?={BLANK})")
_BELOW_ZERO = re.compile(r" (?:below|unter|sous|sotto|bajo|onder|poniżej)\b")
_COORDINATE = re.compile(r",?\s{0,2}\d{1,3}[.,]\d+°?\s?[EWO](?![-+−\w])")
_COMPASS = re.compile(
    rf"{BLANK}?(?:[NSEWO]|[Nn]orth|[Ss]outh|[Ee]ast|[Ww]est|[Nn]ord|Süd|Ost|[Ss]ud|[Oo]uest|[Nn]orte|[Ee]ste|[Oo]este)\b|\d|{BLANK}?\d+[′'’\"″]"
)
_MINUTES = re.compile(r"[.,][0-5]\d$")
_TIME_BEFORE = re.compile(r"(?<!\w)(?:à|vers|dès|jusqu['’]à|avant|après|a las|las|alle|dalle|om) $", re.I)
_LASTS = re.compile(r"(?:pendant|durant|dure|duré|durée de|en|plus de|moins de) $")
_YEAR_WORD = re.compile(r"(?<![^\W\d_])([^\W\d_]+)\.? $")
_YEAR_WORDS = frozenset("in since during until en nel dal jahr jahre seit em sinds w".split())  # noqa: SIM905
_COMPOSITE = re.compile(rf"\d{BLANK}?(?:h|hrs?|hours?|min|m|ft|feet|lbs?|d|days?){BLANK}$")
# "1 m 80", "5 h 30 min", "5 m kw."
_CONTINUED = re.compile(
    rf"\.?{BLANK}\d{{1,2}}(?:{BLANK}?(?:h|min|s|sec|in|inches|oz|cm|minutes|seconds|hours)\b"
    rf"|(?![\w%/]|[.,]\d|{BLANK}[^\W\d_]))|{BLANK}(?:kw\.|sześc|squared|cubed)"
)
_NEXT_WORD = re.compile(r"\.? (\w+)")


def amounts(text: str, language: str, shared: frozenset[str] = frozenset()) -> Iterator[Mention]:
    """Yield money, percentages and quantities in order; `value` is the number and its unit ("3500000 USD", "12.5 %").

    *shared* are the signs that are written for more than one currency in this document (`units.shared_signs`).
    """
    if "$" in text:
        text = _FORMULA.sub(lambda formula: "\x00" * len(formula[0]), text)
    reader = _Reader(text, language[:2], shared)
    place = 0
    while (digits := next_digits(text, place)) is not None:
        place = digits.end()
        if _LONE.match(text, place) and text[max(0, digits.start() - 2) : digits.start()].rstrip(" ").endswith("|"):
            continue
        if (number := number_of(digits, language)) is not None:
            mention, end = reader.read(number)
            place = max(place, end)
            if mention is not None:
                yield mention


def _is_opening(span: Span) -> bool:
    """Return whether hours are from when to when, and no duration: "8–16 h"."""
    if span.kind != "to" or span.other is None or span.number.value is None or span.other.value is None:
        return False
    return span.other.value <= 24 and span.number.value >= 5 and span.other.value - span.number.value >= 2


class _Reader:
    """Reads what stands around a number. `free` is where the text begins that no earlier amount has taken."""

    def __init__(self, text: str, language: str, shared: frozenset[str]) -> None:
        self.text = text
        self.language = language
        self.shared = shared
        self.free = 0
        self.after_quantity = False
        self.units = unit_pattern(language)

    def read(self, number: Number) -> tuple[Mention | None, int]:
        """Return the amount of *number*, and where to go on."""
        if times := _TIMES.match(self.text, number.end):
            return None, self._end_of_chain(times.end())
        before = currency_before(self.text, number.start, self.free)
        if before is None and not (_GOES_ON.match(self.text, number.end) and may_begin(self.text, number.start)):
            return None, number.end
        sign = sign_before(self.text, number.start)
        span = span_of(self.text, number, self.language, negative=sign is not None and sign.sign == "-")
        mention = money(self.text, span, before, self.language, self.shared)
        if mention is None and before is None:
            mention = self._measure(span)
        if mention is None or mention.start < self.free:
            return None, span.end if span.kind == "to" else number.end
        self.free = mention.end
        self.after_quantity = mention.type == "quantity"
        return mention, mention.end

    def _end_of_chain(self, place: int) -> int:
        """Return where "2 x 3 x 4" ends, of which no part is an amount."""
        while (number := number_at(self.text, place, self.language)) is not None:
            times = _TIMES.match(self.text, number.end)
            if times is None:
                return number.end
            place = times.end()
        return place

    def _measure(self, span: Span) -> Mention | None:
        """Return a percentage or a quantity."""
        text = self.text
        sign = sign_before(text, span.number.start)
        if sign is None and self.after_quantity and self.free == span.number.start - 1:
            sign = Sign("", span.number.start)  # the dash of a range: "5 °C–10 °C"
        if sign is None or is_label(text, sign.start):
            return None
        closed = text[span.end : span.end + 1] == ")" and text[sign.start - 1 : sign.start] == "("
        if percent := _PERCENT.match(text, span.end + closed):
            minus = "-" if closed else sign.sign
            value = "" if sign.competes else f"{span.value(minus)} {normal_percent(percent['unit'])}"
            return Mention(sign.start - closed, percent.end(), "percent", value)
        power, end = scale_at(text, span.end, self.language)
        if not power and (letter := _LETTER_SCALE.match(text, span.end)) and COUNTED.match(text, letter.end() + 1):
            power, end = measures.LETTER_SCALES[letter["scale"]], letter.end()
        gap = _UNIT_GAP.match(text, end)
        unit = self.units.match(text, gap.end() if gap else end)
        if unit is None or not self._is_unit(unit, span, sign.start, has_gap=unit.start() > end):
            return None
        competes = sign.competes or bool(_BELOW_ZERO.match(text, unit.end()))
        value = "" if competes else f"{span.value(sign.sign, power)} {normal_unit(unit['unit'])}"
        return Mention(sign.start, unit.end(), "quantity", value)

    def _is_unit(self, unit: re.Match[str], span: Span, start: int, *, has_gap: bool) -> bool:
        """Return whether what looks like a unit can be nothing else."""
        written, number = unit["unit"], span.last
        following = self.text[unit.end() : unit.end() + 24]
        if not is_one_number(self.text, span.number) or is_alternative(self.text, start, self.language):
            return False
        if _CONTINUED.match(following) or _COMPOSITE.search(self.text, max(0, start - LABEL_CHARACTERS), start):
            return False  # "1 m 80", "5 h 30 min", "5 m kw."
        if COUNTED.fullmatch(written):
            return not is_share(self.text, start) and not (number.is_year_like and self._is_after_year_word(start))
        if number.value is None and TIME_OR_COUNTED.fullmatch(written):
            return False  # 5/6 days
        if written == "°":
            return not (_COMPASS.match(following) or self._is_ordinal(following))
        if written in ("h", "hr", "hrs", "heures", "horas"):
            return not self._is_time(number, written, start, following) and not _is_opening(span)
        if written == "N" and _COORDINATE.match(following):
            return False
        if written == "ha" and self.language in ("es", "it") and number.is_year_like:
            return False
        return len(written) > 1 or self._is_letter_unit(written, number, start, following, has_gap=has_gap)

    def _is_time(self, number: Number, unit: str, start: int, following: str) -> bool:
        """Return whether hours are a time of day: "14.30 h", "à 14 h"."""
        left = max(0, start - LABEL_CHARACTERS)
        if (
            _MINUTES.search(number.written)
            or _TIME_BEFORE.search(self.text, left, start)
            or following.startswith(" à ")
        ):
            return True
        is_clock = unit == "h" and number.written.isdecimal() and int(number.written) <= 24
        return self.language == "fr" and is_clock and not _LASTS.search(self.text, left, start)

    def _is_ordinal(self, following: str) -> bool:
        """Return whether "3°" counts ("3° piano")."""
        return self.language in ("it", "es", "fr", "pt") and bool(re.match(r" [^\W\d_]", following))

    def _is_letter_unit(self, unit: str, number: Number, start: int, following: str, *, has_gap: bool) -> bool:
        """Return whether a single letter after a number is its unit and not a word, an initial or a mark."""
        if not has_gap:
            decade = unit == "s" and number.is_whole and number.written.endswith("0") and len(number.written) in (2, 4)
            room = unit in "ANJV" and re.search(
                r"\b[A-Z][^\W\d_]* $", self.text[max(0, start - LABEL_CHARACTERS) : start]
            )
            return not (unit == "K" or decade or room or following.startswith("-"))  # 4K, the 1990s, Room 3A
        if unit == "m" and COUNTED.match(following.lstrip(" ")):
            return False  # 5 m people
        if not number.is_year_like:
            return True
        word = _NEXT_WORD.match(following)
        after_year_word = self._is_after_year_word(start)
        if following.startswith("-"):
            return False  # the 2019 A-class
        if unit in "AKVWNJ" and (word or following.startswith(".")):
            return unit != "A" and not after_year_word and not (following.startswith(". ") and word)
        return not (unit in "sl" and word and after_year_word)

    def _is_after_year_word(self, start: int) -> bool:
        """Return whether a preposition or a month stands before the number, after which years come."""
        word = _YEAR_WORD.search(self.text, max(0, start - LABEL_CHARACTERS), start)
        return word is not None and (word[1].lower() in _YEAR_WORDS or names_month(word[1], self.language))
