"""Mentions and facts, and the passage that each is quoted from.

Owns the rule that nothing is stated without a quote: a mention or a fact is a place in a passage, and its quote is the
text there. A quote from elsewhere (a language model's) is only accepted if it is found in the passage. Also owns how
mentions that overlap are resolved: the first in order of the candidates is kept.
"""

from __future__ import annotations

import re
from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tasks.extraction.passages import Passage

Span = tuple[int, int]


@dataclass(frozen=True, slots=True, order=True)
class Mention:
    """Characters ``[start, end)`` of a passage. `value` is a normal form (ISO date, number and unit) or empty."""

    start: int
    end: int
    type: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class Fact:
    """A statement and the place ``[start, end)`` in the passage's text that supports it.

    `score` ranks statements that rules selected, `confidence` is a language model's own estimate; both are 0 to 1.
    """

    passage: Passage
    start: int
    end: int
    type: str
    statement: str
    score: float | None = None
    confidence: float | None = None

    @property
    def quote(self) -> str:
        return self.passage.text[self.start : self.end]

    @property
    def place(self) -> Span:
        """The place of the quote in the document: the same for a quote that two overlapping passages share."""
        return self.passage.start + self.start, self.passage.start + self.end


@dataclass(frozen=True, slots=True)
class Found:
    """A mention in its passage."""

    passage: Passage
    mention: Mention

    @property
    def quote(self) -> str:
        return self.passage.text[self.mention.start : self.mention.end]

    @property
    def place(self) -> Span:
        return self.passage.start + self.mention.start, self.passage.start + self.mention.end


@dataclass(frozen=True, slots=True)
class Findings:
    """The result of either method; `dropped_unquoted` counts what was left out because its quote was not found."""

    found: list[Found]
    facts: list[Fact]
    dropped_unquoted: int = 0


def locate(quote: str, text: str) -> Span | None:
    """Return the place of *quote* in *text*, or None. White space may differ: models write a line end as a space."""
    quote = quote.strip()
    if not quote:
        return None
    start = text.find(quote)
    if start >= 0:
        return start, start + len(quote)
    found = re.search(r"\s+".join(map(re.escape, quote.split())), text)
    return found.span() if found else None


def without_overlaps(candidates: Iterable[Mention]) -> list[Mention]:
    """Return *candidates* in order of place, without those that overlap an earlier candidate."""
    kept: list[Mention] = []
    for mention in candidates:
        place = bisect_right(kept, mention.start, key=lambda known: known.start)
        free_before = place == 0 or kept[place - 1].end <= mention.start
        free_after = place == len(kept) or mention.end <= kept[place].start
        if free_before and free_after and mention.start < mention.end:
            insort(kept, mention)
    return kept


def within(mentions: Iterable[Mention], start: int, end: int) -> Iterator[Mention]:
    """Yield the mentions inside ``[start, end)``."""
    return (mention for mention in mentions if start <= mention.start and mention.end <= end)
