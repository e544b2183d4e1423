"""Normalises Markdown through mdformat, and proves for each piece that its meaning is unchanged.

Owns the decision: a formatted piece is accepted only if it has the same words as before, is parsed into the same
structure, and does not change when it is formatted once more; otherwise the piece stays unchanged. Renderers of
mdformat that would change words (renumbering, padding numbers with zeros) are replaced here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import mdformat
import mdformat.plugins
from markdown_it import MarkdownIt
from mdformat.renderer import MDRenderer, RenderContext, RenderTreeNode

from tasks.optimization.proof import meaning, words
from tasks.optimization.segments import MAX_NESTING, Segment, cut

FORMATTER = f"mdformat {mdformat.__version__}"

# mdformat takes quadratic time in the items of a list (0.03 s for 200, 7 s for 5,000) and in the length of a run of
# brackets or stars. Longer pieces stay unchanged.
_MAX_BLOCK_TOKENS = 800
_MAX_PIECE_CHARACTERS = 10_000

# GFM 4.10 as markdown-it reads it: a pipe is data if the character in front of it is a backslash.
_CELL_END = re.compile(r"(?<!\\)\|")
_DELIMITER_CELL = re.compile(r"(:?)-+(:?)")


@dataclass(frozen=True)
class Formatted:
    """The text, its number of pieces, and how many of them stayed unchanged because of the proof and of their size."""

    text: str
    pieces: int
    kept_for_proof: int
    kept_for_size: int


def format_markdown(text: str) -> Formatted:
    """Return *text* (without front matter) in normal form. Formatting the result again changes nothing."""
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
        """Return the formatted text if it passes the proof; None otherwise."""
        try:
            once, meant = self._render(text)
            if once == text:
                return text
            twice, means = self._render(once)
        except (RecursionError, ValueError, AssertionError, KeyError, IndexError):  # the formatter's own failures
            return None
        return once if twice == once and meant == means and self._same_words(text, once) else None

    def _render(self, text: str) -> tuple[str, str]:
        """Return the normal form of *text*, and the meaning of *text*."""
        env: dict[str, Any] = {"references": dict(self._references)}
        tokens = self._parser.parse(text, env)
        meant = meaning(tokens)
        renderer = cast(Any, MDRenderer())
        return cast(str, renderer.render(tokens, self._parser.options, env, finalize=False)).strip("\n"), meant

    def _same_words(self, before: str, after: str) -> bool:
        """Return whether every word has equal counts; a list numbered ``1. 1. 1.`` counts as it is read: 1, 2, 3."""
        expected, found = words(before), words(after)
        if expected == found:
            return True
        for numbers in self._list_numbers(before):
            if _is_constant(numbers):
                expected.subtract(numbers)
                expected.update(_counted_up(numbers))
        return +expected == found

    def _list_numbers(self, text: str) -> list[list[str]]:
        """Return the numbers of each ordered list in *text*, as they are written."""
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


def normalise_table(lines: list[str]) -> str:
    """Return the table's *lines* with single spaces around cells and the shortest delimiter row.

    mdformat parses every cell as Markdown and takes 16 s per MB of table; splitting at the unescaped pipes takes a
    thousandth of that and cannot lose a cell, not even one outside the columns of the header.
    """
    rows = [_cells(line) for line in lines]
    if len(rows) > 1:
        rows[1] = [_delimiter(cell) for cell in rows[1]]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cells(line: str) -> list[str]:
    cells = [cell.strip() for cell in _CELL_END.split(line.strip())]
    if len(cells) > 1 and not cells[0]:
        del cells[0]
    if len(cells) > 1 and not cells[-1]:
        del cells[-1]
    return cells


def _delimiter(cell: str) -> str:
    found = _DELIMITER_CELL.fullmatch(cell)
    return f"{found[1]}---{found[2]}" if found else cell


def _parser() -> MarkdownIt:
    """Return markdown-it as mdformat sets it up, with tables, strike-through, task lists and the renderers below."""
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
    """Render numbers as the author wrote them, unless all are the same: mdformat would renumber and pad them."""
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
    """Return whether a list is tight: the parser hides its paragraphs then (CommonMark 5.3)."""
    return all(child.hidden for item in node.children for child in item.children if child.type == "paragraph")


def _thematic_break(node: RenderTreeNode, context: RenderContext) -> str:
    """Render three stars: hyphens could underline a heading or open a front matter, 70 underscores are noise."""
    return "***"


class _OwnRenderers:
    """An mdformat extension (its plug-in protocol): renderers that replace those of the same name."""

    RENDERERS: Mapping[str, Any] = {"ordered_list": _ordered_list, "hr": _thematic_break}
