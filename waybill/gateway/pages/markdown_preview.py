"""The beginning of a document's Markdown as HTML that cannot run or load anything; pure.

HTML in the Markdown is text, pictures are their descriptions, and links lead to the web or a mail program only.
Headings begin below those of the page, and the alignment of cells is a class, because the page allows no inline style.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, cast
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape

# Some pages of text: enough to see what came out. Its time grows with the square of odd input, a second at worst.
MOST_CHARS = 20_000
# In UTF-8 a character has four bytes at most.
MOST_BYTES = 4 * MOST_CHARS
# The YAML in front of the text, which says what the page shows elsewhere.
_HEADER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
_LINKED = frozenset({"http", "https", "mailto"})
# The page has h1, and h2 above the preview.
_HEADINGS = {"h1": "h3", "h2": "h4", "h3": "h5"}
_ALIGNED = {"text-align:center": "center", "text-align:right": "right"}


def preview(markdown: str) -> Markup:
    """Return the first `MOST_CHARS` of *markdown* as HTML."""
    parser = _parser()
    tokens = parser.parse(_HEADER.sub("", markdown[:MOST_CHARS]))
    _make_safe(tokens)
    return Markup(parser.renderer.render(tokens, parser.options, {}))  # noqa: S704 - the parser has escaped all text


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    # Every address passes here, and `_make_safe` decides: a picture's address must not keep its description out.
    cast("Any", parser).validateLink = bool
    cast("Any", parser).add_render_rule("image", _described)
    return parser


def _is_linked(address: str) -> bool:
    """Return whether a link may lead to *address*: not to a path of this page, and not to a program."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme.lower() in _LINKED and (parts.scheme.lower() == "mailto" or bool(parts.hostname))


def _described(_: Any, tokens: Sequence[Token], index: int, __: Any, ___: Any) -> str:
    description = tokens[index].content.strip()
    return f'<span class="soft">[picture{": " if description else ""}{escape(description)}]</span>'


def _make_safe(tokens: Sequence[Token]) -> None:
    is_linked: list[bool] = []
    for token in tokens:
        if token.type in {"heading_open", "heading_close"}:
            token.tag = _HEADINGS.get(token.tag, "h6")
        elif token.type == "link_open":
            is_linked.append(_is_linked(str(token.attrs.get("href", ""))))
            _make_link(token, is_linked=is_linked[-1])
        elif token.type == "link_close":
            token.tag = "a" if is_linked and is_linked.pop() else "span"
        elif token.type in {"th_open", "td_open"}:
            aligned = _ALIGNED.get(str(token.attrs.pop("style", "")))
            if aligned is not None:
                token.attrs["class"] = aligned
        elif token.type == "fence":
            token.info = ""
        if token.children:
            _make_safe(token.children)


def _make_link(token: Token, *, is_linked: bool) -> None:
    if is_linked:
        token.attrs["rel"] = "noopener noreferrer nofollow"
    else:
        token.tag, token.attrs = "span", {}
