"""Markdown from the parts of a document: runs of text, blocks, lists, tables, notes; pure.

Every reader of its own writes through this module. It owns two promises. Text means itself: what CommonMark or GFM
would read as markup is escaped. And marks work: emphasis that CommonMark would not close there is left out, because the
words count more than their weight.

A reader makes `Run` objects of a paragraph, joins them by `inline`, and gives the result to a `Body`, which keeps the
order and the nesting of lists. Notes are numbered by `Notes`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

Position = Literal["", "raised", "lowered"]
NoteKind = Literal["footnote", "endnote", "comment"]

MAX_HEADING_LEVEL = 6
# A longer raised passage is a matter of layout; its words stay as they are.
_MAX_MOVED_CHARACTERS = 30
_NOTE_PREFIXES: dict[NoteKind, str] = {"footnote": "", "endnote": "e", "comment": "c"}

# "1st" with a raised ending is read as "1st" everywhere; so are the signs that are raised already. Single letters stay
# raised: they are the marks of a table's notes as often as endings.
_ORDINAL_ENDING = re.compile(r"st|nd|rd|th|er|re|ère|ème|eme|º|ª|°|™|®|℠|©", re.IGNORECASE)
_MARKUP = re.compile(
    r"[\\`*\[]"
    r"|(?<![^\W_])_|_(?![^\W_])"  # inside a word an underscore is text
    r"|<(?=[A-Za-z/!?])|~~|&(?=#?\w{1,31};)"
)
# One set of characters is found far quicker than the alternatives.
_MAY_BE_MARKUP = re.compile(r"[\\`*\[_<~&]")
_LINE_START = re.compile(
    r"^([ \t]*)(?:(\d{1,9})([.)])(?=[ \t]|$)"  # a numbered item
    r"|(#{1,6}(?=[ \t]|$)|[-+](?=[ \t]|$)|>"  # a heading, a bullet, a quotation
    r"|=(?==*[ \t]*$)|~(?=~~)|[-:|](?=[-:| \t]*$)))",  # the line under a heading, a fence, the row under a table's head
    re.MULTILINE,
)
_PUNCTUATION_OR_SPACE = re.compile(r"[\W_]")
# Between words, marks are certain to work. Elsewhere their pairs depend on what is around them.
_MARKS = re.compile(r"(?:\*|~~)+~?")
_MAX_MARKS_TOGETHER = 3
_TABLE_LINE_END = re.compile(r"[ \t]*(?:\\\n|\n)[ \t]*")
_UNESCAPED_PIPE = re.compile(r"(?<!\\)((?:\\\\)*)\|")
# A hard line break is white space as well.
_LEADING_SPACE = re.compile(r"(?:\\\n|\s)*")
_TRAILING_SPACE_REVERSED = re.compile(r"(?:\n\\|\s)*")
_LINK_TARGET = re.compile(r"[<>\s()\\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A piece of a paragraph with one format. A line feed in `text` is a line break.

    `markdown` says that `text` is Markdown already (a formula, the mark of a note) and is not escaped.
    """

    text: str
    bold: bool = False
    italic: bool = False
    struck: bool = False
    position: Position = ""
    link: str = ""
    markdown: bool = False


def inline(runs: Iterable[Run]) -> str:
    """Return the Markdown of a paragraph's *runs*; white space at its ends is dropped."""
    merged = _merged(runs)
    markdown = _nested(merged, _LEVELS, "", "")
    if _has_doubtful_marks(markdown):
        plain = _nested([_plain(run) for run in merged], _LEVELS, "", "")
        if _as_read(markdown) != _as_read(plain):
            markdown = plain
    return _split(markdown)[1]


def escape(text: str) -> str:
    """Return *text* so that it means itself inside a paragraph, whatever stands before it on the line.

    Of brackets the opening one is escaped, because both together are the signs of a displayed formula.
    """
    if _MAY_BE_MARKUP.search(text) is None:
        return text
    return _MARKUP.sub(r"\\\g<0>", text)


