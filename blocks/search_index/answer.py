"""The answer to a search: found passages, and in each the sentence that answers best and the words of the question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from blocks.search_index.filters import media_type_of
from blocks.search_index.marks import Mark, merged
from blocks.search_index.sentences import (
    MAX_COMPARED,
    Sentence,
    best_sentence,
    sentences_of,
    worth_comparing,
)
from blocks.sentences import Span


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was found of a passage. `start` and `end` are in characters of the chunked Markdown.

    `similarity` is the cosine of the question and the passage, 0 to 1; None where one of them has no vector. `found_by`
    names the rankings that had it: ``words``, ``vector``, ``name``. `score` orders the hits of one search and means
    nothing beyond it.
    """

    sha256: str
    title: str
    source: str
    media_type: str
    language: str | None
    chunk_id: str
    ordinal: int
    heading_path: list[str]
    text: str
    start: int
    end: int
    score: float
    found_by: list[str]
    similarity: float | None


@dataclass(frozen=True, kw_only=True)
class Passage(Found):
    """A found passage as the database returns it. `has_all_words`: of the question, in their order if it quotes.

    `surroundings` is the mean similarity of the nearest `compared` passages, whatever they say.
    """

    stemmer: str
    has_all_words: bool
    surroundings: float | None
    compared: int


@dataclass(frozen=True, kw_only=True)
class SearchHit(Found):
    """A found passage with what answers in it, in characters of `text`.

    `sentence` is the one that answers best, `marks` are the words of the question, in order.
    """

    sentence: Span
    marks: list[Span]
    sentences: Sequence[Sentence] = field(default=(), repr=False, compare=False)
    """All sentences of the text, and which word of the question is where: not part of the answer."""
    terms: Sequence[Mark] = field(default=(), repr=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the hit as commands and the API show it."""
        shown = asdict(replace(self, sentences=(), terms=()))
        del shown["sentences"], shown["terms"]
        return {**shown, "sentence": list(self.sentence), "marks": [list(mark) for mark in self.marks]}


@dataclass(frozen=True, kw_only=True)
class SearchAnswer:
    """The hits, best first. `nothing_close`: none of the passages in the index is close to the question.

    `threshold` is the similarity from which a passage is close to this question by its meaning alone.
    """

    hits: list[SearchHit]
    nothing_close: bool
    threshold: float

    def as_dict(self) -> dict[str, Any]:
        """Return the answer as commands and the API show it."""
        return {
            "count": len(self.hits),
            "nothing_close": self.nothing_close,
            "threshold": self.threshold,
            "results": [hit.as_dict() for hit in self.hits],
        }

    def sentences_to_compare(self) -> list[str]:
        """Return the sentences whose similarities `with_similarities` is given; few enough to wait for."""
        return [self.hits[number].text[start:end] for number, (start, end) in self._to_compare()]

    def with_similarities(self, similarities: Sequence[float]) -> SearchAnswer:
        """Return the answer with the best sentence of each hit, by the cosines of `sentences_to_compare`."""
        of_hit: dict[int, dict[Span, float]] = {}
        for (number, span), similarity in zip(self._to_compare(), similarities, strict=True):
            of_hit.setdefault(number, {})[span] = similarity
        hits = [
            replace(hit, sentence=best_sentence(hit.text, hit.sentences, hit.terms, of_hit.get(number)))
            for number, hit in enumerate(self.hits)
        ]
        return replace(self, hits=hits)

    def _to_compare(self) -> list[tuple[int, Span]]:
        found: list[tuple[int, Span]] = []
        for number, hit in enumerate(self.hits):
            spans = worth_comparing(hit.sentences, hit.terms)
            if len(found) + len(spans) > MAX_COMPARED:
                break
            found += ((number, span) for span in spans)
        return found


def hit_of(passage: Passage, marks: Sequence[Mark]) -> SearchHit:
    """Return the hit for a *passage* with its *marks*; the sentence is chosen by its words alone."""
    sentences = sentences_of(passage.text, passage.language)
    found: dict[str, Any] = {one.name: getattr(passage, one.name) for one in fields(Found)}
    found["media_type"] = media_type_of(passage.media_type)
    return SearchHit(
        **found,
        sentence=best_sentence(passage.text, sentences, marks),
        marks=merged(marks),
        sentences=sentences,
        terms=marks,
    )
