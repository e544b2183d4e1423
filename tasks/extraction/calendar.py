"""Names of months and the order of day and month, by language.

Month names are dateparser's (200 languages): the document's language and English are read. Only its dictionary is
used: its parser completes a date with today's, so the same document would give other facts tomorrow, and its search
takes "the Sun" for a date.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import import_module
from typing import Any

_MONTHS = "january february march april may june july august september october november december".split()  # noqa: SIM905
_ELSEWHERE = ("cs", "da", "de", "es", "fr", "it", "nl", "pl", "pt", "sv")
# As Polish and Hungarian dates have them, and stamps: 12.III.2024.
ROMAN = {roman: number for number, roman in enumerate("I II III IV V VI VII VIII IX X XI XII".split(), start=1)}  # noqa: SIM905


@lru_cache(maxsize=16)
def month_numbers(language: str) -> dict[str, int]:
    """Return the months' numbers by their names in lower case, of *language* and English."""
    return _month_numbers("en") | _month_numbers(re.split("[-_]", language)[0])


@lru_cache(maxsize=1)
def months_elsewhere() -> dict[str, int]:
    """Return the numbers of the months by their full names in other languages that are offered.

    For dates in a language that is not the document's, and for texts too short for an answer. A name that is another
    month elsewhere ("listopad") is not among them.
    """
    found: dict[str, set[int]] = {}
    for code in _ELSEWHERE:
        for name, number in _month_numbers(code).items():
            found.setdefault(name, set()).add(number)
    return {name: numbers.pop() for name, numbers in found.items() if len(name) >= 3 and len(numbers) == 1}


def names_month(word: str, language: str = "en") -> bool:
    """Return whether *word* is a month's name or its abbreviation."""
    return word.lower().rstrip(".") in month_numbers(language)


def _month_numbers(code: str) -> dict[str, int]:
    """Return a language's months, without one-letter and numbered names ("3月")."""
    locale = _locale(code)
    return {
        name.lower(): number
        for number, month in enumerate(_MONTHS, start=1)
        for name in locale.get(month, ())
        if len(name) >= 3 and not any(char.isdigit() for char in name)
    }


def _locale(code: str) -> dict[str, Any]:
    if not re.fullmatch(r"[a-z]{2,3}", code):
        return {}
    try:
        return import_module(f"dateparser.data.date_translation_data.{code}").info
    except ImportError:
        return {}  # a language that dateparser does not know: only English is read
