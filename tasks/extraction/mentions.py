"""Mentions: what a passage names, and where exactly.

Owns the type, and how mentions that claim the same characters are sorted out: the first to claim them has them.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Mention:
    """Characters ``[start, end)`` of a passage. `value` is a normal form (ISO date, number and unit) or empty."""

    start: int
    end: int
    type: str
    value: str = ""


def without_overlaps(candidates: Iterable[Mention]) -> list[Mention]:
    """The candidates, in order of place, without those that overlap one that came earlier in *candidates*."""
    kept: list[Mention] = []
    for mention in candidates:
        place = bisect_right(kept, mention.start, key=lambda known: known.start)
        free_before = place == 0 or kept[place - 1].end <= mention.start
        free_after = place == len(kept) or mention.end <= kept[place].start
        if free_before and free_after and mention.start < mention.end:
            insort(kept, mention)
    return kept


def within(mentions: Iterable[Mention], start: int, end: int) -> Iterator[Mention]:
    """The mentions that lie inside ``[start, end)``."""
    return (mention for mention in mentions if start <= mention.start and mention.end <= end)
