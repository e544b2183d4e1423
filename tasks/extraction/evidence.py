"""Facts and mentions together with the passage they stand in.

Owns the rule that nothing is said without a quote: a fact is a place in a passage, and its quote is what stands there.
A quote from elsewhere (a language model's) is only taken when it is found in the passage.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tasks.extraction.mentions import Mention
from tasks.extraction.passages import Passage

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Fact:
    """A statement and the place ``[start, end)`` in the passage's text that it rests on.

    `score` ranks the statements that rules picked, `confidence` is what a language model says of its own; 0 to 1.
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
        """Where the quote stands in the document: the same for a quote that two overlapping passages share."""
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


def locate(quote: str, text: str) -> Span | None:
    """Where *quote* stands in *text*, if it does. White space may differ: models write a line end as a space."""
    quote = quote.strip()
    if not quote:
        return None
    start = text.find(quote)
    if start >= 0:
        return start, start + len(quote)
    found = re.search(r"\s+".join(map(re.escape, quote.split())), text)
    return found.span() if found else None
