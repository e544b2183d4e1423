"""Normalises Markdown through mdformat, and proves for each piece that its meaning is unchanged.

Owns the decision: a formatted piece is accepted only if it has the same words as before, is parsed into the same
structure and text, and does not change when it is formatted once more; otherwise the piece stays unchanged. Formulas
are hidden from the formatter, and come back as they were typed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from markdown_it.token import Token
from mdformat.renderer import MDRenderer

from tasks.optimization.masks import Mask
from tasks.optimization.proof import escaped_signs, list_numbers, meaning, numbers_as_read, words
from tasks.optimization.renderers import FORMATTER, hides_blanks, make_parser, with_blanks
from tasks.optimization.repair import parts
from tasks.optimization.segments import Segment, cut
from tasks.text.formulas import FORMULA

__all__ = ("FORMATTER", "Formatted", "format_markdown", "normalise_table")

# mdformat takes quadratic time in the items of a list (0.03 s for 200, 7 s for 5,000) and in the length of a run of
# brackets or stars. Longer pieces stay unchanged.
_MAX_BLOCK_TOKENS = 800
_MAX_PIECE_CHARACTERS = 10_000

# GFM 4.10 as markdown-it reads it: a pipe is data if the character in front of it is a backslash.
_CELL_END = re.compile(r"(?<!\\)\|")
_DELIMITER_CELL = re.compile(r"(:?)-+(:?)")

# What stays as it is typed: formulas, escapes of signs that are not CommonMark's, links of wikis, notes in a line.
_TYPED = re.compile(rf"{FORMULA.pattern}|\\(?:[$^~]|\[\^)|\[\[[^\[\]\n]+\]\]|\^\[[^\[\]\n]+\]")
_MAY_BE_TYPED = re.compile(r"\$|\\[(\[^~b]|\[\[|\^\[")


@dataclass(frozen=True)
class Formatted:
    """The text, its number of pieces, and how many of them stayed unchanged because of the proof and of their size."""

    text: str
    pieces: int
    kept_for_proof: int
    kept_for_size: int


def format_markdown(text: str) -> Formatted:
    """Return *text* (without front matter) in normal form. Formatting the result again changes nothing."""
    mask = Mask(text)
    try:
        segments = cut(_without_long_formulas(text, mask))
    except RecursionError:
        return Formatted(text, pieces=1, kept_for_proof=0, kept_for_size=1)
    formatter = _Formatter(segments.references)
    done = [mask.show(piece.text) if mask.hides(piece.text) else formatter.format(piece) for piece in segments.pieces]
    joined = "\n\n".join(done)
    return Formatted(
        text=f"{joined}\n" if joined else "",
        pieces=len(done),
        kept_for_proof=formatter.kept_for_proof,
        kept_for_size=formatter.kept_for_size,
    )


def _without_long_formulas(text: str, mask: Mask) -> str:
    """Hide formulas of several lines, or with pipes: what is in them may look like a list, a heading or a cell."""
    if _MAY_BE_TYPED.search(text) is None:
        return text
    return "".join(
        part.text
        if part.is_code
        else mask.hide(FORMULA, part.text, where=lambda formula: "\n" in formula or "|" in formula)
        for part in parts(text)
    )


class _Formatter:
    def __init__(self, references: Mapping[str, Any]) -> None:
        self._references = references
        self._parser = make_parser()
        self.kept_for_proof = 0
        self.kept_for_size = 0

    def format(self, piece: Segment) -> str:
        if piece.kind == "verbatim":
            return piece.text
        if piece.kind == "table":
            mask = Mask(piece.text)
            return mask.show(normalise_table(mask.hide(FORMULA, piece.text).split("\n")))
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
        if hides_blanks(text):
            return None
        try:
            once, meant = self._render(text)
            if once == text:
                return text
            twice, means = self._render(once)
        except (RecursionError, ValueError, AssertionError, KeyError, IndexError):  # the formatter's own failures
            return None
        same = twice == once and meant == means and escaped_signs(text) == escaped_signs(once)
        return once if same and self._same_words(text, once) else None

    def _render(self, text: str) -> tuple[str, str]:
        """Return the normal form of *text*, and the meaning of *text*."""
        mask = Mask(text)
        masked = mask.hide(_TYPED, text) if _MAY_BE_TYPED.search(text) else text
        env: dict[str, Any] = {"references": dict(self._references)}
        tokens = self._parser.parse(masked, env)
        meant = meaning(tokens if masked == text else self._parse(text))
        rendered = cast(Any, MDRenderer()).render(tokens, self._parser.options, env, finalize=False)
        return mask.show(with_blanks(cast(str, rendered))).strip("\n"), meant

    def _parse(self, text: str) -> list[Token]:
        return self._parser.parse(text, {"references": dict(self._references)})

    def _same_words(self, before: str, after: str) -> bool:
        """Return whether every word has equal counts; a list numbered ``1. 1. 1.`` counts as it is read: 1, 2, 3."""
        expected, found = words(before), words(after)
        if expected == found:
            return True
        for numbers in list_numbers(self._parse(before)):
            as_read = numbers_as_read(numbers)
            if as_read is not numbers:
                expected.subtract(numbers)
                expected.update(as_read)
        return +expected == found


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