def escape_label(text: str) -> str:
    """Return *text* so that it means itself as the label of a link, whose brackets it neither opens nor closes."""
    return escape(text).replace("]", "\\]")


def escape_line_starts(markdown: str) -> str:
    """Return a paragraph's Markdown, with escapes where its lines would begin a list, a heading or another block."""
    return _LINE_START.sub(_escaped_start, markdown)


def code_span(text: str) -> str:
    """Return *text* as code in a line (CommonMark 6.1)."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * (longest + 1)
    padding = " " if text.startswith("`") or text.endswith("`") or not text.strip() else ""
    return f"{fence}{padding}{text}{padding}{fence}"


def comment(author: str, markdown: str, kind: str = "Comment") -> str:
    """Return the Markdown of a comment: "Comment by NAME: text". Empty without a text."""
    name = escape(" ".join(author.split()))
    return f"{kind} by {name}: {markdown}" if name and markdown else f"{kind}: {markdown}" if markdown else ""


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return a pipe table of *rows* of Markdown cells; the first row is its header. Empty when there is no cell.

    Lines of a cell are joined by ``<br>``, rows are filled up to the longest one.
    """
    columns = max(map(len, rows), default=0)
    if not columns:
        return ""
    lines = [_row([*row, *[""] * (columns - len(row))]) for row in rows]
    return "\n".join([lines[0], _row(["---"] * columns), *lines[1:]])


def cell(markdown: str) -> str:
    """Return the Markdown of a table's cell: on one line, without pipes that would end it."""
    markdown = markdown.strip()
    if "\n" in markdown:
        markdown = _TABLE_LINE_END.sub("<br>", markdown)
    return _UNESCAPED_PIPE.sub(r"\1\\|", markdown) if "|" in markdown else markdown


class Body:
    """The blocks of a document in order. `str` is the Markdown of all of them."""

    def __init__(self) -> None:
        self._blocks: list[tuple[str, bool]] = []  # text, and whether it follows the block above without an empty line
        self._open: list[tuple[int, int]] = []  # level and indentation of the contents of each open list item

    def paragraph(self, markdown: str) -> None:
        """Add a paragraph; it ends every list."""
        if markdown.strip():
            self.block(escape_line_starts(markdown))

    def heading(self, level: int, markdown: str) -> None:
        """Add a heading of *level* 1 to 6; deeper ones are written as level 6."""
        title = " ".join(markdown.replace("\\\n", " ").split())
        if title:
            self.block(f"{'#' * max(1, min(level, MAX_HEADING_LEVEL))} {_unclosed(title)}")

    def item(self, marker: str, markdown: str, level: int = 0) -> None:
        """Add a list item; *marker* is ``-`` or ``7.``, *level* counts from 0 and may skip levels."""
        while self._open and self._open[-1][0] >= level:
            self._open.pop()
        follows = bool(self._blocks) and self._in_list
        indent = self._open[-1][1] if self._open else 0
        width = indent + len(marker) + 1
        self._open.append((level, width))
        self._add(f"{marker} {escape_line_starts(markdown)}".rstrip(), indent, width, follows=follows)

    def continuation(self, markdown: str, level: int | None = None) -> None:
        """Add a further block to the list item above; without one it is a block of its own.

        With *level*, items of that level and deeper ones are ended before.
        """
        while level is not None and self._open and self._open[-1][0] >= level:
            self._open.pop()
        if not self._open:
            self.block(markdown)
        elif markdown.strip():
            self._add(markdown, self._open[-1][1], self._open[-1][1], follows=False)

    def block(self, markdown: str) -> None:
        """Add Markdown as it is: a table, code, a formula. It ends every list."""
        self._open.clear()
        if markdown.strip():
            self._add(markdown, 0, 0, follows=False)

    def _add(self, markdown: str, first: int, rest: int, *, follows: bool) -> None:
        lines = markdown.strip("\n").split("\n")
        indented = [" " * first + lines[0], *(" " * rest + line if line else "" for line in lines[1:])]
        self._blocks.append(("\n".join(indented), follows))

    @property
    def _in_list(self) -> bool:
        """Whether the last block was a list item, which the next item follows without an empty line."""
        return bool(re.match(r" *(?:-|\d{1,9}[.)])(?: |$)", self._blocks[-1][0])) and "\n\n" not in self._blocks[-1][0]

    def __bool__(self) -> bool:
        return bool(self._blocks)

    def __str__(self) -> str:
        parts: list[str] = []
        for text, follows in self._blocks:
            if parts:
                parts.append("\n" if follows else "\n\n")
            parts.append(text)
        return "".join([*parts, "\n"]) if parts else ""


