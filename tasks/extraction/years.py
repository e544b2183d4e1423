"""Years that stand alone: "in 2019", "seit 1998", "from 1954 to 1961".

Owns what makes four digits a year: a word before that years follow, and nothing after that is counted or measured.
"After 1200 cycles" and "from 1500 to 1800 rpm" have no year; decades and centuries are no dates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from blocks.sentences.abbreviations import STARTERS
from tasks.extraction import vocabulary
from tasks.extraction.evidence import Mention
from tasks.extraction.numbers import BLANK
from tasks.extraction.units import CURRENCY_AFTER, LETTER, PERCENT, scale_pattern, unit_pattern

YEAR = r"(?P<year>1[0-9]\d\d|20\d\d)(?![\d%]|[.,]\d)"
# Words after which a number of four digits is a year whatever it counts.
_CERTAIN = (
    r"years?|fy|jahre?n?|geschäftsjahr|saison|season|année|l['’]an|exercice|año|ejercicio|anno|esercizio"
    r"|jaar|seizoen|boekjaar|rok|roku|года?"
)
_LIKELY = (
    r"in|since|until|till|by|from|during|before|after|between|early|late|mid|seit|bis|vor|nach|ab|von|zwischen|anfang"
    r"|ende|mitte|en|de|depuis|dès|jusqu['’]en|avant|après|entre|desde|hasta|antes de|nel|dal|del|al"
    r"|fino al|dopo il|prima del|tra|fra|sinds|tot|vanaf|voor|na|van|tussen|eind|begin|w|od|do|po|przed|em|в|с|до"
)
_YEAR = re.compile(rf"(?<=[ \u00a0\n]){YEAR}(?!\w|-[^\W\d_])")
_WORD_BEFORE = re.compile(
    rf"(?<!\w)(?i:(?P<certain>{_CERTAIN})|(?P<likely>{_LIKELY}))(?:[ \u00a0]|\r?\n)(?:il |el |l['’])?$"
)
BEFORE_CHARACTERS = 36
_PAIR = re.compile(r"(?P<joint> ?[-–—] ?|/)(?P<other>(?:1[0-9]|20)\d\d|\d\d)(?![\w.,/-]\d|\w|%|-[^\W\d_]|/)")
_NEXT = re.compile(
    r"(?:,? (?:and|to|until|or|und|bis|oder|et|à|ou|y|a|al|e|en|tot|of|i|do|lub|and in|et en|und im jahr|y en)|,) "
    rf"{YEAR}(?!\w|-[^\W\d_]|[-–/]\d)"
)
_ERA = re.compile(r" ?(?:B\.?C\.?(?:E\.?)?|v\. ?Chr|v\.u\.Z|av\. ?J|a\. ?C\.|p\.n\.e|v\.Chr)")
_WORD = re.compile(rf"(?:{BLANK}|\r?\n)(?P<word>[^\W\d_]+)(?P<elided>['’])?")
# A change of something before "by", "from", "to": what follows is an amount.
_CHANGE = re.compile(
    r"(?<!\w)(?:rose|rises?|rising|grew|grows?|fell|falls?|increased?|increases|decreased?|decreases|dropp?e?d?|climbed|went"
    r"|ranges?|ranging|sank|steig(?:t|en)|stieg(?:en)?|sinkt|sank|wuchs|fiel|augment(?:e|é|a|ait|ent)|pass(?:e|é|ée|a|ait|ent)"
    r"|baiss(?:e|é|a)|sal(?:e|ì|ita|iti)|scend(?:e|ono)|sub(?:e|ió)|aument(?:a|ó|ato)|baj(?:a|ó)|stijgt|steeg|daalt|daalde"
    r"|wzrosł[aoy]?|spadł[aoy]?)(?: [^\W\d_]+){0,2} $",
    re.I,
)
_PARTICIPLE = re.compile(
    r"[ \u00a0\n](?:von|in|im|als|neu|wieder|erstmals|[a-zäöüß]{3,}(?:et|iert|gt|ut|cht|llt|lt|tzt|en))(?!\w)"
)
# "In 1654" is a year sooner than "before 1654" is.
FIRST_LIKELY_YEAR, FIRST_BOUND_YEAR, LAST_LIKELY_YEAR = 1500, 1800, 2099
_FROM = frozenset("from between von zwischen de entre dal tra fra van tussen od".split())  # noqa: SIM905
_SINCE = frozenset("in since seit en depuis desde nel dal sinds w em".split())  # noqa: SIM905
FIRST_SURE_YEAR, LAST_SURE_YEAR = 1850, 2060


def years(text: str, language: str) -> Iterator[Mention]:
    """Yield years; `value` is the year, or an interval of two that a dash joins."""
    end = 0
    for year in _YEAR.finditer(text):
        if year.start() < end:
            continue
        before = _WORD_BEFORE.search(text, max(0, year.start() - BEFORE_CHARACTERS), year.start())
        if before is None and _is_of_passive(text, year):
            yield Mention(*year.span(), "date", year["year"])
        if before is None or not _is_year(text, year, before, language):
            continue
        start, end = year.span()
        pair = _pair(text, year, is_certain=bool(before["certain"]))
        if pair is not None:
            yield pair
            end = pair.end
        elif _PAIR.match(text, end):
            continue  # 2019-03 may be a month, and 2023/07 too
        else:
            yield Mention(start, end, "date", year["year"])
        for following in _following(text, end, year["year"], language):
            yield following
            end = following.end


def _is_of_passive(text: str, year: re.Match[str]) -> bool:
    """Return whether a German passive is around a year: "wurde 1954 geschlossen". Of many things it were "wurden"."""
    return (
        FIRST_SURE_YEAR <= int(year["year"]) <= LAST_SURE_YEAR
        and text.endswith((" wurde ", " wurde\n"), max(0, year.start() - 7), year.start())
        and _PARTICIPLE.match(text, year.end()) is not None
    )


def _pair(text: str, found: re.Match[str], *, is_certain: bool) -> Mention | None:
    """Return the interval of "2019–2021" or "2023/24"; None where its second part may be a month."""
    pair = _PAIR.match(text, found.end("year"))
    if pair is None:
        return None
    first, short = int(found["year"]), len(pair["other"]) == 2
    last = int(found["year"][:2] + pair["other"]) if short else int(pair["other"])
    if last <= first or (short and int(pair["other"]) <= 12 and not is_certain):
        return None
    if pair["joint"] == "/" and last != first + 1:
        return None
    return Mention(found.start("year"), pair.end(), "date", f"{first}/{last}")


def _following(text: str, end: int, first: str, language: str) -> Iterator[Mention]:
    """Yield the years that a word joins to one: "in 1954 and 1961", "from 2019 to 2023"."""
    for _ in range(12):
        following = _NEXT.match(text, end)
        if following is None or int(following["year"]) <= int(first) or _is_counted(text, following.end(), language):
            return
        yield Mention(following.start("year"), following.end("year"), "date", following["year"])
        end, first = following.end(), following["year"]


def _is_year(text: str, found: re.Match[str], before: re.Match[str], language: str) -> bool:
    year, end = int(found["year"]), found.end()
    if _ERA.match(text, end) or _is_counted(text, end, language):
        return False
    if before["certain"]:
        return True
    first = FIRST_LIKELY_YEAR if before["likely"].lower() in _SINCE else FIRST_BOUND_YEAR
    if not first <= year <= LAST_LIKELY_YEAR:
        return False
    if _CHANGE.search(text, max(0, before.start() - 40), before.start()):
        return False
    joined = re.match(r" (?:to|bis|à|a|al|tot|do|and|und|et|y|e|en) (\d+)", text[end : end + 16])
    is_range = joined is not None and before["likely"].lower() in _FROM
    if joined and is_range and (len(joined[1]) != 4 or _is_counted(text, end + joined.end(), language)):
        return False
    word = _WORD.match(text, end)
    return word is None or bool(word["elided"]) or not _may_be_counted(word["word"], before["likely"], year, language)


def _is_counted(text: str, end: int, language: str) -> bool:
    """Return whether a unit, a currency or another number follows."""
    gap = _GAP.match(text, end)
    place = gap.end() if gap else end
    if _MEASURED.match(text, place) or text[place : place + 1].isdigit():
        return gap is not None
    unit = unit_pattern(language[:2]).match(text, place)
    if unit is not None and (len(unit["unit"]) > 1 or unit["unit"] in "mkgtlh"):
        return not (unit["unit"] == "ha" and language[:2] in ("es", "it"))
    return scale_pattern(language[:2]).match(text, end) is not None


_GAP = re.compile(rf"{BLANK}|\r?\n|-(?=[^\W\d_])")
_MEASURED = re.compile(rf"{CURRENCY_AFTER}|{PERCENT}|(?i:x|×)(?!{LETTER})")


def _may_be_counted(word: str, likely: str, year: int, language: str) -> bool:
    """Return whether the word after a number may be what it counts: a plural, and in German any noun."""
    is_sure = FIRST_SURE_YEAR <= year <= LAST_SURE_YEAR
    if is_sure and (
        likely[0].isupper() or likely.lower() in ("since", "depuis", "desde", "sinds", "seit", "nel", "dal")
    ):
        return False  # "In 2019 sales rose" begins a sentence
    if language[:2] == "de":
        return word[0].isupper() and word not in STARTERS
    if word[0].isupper():
        return False
    if word.lower() in vocabulary.AFTER_YEARS:
        return False
    if language[:2] in ("it", "nl", "pl"):
        return not is_sure
    return not is_sure or (word.endswith("s") and not word.endswith(("ss", "us", "is", "mos")))
