"""Which statements are whole: what begins or ends in mid-sentence is left out.

Owns where a document's sentences are torn: a chunk that ends inside one, and a paragraph that a formula, a table or a
picture interrupts ("The load is", "where g is 9.81 m/s²").
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from blocks.sentences import Span, sentence_spans
from tasks.extraction.passages import Passage

# What is read on either side of the end of a chunk: longer sentences are no statements.
SEAM_CHARACTERS = 600
_ENDS = re.compile(r"[.!?…:;。！？][\"'”’»)\]*_]*$")
_BLANK_LINE = re.compile(r"\n[ \t>]*\n")
_FORMULA = re.compile(r"\s*\$\$.*\$\$\s*", re.S)
_CONJUNCTION = re.compile(r"(?:and|or|but|und|oder|sowie|et|ou|y|o|e|ed|en|of|i|oraz|lub)\s")


def torn_seams(passages: Sequence[Passage], language: str) -> set[tuple[str, str]]:
    """Return the passages whose first or last sentence the end of a chunk tears: (id, "start" or "end")."""
    torn: set[tuple[str, str]] = set()
    for before, after in itertools.pairwise(passages):
        gap = after.start - before.start - len(before.text)
        shared = max(0, -gap)
        left = before.text[: len(before.text) - shared] if shared < len(before.text) else ""
        left, right = left[-SEAM_CHARACTERS:], after.text[:SEAM_CHARACTERS]
        # More than one character between two chunks is the end of a paragraph.
        if (
            gap > 1
            or not left.strip()
            or not right.strip()
            or _BLANK_LINE.search(left[len(left.rstrip()) - 1 :] + right[:4])
        ):
            continue
        if re.match(r"\s*(?:[-+*>#|`~]|\d{1,9}[.)]\s)", right):
            continue
        joined = f"{left.rstrip()} {right.lstrip()}"
        place = len(left.rstrip())
        if not any(start == place + 1 for start, _ in sentence_spans(joined, language)):
            torn |= {(before.id, "end"), (after.id, "start")} if not shared else {(after.id, "start")}
    return torn


def interrupted(text: str, pieces: Sequence[Span]) -> tuple[set[int], set[int]]:
    """Return which *pieces* of prose begin and which end in mid-sentence, by their place in the list."""
    begin: set[int] = set()
    end: set[int] = set()
    for at, (start, _) in enumerate(pieces):
        content = text[start : pieces[at][1]].lstrip(" \t\n>*_\"'„“«(")
        if not content[:1].islower() or not _begins_paragraph(text, start):
            if _CONJUNCTION.match(content):
                begin.add(at)
            continue
        before = at - 1
        while before > 0 and _FORMULA.fullmatch(text, *pieces[before]):
            before -= 1
        last = text[slice(*pieces[before])].rstrip() if at else ""
        if at and not last.endswith((",", "!")):  # "Dear all," and a small letter
            begin.add(at)
            if not _ENDS.search(last):
                end.add(before)
    return begin, end


def _begins_paragraph(text: str, start: int) -> bool:
    line = text[:start].rpartition("\n")[2]
    return not line.strip(" \t>") and (
        not text[:start].strip() or bool(_BLANK_LINE.search(text[max(0, start - 40) : start]))
    )
