"""The pieces of a line between an HTML tree and the runs of the Markdown writer; pure.

Owns white space as HTML collapses it, line ends, and formulas typed into text, which stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tasks.conversion.markdown_writer import Position, Run, escape
from tasks.conversion.markdown_writer import inline as written

BOLD, ITALIC, STRUCK, RAISED, LOWERED = 1, 2, 4, 8, 16
_POSITIONS: dict[int, Position] = {0: "", RAISED: "raised", LOWERED: "lowered"}

LINE_END = "\n"
# Markdown of a line end inside a paragraph.
BREAK = "\\\n"

_BLANKS = re.compile(r"[ \t\n\r\f]+")
_NOT_ESCAPED = re.compile(r"[^\\`*_\[\]<&~$]*")
# TeX that scripts show as formulas: \(..\), \[..\], $$..$$, and $..$ that holds a sign of TeX.
_FORMULA = re.compile(
    r"\\\(.{1,2000}?\\\)|\\\[.{1,4000}?\\\]|\$\$.{1,4000}?\$\$"
    r"|(?<![\w$\\])\$(?=[^\s$])(?=[^$]{0,999}[\\^_{])[^$]{1,1000}(?<=\S)\$(?![\w$])"
)
_NOWHERE = ("javascript:", "data:", "cid:", "about:", "blob:", "#")
_ADDRESS = re.compile(r"https?://[^\s<>]+", re.IGNORECASE)


class Piece(NamedTuple):
    """Some text of one style. `raw` is Markdown already; a line feed is a line end that the page shows."""

    text: str
    style: int = 0
    raw: bool = False
    link: str = ""


def collapse(text: str) -> str:
    """Return *text* with runs of white space as one blank; no-break spaces stay, soft hyphens go."""
    text = _BLANKS.sub(" ", text)
    return text.replace("\u00ad", "") if "\u00ad" in text else text


def render(pieces: Iterable[Piece]) -> str:
    """Return the pieces as Markdown: one line, or several with `BREAK` between them."""
    joined = _normalised(pieces)
    if len(joined) == 1 and not (joined[0].style or joined[0].raw or joined[0].link):
        text = joined[0].text.strip(" ")
        if _NOT_ESCAPED.fullmatch(text):
            return text.strip("\n").replace("\n", BREAK)
    return written(run for piece in joined for run in _runs(piece))


def split_paragraphs(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Yield the paragraphs in *pieces*: two line ends in a row stand for one between paragraphs."""
    part: list[Piece] = []
    ends = 0
    for piece in pieces:
        if piece.text == LINE_END:
            ends += 1
            if ends == 2:
                yield part
                part = []
        elif piece.text.strip(" \u00a0"):
            ends = 0
        if ends < 2:
            part.append(piece)
    yield part


def link_target(address: str) -> str:
    """Return where a link leads; empty for one that leads nowhere outside of the document."""
    address = address.strip()
    return "" if address.lower().startswith(_NOWHERE) else address


def autolink(text: str, address: str) -> str:
    """Return a link that is its own text, or nothing if the two differ."""
    return f"<{address}>" if text == escape(address) and _ADDRESS.fullmatch(address) else ""


def _normalised(pieces: Iterable[Piece]) -> list[Piece]:
    """Join neighbours of one style; a blank after another one or next to a line end is dropped."""
    result: list[Piece] = []
    for given, style, raw, link in pieces:
        follows_blank = result and result[-1].text[-1] in " \n" and not raw
        text = given.lstrip(" ") if follows_blank else given
        if not text:
            continue
        if result:
            last = result[-1]
            if text[0] == "\n" and last.text[-1] == " " and not last.raw:
                last = result[-1] = last._replace(text=last.text.rstrip(" "))
                if not last.text:
                    result.pop()
                    last = result[-1] if result else Piece("")
            if result and (last.style, last.raw, last.link) == (style, raw, link):
                result[-1] = last._replace(text=last.text + text)
                continue
        result.append(Piece(text, style, raw, link))
    return result


def _runs(piece: Piece) -> Iterator[Run]:
    if piece.raw or ("$" not in piece.text and "\\" not in piece.text):
        yield _run(piece, piece.text, markdown=piece.raw)
        return
    end = 0
    for formula in _FORMULA.finditer(piece.text):
        yield _run(piece, piece.text[end : formula.start()], markdown=False)
        yield _run(piece, formula[0], markdown=True)
        end = formula.end()
    yield _run(piece, piece.text[end:], markdown=False)


def _run(piece: Piece, text: str, *, markdown: bool) -> Run:
    style = piece.style
    return Run(
        text=text,
        bold=bool(style & BOLD),
        italic=bool(style & ITALIC),
        struck=bool(style & STRUCK),
        position=_POSITIONS.get(style & (RAISED | LOWERED), ""),
        link=piece.link,
        markdown=markdown,
    )
