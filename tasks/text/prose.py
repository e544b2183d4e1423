"""The running text of a Markdown passage: paragraphs, list items and quotes, with their exact place.

Owns leaving out what has no sentences: headings, code, tables, HTML, and the signs that begin a list item.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tasks.text.scanner import scan_blocks
from tasks.text.sentences import Span

_ITEM = re.compile(r"^[ \t>]*(?:[-+*]|\d{1,9}[.)])[ \t]+(?:\[[ xX]\][ \t]+)?", re.M)
_QUOTE_SIGN = re.compile(r"^[ \t]{0,3}(?:>[ \t]?)+", re.M)


def prose_spans(text: str) -> Iterator[Span]:
    """Start and end of each piece of running text, in order."""
    for block in scan_blocks(text):
        if block.kind == "list":
            yield from _items(text, block.start, block.end)
        elif block.kind in ("paragraph", "quote"):
            yield block.start, block.end


def without_quote_signs(text: str) -> str:
    """*text* without the ``>`` at the beginning of its lines."""
    return _QUOTE_SIGN.sub("", text)


def _items(text: str, start: int, end: int) -> Iterator[Span]:
    for marker in _ITEM.finditer(text, start, end):
        if start < marker.start():
            yield start, marker.start()
        start = marker.end()
    if start < end:
        yield start, end
