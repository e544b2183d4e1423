"""Cutting of a Markdown document into pieces that have the same meaning alone as together; pure.

Owns the places where that is true. Formatting piece by piece confines a failure to its piece and keeps each call small.
Link reference definitions (CommonMark 4.7) belong to the whole document: they stay where they are, and every piece is
parsed with all of them known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from markdown_it import MarkdownIt
from markdown_it.token import Token

Kind = Literal["prose", "table", "verbatim"]

# Enough for lists within lists within quotes; the parser silently drops deeper nesting.
MAX_NESTING = 60
_NOTE = re.compile(r" {0,3}\[\^[^\]\s]+\]:")
_FOREIGN = re.compile(r"^[ \t]*(?::{3,}|\{[%{])", re.MULTILINE)
_LISTS = frozenset({"bullet_list_open", "ordered_list_open"})


@dataclass(frozen=True)
class Segment:
    """Lines of the document, without empty lines around them. `tokens` counts the block tokens in it."""

    text: str
    kind: Kind
    tokens: int = 0


@dataclass(frozen=True)
class Segments:
    """The pieces in order, and the reference definitions of the whole document as markdown-it's `env` holds them."""

    pieces: tuple[Segment, ...]
    references: Mapping[str, Any]


@dataclass(frozen=True)
class _Block:
    start: int
    end: int
    type: str
    tokens: int


def cut(text: str) -> Segments:
    """Cut *text* by its top-level blocks. Raises `RecursionError` for hostile nesting."""
    parser = MarkdownIt("commonmark", {"maxNesting": MAX_NESTING}).enable("table")
    parser.core.ruler.disable(["inline", "text_join"])
    env: dict[str, Any] = {}
    blocks = _blocks(parser.parse(text, env))
    lines = text.split("\n")
    pieces: list[Segment] = []
    at = 0
    for group in _groups(blocks, lines):
        start, end = group[0].start, group[-1].end
        pieces += _verbatim(lines[at:start])  # lines that no block covers are definitions
        piece = "\n".join(lines[start:end]).strip("\n")
        kind = "verbatim" if _continues_note(group[0], lines) else _kind(group, piece)
        pieces.append(Segment(piece.rstrip(), kind, sum(block.tokens for block in group)))
        at = end
    pieces += _verbatim(lines[at:])
    return Segments(tuple(piece for piece in pieces if piece.text.strip()), env.get("references", {}))


def _kind(group: list[_Block], piece: str) -> Kind:
    # The formatter does not know footnotes, directives and templates: it would escape or indent their signs.
    if _NOTE.match(piece) or _FOREIGN.search(piece):
        return "verbatim"
    if group[0].type == "table_open":
        return "table"
    # The formatter has headings on one line only, and a line's end may part two numbers.
    is_long = group[0].type == "heading_open" and piece.count("\n") > 1
    return "verbatim" if is_long else "prose"


def _continues_note(block: _Block, lines: list[str]) -> bool:
    """Return whether a block that looks like indented code is a further paragraph of a footnote."""
    if block.type != "code_block":
        return False
    at = block.start - 1
    while at > 0 and not lines[at].strip():
        at -= 1
    while at > 0 and lines[at - 1].strip():
        at -= 1
    return at >= 0 and _NOTE.match(lines[at]) is not None


def _blocks(tokens: list[Token]) -> list[_Block]:
    blocks: list[_Block] = []
    first = 0
    for index, token in enumerate(tokens):
        if token.level == 0 and token.nesting >= 0 and token.map is not None:
            first = index
            blocks.append(_Block(token.map[0], token.map[1], token.type, 1))
        elif blocks:
            block = blocks[-1]
            blocks[-1] = _Block(block.start, block.end, block.type, index - first + 1)
    return blocks


def _groups(blocks: list[_Block], lines: list[str]) -> list[list[_Block]]:
    """Group neighbours that may change each other's meaning."""
    groups: list[list[_Block]] = []
    for block in blocks:
        if groups and _belong_together(groups[-1][-1], block, lines):
            groups[-1].append(block)
        else:
            groups.append([block])
    return groups


def _belong_together(before: _Block, after: _Block, lines: list[str]) -> bool:
    """Return whether *after* stays with a list *before*: a list, or indented text, would join it."""
    if before.type not in _LISTS:
        return False
    return after.type in _LISTS or lines[after.start][:1] in (" ", "\t")


def _verbatim(lines: list[str]) -> list[Segment]:
    text = "\n".join(lines).strip("\n")
    return [Segment(text.strip(), "verbatim")] if text.strip() else []
