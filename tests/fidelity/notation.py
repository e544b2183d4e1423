"""The same Markdown in other notations, so that a case asks what a converter has read, and not how it writes it; pure.

A text is read as it stands; with its notation made equal (tables of HTML and padded ones as plain pipe tables, raised
and lowered text, entities, escapes, line breaks); then as mere words, with one blank for any white; with the marks of
notes made equal; and with one kind of code block. What is looked for is read in the same way.
"""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Iterator

_TABLE = re.compile(r"<table\b.*?</table>", re.DOTALL | re.IGNORECASE)
_ROW = re.compile(r"<tr\b[^>]*>(.*?)(?=</tr>|<tr\b|</table>)", re.DOTALL | re.IGNORECASE)
_CELL = re.compile(r"<t[dh]\b[^>]*>(.*?)(?=</t[dh]>|<t[dh]\b|</tr>|$)", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"</?[a-z][^<>]*>", re.IGNORECASE)
_BREAK = re.compile(r"<br\s*/?>|\\\n|  +\n(?=\S)", re.IGNORECASE)
_PIPE_ROW = re.compile(r"^[ ]*\|.*\|[ ]*$", re.MULTILINE)
_BETWEEN_CELLS = re.compile(r"(?<!\\)\|")
_RULE_CELL = re.compile(r":?-+:?")
_RAISED = re.compile(r"<sup>([^<>\n]+)</sup>", re.IGNORECASE)
_LOWERED = re.compile(r"<sub>([^<>\n]+)</sub>", re.IGNORECASE)
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")
_EMPHASIS = re.compile(r"(\*{1,3}|(?<!\w)_{1,3})(?=\S)(.+?)(?<=\S)\1", re.DOTALL)
_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()\s]*\)")
_HEADING = re.compile(r"^#{1,6} ", re.MULTILINE)
_WHITE = re.compile(r"(?:\s|<br>)+")
_FENCE = re.compile(r"^(`{3,}|~{3,}) *[\w{}.-]*$", re.MULTILINE)
_INDENTED = re.compile(r"(?<=\n\n)(?: {4}.*\n|\n(?= {4}))+")
# markitdown: "[[1]](#footnote-1)" and at the end "1. text [↑](#footnote-ref-1)"; docling: "[1](#n1)"; HTML: raised.
_MARK = re.compile(r"\[?\\?\[(?:<sup>)?(\w{1,4})(?:</sup>)?\\?\]\]?\(#[^()]*\)|<sup>(\d{1,3})</sup>")
_TEXT_OF_NOTE = re.compile(r"^(?:[-*] +)?(\d{1,3})\. +(.*?)\s*(?:\[\S{1,2}\]\(#[^()]*\))\s*$", re.MULTILINE)


def readings(text: str) -> Iterator[str]:
    """Yield *text*, or a part that is looked for, as it stands and then in each notation that says the same."""
    yield text
    equal = _equal(text)
    yield equal
    yield _as_words(equal)
    noted = _MARK.sub(lambda mark: f"[^{mark[1] or mark[2]}]", _TEXT_OF_NOTE.sub(r"[^\1]: \2", text))
    yield _equal(noted)
    fenced = _INDENTED.sub(lambda code: f"```\n{textwrap.dedent(code[0])}```\n", text)
    yield _equal(_FENCE.sub(r"\1", fenced))


def _as_words(text: str) -> str:
    """Return *text* without emphasis, links and the signs of headings, and with one blank for any white."""
    text = _EMPHASIS.sub(r"\2", _LINK.sub(r"\1", text))
    return _WHITE.sub(" ", _HEADING.sub("", text))


def _equal(text: str) -> str:
    text = _TABLE.sub(lambda table: f"\n\n{_pipes(table[0])}\n\n", text)
    text = _BREAK.sub("<br>", text)
    text = _PIPE_ROW.sub(lambda row: _row(_BETWEEN_CELLS.split(row[0].strip())[1:-1]), text)
    text = _LOWERED.sub(r"~\1~", _RAISED.sub(r"^\1^", text))
    return html.unescape(_ESCAPE.sub(r"\1", text)).replace("\u00a0", " ")


def _pipes(table: str) -> str:
    rows = [[_words(cell) for cell in _CELL.findall(row)] for row in _ROW.findall(table)]
    if not rows:
        return ""
    return "\n".join([_row(rows[0]), _row(["-"] * len(rows[0])), *map(_row, rows[1:])])


def _words(cell: str) -> str:
    """Return a cell of HTML as one of a pipe table; line breaks, raised and lowered text stay marked."""
    cell = re.sub(r"</p>\s*<p\b[^>]*>", "<br>", cell, flags=re.IGNORECASE)
    kept = re.sub(r"<(/?(?:br|sup|sub)\b[^<>]*)>", "\x00\\1\x01", cell, flags=re.IGNORECASE)
    return " ".join(_TAG.sub("", kept).replace("\x00", "<").replace("\x01", ">").split())


def _row(cells: list[str]) -> str:
    if cells and all(_RULE_CELL.fullmatch(cell.strip()) for cell in cells):
        return f"| {' | '.join('-' for _ in cells)} |"
    return f"| {' | '.join(' '.join(cell.split()) for cell in cells)} |"
