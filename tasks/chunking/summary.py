"""A short extractive summary of a document: sentences that are selected, not written.

Owns the selection: of the prose at the beginning, the sentences with most of the key phrases, early ones before late
ones. They are in the document's order, as plain words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import sqrt

from blocks.sentences import language_code, sentence_spans
from tasks.text.key_phrases import KeyPhrase, key_phrases
from tasks.text.prose import is_ocr_mark, plain_text
from tasks.text.scanner import scan_blocks
from tasks.text.tables import cells

# A document says at its beginning what it is about; reading more takes time in proportion.
READ_CHARACTERS = 16 * 1024
MAX_SENTENCES = 3
MAX_SUMMARY_CHARACTERS = 600
# Shorter sentences say little by themselves, longer ones are lists or tables that lost their structure.
MIN_SENTENCE_CHARACTERS = 30
MAX_SENTENCE_CHARACTERS = 300
# Chinese and Japanese need a third of the characters that alphabets do.
DENSE_LANGUAGES = ("zh", "ja", "ko")
PHRASES = 20
# The first sentence counts half as much again as the last one that is read.
POSITION_BONUS = 0.5


def summarise(text: str, body_start: int, language: str | None) -> str:
    """Return at most three sentences and 600 characters; without sentences the first words, or a table's columns."""
    tag = (language or "en").lower()
    beginning = text[body_start : body_start + READ_CHARACTERS]
    prose = list(_prose(beginning))
    words = "\n".join(prose)
    shortest = MIN_SENTENCE_CHARACTERS // (3 if tag[:2] in DENSE_LANGUAGES else 1)
    sentences = [
        paragraph[start:end]
        for paragraph in prose
        for start, end in sentence_spans(paragraph, language_code(tag))
        if shortest <= end - start <= MAX_SENTENCE_CHARACTERS and paragraph[end - 1] != ":"
    ]
    if not sentences:
        return (words[:MAX_SENTENCE_CHARACTERS].rsplit("\n", 1)[0] or _columns(beginning))[
            :MAX_SENTENCE_CHARACTERS
        ].strip()
    return " ".join(_best(sentences, key_phrases(words, tag[:2], PHRASES)))


def _prose(text: str) -> Iterator[str]:
    for block in scan_blocks(text):
        if block.kind == "paragraph" and not is_ocr_mark(text, block.start, block.end):
            yield plain_text(text[block.start : block.end])
        elif block.is_layout:
            lines = text[block.start : block.end].split("\n")[1:-1]
            yield from (line for line in lines if "  " not in line and "\t" not in line)


def _columns(text: str) -> str:
    first = next((block for block in scan_blocks(text) if block.kind == "table"), None)
    return ", ".join(cells(text[first.start : first.end].splitlines()[0])) if first else ""


def _best(sentences: Sequence[str], phrases: Sequence[KeyPhrase]) -> Iterator[str]:
    def score(index: int) -> float:
        sentence = sentences[index].lower()
        hits = sum(phrase.score for phrase in phrases if phrase.text.lower() in sentence)
        # The root keeps long sentences from ranking first by length alone.
        return (hits / sqrt(len(sentence))) * (1 + POSITION_BONUS * (1 - index / len(sentences)))

    ranked = sorted(range(len(sentences)), key=lambda index: (-score(index), index))
    chosen: list[int] = []
    left = MAX_SUMMARY_CHARACTERS
    for index in ranked:
        if len(sentences[index]) < left and len(chosen) < MAX_SENTENCES:
            chosen.append(index)
            left -= len(sentences[index]) + 1
    return (sentences[index] for index in sorted(chosen))
