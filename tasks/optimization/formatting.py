"""Normalises Markdown through mdformat, and proves for each piece that it still says the same.

Owns the proof: a formatted piece counts only if it holds the same words as before, is parsed into the same structure,
and does not change when it is formatted once more; otherwise the piece stays as it was. mdformat's own ways that would
change words (renumbering, padding numbers with zeros) are replaced here.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import mdformat
import mdformat.plugins
from markdown_it import MarkdownIt
from mdformat.renderer import MDRenderer, RenderContext, RenderTreeNode

from tasks.optimization.meaning import meaning
from tasks.optimization.segments import MAX_NESTING, Segment, cut
from tasks.optimization.table import normalise_table

FORMATTER = f"mdformat {mdformat.__version__}"

# mdformat's time grows with the square of a list's items (0.03 s at 200 of them, 7 s at 5,000), and with the square of
# a run of brackets or stars. Longer pieces stay as they are.
_MAX_BLOCK_TOKENS = 800
_MAX_PIECE_CHARACTERS = 10_000

_WORD = re.compile(r"[^\W_]+")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")


@dataclass(frozen=True)
class Formatted:
    """The text, how many pieces it has, how many stayed because the proof failed, how many for their size."""

    text: str
    pieces: int
    kept_for_proof: int
    kept_for_size: int


def format_markdown(text: str) -> Formatted:
    """*text* (without front matter) in normal form. Formatting the result again gives the result."""
    try:
        segments = cut(text)
    except RecursionError:
        return Formatted(text, pieces=1, kept_for_proof=0, kept_for_size=1)
    formatter = _Formatter(segments.references)
    done = [formatter.format(piece) for piece in segments.pieces]
    joined = "\n\n".join(done)
    return Formatted(
        text=f"{joined}\n" if joined else "",
        pieces=len(done),
        kept_for_proof=formatter.kept_for_proof,
        kept_for_size=formatter.kept_for_size,
    )


def words(text: str) -> Counter[str]:
    """How often each word stands in *text*; markup, case and the spelling of entities do not count."""
    if "&" in text:
        text = _ENTITY.sub(lambda entity: html.unescape(entity[0]), text)
    return Counter(_WORD.findall(text.casefold()))


class _Formatter:
    def __init__(self, references: Mapping[str, Any]) -> None:
        self._references = references
        self._parser = _parser()
        self.kept_for_proof = 0
        self.kept_for_size = 0

    def format(self, piece: Segment) -> str:
        if piece.kind == "verbatim":
            return piece.text
        if piece.kind == "table":
            return normalise_table(piece.text.split("\n"))
        if piece.tokens > _MAX_BLOCK_TOKENS or len(piece.text) > _MAX_PIECE_CHARACTERS:
            self.kept_for_size += 1
            return piece.text
        formatted = self._stable(piece.text)
        if formatted is None:
            self.kept_for_proof += 1
            return piece.text
        return formatted

    def _stable(self, text: str) -> str | None:
        """The formatted text if it passes the proof; None otherwise."""
        try:
            once, meant = self._render(text)
            if once == text:
                return text
            twice, means = self._render(once)
        except (RecursionError, ValueError, AssertionError, KeyError, IndexError):  # the formatter's own failures
            return None
        return once if twice == once and meant == means and self._same_words(text, once) else None

    def _render(self, text: str) -> tuple[str, str]:
        """The normal form of *text*, and what *text* means."""
        env: dict[str, Any] = {"references": dict(self._references)}
        tokens = self._parser.parse(text, env)
        meant = meaning(tokens)
        renderer = cast(Any, MDRenderer())
        return cast(str, renderer.render(tokens, self._parser.options, env, finalize=False)).strip("\n"), meant

    def _same_words(self, before: str, after: str) -> bool:
        """Equal counts of every word, where a list numbered ``1. 1. 1.`` counts as it is read: 1, 2, 3."""
        expected, found = words(before), words(after)
        if expected == found:
            return True
        for numbers in self._list_numbers(before):
            if _is_constant(numbers):
                expected.subtract(numbers)
                expected.update(_counted_up(numbers))
        return +expected == found

    def _list_numbers(self, text: str) -> list[list[str]]:
        """The numbers of each ordered list in *text*, as they are written."""
        found: list[list[str]] = []
        open_lists: list[list[str]] = []
        for token in self._parser.parse(text, {"references": dict(self._references)}):
            if token.type in ("ordered_list_open", "bullet_list_open"):
                open_lists.append([])
            elif token.type == "list_item_open" and token.info:
                open_lists[-1].append(token.info)
            elif token.type in ("ordered_list_close", "bullet_list_close"):
                found.append(open_lists.pop())
        return found


def _parser() -> MarkdownIt:
    """markdown-it set up as mdformat does it, with tables, strike-through, task lists and the renderers below."""
    parser = MarkdownIt("commonmark", {"maxNesting": MAX_NESTING}, renderer_cls=cast(Any, MDRenderer))
    options = cast(dict[str, Any], parser.options)
    gfm = mdformat.plugins.PARSER_EXTENSIONS["gfm"]
    options["mdformat"], options["codeformatters"] = {}, {}
    options["store_labels"] = True
    options["parser_extension"] = [_OwnRenderers, gfm]
    gfm.update_mdit(parser)
    return parser


def _is_constant(numbers: Sequence[str]) -> bool:
    return len(numbers) > 1 and len(set(numbers)) == 1


def _counted_up(numbers: Sequence[str]) -> list[str]:
    return [str(int(numbers[0]) + index) for index in range(len(numbers))]


def _ordered_list(node: RenderTreeNode, context: RenderContext) -> str:
    """Numbers as the author wrote them, unless all are the same: mdformat would renumber and pad them with zeros."""
    numbers = [item.info for item in node.children]
    if _is_constant(numbers):
        numbers = _counted_up(numbers)
    rendered = [
        _list_item(item, context, f"{number}{node.markup}") for item, number in zip(node.children, numbers, strict=True)
    ]
    return ("\n" if _is_tight(node) else "\n\n").join(rendered)


def _list_item(item: RenderTreeNode, context: RenderContext, marker: str) -> str:
    indent = " " * (len(marker) + 1)
    with context.indented(len(indent)):
        first, *others = item.render(context).split("\n")
    lines = [f"{marker} {first}" if first else marker, *(f"{indent}{line}" if line else "" for line in others)]
    return "\n".join(lines)


def _is_tight(node: RenderTreeNode) -> bool:
    """CommonMark 5.3: the parser hides the paragraphs of a tight list."""
    return all(child.hidden for item in node.children for child in item.children if child.type == "paragraph")


def _thematic_break(node: RenderTreeNode, context: RenderContext) -> str:
    """Three stars: hyphens would underline a heading or open a front matter, mdformat's 70 underscores are noise."""
    return "***"


class _OwnRenderers:
    """An mdformat extension (its plug-in protocol): renderers that replace those of the same name."""

    RENDERERS: Mapping[str, Any] = {"ordered_list": _ordered_list, "hr": _thematic_break}
