"""Plain text as Markdown that says the same; pure.

Owns the faithful form: prose keeps its lines and loses its indentation, and signs that CommonMark or GFM would read as
markup are escaped, only where that is needed; what is laid out by blanks becomes a code block with the info string
`text`, word for word; a list beyond doubt stays a list with its own signs and numbers. Nothing becomes a heading.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING

from tasks.conversion.plain.layout import parts, passages
from tasks.conversion.plain.lists import ITEM, Run, continues, indentation, is_list, list_runs
from tasks.text.formulas import DOLLAR_FORMULA

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

INFO = "text"

# The parser takes quadratic time in a run of brackets. Longer passages are escaped without being proved.
_MAX_PROVED_CHARACTERS = 10_000
# In a list without any sign of markup it takes time in proportion. Longer lists are lines.
_MAX_LIST_CHARACTERS = 100_000
# Parsers give up on deeper quotations; a reply to a reply to a reply has three.
_MAX_QUOTES = 12

_LINE_ENDS = re.compile(r"\r\n?|[\x0b\x0c\u2028\u2029]")
# Stage 2 removes these; in front of a number sign they would hide a heading until then.
_INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff]")
_BACKTICKS = re.compile(r"`{3,}")
_QUOTE = re.compile(r"[ ]{0,3}>(?=$|[ \t>]|[^\W\d_])(?!From )[ \t]?")

_BULLET = re.compile(r"[-+*](?=[ \t]|$)")
_NUMBER = re.compile(r"(\d{1,9})([.)])(?=[ \t]|$)")
_ATX = re.compile(r"#{1,6}(?=[ \t]|$)")
_RULER = re.compile(r"(?:=+|-+|(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,}|:?-+:?)[ \t]*")
_FENCE = re.compile(r"`{3,}|~{3,}")
# Signs that are markup wherever they stand, whatever else is in the paragraph.
_ALWAYS = re.compile(
    r"\\(?=[!-/:-@\[-`{-~]|$)"
    r"|<(?=[A-Za-z/!?])"
    r"|&(?=#\d{1,7};|#[xX][0-9a-fA-F]{1,6};|[A-Za-z][A-Za-z0-9]{1,31};)"
    r"|\[(?=\^)|(?<=\])[(\[]|^\[(?=[^\]]*(?:\]:|$))"
    r"|(?<=\S)~|\^(?=[^\s^]+\^)|(?<=\S)\^(?!\w)",
    re.MULTILINE,
)
# Signs that are markup where they stand in pairs. Between blanks, or an underscore inside a word, they never are.
_IN_PAIRS = re.compile(r"`|(?<!\S)\*+(?=\S)|(?<=\S)\*+|(?<![^\W_])_+(?=[^\s_])|(?<=[^\s_])_+(?![^\W_])")
# Most lines: a letter, and no sign of markup behind it.
_UNMARKED = re.compile("[^\\W\\d_][^\\\\`*_\\[\\]<>&~|$^\u00ad\u200b\u2060\ufeff]*")
_ANY_SIGN = re.compile(r"[\\`*_\[\]<>&~|$^!]")
_SUSPICIOUS = re.compile(r"[\\`*_\[\]<&~$^]")


def plain_to_markdown(text: str, *, quotes: bool = False) -> str:
    """Return Markdown that reads like the plain *text*, line by line; it ends with a line end unless it is empty.

    Lost are the indentation of prose, blanks at line ends, and more than one empty line in a row outside of layouts.
    With *quotes*, a ``>`` at the beginning of a line makes a quotation, as in mails.
    """
    lines = _LINE_ENDS.sub("\n", text).split("\n")
    blocks = list(_blocks(lines, _MAX_QUOTES if quotes else 0))
    return "\n\n".join(blocks) + "\n" if blocks else ""


def _blocks(lines: Sequence[str], quotes: int) -> Iterator[str]:
    if not quotes:
        yield from _unquoted(lines)
        return
    for is_quoted, group in groupby(lines, key=lambda line: _QUOTE.match(line) is not None):
        if not is_quoted:
            yield from _unquoted(list(group))
            continue
        inner = list(_blocks([_QUOTE.sub("", line, count=1) for line in group], quotes - 1))
        quoted = "\n\n".join(inner).split("\n") if inner else [""]
        yield "\n".join(f"> {line}".rstrip(" ") if line.strip() else ">" for line in quoted)


def _unquoted(lines: Sequence[str]) -> Iterator[str]:
    layout: list[str] = []
    runs: list[list[str]] = []  # passages that may be one list
    for empty, passage in passages(lines):
        for index, part in enumerate(parts(passage)):
            if part.kind == "layout":
                yield from _close_list(runs)
                layout += [*([""] * (0 if index else empty) if layout else []), *part.lines]
                continue
            yield from _close_layout(layout)
            for run in _runs(part.lines):
                if not (runs and continues(runs, run)):
                    yield from _close_list(runs)
                if run.is_list:
                    runs.append(run.lines)
                else:
                    yield _prose(run.lines)
    yield from _close_layout(layout)
    yield from _close_list(runs)


def _runs(lines: Sequence[str]) -> list[Run]:
    """Return the lines in runs: lists, and prose. A run of items within prose that is no list is prose."""
    found = list(list_runs(lines))
    if len(found) == 1:
        return found
    joined: list[Run] = []
    for run in found:
        is_list = run.is_list and _is_small(run.lines) and _list([run.lines]) is not None
        if joined and not is_list and not joined[-1].is_list:
            joined[-1].lines.extend(run.lines)
        else:
            joined.append(Run(run.lines, is_list=is_list))
    return joined


def _close_layout(lines: list[str]) -> Iterator[str]:
    if lines:
        longest = max((len(run) for line in lines for run in _BACKTICKS.findall(line)), default=2)
        fence = "`" * (longest + 1)
        yield "\n".join([f"{fence}{INFO}", *lines, fence])
        lines.clear()


def _close_list(runs: list[list[str]]) -> Iterator[str]:
    if not _is_small([line for run in runs for line in run]):
        yield from _close_layout([line for run in runs for line in (*run, "")][:-1])
    elif runs:
        written = _list(runs)
        yield from [written] if written is not None else map(_prose, runs)
    runs.clear()


def _is_small(lines: Sequence[str]) -> bool:
    return sum(map(len, lines)) + len(lines) <= _MAX_LIST_CHARACTERS


def _list(runs: Sequence[Sequence[str]]) -> str | None:
    """Return the passages as one Markdown list; None where that is not beyond doubt."""
    if not is_list(runs):
        return None
    expected = [_plain_item(line) for run in runs for line in run]
    for level in (0, 2):
        body = "\n\n".join("\n".join(lines) for lines in _list_lines(runs, level))
        if (level or len(body) <= _MAX_PROVED_CHARACTERS) and _read(body) == expected:
            return body
    return None


def _list_lines(runs: Sequence[Sequence[str]], level: int) -> Iterator[list[str]]:
    """Yield the lines of each passage as written: items and their further lines at their place in the list."""
    columns: list[tuple[int, int]] = []  # of the open items: indentation in the text, column of what they contain
    for run in runs:
        lines: list[str] = []
        for line in run:
            item, indent = ITEM.match(line), indentation(line)
            while columns and columns[-1][0] >= indent and (item or len(columns) > 1):
                columns.pop()
            margin = columns[-1][1] if columns else 0
            if item is None:
                lines.append(" " * margin + _escaped_line(line, level, is_first=False))
                continue
            content = _escaped_line(line[item.end() :], level, is_first=True)
            lines.append(f"{' ' * margin}{item[2]} {content}")
            columns.append((indent, margin + len(item[2]) + 1))
        yield lines


def _plain_item(line: str) -> str:
    item = ITEM.match(line)
    return f"{item[2]} {_visible(line[item.end() :])}" if item else _visible(line)


# Prose


def _prose(lines: Sequence[str]) -> str:
    """Return the lines of one paragraph, escaped as little as the parser proves to be enough."""
    expected = [text for line in lines if (text := _visible(line))]
    for level in (0, 1):
        text = "\n".join(_escaped_line(line, level, is_first=not index) for index, line in enumerate(expected))
        text = _without_formulas(text)
        if _SUSPICIOUS.search(text) is None:
            return text
        if len(text) <= _MAX_PROVED_CHARACTERS and _read(text) == expected:
            return text
    return "\n".join(_escaped_line(line, 2, is_first=not index) for index, line in enumerate(expected))


def _visible(line: str) -> str:
    return _INVISIBLE.sub("", line).strip()


def _escaped_line(line: str, level: int, *, is_first: bool) -> str:
    """Return one line that begins no block; at *level* 1 without pairs of signs, at 2 without any sign of markup."""
    if _UNMARKED.fullmatch(text := line.strip()):
        return text
    text = _visible(line)
    if level == 2:
        escaped = _ANY_SIGN.sub(r"\\\g<0>", text)
    else:
        escaped = _ALWAYS.sub(r"\\\g<0>", text)
        if level:
            escaped = _IN_PAIRS.sub(_each_escaped, escaped)
    return _begins_no_block(text, escaped, is_first=is_first)


def _begins_no_block(text: str, escaped: str, *, is_first: bool) -> str:
    if text[:1] != escaped[:1]:
        return escaped  # its first sign is escaped
    if fence := _FENCE.match(text):
        return _each_escaped(fence) + escaped[fence.end() :]
    if number := _NUMBER.match(text):
        interrupts = is_first or int(number[1]) == 1
        return f"{number[1]}\\{escaped[number.end(1) :]}" if interrupts else escaped
    ruler = _RULER.fullmatch(text)
    begins = ruler and not (is_first and text[0] == "=")
    if begins or text[:1] == ">" or _ATX.match(text) or _BULLET.match(text):
        return f"\\{escaped}"
    return escaped


def _each_escaped(found: re.Match[str]) -> str:
    return "".join(f"\\{sign}" for sign in found[0])


def _without_formulas(text: str) -> str:
    if "$" not in text:
        return text
    return DOLLAR_FORMULA.sub(lambda formula: formula[0].replace("$", "\\$"), text)


# The proof


def _read(markdown: str) -> list[str] | None:
    """Return the lines of text that a parser reads in paragraphs and lists; None where it reads anything else."""
    reader = _Reader()
    return reader.lines if reader.read(_parser()(markdown)) else None


class _Reader:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self._mark = ""
        self._numbers: list[int | None] = []

    def read(self, tokens: Sequence[Token]) -> bool:
        return all(self._read(token) for token in tokens)

    def _read(self, token: Token) -> bool:
        if token.type in ("bullet_list_open", "ordered_list_open"):
            self._numbers.append(int(token.attrs.get("start", 1)) if token.tag == "ol" else None)
        elif token.type in ("bullet_list_close", "ordered_list_close"):
            self._numbers.pop()
        elif token.type == "list_item_open":
            number = self._numbers[-1]
            self._mark = f"{token.markup} " if number is None else f"{number}{token.markup} "
            self._numbers[-1] = None if number is None else number + 1
        elif token.type == "inline":
            return self._read_inline(token.children or ())
        elif token.type not in ("paragraph_open", "paragraph_close", "list_item_close"):
            return False
        return True

    def _read_inline(self, tokens: Sequence[Token]) -> bool:
        if any(token.type not in ("text", "text_special", "softbreak") for token in tokens):
            return False
        text = "".join("\n" if token.type == "softbreak" else token.content for token in tokens)
        first, *others = text.split("\n")
        self.lines += [self._mark + first.strip(), *(line.strip() for line in others)]
        self._mark = ""
        return True


@cache
def _parser() -> Callable[[str], list[Token]]:
    from markdown_it import MarkdownIt  # takes 40 ms, which text without any sign of markup does not need

    parser: MarkdownIt = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    return parser.parse
