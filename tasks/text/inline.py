"""The text that inline Markdown shows, with the place of each character in the Markdown (CommonMark 6); pure.

markdown-it reads the signs. Its tokens have no places, so each of its rules is wrapped: the wrapper records where in
the text a rule began and ended. Signs of emphasis, escapes and code, and the targets of links are left out; a picture
is its description. Struck text keeps its signs: without them it would be read as valid. HTML is text, except a line
break.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from tasks.text.formulas import FORMULA

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token

    Rule = Callable[[StateInline, bool], bool]

Placed = tuple[str, int]
"""A character and its place. One that stands for several, as for ``&amp;``, has the place of the first."""

# Odd text of this length takes 0.3 s, and longer text the square of that. Few paragraphs of a passage are longer.
_MOST_CHARACTERS = 4_000
# Without one of these the text shows what is written.
_SIGNS = re.compile(r"[\\`*_<\[&]")
_LINE_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)


def shown(markdown: str) -> list[Placed]:
    """Return the characters that *markdown*, the content of one block, shows; of very long or hostile text all."""
    if len(markdown) <= _MOST_CHARACTERS and _SIGNS.search(markdown):
        parser, tokens = _parser(), list["Token"]()
        try:
            parser.inline.parse(markdown, parser, {}, tokens)
        except RecursionError:  # pictures in the descriptions of pictures
            return _placed(markdown, 0)
        return list(_shown(tokens, 0))
    return _placed(markdown, 0)


def _shown(tokens: Sequence[Token], offset: int) -> Iterator[Placed]:
    for token in tokens:
        start, end = (offset + cast("int", token.meta[edge]) for edge in ("start", "end"))
        match token.type:
            case "softbreak" | "hardbreak":
                yield "\n", start
            case "html_inline" if _LINE_BREAK.fullmatch(token.content):
                yield " ", start
            case "text" | "html_inline":
                yield from _placed(token.content, start)
            case "text_special" if token.info == "entity":
                yield from ((character, start) for character in token.content)
            case "text_special":
                yield from _placed(token.content, end - len(token.content))
            case "code_inline":
                # A blank on each side may be left out.
                inside = end - start - 2 * len(token.markup)
                yield from _placed(token.content, start + len(token.markup) + (inside - len(token.content)) // 2)
            case "image":
                yield from _shown(token.children or (), start + len("!["))
            case _:
                pass


def _placed(text: str, start: int) -> list[Placed]:
    return list(zip(text, range(start, start + len(text)), strict=True))


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt  # takes 20 ms, which text without signs does not need
    from markdown_it import rules_inline as rule

    parser = MarkdownIt("commonmark")
    # No target is shown or followed, so each is a link.
    cast("Any", parser).validateLink = bool
    rules: dict[str, Rule] = {
        "text": rule.text, "newline": rule.newline, "escape": rule.escape, "backticks": rule.backtick,
        "emphasis": rule.emphasis.tokenize, "link": rule.link, "image": rule.image,
        "autolink": _as_typed(rule.autolink), "html_inline": rule.html_inline, "entity": rule.entity,
    }  # fmt: skip
    for name, read in rules.items():
        parser.inline.ruler.at(name, _with_places(read))
    parser.inline.ruler.before("escape", "formula", _with_places(_formula))
    parser.inline.ruler.push("character", _with_places(_character))
    # Joined tokens would have one place for several.
    parser.inline.ruler2.disable("fragments_join")
    return parser


def _with_places(rule: Rule) -> Rule:
    """Return *rule* so that each of its tokens has its place: those of one rule are next to each other."""

    def placed(state: StateInline, silent: bool) -> bool:
        start, first = state.pos, len(state.tokens)
        if not rule(state, silent):
            return False
        if not silent:
            if state.pending:
                state.pushPending()
            for token in state.tokens[first:]:
                if "start" not in token.meta:  # otherwise a rule inside of a link has set it
                    token.meta.update(start=start, end=state.pos)
                    start += len(token.content)
        return True

    return placed


def _as_typed(rule: Rule) -> Rule:
    """Return the *rule* of addresses in angle brackets, which shows them as they are written."""

    def typed(state: StateInline, silent: bool) -> bool:
        start, first = state.pos, len(state.tokens)
        if not rule(state, silent):
            return False
        if not silent:
            (address,) = (token for token in state.tokens[first:] if token.type == "text" and "start" not in token.meta)
            address.content = state.src[start + 1 : state.pos - 1]
            address.meta.update(start=start + 1, end=state.pos - 1)
        return True

    return typed


def _formula(state: StateInline, silent: bool) -> bool:
    """Keep a formula as it is: its signs are not Markdown's."""
    found = FORMULA.match(state.src, state.pos, state.posMax) if state.src[state.pos] in "$\\" else None
    if found is None:
        return False
    if not silent:
        state.append_pending(found[0])
    state.pos = found.end()
    return True


def _character(state: StateInline, silent: bool) -> bool:
    """Take a sign that no other rule takes."""
    if not silent:
        state.append_pending(state.src[state.pos])
    state.pos += 1
    return True
