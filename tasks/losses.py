"""What a conversion cannot carry over, in words that can be counted; pure.

Owns the kinds of loss and their two forms, one thing and several. A warning that counts begins with its number ("2
comments left out"), so the warnings of many documents add up to one line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from blocks.runtime.in_words import shortened

# Kind: the words for one, and for several.
_WORDS: dict[str, tuple[str, str]] = {
    "comment": ("comment left out", "comments left out"),
    "image": ("image without description", "images without description"),
    "chart": ("chart without values", "charts without values"),
    "diagram": ("diagram left out", "diagrams left out"),
    "object": ("embedded object left out", "embedded objects left out"),
    "attachment": ("attached file left out", "attached files left out"),
    "formula": ("formula that could not be read", "formulas that could not be read"),
    "cell": ("cell that could not be read", "cells that could not be read"),
    "value": ("formula without a stored value", "formulas without a stored value"),
    "zero": ("formula whose value 0 may not be computed", "formulas whose value 0 may not be computed"),
    "number-format": ("number format that is not known", "number formats that are not known"),
    "symbol": ("sign of a symbol font that is not known", "signs of symbol fonts that are not known"),
    "hidden-sheet": ("hidden sheet", "hidden sheets"),
    "hidden-row": ("hidden row", "hidden rows"),
    "hidden-column": ("hidden column", "hidden columns"),
    "hidden-slide": ("hidden slide", "hidden slides"),
    "hidden-text": ("hidden passage left out", "hidden passages left out"),
    "note": ("note without its text", "notes without their text"),
    "scan": ("scanned page not read", "scanned pages not read"),
    "included-file": ("included file that is not here", "included files that are not here"),
    "part": ("part of the file that could not be read", "parts of the file that could not be read"),
    "bytes": ("byte sequence replaced that is not valid UTF-8", "byte sequences replaced that are not valid UTF-8"),
    "unproven": ("passage left unformatted to keep its words", "passages left unformatted to keep their words"),
    "large-passage": ("passage too large to be formatted", "passages too large to be formatted"),
    "vector": ("vector of another model left out", "vectors of another model left out"),
    "fact": ("fact that was made from other chunks", "facts that were made from other chunks"),
}
# A summary is one line for people. One that lists a hundred different texts would fill the state of a run.
_MAX_PARTS = 10
_MAX_PART_CHARS = 200
# Nine digits: a number of a remote worker may have any length.
_COUNTED = re.compile(r"([1-9]\d{0,8}) (.+)", re.DOTALL)
_KIND_OF = {words: kind for kind, forms in _WORDS.items() for words in forms}


def loss(kind: str, count: int) -> tuple[str, ...]:
    """Return the warning about *count* things of *kind* that were lost: one text, or none if nothing was lost.

    Raises `KeyError` for a kind without words: each has them here.
    """
    one, several = _WORDS[kind]
    return (f"{count} {one if count == 1 else several}",) if count else ()


def losses(counts: Counter[str]) -> tuple[str, ...]:
    """Return the warnings about *counts* by kind, in the order of the kinds."""
    return tuple(text for kind in _WORDS for text in loss(kind, counts[kind]))


def counted(warnings: Iterable[str]) -> tuple[Counter[str], tuple[str, ...]]:
    """Return how many things of each kind *warnings* name, and the warnings that count nothing."""
    counts: Counter[str] = Counter()
    others: list[str] = []
    for warning in warnings:
        found = _COUNTED.fullmatch(warning)
        if found and found[2] in _KIND_OF:
            counts[_KIND_OF[found[2]]] += int(found[1])
        else:
            others.append(warning)
    return counts, tuple(others)


def number(warnings: Iterable[str]) -> int:
    """Return how many things *warnings* name: "2 hidden rows" are two, a warning that counts nothing is one."""
    counts, others = counted(warnings)
    return counts.total() + len(others)


def tally(warnings: Iterable[str]) -> Counter[str]:
    """Return how often *warnings* name each kind, and each warning that counts nothing; tallies can be added up."""
    counts, others = counted(warnings)
    counts.update(others)
    return counts


def summary(warnings: Iterable[str]) -> str:
    """Return all *warnings* as one line: "3 warnings: 2 comments left out, 1 chart without values"; empty for none.

    Equal kinds are added up, the most frequent first. A warning that counts nothing is one. At most ten parts are
    listed, each cut at 200 characters.
    """
    return in_one_line(tally(warnings))


def in_one_line(counts: Counter[str]) -> str:
    """Return what `summary` returns, of a tally."""
    if not counts:
        return ""
    total = counts.total()
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    parts = [_in_words(what, count) for what, count in ranked[:_MAX_PARTS]]
    if rest := sum(count for _, count in ranked[_MAX_PARTS:]):
        parts.append(f"and {rest} more")
    return f"{total} warning{'' if total == 1 else 's'}: {', '.join(parts)}"


def _in_words(what: str, count: int) -> str:
    if what in _WORDS:
        return loss(what, count)[0]
    text = shortened(" ".join(what.split()), _MAX_PART_CHARS)
    return text if count == 1 else f"{text} ({count} times)"
