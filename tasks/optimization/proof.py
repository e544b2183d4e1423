"""The proof that formatting keeps a piece of Markdown the same: equal meaning, equal words; pure.

Owns which differences between two token streams are spelling only: the marks of emphasis, of headings and of rules,
escapes, fences in place of indented code, numbers of a list that are all the same. Everything else is meaning:
structure, text with its signs, its blanks and its line ends, link targets, code, the signs and numbers of lists.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from markdown_it.token import Token

_WORD = re.compile(r"[^\W_]+")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
# Marks of raised and lowered text, formulas and notes, which CommonMark does not know: escaped, they are only signs.
_ESCAPED_SIGN = re.compile(r"\\(?:[$^~]|\[(?=\^))")
_LISTS = frozenset({"bullet_list_open", "ordered_list_open"})


def words(text: str) -> Counter[str]:
    """Return how often each word occurs in *text*; markup, case and the spelling of entities do not count."""
    if "&" in text:
        text = _ENTITY.sub(lambda entity: html.unescape(entity[0]), text)
    return Counter(_WORD.findall(text.casefold()))


def escaped_signs(text: str) -> list[str]:
    """Return the escapes in *text* whose removal would make a formula, a note or raised text."""
    return _ESCAPED_SIGN.findall(text) if "\\" in text else []


def numbers_as_read(numbers: Sequence[str]) -> Sequence[str]:
    """Return the numbers of a list as a reader takes them: typed ``1. 1. 1.`` they are 1, 2, 3, else as typed."""
    if len(numbers) < 2 or len(set(numbers)) > 1 or not numbers[0]:  # a list of bullets has none
        return numbers
    return [str(int(numbers[0]) + index) for index in range(len(numbers))]


def list_numbers(tokens: Sequence[Token]) -> list[list[str]]:
    """Return the numbers of each list among *tokens* as they are typed, in the order in which the lists end."""
    found: list[list[str]] = []
    open_lists: list[list[str]] = []
    for token in tokens:
        if token.type in _LISTS:
            open_lists.append([])
        elif token.type == "list_item_open":
            open_lists[-1].append(token.info)
        elif token.type in ("ordered_list_close", "bullet_list_close"):
            found.append(open_lists.pop())
    return found


def meaning(tokens: Sequence[Token]) -> str:
    """Return a text that is equal for two pieces of Markdown exactly if they have the same meaning."""
    numbers = [list(numbers_as_read(numbers)) for numbers in list_numbers(tokens) if any(numbers)]
    return "\x00".join([*_signs(tokens), *map(str, numbers)])


def _signs(tokens: Sequence[Token]) -> Iterator[str]:
    text: list[str] = []
    for token in tokens:
        if token.type in ("text", "text_special", "softbreak"):
            text.append("\n" if token.type == "softbreak" else token.content)
            continue
        if text:
            yield "".join(text)
            text = []
        if token.type == "inline":
            yield from _signs(token.children or ())
        elif token.type in ("fence", "code_block"):
            yield f"code {token.info.strip()}\n{token.content}"
        elif token.type == "html_block":
            yield f"html {token.content.strip()}"
        else:
            yield from _other(token)
    if text:
        yield "".join(text)


def _other(token: Token) -> Iterator[str]:
    attributes = sorted((name, str(value)) for name, value in token.attrs.items())
    mark = token.markup if token.type in _LISTS else ""
    content = token.content if token.type in ("code_inline", "html_inline") else ""
    if token.type == "image":
        content = _words_of(token.children or ())
    yield f"{token.type} {token.tag} {token.hidden} {attributes} {mark} {content}"


def _words_of(tokens: Sequence[Token]) -> str:
    """Return the text of an image as it is shown: without markup."""
    return "".join(
        "\n" if token.type == "softbreak" else _words_of(token.children) if token.children else token.content
        for token in tokens
    )
