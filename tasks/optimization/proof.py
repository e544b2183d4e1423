"""The proof that formatting keeps a piece of Markdown the same: equal meaning, equal words; pure.

Owns which differences between two token streams are spelling only: the marks chosen, escapes, white space, fences in
place of indented code. Everything else (structure, text, link targets, code, list starts, tightness) is meaning.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from markdown_it.token import Token

_WORD = re.compile(r"[^\W_]+")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_WHITE_SPACE = re.compile(r"\s+")
# Tokens whose content is data, not text: white space in it counts.
_LITERAL = frozenset({"fence", "code_block", "html_block", "code_inline", "html_inline"})


def words(text: str) -> Counter[str]:
    """Return how often each word occurs in *text*; markup, case and the spelling of entities do not count."""
    if "&" in text:
        text = _ENTITY.sub(lambda entity: html.unescape(entity[0]), text)
    return Counter(_WORD.findall(text.casefold()))


def meaning(tokens: Sequence[Token]) -> str:
    """Return a text that is equal for two pieces of Markdown exactly if they have the same meaning."""
    return "\x00".join(_signs(tokens))


def _signs(tokens: Sequence[Token]) -> Iterator[str]:
    text: list[str] = []
    for token in tokens:
        if token.type in ("text", "text_special", "softbreak"):
            text.append(" " if token.type == "softbreak" else token.content)
            continue
        if text:
            yield from _text_sign(text)
            text = []
        if token.type == "inline":
            yield from _signs(token.children or ())
        elif token.type in _LITERAL:
            kind = "code" if token.type in ("fence", "code_block") else token.type
            yield f"{kind} {token.info.strip()}\n{token.content.strip()}"
        else:
            attributes = sorted((name, str(value)) for name, value in token.attrs.items())
            yield f"{token.type} {token.tag} {token.hidden} {attributes}"
    yield from _text_sign(text)


def _text_sign(text: list[str]) -> Iterator[str]:
    collapsed = _WHITE_SPACE.sub(" ", "".join(text)).strip()
    if collapsed:
        yield collapsed
