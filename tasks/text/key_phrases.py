"""Key phrases of a text by TextRank; pure.

Owns the use of rapid-textrank and its traps: it takes quadratic time on monotonous text, joins words across commas into
phrases that nobody wrote, and writes Chinese and Japanese with a space between characters. Only phrases that stand in
the text as they are given are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

# 3 ms for this much prose, 0.1 s for as much of one repeated word (17 s for 1 MB of it).
MAX_TEXT_CHARACTERS = 64 * 1024
# Four-word phrases are mostly two phrases that met by chance.
MAX_PHRASE_WORDS = 3
# These are taken apart into characters, which then count as words.
CHARACTER_LANGUAGES = ("zh", "ja")
MAX_PHRASE_CHARACTERS = 8
# This many times as many are asked for as are wanted, because some are dropped.
SURPLUS = 4
# A lone letter or digit is no key to anything, except in scripts where it is a word.
MIN_PHRASE_CHARACTERS = 3


@dataclass(frozen=True, slots=True)
class KeyPhrase:
    """A phrase as it is written in the text; `score` is relative to the best one's, 0 to 1."""

    text: str
    score: float


def key_phrases(text: str, language: str, limit: int) -> list[KeyPhrase]:
    """At most *limit* phrases of *text* (plain words; its beginning if it is long), best first.

    Languages without a list of stop words are taken for English. Method: SingleRank (Wan and Xiao 2008).
    """
    textrank: Any = import_module("rapid_textrank")
    # Lists of stop words have the typewriter's apostrophe only.
    sample = text[:MAX_TEXT_CHARACTERS].replace("’", "'")
    longest = MAX_PHRASE_CHARACTERS if language in CHARACTER_LANGUAGES else MAX_PHRASE_WORDS
    config = textrank.TextRankConfig(
        top_n=limit * SURPLUS, max_phrase_length=longest, score_aggregation="mean", language=language
    )
    found = textrank.SingleRank(config=config).extract_keywords(sample).phrases
    lowered = sample.lower()
    phrases: dict[str, KeyPhrase] = {}
    for phrase in found:
        written = _as_written(phrase.text, text, lowered)
        key = phrase.lemma.lower()  # one of "stage" and "stages"
        if written and key not in phrases and len(phrases) < limit:
            phrases[key] = KeyPhrase(written, float(phrase.score))
    best = max((phrase.score for phrase in phrases.values()), default=1.0) or 1.0
    return [KeyPhrase(phrase.text, round(phrase.score / best, 4)) for phrase in phrases.values()]


def _as_written(phrase: str, text: str, lowered: str) -> str:
    """*phrase* as *text* has it, if need be without the spaces that the tokenizer put in; else nothing."""
    joined = phrase.replace(" ", "")
    if not any(char.isalpha() for char in joined):
        return ""
    if phrase.isascii() and len(phrase) < MIN_PHRASE_CHARACTERS:
        return ""
    for form in (phrase, joined):
        place = lowered.find(form.lower())
        if place >= 0:
            written = text[place : place + len(form)]
            return written if written.lower().replace("’", "'") == form.lower() else form
    return ""
