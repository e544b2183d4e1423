"""Dates that are written in full: a day, a month, a quarter or a half of a year.

Owns the patterns and the ISO 8601 form. Where two readings compete a date has no value (03/04/2024 in English) or is
left out (12/03/24). Days that a word joins ("5 and 6 April 2024") are two dates, the first completed from the second; a
dash makes an interval ("March 12–14, 2024" is ``2024-03-12/2024-03-14``). Years alone are in `years`.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from tasks.extraction.calendar import ROMAN, month_numbers, months_elsewhere
from tasks.extraction.evidence import Mention
from tasks.extraction.years import YEAR, years

# How many days may be joined to one date ("3, 4 and 5 May 2024").
MAX_JOINED_DAYS = 6
JOINED_CHARACTERS = 40
# Words that decide about a date stand within so many characters before it.
BEFORE_CHARACTERS = 12
# Two digits of a year are of this century up to the first number, of the last one from the second on.
LAST_OF_THIS_CENTURY, FIRST_OF_LAST_CENTURY = 39, 60

_OF = r"(?:of (?:the year )?|de |del |d['’])?"
# A full stop after a number is escaped where it would begin a list.
_TAIL = r"(?:st|nd|rd|th|ste|de|er|re|e|\.?[ºª°]|\\?\.)?"
_DAY = r"(?P<day>\d{1,2})"
_SHORT_YEAR = r"['’](?P<short>\d\d)(?!\d)"
_FREE = r"(?<![\w./-])(?<!\d:)"  # where a date may begin
_CLOSED = r"(?![\w/]|[.-]\d)"

# What every date has: a year of four digits, or the last two of one.
_SOME_DATE = re.compile(r"(?<!\d)(?:1\d|20)\d\d(?!\d)|['’]\d\d(?!\d)|[.-]\w{1,4}[.-]\d\d(?!\d)|\d[年년]|[QTH]\d{2}")
_ISO = re.compile(r"(?<![\w-])(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)(?![\d-])(?!\.\d)")
_YEAR_FIRST = re.compile(
    rf"{_FREE}(?P<year>1[5-9]\d\d|20\d\d)(?P<mark>[./]) ?(?P<month>\d\d?)(?P=mark) ?(?P<day>\d\d?){_CLOSED}"
)
_NUMERIC = re.compile(
    r"(?<![\w./])(?<![^\W\d_]-)(?:(?<!\d-)|(?<=\d{4}-))(?P<a>\d{1,2})\\?(?P<mark>[./-]|\. )(?P<b>\d{1,2})(?P=mark)"
    r"(?P<year>\d{4})(?![\w/]|\.\d|-\d{1,3}(?!\d|[./-]))"
)
_SHORT = re.compile(r"(?<![\w./-])(?P<day>\d{1,2})\.(?P<month>\d{1,2})\.(?P<short>\d\d)(?![\w/-]|\.\d)")
_ROMAN = re.compile(
    rf"(?<![\w./-])(?P<day>\d{{1,2}})(?P<mark>\.? |\.|-)(?P<roman>{'|'.join(sorted(ROMAN, key=len, reverse=True))})"
    r"(?P=mark)(?P<year>1[5-9]\d\d|20\d\d)(?!\w)"
)
_IDEOGRAPHIC = re.compile(r"(?<!\d)(?P<year>\d{4})[年년]\s?(?P<month>\d{1,2})[月월](?:\s?(?P<day>\d{1,2})[日일])?")
_MONTH_YEAR = re.compile(r"(?<=[a-zà-ÿ] )(?P<month>0[1-9]|1[0-2])/(?P<year>19\d\d|20\d\d)(?![\w/]|[.-]\d)")
_QUARTER = re.compile(
    r"(?<!\w)(?:(?P<letter>[QT][1-4]|H[12])[ /]?|(?P<number>[1-4])[QT][ /]?"
    r"|(?P<ordinal>[1-4]|(?-i:IV|I{1,3}))(?:st|nd|rd|th|\.?er|e|ème|º|ª|°|\.º|\.)? ?"
    r"(?P<word>quarter|half|quartal|halbjahr|trimestre|semestre|kwartaal|halfjaar|kwartał)"
    rf"(?: of| de| del| van| des jahres)?[ \u00a0](?:{_OF}))(?:FY ?)?{YEAR}(?!\w)",
    re.I,
)
# "3 juin 2024", in any language: a word between a day and a year.
_DAY_WORD_YEAR = re.compile(
    rf"(?<![\w:])(?<![^\W\d_][-./])(?<!\d[.,]){_DAY}{_TAIL}\s{{1,3}}{_OF}(?P<month>[^\W\d_]{{3,12}})"
    rf"\s{{1,3}}{_OF}{YEAR}(?!\w)",
    re.I,
)
# A day that the month does not have: "31 June 2024" is not June 2024.
_DAY_BEFORE = re.compile(r"(?<![\d.,])\d{1,2}(?:st|nd|rd|th|\\?\.)? (?:of )?$")
# A month in figures is one after a preposition; elsewhere 12/2024 is the number of a letter or a decision.
_PREPOSITION = re.compile(
    r"(?<!\w)(?:on|in|since|from|until|by|ab|seit|bis|im|vom|dal|nel|en|desde|depuis|dès|sinds|vanaf|od|do|w) $"
)
_VERSION = re.compile(r"(?:version|ver\.|v|release|rev\.?|build|nos?\.|nr\.|n[°º]|#|№|invoice|file)[ \u00a0]?$", re.I)
_JOIN = re.compile(
    r"(?P<join>,? ?[-–—/] ?|,? (?:and|to|until|till|through|or|und|bis|bis zum|oder|et|au|à|ou|y|al|a|e|o|hasta|en|tot"
    r"|tot en met|t/m|of|i|do|lub|ed) | all['’]|, )(?:the |le |el |il |den |dem |de |l['’])?$"
)


@dataclass(frozen=True, slots=True)
class _Date:
    """A date in the text; `day` is 0 for a month. Without a value `month` is 0."""

    start: int
    end: int
    year: int = 0
    month: int = 0
    day: int = 0

    @property
    def value(self) -> str:
        if not self.month:
            return ""
        return f"{self.year:04}-{self.month:02}" + (f"-{self.day:02}" if self.day else "")


@dataclass(frozen=True, slots=True)
class _Calendar:
    """The date formats of one language."""

    months: dict[str, int]
    month_first: bool
    some_month: re.Pattern[str]
    written: tuple[re.Pattern[str], ...]
    two_days: re.Pattern[str]
    two_months: re.Pattern[str]
    joined_day: re.Pattern[str]
    joined_month_first: re.Pattern[str]


def dates(text: str, language: str) -> Iterator[Mention]:
    """Yield the dates of *text*; `value` is ISO 8601, an interval for what a dash joins, empty for 1/2/2024."""
    if not _SOME_DATE.search(text):
        return
    calendar = _calendar(language)
    found = _without_overlaps(_whole_dates(text, language, calendar))
    found += _joined(text, found, calendar)
    yield from _intervals(text, sorted(found, key=lambda date: date.start))
    for quarter in _QUARTER.finditer(text):
        yield Mention(quarter.start(), quarter.end(), "date", f"{quarter['year']}-{_part(quarter)}")
    yield from years(text, language)


def _part(quarter: re.Match[str]) -> str:
    if quarter["letter"]:
        return quarter["letter"].upper().replace("T", "Q")
    if quarter["number"]:
        return f"Q{quarter['number']}"
    is_half = quarter["word"].lower() in ("half", "halbjahr", "semestre", "halfjaar")
    number = ROMAN.get(quarter["ordinal"].upper(), quarter["ordinal"])
    return f"{'H' if is_half else 'Q'}{number}"


def _whole_dates(text: str, language: str, calendar: _Calendar) -> Iterator[_Date]:
    if calendar.some_month.search(text):
        yield from _written_dates(text, calendar)
    for found in _DAY_WORD_YEAR.finditer(text):
        month = found["month"].lower()
        if month not in calendar.months and month in months_elsewhere():
            yield from _date(found, int(found["year"]), months_elsewhere()[month], int(found["day"]))
    for pattern in (_ISO, _YEAR_FIRST):
        for found in pattern.finditer(text):
            if not _follows(_VERSION, text, found.start()):
                yield from _date(found, int(found["year"]), int(found["month"]), int(found["day"]))
    for found in _IDEOGRAPHIC.finditer(text):
        yield from _date(found, int(found["year"]), int(found["month"]), int(found["day"] or 0))
    for found in _NUMERIC.finditer(text):
        if not _follows(_VERSION, text, found.start()):
            yield from _numeric(found, language, calendar)
    for found in _ROMAN.finditer(text):
        yield from _date(found, int(found["year"]), ROMAN[found["roman"]], int(found["day"]))
    if language[:2] in _DOTTED:
        for found in _SHORT.finditer(text):
            year = _century(found["short"])
            if year and not _follows(_VERSION, text, found.start()):
                yield from _date(found, year, int(found["month"]), int(found["day"]))
    for found in _MONTH_YEAR.finditer(text):
        if _follows(_PREPOSITION, text, found.start()):
            yield from _date(found, int(found["year"]), int(found["month"]), 0)


def _written_dates(text: str, calendar: _Calendar) -> Iterator[_Date]:
    """Yield the dates with a month's name."""
    for pattern in calendar.written:
        for found in pattern.finditer(text):
            groups = found.groupdict()
            year = int(groups.get("year") or 0) or _century(groups.get("short") or "")
            day = int(groups.get("day") or 0)
            if year and (day or not (_is_word(found["month"]) or _follows(_DAY_BEFORE, text, found.start()))):
                yield from _date(found, year, calendar.months[found["month"].lower()], day)
    for found in calendar.two_months.finditer(text):
        yield from _two_months(found, calendar)
    for found in calendar.two_days.finditer(text):
        yield from _two_days(found, calendar)


