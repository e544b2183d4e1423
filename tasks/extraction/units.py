"""What follows a number: units, currencies, percentages, powers of ten in words; as patterns.

Owns what is one unit: factors with powers ("kg/m³", "N·m", "m^2^"), as it is written. A unit that goes on in a way that
is not understood ("m/5", "m¹⁷x") is none, and neither is its beginning.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from tasks.extraction import measures
from tasks.extraction.numbers import BLANK

# Letters of scripts without spaces between words do not continue a number or a unit.
LETTER = r"[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]"
_RAISED = str.maketrans("0123456789-−", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁻")
_CARET = re.compile(r"(?:\\?\^\{?|<sup>)([-−]?\d{1,2})(?:</sup>|\}?(?:\\?\^)?)")


def any_of(words: str) -> str:
    """Return a pattern for any of the words, the longest first, so that "min" is not taken for "m"."""
    return "|".join(sorted(map(re.escape, words.split()), key=lambda word: (-len(word), word)))


def _alternatives(patterns: str) -> str:
    return "|".join(sorted(patterns.split(), key=lambda word: (r"\s" not in word, -len(word), word)))


# Not "^1^", which is a note.
_POWER = r"(?:(?:\\?\^\{?|<sup>)(?:[-−]\d|[2-9])(?:</sup>|\}?(?:\\?\^)?)(?!\d)|⁻[¹²³⁴]|[²³⁴⁵⁶])"
_SYMBOL = any_of(measures.UNIT_SYMBOLS)
# Products that are written with a blank come first, and "5° C".
_FACTOR = (
    rf"(?:°{BLANK}[CF](?!\w)|k?N{BLANK}m(?!\w)|m?Pa{BLANK}s(?!\w)|[kM]?W{BLANK}h(?!\w)|A{BLANK}h(?!\w)"
    rf"|(?:{any_of('m cm mm km dm ft in')})[23](?!\d)|(?:{_SYMBOL}){_POWER}?|in{_POWER})"
)
# Apart by a blank only where the power says that it goes on: "m s⁻¹".
_PRODUCT = rf"{_FACTOR}(?:(?:[·⋅]|\\?\*){_FACTOR}|{BLANK}(?:{_SYMBOL})(?:⁻[¹²³]|\\?\^[-−]\d(?:\\?\^)?))*"
# "a" and "d" only below the line: 120 kWh/a, 5 mg/kg/d.
_BELOW = (
    rf"/(?:\({_PRODUCT}(?:[·⋅* ]?(?:K|s|h|d|a))?\)|{_FACTOR}(?:[·⋅* ]?K(?!\w)|[·⋅*]?(?:s|h|d|a)(?!\w))?|[ad](?!\w)"
    r"|[^\W\d_]{2,20})"
)
_ENDS = rf"(?!{LETTER}|\\[\^~*]\w|~\d|<su[bp]>\d|[\d^°²³⁻·⋅_]|/[\w(]|['’]\w|\.\w\.|{BLANK}(?:s|m|kg|K|mol|A)[-−]\d)"
_COMPOUND = rf"(?:{measures.UNITS_AS_THEY_ARE}|{_PRODUCT}(?:{_BELOW}){{0,3}})"
_COUNTED = rf"(?i:{_alternatives(measures.COUNTED)})"
TIME_OR_COUNTED = re.compile(rf"{_COUNTED}|(?i:{_alternatives(measures.TIME_WORDS)})")
COUNTED = re.compile(rf"{_COUNTED}(?!{LETTER})")

SCALE_POWERS = {word: power for power, words in measures.SCALES.items() for word in words.split()}
_CODES = any_of(measures.CURRENCY_CODES)
_SYMBOLS = any_of(" ".join(measures.CURRENCY_SYMBOLS))
CURRENCY_WORD = r"[Ee]uros?|[Ff]ranken|[Dd]ollars?"
_DOLLAR = rf"(?:(?<![A-Za-z])(?:US{BLANK}|{any_of(' '.join(measures.DOLLARS))}))\$"
_SCALED = rf"(?<=(?<!{LETTER})[TkM])"  # TEUR, k€
CURRENCY_BEFORE = (
    rf"(?:{_DOLLAR}|(?:(?<!{LETTER})|{_SCALED})(?:{_CODES})|(?<!{LETTER})(?:Fr\.|SFr\.|Rs\.?|[Ee]uro|EURO)"
    rf"|(?:(?<![A-Za-z$])|{_SCALED})(?:{_SYMBOLS}))"
)
_PERCENT_WORD = re.compile(measures.PERCENT, re.I)
_CODE_WORDS = frozenset(measures.CURRENCY_CODES.split())
_ALIASES = {"Fr.": "CHF", "SFr.": "CHF", "Rs": "₹", "Rs.": "₹"}
_SHARED = {sign: (present, re.compile(others)) for sign, (present, others) in measures.SHARED_SIGNS.items()}
_NAMES = [(re.compile(names, re.I), code) for names, code in measures.CURRENCY_NAMES.items()]
CURRENCY_AFTER = (
    rf"(?:{_DOLLAR}|(?:{_CODES})(?!{LETTER})|(?:Fr\.|SFr\.)|(?:{_SYMBOLS})(?!{LETTER})"
    rf"|(?i:{'|'.join(measures.CURRENCY_NAMES)})(?!{LETTER}))"
)
PERCENT = rf"(?:(?i:{measures.PERCENT_POINTS})(?!{LETTER})|[%‰]|(?i:{measures.PERCENT})(?!{LETTER}))"


# "1,5 Mio. Euro": only before a unit, else the full stop ends the sentence.
_ABBREVIATED_SCALE = re.compile(
    rf"(?i:mio|mrd|mia|tsd|mln|mld|bn|tys|млн|млрд|тыс)\.(?=(?:{BLANK}|\r?\n)?(?:de |di |d['’])?"
    rf"(?:{CURRENCY_AFTER}|{_COUNTED}|[^\W\d_A-ZÀ-Ý]|[€$£]))"
)


@lru_cache(maxsize=32)
def unit_pattern(language: str) -> re.Pattern[str]:
    """Return the pattern of a unit, or of what is counted, in a language."""
    words = _alternatives(measures.UNIT_WORDS)
    own = any_of(measures.UNITS_OF[language]) if language in measures.UNITS_OF else "(?!)"
    return re.compile(
        rf"(?P<unit>(?:{_COMPOUND}){_ENDS}|(?i:{words})(?:/[^\W\d_]{{1,20}}|{_POWER})?{_ENDS}"
        rf"|(?:{own})(?:/[^\W\d_]{{1,20}})?{_ENDS}|{_COUNTED}(?!{LETTER}))"
    )


@lru_cache(maxsize=32)
def scale_pattern(language: str) -> re.Pattern[str]:
    """Return the pattern of a word for a power of ten, with the blank before it."""
    words = " ".join([*SCALE_POWERS, *measures.SCALES_OF.get(language, {})])
    return re.compile(rf"(?:{BLANK}|\r?\n)?(?P<scale>(?i:mil{BLANK}millones|{any_of(words)}))(?!{LETTER})")


def scale_at(text: str, place: int, language: str) -> tuple[int, int]:
    """Return the power of ten of the word at *place*, 0 for none, and where it ends."""
    word = scale_pattern(language).match(text, place)
    if word is None:
        return 0, place
    end = word.end() + bool(_ABBREVIATED_SCALE.match(text, word.start("scale")))
    return scale_power(word["scale"], language), end


def scale_power(word: str, language: str) -> int:
    """Return the power of ten that *word* means in *language*."""
    folded = " ".join(word.lower().split())
    if folded == "mil millones":
        return 9
    return SCALE_POWERS.get(folded) or measures.SCALES_OF[language][folded]


def normal_percent(written: str) -> str:
    """Return "%" for all words for it; points and per mille as they are written."""
    return "%" if _PERCENT_WORD.fullmatch(written) else " ".join(written.split())


def normal_unit(written: str) -> str:
    """Return a unit as it is written, with its powers raised and in one line."""
    unit = _CARET.sub(lambda power: power[1].translate(_RAISED), " ".join(written.split()))
    return unit.replace("° ", "°").replace("\\", "")


def currency(written: str, shared: frozenset[str]) -> str:
    """Return the ISO 4217 code; empty for a sign that is *shared* between several currencies in this document."""
    word = " ".join(written.split())
    if word in _CODE_WORDS:
        return "CNY" if word == "RMB" else word
    if word.endswith("$") and word != "$":
        return measures.DOLLARS[word[:-1].rstrip()]
    sign = _ALIASES.get(word, word)
    if sign not in measures.CURRENCY_SYMBOLS:
        sign = next((code for names, code in _NAMES if names.fullmatch(sign)), sign)
    return "" if sign in shared else measures.CURRENCY_SYMBOLS.get(sign, sign)


def shared_signs(texts: Sequence[str], language: str) -> frozenset[str]:
    """Return the signs of money that can mean more than one currency in a document of these texts and this language."""
    found = {"$"} if language[3:5] in measures.DOLLAR_COUNTRIES else set[str]()
    if language.startswith("zh"):
        found.add("¥")
    for sign, (present, others) in _SHARED.items():
        if any(word in text for text in texts for word in present) and any(map(others.search, texts)):
            found.add(sign)
    return frozenset(found)
