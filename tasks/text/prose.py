"""The running text of a Markdown passage, with its exact place, and inline Markdown as plain words.

`prose_spans` leaves out what has no sentences: headings, code, tables, HTML, and the signs that begin a list item.
`plain_text` removes the signs of emphasis, links, images, code, HTML and entities from one run of text. Its result is
for reading and ranking only: offsets into it mean nothing, so a text that is quoted must not pass through it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from blocks.sentences import Span
from tasks.text.formulas import DOLLAR_FORMULA
from tasks.text.scanner import LAYOUT, scan_blocks

_LINE = re.compile(r"[^\r\n]+")
# The line that stage 1 sets above the text of a page (`tasks.conversion.ocr.pages`): no words of the document.
_OCR_MARK = re.compile(r"\*Read by OCR, confidence [01]\.\d\d\*\s*")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(\w*)")
# Inside a line: two blanks or a tab, dots that lead to the next cell; in a layout a drawn line too.
_GAP = r"(?<=\S)(?:[ \u00a0\u3000]{2,}|[ ]*\t[ \t]*)(?=\S)|[ ]?\.{4,}[ ]*|(?: \.){3,}[ ]*"
_CELL_END = re.compile(_GAP)
_LAYOUT_CELL_END = re.compile(rf"{_GAP}|[\u2500-\u257f|]+")
_ITEM = re.compile(r"^[ \t>]*(?:[-+*]|\d{1,9}[.)])[ \t]+(?:\[[ xX]\][ \t]+)?", re.M)
_QUOTE_SIGN = re.compile(r"^[ \t]{0,3}(?:>[ \t]?)+", re.M)
_IMAGE_OR_LINK = re.compile(r"!?\[([^\[\]]*)\](?:\([^()\s]*(?:\s[^()]*)?\)|\[[^\[\]]*\])")
_AUTOLINK = re.compile(r"<((?:https?|mailto):[^<>\s]*)>")
# CommonMark 6.6; "x<y, z>w" is none.
_ATTRIBUTE = r"""\s+[A-Za-z_:][\w.:-]*(?:\s*=\s*(?:"[^"<>]*"|'[^'<>]*'|[^\s"'=<>`]+))?"""
_TAG = re.compile(rf"</?[A-Za-z][A-Za-z0-9-]*(?:{_ATTRIBUTE})*\s*/?>|<!--[^<>]*>")
# Signs of emphasis are at the edge of a word; inside one ("snake_case", "2*3") they are text.
_EMPHASIS = re.compile(r"(?<!\w)(\*{1,3}|_{1,3}|~~)(?=\S)(.{1,400}?)(?<=\S)\1(?!\w)", re.S)
_CODE = re.compile(r"(?<!`)(`+)(?!`)(.{1,400}?)(?<!`)\1(?!`)", re.S)
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")
_HARD_BREAK = re.compile(r"\\[ \t]*(?=\r?\n|\r)")
_TYPED_RAISED = re.compile(r"<(sup|sub)>([^<>\s]{1,40})</\1>")
# Within a line: what is struck out is a price or a word, not a paragraph.
_STRUCK = re.compile(r"(?<![\\~])~~(?=[^\s~])[^~\n]{0,500}(?<=[^\s\\])~~(?!~)")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_NOTE_MARK = re.compile(r"\[\^[^\]\s]{1,60}\]:?")
# As stage 1 writes them: "10^3^", "H~2~O".
_RAISED = re.compile(r"\^([^\s^]{1,40})\^")
_LOWERED = re.compile(r"(?<=\w)(?<!~)~([^\s~]{1,40})~(?!~)")
# Signs that are text (escaped, in code or in a formula) are out of reach in the last private-use plane for a while.
_SAFE = {sign: 0x10F000 + sign for sign in range(0x21, 0x7F) if not chr(sign).isalnum()}
_UNSAFE = {safe: sign for sign, safe in _SAFE.items()}
_LINE_END = re.compile(r"[ \t]*\r?\n[ \t]*")
# A shorter line of a layout is not full: it ends where its text ends.
MIN_WRAPPED_CHARACTERS = 45
# Emphasis in emphasis in emphasis.
_EMPHASIS_LEVELS = 3


@dataclass(frozen=True, slots=True)
class Piece:
    """Characters ``[start, end)``: running text, or a cell of a layout, in which no sign is markup."""

    start: int
    end: int
    is_layout: bool = False


def prose_spans(text: str, inside: str = "") -> Iterator[Span]:
    """Yield start and end of each piece of running text, in order; of a layout, each cell.

    *inside* is the opening line of a code block that *text* begins inside.
    """
    return ((piece.start, piece.end) for piece in pieces(text, inside))


def pieces(text: str, inside: str = "") -> Iterator[Piece]:
    """Yield the pieces whose places `prose_spans` gives."""
    for block in scan_blocks(text, inside=inside):
        if block.kind == "list":
            yield from (Piece(*span) for span in _items(text, block.start, block.end))
        elif block.kind == "quote":
            yield from _quoted(text, block.start, block.end)
        elif block.kind == "paragraph" and not is_ocr_mark(text, block.start, block.end):
            yield Piece(block.start, block.end)
        elif block.is_layout:
            spans = _lines(text, block.start, block.end, _labelled)
            yield from (Piece(start, end, is_layout=True) for start, end in _wrapped(text, spans))


def is_ocr_mark(text: str, start: int, end: int) -> bool:
    """Return whether a block is the line that stage 1 sets above text read by OCR."""
    return _OCR_MARK.fullmatch(text, start, end) is not None


def mention_spans(text: str, inside: str = "") -> Iterator[Span]:
    """Yield start and end of each piece of text in which names, dates and amounts may be, in order.

    Two blanks, or a tab, are the end of a cell, and no amount goes on over it.
    """
    for block in scan_blocks(text, inside=inside):
        if block.is_layout:
            yield from _lines(text, block.start, block.end, _layout_cells)
        elif block.kind == "quote":
            for piece in _quoted(text, block.start, block.end):
                yield from _cells(text, piece.start, piece.end)
        elif block.kind == "table":
            yield block.start, block.end
        elif block.kind not in ("code", "heading", "html") and not is_ocr_mark(text, block.start, block.end):
            yield from _cells(text, block.start, block.end)


def _lines(text: str, start: int, end: int, cells: Callable[[str, int, int], Iterator[Span]]) -> Iterator[Span]:
    """Yield the cells of each line of a layout, without the lines of its fence."""
    for line in _LINE.finditer(text, start, end):
        if _FENCE.match(line[0]) is None:
            yield from cells(text, line.start(), line.end())


def _layout_cells(text: str, start: int, end: int) -> Iterator[Span]:
    return _cells(text, start, end, _LAYOUT_CELL_END)


def _cells(text: str, start: int, end: int, cell_end: re.Pattern[str] = _CELL_END) -> Iterator[Span]:
    for gap in cell_end.finditer(text, start, end):
        if start < gap.start():
            yield start, gap.start()
        start = gap.end()
    if start < end:
        yield start, end


def _labelled(text: str, start: int, end: int) -> Iterator[Span]:
    """Yield the cells of a line; a label and its value ("Date:    3 June") are read together."""
    found = list(_layout_cells(text, start, end))
    if len(found) == 2 and text[found[0][1] - 1] == ":":
        found = [(found[0][0], found[1][1])]
    yield from found


def _wrapped(text: str, cells: Iterable[Span]) -> Iterator[Span]:
    """Yield *cells*, but lines of one cell that a sentence goes on over as one: text stands in layouts too."""
    at: Span | None = None
    for start, end in cells:
        if at and _goes_on(text, at, start, end):
            at = at[0], end
            continue
        if at:
            yield at
        at = start, end
    if at:
        yield at


def _goes_on(text: str, at: Span, start: int, end: int) -> bool:
    """Return whether the cell at *start* begins the line below *at* and goes on with its sentence."""
    if not _LINE_END.fullmatch(text, at[1], start) or text[at[1] - 1] in ".!?:;|":
        return False
    line = text[text.rfind("\n", 0, at[1]) + 1 : at[1]]
    first = text[start:end].lstrip()[:1]
    if len(line) < MIN_WRAPPED_CHARACTERS or not (
        first.islower() or (first.isupper() and (text[at[1] - 1].islower() or text[at[1] - 1] in ",-"))
    ):
        return False
    line = line.strip()
    return all(line[gap.start() - 1] in ".!?:;-" for gap in _LAYOUT_CELL_END.finditer(line))


def _quoted(text: str, start: int, end: int) -> Iterator[Piece]:
    """Yield the pieces of a quotation: its prose with the quotation signs, and the cells of layouts in it without."""
    at, closing = start, ""
    for line in _LINE.finditer(text, start, end):
        sign = _QUOTE_SIGN.match(line[0])
        content = sign.end() if sign else 0
        fence = _FENCE.match(line[0], content)
        if closing:
            if fence and fence[1].startswith(closing):
                at, closing = line.end() + 1, ""
            else:
                for first, last in _labelled(text, line.start() + content, line.end()):
                    yield Piece(first, last, is_layout=True)
        elif fence and fence[2] == LAYOUT:
            if text[at : line.start()].strip("> \n"):
                yield Piece(at, line.start() - 1)
            closing = fence[1]
    if not closing and at < end:
        yield Piece(at, end)


def without_quote_signs(text: str) -> str:
    """Return *text* without the ``>`` at the beginning of its lines."""
    return _QUOTE_SIGN.sub("", text)


def _items(text: str, start: int, end: int) -> Iterator[Span]:
    for marker in _ITEM.finditer(text, start, end):
        if start < marker.start():
            yield start, marker.start()
        start = marker.end()
    if start < end:
        yield start, end


def without_struck(text: str) -> str:
    """Return *text* with blanks in place of what is struck out (GFM 6.5): every place stays what it was."""
    return _STRUCK.sub(lambda struck: " " * len(struck[0]), text) if "~~" in text else text


def plain_text(markdown: str) -> str:
    """Return the words of *markdown* in one line, without those that are struck out."""
    text = _ESCAPE.sub(lambda escape: escape[1].translate(_SAFE), markdown)
    text = _HARD_BREAK.sub(" ", text)
    text = DOLLAR_FORMULA.sub(lambda formula: formula[0].translate(_SAFE), text)
    text = _CODE.sub(lambda code: code[2].translate(_SAFE), text)
    text = _NOTE_MARK.sub("", _IMAGE_OR_LINK.sub(r"\1", _STRUCK.sub("", text)))
    text = _AUTOLINK.sub(r"\1", text)
    text = _TYPED_RAISED.sub(lambda typed: f"^{typed[2]}^" if typed[1] == "sup" else typed[2], text)
    text = _TAG.sub(" ", text)
    for _ in range(_EMPHASIS_LEVELS):
        text = _EMPHASIS.sub(r"\2", text)
    text = _LOWERED.sub(r"\1", _RAISED.sub(r"^\1", text))
    text = _ENTITY.sub(lambda entity: html.unescape(entity[0]), text)
    return " ".join(text.translate(_UNSAFE).split())
