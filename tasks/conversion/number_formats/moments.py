"""Dates, times of day and durations of a workbook, from day numbers; pure.

A date is ISO 8601 with the parts that its format shows: a year and month without a day are ``2024-03``, while a day has
its year and month here, because ``09.03.`` can be read in two ways. A duration (``[h]:mm``) is as its format lays it
out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal

from tasks.conversion.number_formats.format_code import Section, Token

SECONDS_A_DAY = 86_400
# 9999-12-31, the last day that Excel shows.
_LAST_DAY = 2_958_465
# A duration of more is no duration, and has more digits than are computed.
_MOST_DAYS = 10**9
# Lotus took 1900 for a leap year, so Excel has a 29 February there (ECMA-376 part 1, 18.17.4.1).
_LEAP_DAY_THAT_NEVER_WAS = 60
_FIRST_DAY_1904 = 1_462
_MAX_FRACTION_DIGITS = 6
_ROLES = {"y": "year", "e": "year", "b": "year", "d": "day", "a": "day", "h": "hour", "s": "second", "g": "era"}
# Words around a date are kept; the units and separators inside it are what ISO 8601 replaces.
_UNITS = re.compile(r"[\W_年月日时分秒時년월일시분초]*")

Render = Callable[[Decimal, bool], str | None]
"""Returns what a day number looks like, given whether days count from 1904; None for a number that is no date."""

_Piece = tuple[str, Token]  # its role and the token


def is_moment(section: Section) -> bool:
    """Return whether *section* shows a date or a time."""
    return section.has("date", "elapsed", "half_day")


def renderer(section: Section) -> Render:
    """Return the function that renders day numbers by *section*."""
    pieces, decimals = _with_roles(section.tokens)
    roles = {role for role, _ in pieces}
    if any(token.kind == "elapsed" for _, token in pieces) or not roles & {"year", "month", "day", "era", "hour"}:
        return lambda value, _from_1904: _duration(value, pieces, decimals) if abs(value) < _MOST_DAYS else None
    before, after = _words_around(pieces)
    date_format = "%Y-%m-%d" if roles & {"day", "era"} else "%Y-%m" if "month" in roles else "%Y"
    has_date = bool(roles & {"year", "month", "day", "era"})
    has_time = bool(roles & {"hour", "minute", "second"})
    has_seconds = "second" in roles

    def render(value: Decimal, from_1904: bool) -> str | None:
        if abs(value) >= _MOST_DAYS:
            return None
        seconds = _rounded_seconds(value, decimals)
        days, of_day = divmod(seconds, SECONDS_A_DAY)
        parts = [before] if before else []
        if has_date:
            if (shown := _date(int(days), from_1904, date_format)) is None:
                return None
            parts.append(shown)
        elif value < 0:
            return None
        if has_time:
            parts.append(_time(of_day, decimals, has_seconds=has_seconds))
        return " ".join([*parts, after] if after else parts)

    return render


def _with_roles(tokens: Sequence[Token]) -> tuple[list[_Piece], int]:
    """Return the tokens with what each stands for, and how many digits a second has behind its point."""
    pieces: list[_Piece] = []
    decimals = 0
    for index, token in enumerate(tokens):
        if token.kind == "date":
            pieces.append((_role(tokens, index), token))
        elif token.kind == "elapsed":
            pieces.append(({"h": "hours", "m": "minutes", "s": "seconds"}[token.text[0]], token))
        elif token.kind == "half_day":
            pieces.append(("half_day", token))
        elif token.kind == "digit" and pieces and pieces[-1][0] in ("second", "seconds", "fraction"):
            decimals += 1
            pieces.append(("fraction", token))
        elif token.kind != "point" or not _next_is_digit(tokens, index):
            pieces.append(("literal", token))
    return pieces, min(decimals, _MAX_FRACTION_DIGITS)


def _next_is_digit(tokens: Sequence[Token], index: int) -> bool:
    return index + 1 < len(tokens) and tokens[index + 1].kind == "digit"


def _role(tokens: Sequence[Token], index: int) -> str:
    letters = tokens[index].text
    if letters[0] != "m":
        return _ROLES[letters[0]]
    if len(letters) > 2:
        return "month"
    timed = ("date", "elapsed")
    before = next((token.text[0] for token in reversed(tokens[:index]) if token.kind in timed), "")
    after = next((token.text[0] for token in tokens[index + 1 :] if token.kind in timed), "")
    return "minute" if before == "h" or after == "s" else "month"


def _words_around(pieces: Sequence[_Piece]) -> tuple[str, str]:
    """Return the text in front of the first part of a date and behind its last one, if these are words."""
    dated = [index for index, (role, _) in enumerate(pieces) if role != "literal"]
    before = "".join(token.text for _, token in pieces[: dated[0]]).strip()
    after = "".join(token.text for _, token in pieces[dated[-1] + 1 :] if token.kind != "text").strip()
    return ("" if _UNITS.fullmatch(before) else before), ("" if _UNITS.fullmatch(after) else after)


def _rounded_seconds(days: Decimal, decimals: int) -> Decimal:
    return (days * SECONDS_A_DAY).quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_UP)


def _date(days: int, from_1904: bool, date_format: str) -> str | None:
    if from_1904:
        days += _FIRST_DAY_1904
    if not 0 <= days <= _LAST_DAY:
        return None
    if days in (0, _LEAP_DAY_THAT_NEVER_WAS):  # Excel shows both, and no calendar has them
        written = "1900-01-00" if not days else "1900-02-29"
        return written[: {"%Y-%m-%d": 10, "%Y-%m": 7, "%Y": 4}[date_format]]
    start = date(1899, 12, 31) if days < _LEAP_DAY_THAT_NEVER_WAS else date(1899, 12, 30)
    return (start + timedelta(days=days)).strftime(date_format)


def _time(of_day: Decimal, decimals: int, *, has_seconds: bool) -> str:
    minutes, seconds = divmod(of_day, 60)
    hours, minutes = divmod(int(minutes), 60)
    shown = f"{hours:02}:{minutes:02}"
    return f"{shown}:{_padded(seconds, 2, decimals)}" if has_seconds else shown


def _duration(value: Decimal, pieces: Sequence[_Piece], decimals: int) -> str:
    """Return a duration; Excel cannot show a negative one, LibreOffice shows its sign."""
    total = _rounded_seconds(abs(value), decimals)
    minutes, seconds = divmod(total, 60)
    hours, minutes_of_hour = divmod(int(minutes), 60)
    amounts: dict[str, Decimal | int] = {
        "hours": hours,
        "minutes": int(minutes),
        "seconds": total,
        "hour": hours % 24,
        "minute": minutes_of_hour,
        "second": seconds,
    }
    parts = ["-" if value < 0 else ""]
    for role, token in pieces:
        if role in amounts:
            parts.append(_padded(amounts[role], len(token.text), decimals if role in ("second", "seconds") else 0))
        elif role == "literal" and token.kind != "fill":
            parts.append(token.text)
    return " ".join("".join(parts).split())


def _padded(amount: Decimal | int, places: int, decimals: int) -> str:
    width = places + decimals + 1 if decimals else places
    return f"{amount:0{width}.{decimals}f}"
