"""Key phrases of a text, by TextRank where words have spaces between them; pure.

Owns the use of rapid-textrank within its limits: it takes quadratic time on monotonous text, joins words across commas
into phrases that are not in the text, and splits Chinese and Japanese into characters. Only phrases that occur in the
text are kept. For Japanese, words in Chinese characters and katakana are counted instead, because TextRank takes every
inflection for a word, and word endings would rank first. For Thai and other scripts without blanks there are none: what
TextRank takes for words there are torn syllables.
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
SURPLUS = 4
# A single letter, syllable or sign is not a key phrase.
MIN_PHRASE_CHARACTERS = 3
MIN_DENSE_CHARACTERS = 2

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
    phrases: dict[str, KeyPhrase] = {}
    for phrase in found:
        written = _as_written(phrase.text, text, lowered)
        key = phrase.lemma.lower()  # one of "stage" and "stages"
        if written and key not in phrases and len(phrases) < limit:
            phrases[key] = KeyPhrase(written, float(phrase.score))
    return list(phrases.values())


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