# Where a date with two digits of the year is written with points and nothing else is.
_DOTTED = frozenset(("de", "pl", "cs", "sk", "fi", "nb", "no", "da", "tr", "ro", "ru", "uk"))


def _follows(pattern: re.Pattern[str], text: str, start: int) -> bool:
    """Return whether what *pattern* describes stands directly before *start*."""
    return pattern.search(text, max(0, start - BEFORE_CHARACTERS), start) is not None


def _century(short: str) -> int:
    """Return the year of its last two digits; 0 where two centuries compete."""
    if not short:
        return 0
    number = int(short)
    if number <= LAST_OF_THIS_CENTURY:
        return 2000 + number
    return 1900 + number if number >= FIRST_OF_LAST_CENTURY else 0


def _is_word(month: str) -> bool:
    """Return whether a month's name without a day may be another word: "may 2000", "march 1999", "set 1900"."""
    return month.islower() and month in ("may", "march", "mar", "set", "ago", "mag", "lis", "gen", "jun")


def _date(found: re.Match[str], year: int, month: int, day: int) -> Iterator[_Date]:
    try:
        datetime.date(year, month, day or 1)
    except ValueError:
        return  # the 31st of June, or a number that looks like a date
    yield _Date(found.start(), found.end(), year, month, day)


def _two_months(found: re.Match[str], calendar: _Calendar) -> Iterator[_Date]:
    """Yield both months of "January–March 2024"."""
    year = int(found["year"])
    first, last = calendar.months[found["first"].lower()], calendar.months[found["last"].lower()]
    if first < last:
        yield _Date(found.start(), found.end("first"), year, first)
        yield _Date(found.start("last"), found.end(), year, last)


