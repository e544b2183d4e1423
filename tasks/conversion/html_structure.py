"""The structure of HTML pages: omitted end tags, which are written out, and the depth of nesting.

HTML lets authors omit end tags (HTML Living Standard 13.1.2.4). xberg takes ``<p>a<p>b`` for nesting and silently loses
text below its limit of depth, so such pages get their end tags written out first. Most pages are not changed: the check
reads tags only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from mmap import mmap
from typing import Any, cast

# Real pages stay below 100. xberg walks the page recursively and overflows its stack at 600 (measured), which kills the
# process; its own default of 64 silently drops text of table layouts.
MAX_DEPTH = 256

# Elements that must be closed, with the levels that one of them adds: a list adds its items, a table its body, rows and
# cells.
_LEVELS: dict[bytes, int] = {
    **dict.fromkeys((b"ul", b"ol"), 2),
    b"table": 4,
    **dict.fromkeys((b"div", b"blockquote", b"section", b"article", b"main", b"span", b"font", b"center", b"form"), 1),
    **dict.fromkeys((b"figure", b"details", b"b", b"i", b"em", b"strong", b"a"), 1),
}
# How many omitted end tags do no harm: a paragraph only adds a level, a cell is lost with its row.
_END_TAG_OPTIONAL: dict[bytes, int] = {b"p": 32, b"option": 32, b"td": 0, b"th": 0}
_TAG = re.compile(rb"<(/?)(" + b"|".join((*_END_TAG_OPTIONAL, *_LEVELS)) + rb")[\s>/]", re.IGNORECASE)


@dataclass(frozen=True)
class Structure:
    """Whether a page omits so many end tags that text would be lost, and how deeply it is nested."""

    omits_end_tags: bool
    depth: int


def examine(page: bytes | mmap) -> Structure:
    """Return the structure of a page, in one pass over its tags; 0.4 s for 40 MB."""
    depth = deepest = 0
    unclosed = dict.fromkeys(_END_TAG_OPTIONAL, 0)
    for tag in _TAG.finditer(page):
        name = tag[2].lower()
        sign = -1 if tag[1] else 1
        if name in unclosed:
            unclosed[name] += sign
        else:
            depth = max(0, depth + sign * _LEVELS[name])
            deepest = max(deepest, depth)
    omits = any(count > _END_TAG_OPTIONAL[name] for name, count in unclosed.items())
    return Structure(omits_end_tags=omits, depth=deepest)


def with_end_tags(page: bytes) -> bytes:
    """Return the UTF-8 *page* with every end tag written out; the page itself if it cannot be parsed."""
    from lxml import html  # pyright: ignore[reportMissingTypeStubs]

    lxml_html = cast(Any, html)
    try:
        parser = lxml_html.HTMLParser(encoding="utf-8", huge_tree=True, remove_comments=True)
        return lxml_html.tostring(lxml_html.document_fromstring(page, parser=parser), encoding="utf-8")
    except (lxml_html.etree.LxmlError, ValueError):
        return page