class Notes:
    """Footnotes, endnotes and comments, numbered in order of their first mark.

    Footnotes are ``[^1]``, endnotes ``[^e1]``, comments ``[^c1]``. *key* is what the document calls the note.
    """

    def __init__(self) -> None:
        self._numbers: dict[tuple[NoteKind, str], int] = {}
        self._counts: Counter[NoteKind] = Counter()
        self._texts: dict[tuple[NoteKind, str], str] = {}

    def mark(self, kind: NoteKind, key: str) -> Run:
        """Return the mark of a note as a run."""
        return Run(text=f"[^{self._label(kind, key)}]", markdown=True)

    def define(self, kind: NoteKind, key: str, markdown: str) -> None:
        """Set a note's text: Markdown, paragraphs apart by empty lines."""
        self._texts[kind, key] = markdown.strip()

    def marked(self) -> list[tuple[NoteKind, str]]:
        """Return the notes whose marks were made, in order; a reader defines these."""
        return list(self._numbers)

    def definitions(self) -> Iterator[str]:
        """Yield the definitions of the marked notes: footnotes, endnotes, comments, each in order of its marks."""
        for wanted in _NOTE_PREFIXES:
            for kind, key in self._numbers:
                if kind == wanted:
                    lines = self._texts.get((kind, key), "").split("\n")
                    text = "\n".join([lines[0], *(f"    {line}" if line else "" for line in lines[1:])])
                    yield f"[^{self._label(kind, key)}]: {text}".rstrip()

    def without_text(self) -> int:
        """Return how many marks lead to no text."""
        return sum(1 for note in self._numbers if not self._texts.get(note))

    def _label(self, kind: NoteKind, key: str) -> str:
        if (kind, key) not in self._numbers:
            self._counts[kind] += 1
            self._numbers[kind, key] = self._counts[kind]
        return f"{_NOTE_PREFIXES[kind]}{self._numbers[kind, key]}"


def _merged(runs: Iterable[Run]) -> list[Run]:
    """Return *runs* with neighbours of one format joined."""
    merged: list[Run] = []
    for given in runs:
        if not given.text:
            continue
        run = replace(given, position="") if given.position and _stays_in_line(given) else given
        if merged and _format(merged[-1]) == _format(run):
            merged[-1] = replace(run, text=merged[-1].text + run.text)
        else:
            merged.append(run)
    return merged


def _has_doubtful_marks(markdown: str) -> bool:
    """Return whether marks stand inside a word, or so many together that they may pair in another way."""
    for found in _MARKS.finditer(markdown):
        before, after = markdown[found.start() - 1 : found.start()], markdown[found.end() : found.end() + 1]
        if (
            before
            and after
            and not (before.isspace() or after.isspace() or before in _MARK_SIGNS or after in _MARK_SIGNS)
        ):
            return True
        marks = found[0].replace("~~", "~")
        is_odd = found[0].count("~") % 2 == 1  # one of them is text
        if is_odd or len(marks) > _MAX_MARKS_TOGETHER or ("~" in marks and "*" in marks):
            return True
    return False


def _format(run: Run) -> tuple[object, ...]:
    return run.bold, run.italic, run.struck, run.position, run.link, run.markdown


def _plain(run: Run) -> Run:
    return replace(run, bold=False, italic=False, struck=False)


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt  # takes 20 ms, which most documents do not need

    return MarkdownIt("commonmark").enable("strikethrough")


def _as_read(markdown: str) -> str:
    """Return the text that CommonMark reads in *markdown*: without its marks, if these work."""
    children = (child for token in _parser().parseInline(markdown) for child in token.children or ())
    return "".join("\n" if child.type in ("hardbreak", "softbreak") else child.content for child in children)


