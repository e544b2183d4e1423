"""Top-level blocks of a Markdown text, with their exact place in it.

Owns block structure as far as chunking needs it (CommonMark 0.31 sections 4 and 5.1-5.3, and GFM tables): headings,
fenced and indented code, HTML, quotes, lists, tables, paragraphs. It reads line by line, builds no tree, and takes time
in proportion to any text: parsers that build a tree take 500 bytes a token, which is gigabytes for a large table. Does
not read inline structure, nor anything inside a list or a quote.

In malformed text a boundary may differ from CommonMark's; no character is ever lost, because blocks are spans of the
text and every line that is not blank belongs to one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["heading", "paragraph", "list", "table", "code", "html", "quote", "rule"]

# A title is context for people and for the embedding; a longer one is an underlined paragraph.
MAX_TITLE_CHARACTERS = 200

TAB_STOP = 4
CODE_INDENT = 4  # CommonMark 4.4
LAYOUT = "text"  # the info string of code blocks that are text (`tasks.conversion.plain.markdown`)

LINE_END = re.compile(r"\r\n|\r|\n")

_LINE = re.compile(r"([^\r\n]*)(?:\r\n|\r|\n|\Z)")
_ATX = re.compile(r" {0,3}(#{1,6})(?=[ \t]|$)")
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_RULE = re.compile(r" {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_QUOTE = re.compile(r" {0,3}>")
_LIST = re.compile(r"( {0,3})([-+*]|\d{1,9}[.)])(?=[ \t]|$)")
_NOTE = re.compile(r" {0,3}\[\^[^\]\s]+\]:")
# CommonMark 4.6, kind 6: elements that are blocks in HTML. Kind 7 is any other tag that has the line to itself.
_BLOCK_TAG = re.compile(
    r" {0,3}</?(?:address|article|aside|base|basefont|blockquote|body|caption|center|col|colgroup|dd|details|dialog|"
    r"dir|div|dl|dt|fieldset|figcaption|figure|footer|form|frame|frameset|h[1-6]|head|header|hr|html|iframe|legend|li|"
    r"link|main|menu|menuitem|nav|noframes|ol|optgroup|option|p|param|search|section|summary|table|tbody|td|tfoot|th|"
    r"thead|title|tr|track|ul)(?:[ \t>]|/>|$)",
    re.I,
)
_LONE_TAG = re.compile(r" {0,3}</?[A-Za-z][A-Za-z0-9-]*(?:\s[^<>]*)?>[ \t]*$")
_UNESCAPED_PIPE = re.compile(r"(?<!\\)\|")
_DELIMITER_CELL = re.compile(r":?-+:?$")

# CommonMark 4.6, kinds 1 to 5: these end at their marker; every other tag ends at a blank line.
_HTML_TO_MARKER = (
    (
        re.compile(r" {0,3}<(?:script|pre|style|textarea)(?:[\s>]|$)", re.I),
        re.compile(r"</(?:script|pre|style|textarea)>", re.I),
    ),
    (re.compile(r" {0,3}<!--"), re.compile(r"-->")),
    (re.compile(r" {0,3}<\?"), re.compile(r"\?>")),
    (re.compile(r" {0,3}<!\[CDATA\["), re.compile(r"\]\]>")),
    (re.compile(r" {0,3}<![A-Za-z]"), re.compile(r">")),
)


@dataclass(frozen=True, slots=True)
class Block:
    """Characters ``[start, end)`` of the text: whole lines without the last line's end. `level` 1-6 for headings.

    `fence` is the line that opens a fenced code block, also where the text begins inside of it.
    """

    kind: Kind
    start: int
    end: int
    level: int = 0
    title: str = ""
    fence: str = ""

    @property
    def is_layout(self) -> bool:
        """Whether it is text that blanks lay out, as stage 1 marks it, and no source code."""
        return self.kind == "code" and self.fence.lstrip("`~ ").split(" ")[0] == LAYOUT


def scan_blocks(text: str, start: int = 0, inside: str = "") -> Iterator[Block]:
    """Yield the blocks of *text* from *start* (a line's start) on, in order; every line that is not blank is in one.

    *inside* is the opening line of a fenced code block that *text* begins inside.
    """
    scanner = _Scanner(text)
    if inside:
        scanner.resume(inside, start)
    for line in _LINE.finditer(text, start):
        yield from scanner.read(line.start(1), line.end(1))
    yield from scanner.close()


class _Scanner:
    """One open block at a time; a line extends it, closes it, or both closes it and opens the next."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._kind: Kind | None = None
        self._start = 0
        self._end = 0
        self._after_blank = False
        self._last_line = (0, 0)
        self._content_indent = 0  # of the list item that is open
        self._fence = ""  # of the code block that is open; empty for indented code
        self._opening_line = ""
        self._after_note = False  # the paragraph before is a footnote's, and its next ones are indented
        self._until: re.Pattern[str] | None = None  # what ends the HTML block that is open; None: a blank line

    def resume(self, opening_line: str, start: int) -> None:
        """Be inside the fenced code block that *opening_line* opens."""
        if fence := _FENCE.match(opening_line):
            self._kind, self._start, self._end = "code", start, start
            self._fence, self._opening_line = fence[1], opening_line

    def read(self, start: int, end: int) -> Iterator[Block]:
        line = self._text[start:end]
        if self._is_verbatim():
            yield from self._read_verbatim(line, start, end)
        elif not line or line.isspace():
            self._after_blank = True
            if self._kind not in ("list", "code"):  # both continue after blank lines
                yield from self.close()
        else:
            yield from self._read_text(line, start, end)
            self._after_blank = False
            self._last_line = (start, end)

    def close(self) -> Iterator[Block]:
        if self._kind is not None and self._start < self._end:
            fence = self._opening_line if self._kind == "code" else ""
            yield Block(self._kind, self._start, self._end, fence=fence)
        self._kind = None

    def _is_verbatim(self) -> bool:
        return (self._kind == "code" and bool(self._fence)) or (self._kind == "html" and self._until is not None)

    def _read_verbatim(self, line: str, start: int, end: int) -> Iterator[Block]:
        if line and not line.isspace():
            self._end = end
        if self._kind == "code":
            closing = _FENCE.match(line)
            ends = closing and line.strip() == closing[1] and closing[1].startswith(self._fence)
        else:
            ends = self._until and self._until.search(line)
        if ends:
            yield from self.close()

    def _read_text(self, line: str, start: int, end: int) -> Iterator[Block]:
        indent = _indent(line)
        if self._continues(line, indent):
            self._end = end
            return
        if self._kind is None and indent < CODE_INDENT:
            self._after_note = False
        if self._kind is None and indent < CODE_INDENT:
            self._after_note = False
        if self._kind == "paragraph":
            if setext := _SETEXT.match(line):
                yield self._underlined(setext[1], end)
                return
            if self._is_delimiter_row(line):
                yield from self._become_table(end)
                return
        if heading := _atx_heading(line, start, end):
            yield from self.close()
            yield heading
        elif _RULE.match(line):
            yield from self.close()
            yield Block("rule", start, end)
        elif kind := self._opening(line, indent):
            yield from self._open(kind, line, start, end)
        elif self._kind in ("paragraph", "quote", "list", "table", "html"):
            self._end = end  # a paragraph's next line, or a lazy one (CommonMark 5.1)
        else:
            yield from self._open("paragraph", line, start, end)

    def _continues(self, line: str, indent: int) -> bool:
        """Return whether the open block takes this line, whatever its content."""
        if self._kind == "list":
            return indent >= self._content_indent
        if self._kind == "code":
            return indent >= CODE_INDENT
        if self._kind == "quote":
            return bool(_QUOTE.match(line))
        return self._kind == "html"

    def _opening(self, line: str, indent: int) -> Kind | None:
        """Return the kind of container or code block that this line begins, if it may begin one here."""
        lazy = self._kind in ("paragraph", "quote", "list", "table") and not self._after_blank
        if indent >= CODE_INDENT:
            return None if lazy else "paragraph" if self._after_note else "code"
        if fence := _FENCE.match(line):
            # Backticks after the fence make it inline code (CommonMark 4.5).
            return "code" if fence[1][0] == "~" or "`" not in line[fence.end() :] else None
        if _QUOTE.match(line):
            return "quote"
        if item := _LIST.match(line):
            empty = not line[item.end() :].strip()
            numbered_late = item[2][0].isdigit() and item[2][:-1] != "1"
            # In mid-paragraph "1986." and a lone dash are text (CommonMark 5.2).
            return None if self._kind == "paragraph" and (empty or numbered_late) else "list"
        if self._is_html(line, lazy):
            return "html"
        return "paragraph" if self._after_blank else None

    def _is_html(self, line: str, lazy: bool) -> bool:
        if "<" not in line:
            return False
        if _BLOCK_TAG.match(line) or (not lazy and _LONE_TAG.match(line)):
            return True
        return any(opening.match(line) for opening, _ in _HTML_TO_MARKER)

    def _open(self, kind: Kind, line: str, start: int, end: int) -> Iterator[Block]:
        if kind == "list" and self._kind == "list":  # the next item of the same list
            self._content_indent, self._end = _content_indent(line), end
            return
        yield from self.close()
        self._kind, self._start, self._end = kind, start, end
        self._after_note = kind == "paragraph" and (self._after_note or _NOTE.match(line) is not None)
        if kind == "list":
            self._content_indent = _content_indent(line)
        elif kind == "code":
            fence = _FENCE.match(line) if _indent(line) < CODE_INDENT else None
            self._fence, self._opening_line = (fence[1], line.strip()) if fence else ("", "")
        elif kind == "html":
            self._until = next((ending for opening, ending in _HTML_TO_MARKER if opening.match(line)), None)
            if self._until and self._until.search(line):
                yield from self.close()

    def _underlined(self, marker: str, end: int) -> Block:
        title = _title(self._text[self._start : min(self._end, self._start + MAX_TITLE_CHARACTERS * 2)])
        self._kind = None
        return Block("heading", self._start, end, level=1 if marker[0] == "=" else 2, title=title)

    def _is_delimiter_row(self, line: str) -> bool:
        """Return whether *line* and the paragraph's last line above it begin a table (GFM 4.10)."""
        row = line.strip()
        if "|" not in row or not set(row) <= set("|-: \t"):
            return False
        parts = raw_cells(row)
        above = self._text[slice(*self._last_line)].strip()
        fits = bool(parts) and len(raw_cells(above)) == len(parts)
        return fits and all(_DELIMITER_CELL.match(cell.strip()) for cell in parts)

    def _become_table(self, end: int) -> Iterator[Block]:
        header = self._last_line[0]
        if header > self._start:  # lines above the header row stay a paragraph
            body = self._text[self._start : header].rstrip()
            yield Block("paragraph", self._start, self._start + len(body))
        self._kind, self._start, self._end = "table", header, end


def _atx_heading(line: str, start: int, end: int) -> Block | None:
    opening = _ATX.match(line)
    if not opening:
        return None
    content = line[opening.end() :].strip()
    without_closing = content.rstrip("#")
    if not without_closing or without_closing[-1] in " \t":  # "## Title ##"; but "# C#" keeps its last sign
        content = without_closing
    return Block("heading", start, end, level=len(opening[1]), title=_title(content))


def _title(content: str) -> str:
    return " ".join(content.split())[:MAX_TITLE_CHARACTERS].rstrip()


def raw_cells(row: str) -> list[str]:
    """Return the cells of a pipe table's row as written; the outer pipes are optional, an escaped pipe is text."""
    parts = _UNESCAPED_PIPE.split(row)
    return parts[1 if not parts[0].strip() else 0 : -1 if len(parts) > 1 and not parts[-1].strip() else None]


def _indent(line: str) -> int:
    columns = 0
    for char in line:
        if char == " ":
            columns += 1
        elif char == "\t":
            columns += TAB_STOP - columns % TAB_STOP
        else:
            break
    return columns


def _content_indent(line: str) -> int:
    """Return the column at which the content of this list item begins (CommonMark 5.2)."""
    item = _LIST.match(line)
    if item is None:
        return 0
    spaces = _indent(line[item.end() :])
    # Five spaces or more are one space and indented code; an empty item has its content one column later.
    return item.end() + (spaces if 1 <= spaces <= CODE_INDENT and line[item.end() :].strip() else 1)
