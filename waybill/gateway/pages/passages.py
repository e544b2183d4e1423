"""A found passage in pieces: which of them are words of the question, and which are in the sentence that answers; pure.

A passage is shown as a person reads it (`tasks.text.readable`); a long one is shortened to what is around that
sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tasks.text.readable import readable

# Before and after the sentence: some lines on a screen.
_AROUND_CHARS = 280


@dataclass(frozen=True)
class Piece:
    """A piece of text, and how it is shown."""

    text: str
    is_mark: bool
    in_sentence: bool


def pieces_of(markdown: str, sentence: Sequence[int], marks: Sequence[Sequence[int]]) -> list[Piece]:
    """Return the pieces of a passage, in order. *sentence* and *marks* are places in it, up to its end."""
    shown = readable(markdown)
    text = shown.text
    begin, end = shown.span(*_within(sentence, len(markdown)))
    start = _after_blank(text, begin - _AROUND_CHARS) if begin > _AROUND_CHARS else 0
    stop = _before_blank(text, end + _AROUND_CHARS) if end + _AROUND_CHARS < len(text) else len(text)
    cuts = {start, stop, *(cut for cut in (begin, end) if start <= cut <= stop)}
    marked = [shown.span(*_within(mark, len(markdown))) for mark in marks]
    cuts |= {cut for mark in marked for cut in mark if start <= cut <= stop}
    edges = sorted(cuts)
    found = [
        Piece(
            text[left:right],
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
