"""Removal of what a PDF repeats on every page: running heads, running feet, page numbers; pure.

Owns the evidence that is required. A line counts as running only if the same text stands alone about once per page, and
its first occurrence stays, so no word is lost from the document; bare page numbers are removed if they count upwards.
In doubt the line stays.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import pairwise

# With fewer pages, repetition proves nothing.
MIN_PAGES = 3
# Title pages, full-page illustrations and chapter starts have no running line.
_MIN_SHARE_OF_PAGES = 0.6
_MAX_LINE_CHARACTERS = 120

_BLOCKS = re.compile(r"\n{2,}")
_PAGE_WORD = r"(?:page|seite|página|pagina|pág\.|strona|sida|side|p\.|s\.)"
_PAGE_NUMBER = re.compile(
    rf"(?:{_PAGE_WORD}\s*)?[-–—]?\s*(\d{{1,4}})\s*(?:(?:/|of|von|de|di|sur|av)\s*\d{{1,4}}\s*)?[-–—]?", re.IGNORECASE
)
# Marks of structure (headings, tables, lists and what is indented below an item, quotes, code) and labels such as
# "Answer:" are never running lines.
_STRUCTURE = re.compile(r"[\s#|>*+`~<-]|\d+[.)]\s")
_LETTERS = re.compile(r"[^\W\d_]{2}")


def remove_running_lines(text: str, pages: int) -> tuple[str, int]:
    """Return *text*, of a PDF with *pages* pages, without its running lines, and how many those were."""
    if pages < MIN_PAGES or "```" in text:  # a line of code may repeat for good reasons
        return text, 0
    blocks = _BLOCKS.split(text.strip("\n"))
    lowest, highest = max(MIN_PAGES, math.ceil(pages * _MIN_SHARE_OF_PAGES)), pages + 1
    gone = _page_numbers(blocks, lowest, highest) | _repeated(blocks, lowest, highest)
    if not gone:
        return text, 0
    kept = [block for index, block in enumerate(blocks) if index not in gone]
    return "\n\n".join(kept) + "\n", len(gone)


def _page_numbers(blocks: list[str], lowest: int, highest: int) -> set[int]:
    found = [(index, int(number[1])) for index, block in enumerate(blocks) if (number := _page_number(block))]
    numbers = [number for _, number in found]
    rising = all(earlier < later for earlier, later in pairwise(numbers))
    if not rising or not lowest <= len(numbers) <= highest or numbers[-1] - numbers[0] > highest:
        return set()
    return {index for index, _ in found}


def _page_number(block: str) -> re.Match[str] | None:
    return _PAGE_NUMBER.fullmatch(block.rstrip()) if len(block) <= _MAX_LINE_CHARACTERS else None


def _repeated(blocks: list[str], lowest: int, highest: int) -> set[int]:
    """Return all but the first of each text that stands alone about once per page, never twice in a row."""
    times = Counter(block.rstrip() for block in blocks if len(block) <= _MAX_LINE_CHARACTERS)
    running = {line for line, count in times.items() if lowest <= count <= highest and _may_run(line)}
    gone, seen = set[int](), set[str]()
    for index, block in enumerate(blocks):
        line = block.rstrip()
        if line not in running:
            continue
        if index and blocks[index - 1].rstrip() == line:
            return set()  # a list of equal lines, not pages
        if line in seen:
            gone.add(index)
        seen.add(line)
    return gone


def _may_run(line: str) -> bool:
    return (
        "\n" not in line
        and not line.endswith(":")
        and _LETTERS.search(line) is not None
        and _STRUCTURE.match(line) is None
    )
