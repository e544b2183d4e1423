"""What stands before a number: its sign, or what makes it a part of something else.

Owns the difference between a minus, a dash, the sign of a list item and a hyphen, and the words and signs after which a
number is a name ("clause 4"), a part ("KX-1200", "2 x 4") or a share ("one in 5"). Places are characters of the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from blocks.sentences.abbreviations import STARTERS
from tasks.extraction import vocabulary
from tasks.extraction.numbers import BLANK, Number

# What is looked at before a number: its sign; a label or a currency; the words that decide between two readings.
SIGN_CHARACTERS, LABEL_CHARACTERS, LEFT_CHARACTERS = 8, 18, 60

_SIGN = re.compile(
    rf"(?P<sign>\\?\+/[-−]|\\?[±≈≥≤]|\\?~|\\?[<>]=?|&[lg]t;|\\?[-−–+]|(?<!\w)(?i:minus)(?= ))(?P<gap>{BLANK}?)$"
)
_COMPARED = {
    "<": "<",
    ">": ">",
    "±": "±",
    "~": "~",
    "≥": "≥",
    "≤": "≤",
    "&lt;": "<",
    "&gt;": ">",
    "<=": "≤",
    ">=": "≥",
    "+/-": "±",
    "+/−": "±",
    "≈": "~",
}
_MINUS_WORD = re.compile(r"(?<!\w)(?:moins|meno|menos|min) $", re.I)
_LABEL = re.compile(rf"(?<!\w)(?:{vocabulary.LABELS})[ \u00a0]?$")
_TAG = re.compile(r"<\w{1,10} ?/?$")
_SHARE = re.compile(
    r"(?:\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|ein\w{0,2}|zwei|drei|vier|une?|deux|trois|un[oa]|dos|tres"
    r"|due|tre|één|een|twee|drie|jeden|jedna|dwa)) (?:in|out of|of|von|sur|de cada|su|op(?: de)?|na|z)(?: every)? $",
    re.I,
)
_ALTERNATIVE = re.compile(r"\d (or|oder|ou|of|lub|and/or|to|bis|à|tot|do) $", re.I)
_FACTOR = re.compile(rf"(?:\d{BLANK}:{BLANK}|(?:\w{BLANK}?[x×/]|\w\\?\*|\d{BLANK}\\?\*){BLANK}?)$")
_NUMBER = re.compile(rf"\d{BLANK}$")
_WORD = re.compile(r"([^\W\d_]+)[ \u00a0]$")
_DENSE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]")
_CURRENCY_SIGNS = "€$£¥₹"


@dataclass(frozen=True, slots=True)
class Sign:
    """A sign that begins at `start`; it `competes` where it may as well be a dash."""

    sign: str
    start: int
    competes: bool = False


def sign_before(text: str, start: int) -> Sign | None:
    """Return the sign of the number at *start*; None if what stands there makes the number a part of something else."""
    found = _SIGN.search(text, max(0, start - SIGN_CHARACTERS), start)
    if found is None:
        return Sign("", start, competes=bool(_MINUS_WORD.search(text, max(0, start - SIGN_CHARACTERS), start)))
    sign, at = found["sign"].lstrip("\\"), found.start()
    last = text[at - 1 : at]
    if sign.lower() == "minus":
        return None if text[max(0, at - 2) : at].strip()[-1:].isdigit() else Sign("-", at)
    if sign in _COMPARED:
        return _compared(text, found, sign, last)
    if not found["gap"]:
        if last.isalnum() or last in tuple(")]/_%^°" + _CURRENCY_SIGNS):
            return None
        return Sign("" if sign == "+" else "-", at)
    if sign == "−":
        return Sign("-", at)
    if sign == "+" or (begins_line(text, at) and "\\" not in found["sign"]):
        return Sign("", start)  # the sign of a list item
    if sign == "–" and text[:at].rstrip(" \u00a0")[-1:] not in ("", "|", ":", "\n"):
        return Sign("", start)  # a dash
    return Sign("-", at, competes=True)


def _compared(text: str, found: re.Match[str], sign: str, last: str) -> Sign | None:
    at = found.start()
    if last and last in "-=~<^":
        return Sign("", found.end())  # an arrow, a line through the text
    if sign == ">" and (
        _TAG.search(text, max(0, at - 14), at) or (begins_line(text, at) and "\\" not in found["sign"])
    ):
        return Sign("", found.end())  # the end of a tag, a quotation
    if last.isalnum() and sign != "±":
        return None
    return Sign(_COMPARED[sign], at)


def begins_line(text: str, at: int) -> bool:
    """Return whether nothing but white space and signs of quotation stand before *at* in its line."""
    return not text[max(0, at - 12) : at].rpartition("\n")[2].strip(" \t>") and (at < 12 or "\n" in text[at - 12 : at])


def may_begin(text: str, start: int) -> bool:
    """Return whether an amount can begin at *start*: not inside a word, a number, a time or a part number."""
    last = text[start - 1 : start]
    if not last:
        return True
    if last.isalnum():
        return bool(_DENSE.match(last))
    if last in "_^·⋅×@#=´′″.,\\":
        return last == "=" and text[start - 2 : start] != "=="
    if last in ":/'’*" and text[max(0, start - 2) : start - 1].isalnum():
        return last == ":" and text[start - 2].isalpha()
    left = max(0, start - 6)
    return not (_FACTOR.search(text, left, start) or _NUMBER.search(text, left, start))


def is_label(text: str, start: int) -> bool:
    """Return whether the word before *start* makes the number a name: "clause 4", "No. 7"."""
    return bool(_LABEL.search(text, max(0, start - LABEL_CHARACTERS), start))


def is_share(text: str, start: int) -> bool:
    """Return whether the number is the whole of a share: "one in 5"."""
    return bool(_SHARE.search(text, max(0, start - LABEL_CHARACTERS), start))


def is_alternative(text: str, start: int, language: str) -> bool:
    """Return whether the number is the second of two: "2 or 3"; "of" says so in Dutch only."""
    found = _ALTERNATIVE.search(text, max(0, start - LABEL_CHARACTERS), start)
    return found is not None and (found[1].lower() != "of" or language == "nl")


def is_one_number(text: str, number: Number) -> bool:
    """Return whether "12 500" is one number: not where a word that numbers things stands before it ("car 31 520")."""
    if number.written.count(" ") != 1 or not number.is_blank_grouped:
        return True
    word = _WORD.search(text, max(0, number.start - LABEL_CHARACTERS), number.start)
    if word is None or word[1] in STARTERS:
        return True
    return word[1].islower() and word[1] not in vocabulary.COUNTERS