def _stays_in_line(run: Run) -> bool:
    """Return whether a raised or lowered run is written without marks."""
    text = run.text.strip()
    long = len(text) > _MAX_MOVED_CHARACTERS or any(char.isspace() for char in text)
    return run.markdown or not text or long or bool(_ORDINAL_ENDING.fullmatch(text))


# Formats from the outside in.
_LEVELS = ("link", "bold", "italic", "struck", "position")
_EMPHASIS = {"bold": "**", "italic": "*", "struck": "~~"}
_MARK_SIGNS = ("*", "~")


def _nested(runs: Sequence[Run], levels: Sequence[str], before: str, after: str) -> str:
    """Return *runs* grouped by the first of *levels*, then the next; *before* and *after* are the neighbours' texts."""
    while levels and not any(getattr(run, levels[0]) for run in runs):
        levels = levels[1:]
    if not levels:
        return "".join([_text(run) for run in runs])
    level, deeper = levels[0], levels[1:]
    groups = [(value, list(group)) for value, group in groupby(runs, key=lambda run: getattr(run, level))]
    parts: list[str] = []
    for index, (value, group) in enumerate(groups):
        left = groups[index - 1][1][-1].text if index else before
        right = groups[index + 1][1][0].text if index + 1 < len(groups) else after
        part = _marked(level, value, _nested(group, deeper, left, right), left, right)
        if part[:1] in _MARK_SIGNS and parts and parts[-1][-1:] in _MARK_SIGNS:
            # "*a*" and "**b**" side by side would be read as other pairs of marks.
            part = _nested([_plain(run) for run in group], levels, left, right)
        parts.append(part)
    return "".join(parts)


def _text(run: Run) -> str:
    if run.markdown:
        return run.text
    text = escape_label(run.text) if run.link else escape(run.text)
    return text.replace("\n", "\\\n") if "\n" in text else text


def _marked(level: str, value: object, markdown: str, left: str, right: str) -> str:
    """Return *markdown* inside the marks of *level*, with its white space outside of them."""
    head, content, tail = _split(markdown)
    if not value or not content:
        return markdown
    if level == "link":
        return f"{head}[{content}]({_target(str(value))}){tail}"
    if level == "position":
        mark = "^" if value == "raised" else "~"
        return f"{head}{mark}{content}{mark}{tail}"
    mark = _EMPHASIS[level]
    if _can_open(content, head or left) and _can_open(content[::-1], (tail or right)[::-1]):
        return f"{head}{mark}{content}{mark}{tail}"
    return markdown


def _split(markdown: str) -> tuple[str, str, str]:
    """Return the white space before *markdown*, its content, and the white space after it."""
    start = _LEADING_SPACE.match(markdown)
    first = start.end() if start else 0
    end = _TRAILING_SPACE_REVERSED.match(markdown[: first - 1 if first else None : -1])
    last = len(markdown) - (end.end() if end else 0)
    return markdown[:first], markdown[first:last], markdown[last:]


def _can_open(content: str, before: str) -> bool:
    """Return whether a mark between *before* and *content* opens emphasis (left-flanking, CommonMark 6.2)."""
    return not _PUNCTUATION_OR_SPACE.match(content) or not before or bool(_PUNCTUATION_OR_SPACE.match(before[-1]))


def _target(address: str) -> str:
    address = " ".join(address.split())
    return f"<{address.replace('<', '%3C').replace('>', '%3E')}>" if _LINK_TARGET.search(address) else address


def _escaped_start(found: re.Match[str]) -> str:
    space, number, delimiter, sign = found.groups()
    return f"{space}{number}\\{delimiter}" if number else f"{space}\\{sign}"


def _unclosed(title: str) -> str:
    """Return a heading's *title* whose last hashes are not taken for its closing ones (CommonMark 4.2)."""
    return re.sub(r"(?:(?<=\s)|^)(#+)$", r"\\\1", title)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(cell, cells))} |"
