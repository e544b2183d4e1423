"""Amounts: money, percentages, quantities with a unit.

Owns the patterns and the normal form of a number. A number alone is not an amount. Numbers are read as the document's
language writes them ("1,234.5" in English, "1.234,5" in German); units are kept as written, nothing is converted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

from tasks.extraction import vocabulary
from tasks.extraction.evidence import Mention


def _any_of(words: str) -> str:
    """Return a pattern for any of the words, the longest first, so that "min" is not taken for "m"."""
    return "|".join(sorted(map(re.escape, words.split()), key=lambda word: (-len(word), word)))


_GAP = r"[ \u00a0\u202f]?"
# Letters of scripts without spaces between words do not continue a number or a unit.
_LETTER = r"[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]"
_DIGITS = (
    r"(?P<number>\d{1,3}(?:[ \u00a0\u202f'’]\d{3}(?!\d)){1,5}(?:[.,]\d{1,9})?"  # 1 234 567,8
    r"|\d{1,15}(?:[.,]\d{1,15}){0,6})(?!\d)"
)
_NUMBER = rf"(?<!{_LETTER})(?<![.,])(?P<sign>[-+−]?){_DIGITS}"
_POWER_OF = {word: power for power, words in vocabulary.SCALES.items() for word in words.split()}
_SCALE = rf"(?:{_GAP}(?P<scale>(?i:{_any_of(' '.join(_POWER_OF))}))(?!{_LETTER}))?"
_ABBREVIATED = rf"{_SCALE}\.?"  # "1,5 Mio. Euro": only before a unit, else the full stop ends the sentence
_CURRENCY_WORDS = (
    rf"(?:{_any_of(vocabulary.CURRENCY_CODES)}|(?i:{_any_of(' '.join(vocabulary.CURRENCY_NAMES))}))(?!{_LETTER})"
)
_DOLLARS = {"US": "USD", "A": "AUD", "C": "CAD", "NZ": "NZD", "HK": "HKD"}
_SYMBOL = rf"(?:{'|'.join(_DOLLARS)})\$|[{''.join(vocabulary.CURRENCY_SYMBOLS)}]"
_CURRENCY = rf"(?P<unit>{_SYMBOL}|{_CURRENCY_WORDS})"
_PERCENT = rf"(?P<unit>[%‰]|(?i:{vocabulary.PERCENT})(?!{_LETTER}))"
_UNIT = rf"(?P<unit>(?:{_any_of(vocabulary.UNIT_SYMBOLS)})|(?i:{'|'.join(vocabulary.UNIT_WORDS.split())}))(?!{_LETTER})"

_PATTERNS = (
    ("money", re.compile(rf"(?<!{_LETTER}){_CURRENCY}{_GAP}(?P<sign>[-−]?){_DIGITS}{_SCALE}")),
    ("money", re.compile(rf"{_NUMBER}{_ABBREVIATED}{_GAP}(?:de |d['’])?{_CURRENCY}")),
    ("percent", re.compile(rf"{_NUMBER}{_GAP}{_PERCENT}")),
    ("quantity", re.compile(rf"{_NUMBER}{_ABBREVIATED}(?:{_GAP}|-){_UNIT}")),
)


def amounts(text: str, language: str) -> Iterator[Mention]:
    """Yield money, then percentages, then quantities; `value` is the number and its unit ("3500000 USD", "12.5 %")."""
    for kind, pattern in _PATTERNS:
        for found in pattern.finditer(text):
            number = normal_number(found["number"], language, (found.groupdict().get("scale") or "").lower())
            sign = "-" if found["sign"] in ("-", "−") else ""
            yield Mention(found.start(), found.end(), kind, f"{sign}{number} {_unit(kind, found['unit'])}")


def normal_number(written: str, language: str, scale: str = "") -> str:
    """Return *written* as digits with at most one decimal point: "1.234,5" -> "1234.5"; *scale* is like "million"."""
    point = language[:2] in vocabulary.POINT_LANGUAGES
    digits = re.sub(r"[ \u00a0\u202f'’]", "", written)
    last = max(digits.rfind("."), digits.rfind(","))
    separator = digits[last] if last >= 0 else ""
    if separator and _groups_thousands(digits, separator, point=point):
        digits = digits.replace(".", "").replace(",", "")
    elif separator:
        digits = digits[:last].replace(".", "").replace(",", "") + "." + digits[last + 1 :]
    number = Decimal(digits).scaleb(_POWER_OF.get(scale, 0))
    return f"{number:f}"


def _groups_thousands(digits: str, separator: str, *, point: bool) -> bool:
    """Return whether the last separator groups digits; otherwise it begins the decimals."""
    if digits.count(separator) > 1:
        return True
    whole, _, rest = digits.partition(separator)
    if "." in whole or "," in whole:
        return False  # the other separator came before, so this one begins the decimals
    # One separator, three digits after it: "1,234" is a thousand in English and a little over one in German.
    return len(rest) == 3 and len(whole) <= 3 and whole != "0" and (separator == ",") == point


def _unit(kind: str, written: str) -> str:
    if kind == "money":
        code = vocabulary.CURRENCY_SYMBOLS.get(written) or vocabulary.CURRENCY_NAMES.get(written.lower())
        return code or _DOLLARS.get(written[:-1], written)
    return "%" if kind == "percent" and written != "‰" else written
