"""Which lines of a plain text are a list beyond doubt; pure.

Owns the doubt: a sign before a number can be a plus or a minus, a number before a month is a date, and numbers before
one and the same word are ordinals. A list has at least two items, one sign or numbers that count up by one, and each
item begins with a letter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

ITEM = re.compile(r"([ \t]*)([-+*]|\d{1,9}[.)])[ \t]+(?=[\"'“„«‚]?[^\W\d_])")

_STEM = 6  # letters that words have in common whatever their ending is: "Vorsitzender", "Vorsitzende"
_FIRST_WORD = re.compile(r"\W*([^\W\d_]+)")
# The beginnings of the months' names in the languages that put the day first.
_MONTH_OR_YEAR = re.compile(
    r"\W*(?:jan|feb|fév|mar|mär|mrt|maa|apr|avr|mai|may|maj|mei|mag|giu|gen|lug|ago|ott|set|dic|ene|abr|jun|juin|jui|"
    r"jul|aug|aoû|sep|okt|oct|out|nov|dez|dec|déc|led|úno|bře|dub|kvě|čer|srp|zář|říj|lis|pro|sty|lut|kwi|cze|lip|sie|"
    r"wrz|paź|gru|tam|hel|huh|tou|kes|hei|elo|syy|lok|jou)[^\W\d_]{0,9}\b"
    r"|\W*[^\W\d_]+\.? \d{4}\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring lines: those of one possible list from its first item on, or those that are in none."""

    lines: list[str]
    is_list: bool


def list_runs(lines: Sequence[str]) -> Iterator[Run]:
    """Yield the runs of *lines* in order."""
    run: list[str] = []
    first: re.Match[str] | None = None
    for line in lines:
        item = ITEM.match(line)
        goes_on = first is not None and _goes_on(line, item, first)
        if run and not goes_on and (first is not None or item is not None):
            yield Run(run, is_list=first is not None)
            run, first = [], None
        if first is None:
            first = item
        run.append(line)
    if run:
        yield Run(run, is_list=first is not None)


def _goes_on(line: str, item: re.Match[str] | None, first: re.Match[str]) -> bool:
    if indentation(line) > indentation(first[1]):
        return True
    # Further lines of an item that is not indented go on in small letters.
    return line.lstrip()[:1].islower() if item is None else _same_kind(item[2], first[2])


def continues(runs: Sequence[Sequence[str]], following: Run) -> bool:
    """Return whether *following*, after an empty line, goes on with the list that *runs* begin."""
    first, second = ITEM.match(runs[0][0]), ITEM.match(following.lines[0])
    if not following.is_list or first is None or second is None or first[1] != second[1]:
        return False
    marks = [item[2] for line in runs[-1] if (item := ITEM.match(line)) and item[1] == first[1]]
    return _same_kind(first[2], second[2]) and _count_up([marks[-1], second[2]])


def is_list(runs: Sequence[Sequence[str]]) -> bool:
    """Return whether the passages are one list beyond doubt."""
    first = ITEM.match(runs[0][0])
    margin = indentation(first[1]) if first else 0
    items = [item for run in runs for line in run if (item := ITEM.match(line)) and indentation(item[1]) <= margin]
    marks = [item[2] for item in items]
    if len(items) < 2 or not _count_up(marks):
        return False
    return not (marks[0][0].isdigit() and _are_ordinals([item.string[item.end() :] for item in items]))


def indentation(line: str) -> int:
    """Return the column at which *line* has its first sign."""
    expanded = line.expandtabs()
    return len(expanded) - len(expanded.lstrip())


def _same_kind(mark: str, other: str) -> bool:
    return mark == other or (mark[-1] == other[-1] and len(mark) > 1 and len(other) > 1)


def _count_up(marks: Sequence[str]) -> bool:
    if not marks[0][0].isdigit():
        return all(mark == marks[0] for mark in marks)
    numbers = [mark[:-1] for mark in marks]
    if any(not number.isdigit() or number != str(int(number)) for number in numbers):
        return False
    return all(int(after) == int(before) + 1 for before, after in pairwise(numbers))


def _are_ordinals(contents: Sequence[str]) -> bool:
    """Return whether the numbers belong to what follows them: "1. Mai 2024", "1. Preis", "2. Preis"."""
    if any(_MONTH_OR_YEAR.match(content) for content in contents):
        return True
    stems = [found[1][:_STEM] for content in contents if (found := _FIRST_WORD.match(content))]
    return any(before == after for before, after in pairwise(stems))
