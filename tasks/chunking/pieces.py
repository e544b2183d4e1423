"""Cutting a block that is too large, at the best places for its kind.

Owns the order of cuts: rows of a table, groups and then lines of code, items of a list, sentences of prose; then words,
then characters. Every cut is a place in the text: pieces follow each other without a gap, and nothing is rewritten.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from tasks.text.scanner import Kind

# A chunk may not have more characters than this times its tokens: WordPiece counts a word over 100 characters as one
# token and an accent as none, so a limit on tokens alone would accept a line of base64 whole. Prose has 4 to 6.
MAX_CHARACTERS_PER_TOKEN = 20

# The first guess for how many characters fit.
TYPICAL_CHARACTERS_PER_TOKEN = 4

# Words are counted in runs of about this many characters: small enough to fill a chunk, large enough to count quickly.
RUN_CHARACTERS = 160
# Pieces are counted in batches: large enough for the tokenizer's batch call, small enough to stay in the cache.
BATCH_PIECES = 256
# How far a cut moves back to keep a letter with its accents, and joined emoji together.
MAX_CLUSTER_CHARACTERS = 32

Span = tuple[int, int]
CountTokens = Callable[[Sequence[str]], list[int]]

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_ITEM = re.compile(r"[ \t]*(?:[-+*]|\d{1,9}[.)])(?=[ \t])")
_BLANK_LINE = re.compile(r"(?<=[\r\n])[ \t]*(?:\r\n|\r|\n)")
_WORD = re.compile(r"\s*\S+\s*")
# White space after the end of a sentence and at most one closing sign; or, where there is none, the full-width signs.
_SENTENCE_GAP = re.compile(r"(?:(?<=[.!?…؟।۔])|(?<=[.!?…؟।۔][\"'”’»)\]*_]))\s+|(?<=[。！？])(?![。！？」』”’）\s])")
_JOINERS = "\u200d\ufe0e\ufe0f"


@dataclass(frozen=True, slots=True)
class Piece:
    """Characters ``[start, end)`` of the text. `weight` is the tokens, or more where the characters are many."""

    start: int
    end: int
    weight: int


def weigh(tokens: int, characters: int) -> int:
    """Return the size that limits a chunk: its tokens, or more where its characters are many."""
    return max(tokens, characters // MAX_CHARACTERS_PER_TOKEN)


class Cutter:
    """Cuts spans of one text into pieces of at most a given weight."""

    def __init__(self, text: str, count_tokens: CountTokens) -> None:
        self._text = text
        self._count_tokens = count_tokens

    def cut(self, span: Span, kind: Kind, limit: int) -> Iterator[Piece]:
        """Yield the pieces of *span*, each of weight *limit* or less, as large as the kind's cuts allow."""
        return self._cut(span, _CUTS[kind], limit)

    def weigh_all(self, spans: Iterable[Span], limit: int) -> Iterator[Piece]:
        """Yield each span with its weight. A span too long for *limit* by its characters alone is not tokenised."""
        waiting = iter(spans)
        while batch := list(islice(waiting, BATCH_PIECES)):
            long = [(end - start) // MAX_CHARACTERS_PER_TOKEN > limit for start, end in batch]
            texts = [self._text[start:end] for (start, end), skip in zip(batch, long, strict=True) if not skip]
            counts = iter(self._count_tokens(texts))
            for (start, end), skip in zip(batch, long, strict=True):
                yield Piece(start, end, weigh(0 if skip else next(counts), end - start))

    def _cut(self, span: Span, cuts: Sequence[Cut], limit: int) -> Iterator[Piece]:
        if not cuts:
            yield from self._windows(span, limit)
            return
        for piece in self.weigh_all(cuts[0](self._text, span), limit):
            if piece.weight <= limit:
                yield piece
            else:
                yield from self._cut((piece.start, piece.end), cuts[1:], limit)

    def _windows(self, span: Span, limit: int) -> Iterator[Piece]:
        """Cut inside a word, as the last resort: as many characters as fit, at least one."""
        start, stop = span
        reach = limit * TYPICAL_CHARACTERS_PER_TOKEN
        while start < stop:
            end = min(start + reach, stop)
            weight = self._weight(start, end)
            while weight > limit and end > start + 1:
                end = self._whole_cluster(start, start + max(1, (end - start) * limit // (weight + 1)))
                weight = self._weight(start, end)
            yield Piece(start, end, weight)
            # Neighbouring text is similar: trying twice what fitted is enough.
            reach = min(2 * (end - start), limit * MAX_CHARACTERS_PER_TOKEN)
            start = end

    def _weight(self, start: int, end: int) -> int:
        return weigh(self._count_tokens([self._text[start:end]])[0], end - start)

    def _whole_cluster(self, start: int, end: int) -> int:
        """Return *end*, or the nearest place before it that splits no combined character."""
        for place in range(end, max(start, end - MAX_CLUSTER_CHARACTERS), -1):
            following, before = self._text[place : place + 1], self._text[place - 1]
            joined = following and (unicodedata.combining(following) or following in _JOINERS)
            if not joined and before != "\u200d":
                return place
        return end


Cut = Callable[[str, Span], Iterator[Span]]


def _lines(text: str, span: Span) -> Iterator[Span]:
    return (line.span() for line in _LINE.finditer(text, *span))


def _items(text: str, span: Span) -> Iterator[Span]:
    """Cut before each list marker with the indentation of the list's first."""
    start = span[0]
    margin: int | None = None
    for line_start, _ in _lines(text, span):
        marker = _ITEM.match(text, line_start, span[1])
        if marker is None:
            continue
        indent = len(marker[0].expandtabs()) - len(marker[0].lstrip())
        margin = indent if margin is None else min(margin, indent)
        if indent == margin and line_start > start:
            yield start, line_start
            start = line_start
    yield start, span[1]


def _markers(text: str, span: Span) -> Iterator[Span]:
    """Cut before every line that begins an item, nested items too."""
    start = span[0]
    for line_start, _ in _lines(text, span):
        if line_start > start and _ITEM.match(text, line_start, span[1]):
            yield start, line_start
            start = line_start
    yield start, span[1]


def _after(pattern: re.Pattern[str]) -> Cut:
    """Return the cut after each match of *pattern*."""

    def cut(text: str, span: Span) -> Iterator[Span]:
        start = span[0]
        for found in pattern.finditer(text, *span):
            if start < found.end() < span[1]:
                yield start, found.end()
                start = found.end()
        yield start, span[1]

    return cut


def _words(text: str, span: Span) -> Iterator[Span]:
    """Cut into runs of whole words of about `RUN_CHARACTERS`; a longer word is a run of its own."""
    start = end = span[0]
    for word in _WORD.finditer(text, *span):
        if word.end() - start > RUN_CHARACTERS and end > start:
            yield start, end
            start = end
        end = word.end()
    yield start, span[1]


_PROSE: tuple[Cut, ...] = (_after(_SENTENCE_GAP), _words)
_CUTS: dict[Kind, tuple[Cut, ...]] = {
    "paragraph": _PROSE,
    "heading": _PROSE,
    "quote": _PROSE,
    "html": (_lines, *_PROSE),
    "list": (_items, _markers, *_PROSE),
    "table": (_lines, _words),
    "code": (_after(_BLANK_LINE), _lines, _words),
    "rule": (_words,),
}
