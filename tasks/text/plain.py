"""Inline Markdown to plain words, for titles, summaries and ranking; pure.

Owns stripping the signs of emphasis, links, images, code, HTML and entities from one run of text. The result is for
reading and ranking only: offsets into it mean nothing, so nothing that is quoted may pass through here.
"""

from __future__ import annotations

import html
import re

_IMAGE_OR_LINK = re.compile(r"!?\[([^\[\]]*)\](?:\([^()\s]*(?:\s[^()]*)?\)|\[[^\[\]]*\])")
_AUTOLINK = re.compile(r"<((?:https?|mailto):[^<>\s]*)>")
_TAG = re.compile(r"</?[A-Za-z][^<>]*>|<!--[^<>]*>")
# Signs of emphasis stand at the edge of a word; inside one ("snake_case", "2*3") they are text.
_EMPHASIS = re.compile(r"(?<![\w\\])(?:\*{1,3}|_{1,3}|~~)(?=\S)|(?<=\S)(?<!\\)(?:\*{1,3}|_{1,3}|~~)(?!\w)")
_CODE = re.compile(r"`+")
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")


def plain_text(markdown: str) -> str:
    """The words of *markdown* in one line."""
    text = _IMAGE_OR_LINK.sub(r"\1", markdown)
    text = _AUTOLINK.sub(r"\1", text)
    text = _TAG.sub(" ", text)
    text = _EMPHASIS.sub("", text)
    text = _ESCAPE.sub(r"\1", _CODE.sub("", text))
    return " ".join(html.unescape(text).split())
