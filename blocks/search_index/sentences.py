"""The sentence of a passage that answers a question best; pure.

Two signs decide together: which words of the question a sentence has, where a word that few sentences of the passage
have counts more, and how close its meaning is to the question's, where the caller has compared them. A heading names a
subject and answers nothing, so it comes last.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from blocks.sentences import Span, language_code, sentence_spans

if TYPE_CHECKING:
    from blocks.search_index.marks import Mark

# Of one passage, and of all passages of an answer: a comparison takes 3 ms, and a person waits for it.
MAX_COMPARED_OF_PASSAGE, MAX_COMPARED = 8, 40
# A passage is a page at most; a sentence further down in a longer one is not looked for.
_MAX_CHARACTERS = 50_000
# How much all words of the question weigh against the cosine of two meanings, which is 0.2 to 0.8 for sentences.
_WEIGHT_OF_WORDS = 0.5

_FENCE = re.compile(r"\s{0,3}(?:```|~~~)")
_HEADING = re.compile(r"\s{0,3}#{1,6}\s+")
_ITEM = re.compile(r"\s*(?:[-*+]|\d{1,3}[.)])\s+|\s*>\s?")
_RULE = re.compile(r"[\s|:=*_-]+")


# Of a line; `own` is a row of a table or a line of code, `more` begins or continues a paragraph.
_Kind = Literal["fence", "blank", "own", "heading", "item", "more"]


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """Characters ``[start, end)`` of a passage; `is_heading` if they are only a title of what follows."""

    start: int
    end: int
    is_heading: bool

    @property
    def span(self) -> Span:
        return self.start, self.end


def sentences_of(text: str, language: str | None) -> list[Sentence]:
    """Return the sentences of a passage in Markdown, in order; a heading, a list item and a table row are their own."""
    found: list[Sentence] = []
    for start, end, kind in _paragraphs(text[:_MAX_CHARACTERS]):
        spans = sentence_spans(text[start:end], language_code(language)) if kind == "more" else [(0, end - start)]
        found += (Sentence(start=start + a, end=start + b, is_heading=kind == "heading") for a, b in spans)
    return found


def worth_comparing(sentences: Sequence[Sentence], marks: Sequence[Mark]) -> list[Span]:
    """Return the sentences, at most `MAX_COMPARED_OF_PASSAGE`, whose meaning is worth comparing with the question's.

    None where there is no choice. Sentences with the most words of the question come first.
    """
    candidates = [sentence for sentence in sentences if not sentence.is_heading]
    if len(candidates) < 2:
        return []
    by_words = _by_words(candidates, marks)
    ordered = sorted(candidates, key=lambda sentence: -by_words[sentence.span])
    return [sentence.span for sentence in ordered[:MAX_COMPARED_OF_PASSAGE]]


def best_sentence(
    text: str, sentences: Sequence[Sentence], marks: Sequence[Mark], similarities: Mapping[Span, float] | None = None
) -> Span:
    """Return the sentence that answers best, the first of equals; the whole of a *text* without sentences.

    *similarities* has the cosine of the question and each sentence that was compared.
    """
    if not sentences:
        return 0, len(text)
    compared = similarities or {}
    by_words = _by_words(sentences, marks)

    def worth(sentence: Sentence) -> tuple[bool, float]:
        meaning = compared.get(sentence.span, min(compared.values(), default=0.0))
        return not sentence.is_heading, _WEIGHT_OF_WORDS * by_words[sentence.span] + meaning

    return max(sentences, key=worth).span


def _by_words(sentences: Sequence[Sentence], marks: Sequence[Mark]) -> dict[Span, float]:
    """Return for each sentence how much of the question's words in the passage it has, from 0 to 1."""
    terms = {sentence.span: set[int]() for sentence in sentences}
    at = iter(sorted(marks, key=lambda mark: mark.start))
    mark = next(at, None)
    for sentence in sentences:
        while mark is not None and mark.start < sentence.end:
            if mark.start >= sentence.start:
                terms[sentence.span].add(mark.term)
            mark = next(at, None)
    holding = Counter(term for found in terms.values() for term in found)
    weights = {term: math.log(1 + len(sentences) / count) for term, count in holding.items()}
    whole = sum(weights.values()) or 1.0
    return {span: sum(weights[term] for term in found) / whole for span, found in terms.items()}


def _paragraphs(text: str) -> Iterator[tuple[int, int, _Kind]]:
    """Yield start and end of each run of text that sentences do not cross, and its kind: own, heading or more."""
    start, end, after, in_code = None, 0, 0, False
    for line in text.splitlines(keepends=True):
        place, after = after, after + len(line)
        kind, skipped = _kind_of(line.rstrip(), in_code=in_code)
        in_code ^= kind == "fence"
        if start is not None and kind != "more":
            yield start, end, "more"
            start = None
        if kind in ("own", "heading"):
            yield place + skipped, place + len(line.rstrip()), kind
        elif kind in ("item", "more") and start is None:
            start = place + skipped
        end = place + len(line.rstrip())
    if start is not None:
        yield start, end, "more"


def _kind_of(line: str, *, in_code: bool) -> tuple[_Kind, int]:
    """Return what a line is, and how many characters before its text are only signs."""
    if _FENCE.match(line):
        return "fence", 0
    if not line or (not in_code and _RULE.fullmatch(line)):
        return "blank", 0
    if in_code or line.lstrip().startswith("|"):
        return "own", 0
    if heading := _HEADING.match(line):
        return "heading", heading.end()
    if item := _ITEM.match(line):
        return "item", item.end()
    return "more", 0