def _two_days(found: re.Match[str], calendar: _Calendar) -> Iterator[_Date]:
    """Yield both days of "March 12–14, 2024"."""
    year, month = int(found["year"]), calendar.months[found["month"].lower()]
    try:
        first, last = (datetime.date(year, month, int(found[name])) for name in ("first", "last"))
    except ValueError:
        return
    if first < last:
        yield _Date(found.start(), found.end("first"), year, month, first.day)
        yield _Date(found.start("last"), found.end(), year, month, last.day)


def _numeric(found: re.Match[str], language: str, calendar: _Calendar) -> Iterator[_Date]:
    first, second, year = int(found["a"]), int(found["b"]), int(found["year"])
    dotted = found["mark"].startswith(".")
    if max(first, second) <= 12 and first != second and not dotted and (language == "en" or language[:5] == "en-ca"):
        # "en" without a country does not say whether the day or the month comes first.
        if min(first, second) > 0:
            yield _Date(found.start(), found.end())
        return
    month_first = (calendar.month_first and not dotted and first <= 12) or second > 12
    month, day = (first, second) if month_first else (second, first)
    if day:
        yield from _date(found, year, month, day)


def _without_overlaps(found: Iterator[_Date]) -> list[_Date]:
    kept: list[_Date] = []
    for date in sorted(found, key=lambda date: (date.start - date.end, date.start)):
        if all(date.end <= other.start or date.start >= other.end for other in kept):
            kept.append(date)
    return kept


