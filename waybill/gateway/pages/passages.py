"""A found passage in pieces: which of them are words of the question, and which are in the sentence that answers; pure.

A long passage is shortened to what is around that sentence. The signs of Markdown are left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

# Before and after the sentence: some lines on a screen.
_AROUND_CHARS = 280


# Of Markdown: what makes text bold, a heading, or keeps a sign from being one.
_SIGNS = re.compile(r"\*\*|__|^#{1,6} |\\([!-/:-@\[-`{-~])", re.MULTILINE)


@dataclass(frozen=True)
class Piece:
    """A piece of text, and how it is shown."""

    text: str
    is_mark: bool
    in_sentence: bool


def pieces_of(text: str, sentence: Sequence[int], marks: Sequence[Sequence[int]]) -> list[Piece]:
    """Return the pieces of a passage, in order. Positions beyond *text* are left out."""
    begin, end = _within(sentence, len(text))
    start = _after_blank(text, begin - _AROUND_CHARS) if begin > _AROUND_CHARS else 0
    stop = _before_blank(text, end + _AROUND_CHARS) if end + _AROUND_CHARS < len(text) else len(text)
    cuts = {start, stop, *(cut for cut in (begin, end) if start <= cut <= stop)}
    marked = [_within(mark, len(text)) for mark in marks]
    cuts |= {cut for mark in marked for cut in mark if start <= cut <= stop}
    edges = sorted(cuts)
    found = [
        Piece(
            _SIGNS.sub(r"\1", text[left:right]),
            is_mark=any(one <= left and right <= other for one, other in marked),
            in_sentence=begin <= left and right <= end,
        )
        for left, right in pairwise(edges)
        if left < right
    ]
    before = [Piece("… ", is_mark=False, in_sentence=False)] if start > 0 else []
    after = [Piece(" …", is_mark=False, in_sentence=False)] if stop < len(text) else []
    return [*before, *found, *after]


def _within(span: Sequence[int], length: int) -> tuple[int, int]:
    start, end = (max(0, min(int(place), length)) for place in (*span[:2], 0, 0)[:2])
    return start, max(start, end)


def _after_blank(text: str, place: int) -> int:
    blank = text.find(" ", place, place + 40)
    return blank + 1 if blank >= 0 else place


def _before_blank(text: str, place: int) -> int:
    blank = text.rfind(" ", place - 40, place)
    return blank if blank >= 0 else place
