"""Dates that are written in full.

Owns the patterns and the ISO 8601 form. Month names are dateparser's (200 languages): the document's language and
English are read. Only its dictionary is used: its parser completes a date with today's, so the same document would give
other facts tomorrow, and its search takes "the Sun" for a date.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

from tasks.extraction.evidence import Mention

_MONTHS = "january february march april may june july august september october november december".split()  # noqa: SIM905
_YEAR = r"(?P<year>1[0-9]\d\d|20\d\d)(?![\d%]|[.,]\d)"
_OF = r"(?:of |de |del |d['’])?"

_ISO = re.compile(r"(?<![\d-])(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)(?![\d-])")
_NUMERIC = re.compile(r"(?<![\d./-])(?P<a>\d{1,2})(?P<mark>[./-])(?P<b>\d{1,2})(?P=mark)(?P<year>\d{4})(?![\d/-]|\.\d)")
_IDEOGRAPHIC = re.compile(r"(?<!\d)(?P<year>\d{4})[年년]\s?(?P<month>\d{1,2})[月월](?:\s?(?P<day>\d{1,2})[日일])?")
_QUARTER = re.compile(rf"(?<!\w)(?P<part>[QH][1-4])[ /]?{_YEAR}")
_YEAR_AFTER = re.compile(
    r"(?<!\w)(?i:in|since|until|by|from|during|before|after|year|im jahre?|seit|bis|vor|nach|en|depuis|dès|desde|hasta"
    rf"|nel|dal|em|sinds|в|с|до|года?)[ \u00a0](?:the year )?{_YEAR}(?!\w)"
)


@dataclass(frozen=True, slots=True)
class _Calendar:
    """The date formats of one language."""

    months: dict[str, int]
    month_first: bool
    written: tuple[re.Pattern[str], ...]


def dates(text: str, language: str) -> Iterator[Mention]:
    """Yield dates in *text*, exact ones before months and years. `value` is ISO 8601; empty for 1/2/2024."""
    calendar = _calendar(language)
    for found in _ISO.finditer(text):
        yield from _mention(found, found["year"], found["month"], found["day"])
    for found in _IDEOGRAPHIC.finditer(text):
        yield from _mention(found, found["year"], found["month"], found["day"])
    for pattern in calendar.written:
        for found in pattern.finditer(text):
            month = calendar.months[found["month"].lower()]
            yield from _mention(found, found["year"], str(month), found.groupdict().get("day"))
    for found in _NUMERIC.finditer(text):
        yield from _numeric(found, language, calendar)
    for found in _QUARTER.finditer(text):
        yield Mention(found.start(), found.end(), "date", f"{found['year']}-{found['part']}")
    for found in _YEAR_AFTER.finditer(text):
        yield Mention(found.start("year"), found.end("year"), "date", found["year"])


def _mention(found: re.Match[str], year: str, month: str, day: str | None) -> Iterator[Mention]:
    try:
        exact = datetime.date(int(year), int(month), int(day or 1))
    except ValueError:
        return  # the 31st of June, or a number that looks like a date
    yield Mention(found.start(), found.end(), "date", exact.isoformat() if day else exact.isoformat()[:7])


def _numeric(found: re.Match[str], language: str, calendar: _Calendar) -> Iterator[Mention]:
    first, second = int(found["a"]), int(found["b"])
    if max(first, second) <= 12 and first != second and found["mark"] != "." and language == "en":
        # "en" without a country does not say whether the day or the month comes first.
        yield Mention(found.start(), found.end(), "date")
        return
    month_first = (calendar.month_first and found["mark"] != "." and first <= 12) or second > 12
    month, day = (found["a"], found["b"]) if month_first else (found["b"], found["a"])
    yield from _mention(found, found["year"], month, day)


@lru_cache(maxsize=8)
def _calendar(language: str) -> _Calendar:
    own, english = _locale(re.split("[-_]", language)[0]), _locale("en")
    months = _month_numbers(english) | _month_numbers(own)
    names = "|".join(sorted(map(re.escape, months), key=lambda name: (-len(name), name)))
    month = rf"(?P<month>{names})\.?"
    day = r"(?P<day>\d{1,2})"
    written = (
        rf"(?<![\w.]){day}(?:st|nd|rd|th|er|\.|º|ª)?\s{{1,3}}{_OF}{month},?\s{{1,3}}{_OF}{_YEAR}",
        rf"(?<!\w){month}\s{{1,3}}{day}(?:st|nd|rd|th)?,?\s{{1,3}}{_YEAR}",
        rf"(?<!\w){month},?\s{{1,3}}{_OF}{_YEAR}",
    )
    return _Calendar(
        months=months,
        month_first=language.replace("_", "-") == "en-us",
        written=tuple(re.compile(pattern, re.I) for pattern in written),
    )


def _locale(code: str) -> dict[str, Any]:
    if not re.fullmatch(r"[a-z]{2,3}", code):
        return {}
    try:
        return import_module(f"dateparser.data.date_translation_data.{code}").info
    except ImportError:
        return {}  # a language that dateparser does not know: only English is read


def _month_numbers(locale: dict[str, Any]) -> dict[str, int]:
    """Return the months' numbers by their names in lower case, without one-letter and numbered names ("3月")."""
    return {
        name.lower(): number
        for number, month in enumerate(_MONTHS, start=1)
        for name in locale.get(month, ())
        if len(name) >= 3 and not any(char.isdigit() for char in name)
    }