def _joined(text: str, found: list[_Date], calendar: _Calendar) -> list[_Date]:
    """Return the days that dates in *found* complete: "5" in "5 and 6 April 2024"."""
    taken = {date.end for date in found}
    joined: list[_Date] = []
    for date in found:
        current = date
        for _ in range(MAX_JOINED_DAYS if date.day else 0):
            before = _day_before(text, current, calendar)
            if before is None or before.end in taken:
                break
            joined.append(before)
            current = before
    return joined


def _day_before(text: str, date: _Date, calendar: _Calendar) -> _Date | None:
    begin = max(0, date.start - JOINED_CHARACTERS)
    left = text[begin : date.start]
    join = _JOIN.search(left)
    if join is None:
        return None
    month_first = not text[date.start].isdigit()
    pattern = calendar.joined_month_first if month_first else calendar.joined_day
    found = pattern.search(left[: join.start()])
    if found is None or (join["join"] == ", " and found["month"]):
        return None
    if found.groupdict().get("numeric"):
        month = int(found["numeric"])
    else:
        month = calendar.months[found["month"].lower()] if found["month"] else date.month
    try:
        day = datetime.date(date.year, month, int(found["day"]))
    except ValueError:
        return None
    if day.isoformat() >= date.value:
        return None
    return _Date(begin + found.start("first"), begin + found.end(), date.year, month, day.day)


def _intervals(text: str, found: list[_Date]) -> Iterator[Mention]:
    """Yield the dates, two with a dash between them as one interval."""
    at = 0
    while at < len(found):
        date = found[at]
        if at + 1 < len(found):
            other = found[at + 1]
            between = text[date.end : other.start].strip()
            if between in ("-", "–", "—", "/") and bool(date.day) == bool(other.day) and date.value < other.value:
                yield Mention(date.start, other.end, "date", f"{date.value}/{other.value}")
                at += 2
                continue
        yield Mention(date.start, date.end, "date", date.value)
        at += 1


@lru_cache(maxsize=8)
def _calendar(language: str) -> _Calendar:
    months = month_numbers(language)
    names = "|".join(sorted(map(re.escape, months), key=lambda name: (-len(name), name)))
    name = rf"(?P<month>{names})"
    month = rf"{name}(?!\w)\.?"
    year = rf"(?:{YEAR}|{_SHORT_YEAR})"
    written = (
        rf"(?<![\w:])(?<![^\W\d_][-./])(?<!\d\.){_DAY}{_TAIL}\s{{1,3}}(?:day )?{_OF}{month},?\s{{1,3}}{_OF}{year}"
        r"(?!\w)",
        rf"(?<!\w){month}\s{{1,3}}(?:the )?{_DAY}(?:st|nd|rd|th)?,?\s{{1,3}}{year}(?!\w)",
        rf"(?<![\w./:-]){_DAY}[-/.]{name}[-/.]{YEAR}{_CLOSED}",
        rf"(?<![\w./:-]){_DAY}-{name}-(?P<short>\d\d){_CLOSED}",
        rf"(?<![\w./:-]){YEAR}[- /]{month}[- /]{_DAY}{_CLOSED}",
        rf"(?<!\w){month},?[\s/-]{{1,3}}{_OF}{year}(?!\w)",
    )
    first = rf"(?<![\w./:-])(?P<first>(?P<day>\d{{1,2}}){_TAIL}(?:(?P<numeric>\d{{1,2}})\.|\s{_OF}{month})?)$"
    two_days = (
        rf"(?<!\w){month}\s{{1,3}}(?P<first>\d{{1,2}})(?:st|nd|rd|th)?(?: ?[-–—/] ?| (?:and|to|until|through|or) )"
        rf"(?P<last>\d{{1,2}})(?:st|nd|rd|th)?,?\s{{1,3}}{YEAR}(?!\w)"
    )
    two_months = rf"(?<!\w)(?P<first>{names})\.?\s?[-–—/]\s?(?P<last>{names})\.?,?\s{{1,3}}{_OF}{YEAR}(?!\w)"
    return _Calendar(
        two_months=re.compile(two_months, re.I),
        two_days=re.compile(two_days, re.I),
        months=months,
        some_month=re.compile(rf"(?<![^\W\d_])(?:{names})(?![^\W\d_])", re.I),
        month_first=language.replace("_", "-") == "en-us",
        written=tuple(re.compile(pattern, re.I) for pattern in written),
        joined_day=re.compile(first, re.I),
        joined_month_first=re.compile(rf"(?<!\w)(?P<first>(?:{month}\s)?(?P<day>\d{{1,2}})(?:st|nd|rd|th)?)$", re.I),
    )
