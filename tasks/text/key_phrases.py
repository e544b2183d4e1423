"""Key phrases of a text, by TextRank where words have spaces between them; pure.

Owns the use of rapid-textrank within its limits: it takes quadratic time on monotonous text, joins words across
commas into phrases that are not in the text, takes verbs and units for names of things, and splits Chinese and
Japanese into characters. Only phrases that occur in the text are kept, a phrase of two or three words only if it is
repeated, none that begins or ends with a plain verb or a unit, and none that shares its words with a better one. For
Japanese, words in Chinese characters and katakana are counted instead, because TextRank takes every inflection for a
word, and word endings would rank first. For Thai and other scripts without blanks there are none: what TextRank takes
for words there are torn syllables.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from blocks.embedding.scripts import is_unspaced

# 3 ms for this much prose, 0.1 s for as much of one repeated word (17 s for 1 MB of it).
MAX_TEXT_CHARACTERS = 64 * 1024
# Four-word phrases are mostly two phrases that met by chance.
MAX_PHRASE_WORDS = 3
# In Chinese each character counts as a word.
MAX_CHINESE_CHARACTERS = 8
# How many times the requested phrases TextRank is to find, because some are dropped.
SURPLUS = 12
# A single letter, syllable or sign is not a key phrase.
MIN_PHRASE_CHARACTERS = 3
MIN_DENSE_CHARACTERS = 2

# In a shorter text little is repeated, and phrases may stand once.
MIN_REPEATED_CHARACTERS = 6_000
# Phrases that may share a word: "rack bar", "rack bar wear"; a third adds nothing.
MAX_SHARED = 1

# Units, and verbs that say nothing of what a text is about, in seven languages.
_PLAIN_WORDS = """
metre metres meter meters kilometre kilometres km cm mm kg tonne tonnes ton tons gram grams litre litres hour hours
minute minutes second seconds day days week weeks month months year years euro euros dollar dollars francs percent per
cent degree degrees bit bits byte bytes times number numbers amount jahr jahre jahren tag tage tagen stunde stunden
minuten monat monate meter prozent an ans année années jour jours heure heures mètre mètres día días año años mes
meses hora horas metro metros giorno giorni anno anni ora ore metri dag dagen jaar uur maand godzin godziny dni lat
rok roku use uses used using make makes made making take takes took taken taking give gives gave given get gets got
getting set sets setting run runs running ran read reads reading write writes writing written find finds found see
sees seen show shows shown say says said call calls called calling include includes included including contain
contains contained containing provide provides provided providing allow allows allowed allowing support supports
supported supporting need needs needed want wants wanted try tries tried work works worked working return returns
returned change changes changed changing add adds added adding remove removes removed create creates created creating
start starts started starting stop stops stopped follow follows followed following keep keeps kept put puts let lets
mean means meant become becomes became help helps helped describe describes described specify specifies specified
define defines defined note notes like based require requires required ensure access look looks looked come comes came
go goes went know known fix fixed fixes update updates updated consider apply applies applied cause causes caused
occur occurs happen happens wide long high deep old new many much good january february march april may june july
august september october november december januar februar märz mai juni juli oktober dezember janvier février mars
avril juin juillet août septembre octobre novembre décembre enero febrero marzo abril mayo junio julio agosto
septiembre octubre noviembre diciembre gennaio febbraio aprile maggio giugno luglio settembre ottobre dicembre januari
februari maart juni juli augustus salue annonce répond demande explique dit fährt liegt wirkt wird werden wurde wurden
kann können muss müssen soll sollen ist sind war waren hat haben gibt geben macht machen verwendet verwenden benutzt
benutzen enthält enthalten finden gefunden siehe neue neuen alte besteht bietet lassen zeigt est sont était peut
peuvent doit doivent faire fait utilise utiliser utilisé permet contient donne donner voir avoir es son elle il ils
qui puede pueden debe deben hacer usa usar contiene permite dar ver sono può possono deve fare usa usare contiene
vedere kan kunnen moet moeten wordt worden maakt maken gebruikt gebruiken bevat geeft zien jest są może mogą musi
"""
# "l'assemblée", "qu'elle"
_ELIDED = re.compile(r"^(?:l|d|qu|n|s|j|c|m|t|un|dell|all|nell|sull)['’]", re.I)
_PLAIN = frozenset(_PLAIN_WORDS.split())

_JAPANESE_WORD = re.compile(r"[\u4e00-\u9fff\u3005\u30f6]{2,8}|[\u30a1-\u30fa\u30fc]{2,20}")


@dataclass(frozen=True, slots=True)
class KeyPhrase:
    """A phrase as it is written in the text; `score` is relative to the best one's, 0 to 1."""

    text: str
    score: float


