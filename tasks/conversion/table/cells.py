"""What a cell of a text table is: a name, or a value such as a number or a date; pure.

Owns the question whether a row can be the header of the rows below it. It decides by the look of the cells alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# A column's name is a few words; a longer text is a remark.
_MAX_NAME_CHARACTERS = 100
# Account numbers and codes have this many digits, and more digits than letters; "Level 2" and "PM2.5" are names.
_MIN_CODE_DIGITS = 4

_ABSENT = frozenset({"", "-", "--", "–", "—", "na", "n/a", "nan", "null", "none", "nil", ".", "?"})
_CURRENCY = r"(?:[€$£¥₹₽₩]|EUR|USD|CHF|GBP|JPY|PLN|CZK|SEK|NOK|DKK)"
_NUMBER = re.compile(
    rf"[(\[]?[-+−–±<>~]?\s?(?:{_CURRENCY}\s?)?[-+−]?(?:\d[\d\s.,'’\u00a0\u202f]*|[.,]\d+)"
    rf"(?:[eE][-+]?\d+)?[-−]?\s?(?:%|‰|{_CURRENCY})?[)\]]?"
)
_MONTH = r"[^\W\d_]{3,9}\.?"
_DATE = re.compile(
    r"(?:\d{4}[-/.]\d{1,2}(?:[-/.]\d{1,2})?|\d{1,2}[-/.]\d{1,2}[-/.](?:\d{2}|\d{4})"
    rf"|\d{{1,2}}\.?[ -]{_MONTH}[ -]\d{{2,4}}|{_MONTH} \d{{1,2}},? \d{{4}})"
    r"(?:[T ,]+\d{1,2}:\d{2}.{0,20})?"
)
_TIME = re.compile(r"\d{1,3}:\d{2}(?::\d{2})?(?:[.,]\d+)?(?: ?[AaPp]\.?[Mm]\.?)?")
_ADDRESS = re.compile(r"[^\s@]+@[^\s@]+\.\w+|https?://\S+")
_KINDS = {"date": _DATE, "time": _TIME, "number": _NUMBER, "address": _ADDRESS}
_YEAR = re.compile(r"(?:1[89]|20|21)\d\d")
# Signs and short names of units as they stand below a column's name, with or without brackets.
_UNIT = re.compile(
    r"(?:%|‰|°[CFK]?|[µμmckdhMGTn]?(?:m|g|s|A|V|W|J|N|l|L|Hz|Pa|bar|Ω|mol|K|Wh|VA|B|t|eV)[²³23]?"
    r"|[kM]?(?:m|g|l|J|W|N|t|km)?/(?:s|h|min|m|l|kg|a|d|m[²³23]|s[²2]|kWh)|min|hrs?|yrs?|days?|pcs|Stk\.?|St\.?|ha"
    r"|in|ft|yd|mi|lb|lbs|oz|mph|psi|ppm|ppb|dB|rpm|deg|EUR|USD|CHF|GBP|€|\$|£|kEUR|T€|km/h)"
)
_BRACKETED = re.compile(r"[\[(]([^\[\]()]{1,20})[\])]")


def is_absent(cell: str) -> bool:
    """Return whether *cell* holds nothing: it is empty or a sign for that."""
    return cell.strip().lower() in _ABSENT


def is_value(cell: str) -> bool:
    """Return whether *cell* is a number, a date, a time, an address or a code, which no column is named."""
    return value_kind(cell) != ""


def value_kind(cell: str) -> str:
    """Return which kind of value *cell* is; empty for a name and for an empty cell."""
    text = cell.strip()
    if not text or len(text) > _MAX_NAME_CHARACTERS:
        return ""
    for kind, pattern in _KINDS.items():
        if pattern.fullmatch(text):
            return kind
    digits = sum(char.isdigit() for char in text)
    return "code" if digits >= _MIN_CODE_DIGITS and digits > sum(char.isalpha() for char in text) else ""


def extent(cells: Sequence[str]) -> int:
    """Return the number of cells up to the last one that is not empty."""
    return next((at for at in range(len(cells), 0, -1) if cells[at - 1].strip()), 0)


def filled(cells: Sequence[str]) -> int:
    """Return how many cells are not empty."""
    return sum(1 for cell in cells if cell.strip())


def can_be_header(cells: Sequence[str]) -> bool:
    """Return whether all cells are names. Years, and numbers that count up from 0 or 1, are names after the first."""
    texts = [cell.strip() for cell in cells if cell.strip()]
    if not texts or any(len(text) > _MAX_NAME_CHARACTERS for text in texts):
        return False
    values = [text for text in texts if is_value(text)]
    if not values:
        return True
    if is_value(cells[0]):
        return False
    years = all(_YEAR.fullmatch(text) for text in values)
    counted = all(text.isdecimal() for text in values) and [int(text) for text in values] in (
        list(range(len(values))),
        list(range(1, len(values) + 1)),
    )
    return years or (counted and len(values) > 1)


def units(cells: Sequence[str]) -> list[str] | None:
    """Return the units that a row below the header gives, one per cell and empty for none; None for other rows."""
    found: list[str] = []
    for cell in cells:
        text = cell.strip()
        bracketed = _BRACKETED.fullmatch(text)
        if is_absent(text):
            found.append("")
        elif bracketed and not is_value(bracketed[1]):
            found.append(text)
        elif _UNIT.fullmatch(text):
            found.append(f"({text})")
        else:
            return None
    return found if any(found) else None
