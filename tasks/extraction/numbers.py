"""Numbers as documents write them: groups of digits, decimals, fractions, powers of ten.

Owns what counts as one number. A run of digits, points and commas that is none of the usual forms ("1.2.3", "007",
"12,34,5") is not a number, and no part of it is. Whether "1,234" is a thousand or a little over one is decided by the
document's language.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from math import gcd

from tasks.extraction import vocabulary

# Between groups of digits, and between a number and its unit; plain, no-break, figure, thin and narrow no-break.
BLANK = r"[ \u00a0\u2007\u2009\u202f]"

_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_USUAL_PARTS = (2, 3, 4, 8, 16, 32, 64)
_VULGAR = {"½": "0.5", "¼": "0.25", "¾": "0.75", "⅛": "0.125", "⅜": "0.375", "⅝": "0.625", "⅞": "0.875"}
# A caret may be escaped: plain text has no raised digits that Markdown knows. `<sup>` is how Markdown is typed.
_EXPONENT = (
    r"(?:(?:\\?\^\{?|<sup>)(?P<power>[-−+]?\d{1,2})(?!\d|[.,]\d)(?:</sup>|\}?(?:\\?\^)?)"
    r"|(?P<raised>[⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]{1,2}))"
)
_NUMBER = re.compile(
    rf"""(?:
      (?P<whole>\d{{1,4}}{BLANK})?(?P<over>\d{{1,2}})/(?P<under>2|3|4|5|6|8|10|12|16|32|64|100)(?![\d/.,]?\d)  # 1 1/2
    | (?:(?P<before>\d{{1,6}}){BLANK}?)?(?P<vulgar>[{"".join(_VULGAR)}])                                     # 2½
    | (?P<ten>10){_EXPONENT}                                                                            # 10^6^
    | (?P<digits>
        \d{{1,3}}(?:(?P<blank>{BLANK})\d{{3}}(?!\d))(?:(?P=blank)\d{{3}}(?!\d)){{0,5}}(?:[.,]\d{{1,9}}(?!\d))?
      | \d{{1,3}}(?:['’]\d{{3}}(?!\d)){{1,5}}(?:[.,]\d{{1,9}}(?!\d))?
      | \d{{1,20}}(?:[.,]\d{{1,20}}){{0,8}}
      )(?!\d)
      (?:[eE](?P<e>[-−+]?\d{{1,2}})(?!\w)
      | {BLANK}?(?:[x×·⋅]|\\?\*){BLANK}?10{_EXPONENT.replace("power", "power2").replace("raised", "raised2")})?
    )""",
    re.X,
)
_PLAIN = re.compile(r"\d{1,20}(?:[.,]\d{1,20})?")
_GROUPED = re.compile(r"\d{1,3}(?P<mark>[.,'’\s])\d{3}(?:(?P=mark)\d{3})*(?P<rest>[.,]\d+)?")
_INDIAN = re.compile(r"\d{1,2}(?:,\d\d)+,\d{3}(?:\.\d+)?")
_ANY_MARK = re.compile(r"[\s.,'’]")


@dataclass(frozen=True, slots=True)
class Number:
    """Characters ``[start, end)``; `value` is None for a fraction that has no exact decimals."""

    start: int
    end: int
    written: str
    value: Decimal | None
    is_blank_grouped: bool = False
    is_fraction: bool = False

    @property
    def is_year_like(self) -> bool:
        """Return whether the number could be a year: four digits without a sign between them."""
        return len(self.written) == 4 and self.written.isdecimal() and 1000 <= int(self.written) < 2100

    @property
    def is_whole(self) -> bool:
        return self.value is not None and self.value == self.value.to_integral_value() and "." not in self.written


def next_digits(text: str, start: int) -> re.Match[str] | None:
    """Return the first digits at or after *start* that could be a number (`number_of`)."""
    return _NUMBER.search(text, start)


def number_at(text: str, start: int, language: str) -> Number | None:
    """Return the number that begins at *start*, or None."""
    found = _NUMBER.match(text, start)
    return None if found is None else number_of(found, language)


def number_of(found: re.Match[str], language: str) -> Number | None:
    """Return the number of these digits; None where they are not one number."""
    written = found[0]
    if found["under"]:
        over, under = int(found["over"]), int(found["under"])
        if not 0 < over < under or gcd(over, under) > 1 or (over > 1 and under not in _USUAL_PARTS):
            return None  # 5/10 may be five or ten
        value = Decimal(found["whole"].strip() if found["whole"] else 0) + Decimal(over) / Decimal(under)
        exact = under % 3 != 0
        return Number(found.start(), found.end(), written, value if exact else None, is_fraction=True)
    if found["vulgar"]:
        value = Decimal(found["before"] or 0) + Decimal(_VULGAR[found["vulgar"]])
        return Number(found.start(), found.end(), written, value, is_fraction=True)
    if found["ten"]:
        return Number(found.start(), found.end(), written, Decimal(1).scaleb(_exponent(found, "power", "raised")))
    digits = found["digits"]
    if not _is_one_number(digits):
        return None
    value = Decimal(normal_number(digits, language)).scaleb(_exponent(found, "power2", "raised2"))
    return Number(found.start(), found.end(), written, value, is_blank_grouped=bool(found["blank"]))


def _exponent(found: re.Match[str], power: str, raised: str) -> int:
    return int((found[power] or found[raised] or found["e"] or "0").translate(_RAISED).replace("−", "-"))


def _is_one_number(digits: str) -> bool:
    whole = _ANY_MARK.split(digits, maxsplit=1)[0]
    if len(whole) > 1 and whole.startswith("0"):
        return False  # a code: 007, 0800
    if _PLAIN.fullmatch(digits) or _INDIAN.fullmatch(digits):
        return True
    grouped = _GROUPED.fullmatch(digits)
    return grouped is not None and (grouped["rest"] or "")[:1] != grouped["mark"]


def normal_number(written: str, language: str) -> str:
    """Return *written* as digits with at most one decimal point: "1.234,5" -> "1234.5"."""
    point = language[:2] in vocabulary.POINT_LANGUAGES
    digits = re.sub(r"[\s'’]", "", written)
    last = max(digits.rfind("."), digits.rfind(","))
    separator = digits[last] if last >= 0 else ""
    if separator and _groups_thousands(digits, separator, point=point):
        digits = digits.replace(".", "").replace(",", "")
    elif separator:
        digits = digits[:last].replace(".", "").replace(",", "") + "." + digits[last + 1 :]
    return f"{Decimal(digits):f}"


def _groups_thousands(digits: str, separator: str, *, point: bool) -> bool:
    """Return whether the last separator groups digits; otherwise it begins the decimals."""
    if digits.count(separator) > 1:
        return True
    whole, _, rest = digits.partition(separator)
    if "." in whole or "," in whole:
        return False  # the other separator came before, so this one begins the decimals
    # One separator, three digits after it: "1,234" is a thousand in English and a little over one in German.
    return len(rest) == 3 and len(whole) <= 3 and whole != "0" and (separator == ",") == point