def key_phrases(text: str, language: str, limit: int) -> list[KeyPhrase]:
    """Return at most *limit* phrases of *text* (plain words; its beginning if it is long), best first.

    Languages without a list of stop words are treated as English. Method: SingleRank (Wan and Xiao 2008).
    """
    sample = text[:MAX_TEXT_CHARACTERS]
    if is_unspaced(sample):
        return []
    phrases = _japanese(sample, limit) if language == "ja" else _ranked(sample, language, limit)
    best = max((phrase.score for phrase in phrases), default=1.0) or 1.0
    return [KeyPhrase(phrase.text, round(phrase.score / best, 4)) for phrase in phrases]


def _ranked(text: str, language: str, limit: int) -> list[KeyPhrase]:
    textrank: Any = import_module("rapid_textrank")
    config = textrank.TextRankConfig(
        top_n=limit * SURPLUS,
        max_phrase_length=MAX_CHINESE_CHARACTERS if language == "zh" else MAX_PHRASE_WORDS,
        score_aggregation="mean",
        language=language,
    )
    plain = text.replace("’", "'")  # lists of stop words have the typewriter's apostrophe only
    found = textrank.SingleRank(config=config).extract_keywords(plain).phrases
    lowered = plain.lower()
    phrases: list[KeyPhrase] = []
    taken: list[frozenset[str]] = []
    for phrase in found:
        written = _ELIDED.sub("", _as_written(phrase.text, text, lowered))
        if len(written) < MIN_DENSE_CHARACTERS or len(phrases) >= limit or not _names_something(written, lowered):
            continue
        words = frozenset(map(_stem, written.lower().split()))
        if not any(_overlap(words, other) for other in taken):
            taken.append(words)
            phrases.append(KeyPhrase(written, float(phrase.score)))
    return phrases


def _names_something(phrase: str, lowered: str) -> bool:
    """Return whether a phrase may be a name of something: no unit, no plain verb at its ends, no chance meeting."""
    words = phrase.lower().split()
    if words[0] in _PLAIN or words[-1] in _PLAIN:
        return False
    return len(words) == 1 or len(lowered) < MIN_REPEATED_CHARACTERS or lowered.count(phrase.lower()) > 1


def _overlap(words: frozenset[str], other: frozenset[str]) -> bool:
    """Return whether one of two phrases has all words of the other, or they share more than they may."""
    return words <= other or other <= words or len(words & other) > MAX_SHARED


def _stem(word: str) -> str:
    """Return *word* without the ending of a plural: one of "stage" and "stages"."""
    return word[:-1] if len(word) > MIN_PHRASE_CHARACTERS and word.endswith("s") else word


def _japanese(text: str, limit: int) -> list[KeyPhrase]:
    counts = Counter(_JAPANESE_WORD.findall(text))
    weights = {word: count * (len(word) - 1) for word, count in counts.items()}
    ranked = sorted(weights, key=lambda word: (-weights[word], word))[:limit]
    return [KeyPhrase(word, float(weights[word])) for word in ranked]


def _as_written(phrase: str, text: str, lowered: str) -> str:
    """Return *phrase* as it is written in *text*, if necessary without the tokenizer's spaces; empty if it is not."""
    joined = phrase.replace(" ", "")
    if not any(char.isalpha() for char in joined):
        return ""
    if len(joined) < (MIN_PHRASE_CHARACTERS if joined.isascii() else MIN_DENSE_CHARACTERS):
        return ""
    for form in (phrase, joined):
        place = lowered.find(form.lower())
        if place >= 0:
            written = text[place : place + len(form)]
            return written if written.lower().replace("’", "'") == form.lower() else form
    return ""
