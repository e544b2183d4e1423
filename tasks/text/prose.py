"""The running text of a Markdown passage, with its exact place, and inline Markdown as plain words.

`prose_spans` leaves out what has no sentences: headings, code, tables, HTML, and the signs that begin a list item.
`plain_text` removes the signs of emphasis, links, images, code, HTML and entities from one run of text. Its result is
for reading and ranking only: offsets into it mean nothing, so a text that is quoted must not pass through it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from tasks.text.scanner import scan_blocks
from tasks.text.sentences import Span

_ITEM = re.compile(r"^[ \t>]*(?:[-+*]|\d{1,9}[.)])[ \t]+(?:\[[ xX]\][ \t]+)?", re.M)
_QUOTE_SIGN = re.compile(r"^[ \t]{0,3}(?:>[ \t]?)+", re.M)
_IMAGE_OR_LINK = re.compile(r"!?\[([^\[\]]*)\](?:\([^()\s]*(?:\s[^()]*)?\)|\[[^\[\]]*\])")
_AUTOLINK = re.compile(r"<((?:https?|mailto):[^<>\s]*)>")
_TAG = re.compile(r"</?[A-Za-z][^<>]*>|<!--[^<>]*>")
# Signs of emphasis are at the edge of a word; inside one ("snake_case", "2*3") they are text.
_EMPHASIS = re.compile(r"(?<![\w\\])(?:\*{1,3}|_{1,3}|~~)(?=\S)|(?<=\S)(?<!\\)(?:\*{1,3}|_{1,3}|~~)(?!\w)")
_CODE = re.compile(r"`+")
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")


def prose_spans(text: str) -> Iterator[Span]:
    """Yield start and end of each piece of running text, in order."""
    for block in scan_blocks(text):
        if block.kind == "list":
            yield from _items(text, block.start, block.end)
        elif block.kind in ("paragraph", "quote"):
            yield block.start, block.end


def without_quote_signs(text: str) -> str:
    """Return *text* without the ``>`` at the beginning of its lines."""
    return _QUOTE_SIGN.sub("", text)


def _items(text: str, start: int, end: int) -> Iterator[Span]:
    for marker in _ITEM.finditer(text, start, end):
        if start < marker.start():
            yield start, marker.start()
        start = marker.end()
    if start < end:
        yield start, end


def plain_text(markdown: str) -> str:
    """Return the words of *markdown* in one line."""
    text = _IMAGE_OR_LINK.sub(r"\1", markdown)
    text = _AUTOLINK.sub(r"\1", text)
    text = _TAG.sub(" ", text)
    text = _EMPHASIS.sub("", text)
    text = _ESCAPE.sub(r"\1", _CODE.sub("", text))
    return " ".join(html.unescape(text).split())
