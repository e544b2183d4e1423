"""Which lines of a plain text are running prose, and which are laid out by blanks; pure.

Owns the signs of layout: columns set apart by blanks or tabs, leaders, drawn boxes and trees, time stamps at the
beginning of lines, neighbouring lines that begin with signs or numbers, short lines that end before they are full
(addresses, verse), source code, indentation on several levels. Prose has none of these, or has them by accident: two
blanks after a sentence or between two words, and lines that were justified to equal length.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Literal

from tasks.conversion.plain.lists import indentation, is_list, list_runs

Kind = Literal["prose", "layout"]

_BLANK = "[ \t\u00a0\u2000-\u200a\u3000]"
# A run of blanks inside a line. After a sentence's end two blanks are typing; after "Ã" one of them was a letter.
_GAP = re.compile(rf"(?<=\S)(?:{_BLANK}*\t{_BLANK}*|{_BLANK}{{2,}})(?=\S)")
_SENTENCE_END = re.compile(r"[.!?…][\"')\]”’»]*\Z|Ã\Z")
# What begins an item or a section: the blanks behind it are not those of a column.
_MARK = re.compile(
    r"(?:[-+*•·◦▪‣–—§>]|o(?=\s{2})|(?:\d{1,3}(?:\.\d{1,3})*[.)]|\d{1,3}(?:\.\d{1,3})+|\(?[A-Za-z]{1,4}[.)]|\(\d{1,3}\))(?=\s+[^\W\d_]))\s+"
)
# What begins a line of its own, be it a bullet, the sign of a number, an ordinal or the day of a date.
_LINE_MARK = re.compile(r"\s*(?:[-+*•·◦▪‣–—]|\d{1,4}[.)]|\(\w{1,3}\)|[A-Za-z][.)])\s+\S")
_LEADER = re.compile(r"\.{4,}|(?:\s\.){3,}|…{2,}")
# One search instead of six for most lines.
_MAY_HAVE_COLUMNS = re.compile(rf"{_BLANK}{{2}}|\t|[|+`\\\u2500-\u259f]|\.{{4}}|\s\.\s|……")
_DRAWN = re.compile("[\u2500-\u259f]")
_GRID = re.compile(r"(?=.*[-=]{2})(?=.*[+|])[-=+|:\s]+")
_CELL_END = re.compile(r"(?:\A|\s)\|(?:\s|\Z)")
_TREE = re.compile(r"(?:\|\s+)*[|`+\\]-{1,3}\s*\S.*")
_DAY = r"\d{4}[-/.]\d\d[-/.]\d\d[T ,]|\d\d?[-/.]\d\d?[-/.]\d{2,4},? \d|[A-Z][a-z]{2} [ \d]\d \d\d:"
_LEVEL = r"(?:DEBUG|INFO|WARN|WARNING|ERROR|FATAL)"
_STAMP = re.compile(
    rf"[\[(<]?(?:{_DAY}|\d\d?:\d\d\b|\d{{10}}[.\s])|\[{_LEVEL}\]|{_LEVEL}[: ]"
    r"|\d{1,3}(?:\.\d{1,3}){3}\s.*\[\d\d?/"  # web servers: address, user, time
)
_CODE = re.compile(
    r".*[{}]|[^;]*[()=\"\[\]].*;|[})\]]+[,;)]*|//.*|/\*.*|\*/|#include .*|import \w.*|\w+(?:\.\w+)* = .*"
    r"|(?:def|class|if|for|while|elif|with|try|else|except)\b.*:|</?[A-Za-z!?][^>]*>.*|\"[^\"]*\":.*"
    r"|@@ .* @@.*|(?:---|\+\+\+) \S+|at \S+\([^()]*\)|File \".*|[\w.-]+:(?: \S.*)?|- [\w.-]+: .*"
)
_CUE = re.compile(r"[\d:.,]{5,12} --> [\d:.,]{5,12}.*")  # of subtitles
_RULER = re.compile(r"([-=*_~#+])\1{2,}")
_WORDS = re.compile(r"[^\W\d_]{2,}")
_LETTER_BEFORE = re.compile(r"[^\W\d_][,;:'’\")]?\Z")

# Enough to see how a line is made. Some patterns take quadratic time in what they see.
_SEEN_CHARACTERS = 400
# In a line of so many words, two blanks between two of them are a slip of the finger.
_SLIP_WORDS = 8
_SENTENCE_WORDS = 7
_BROKEN_LINES, _SHORT_LINE, _NARROW = 3, 60, 34
_MAX_JUSTIFIED_GAP = 3
# Rows of a table may have a heading of one or two lines between them.
_MAX_BETWEEN = 3
# Source code and outlines have lines on so many levels; a paragraph has two, its first line's and that of the others.
_CODE_LEVELS = 3


@dataclass(frozen=True, slots=True)
class Part:
    """Neighbouring lines of one kind, as they are in the text."""

    kind: Kind
    lines: tuple[str, ...]


def passages(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the runs of lines between empty lines, each with the number of empty lines before it."""
    empty = 0
    for is_empty, run in groupby(lines, key=lambda line: not line or line.isspace()):
        found = list(run)
        if is_empty:
            empty = len(found)
        else:
            yield empty, found


def parts(passage: Sequence[str]) -> list[Part]:
    """Return the parts of one passage in order; joined they are the passage."""
    if len(passage) == 1:  # the usual kind; what follows is about neighbouring lines
        is_layout = _has_columns(passage[0].strip()[:_SEEN_CHARACTERS])
        return [Part("layout" if is_layout else "prose", tuple(passage))]
    if _is_laid_out_throughout(passage):
        return [Part("layout", tuple(passage))]
    laid_out = [_has_columns(line.strip()[:_SEEN_CHARACTERS]) for line in passage]
    if _RULER.fullmatch(passage[1].strip()[:_SEEN_CHARACTERS]):  # a title, underlined
        laid_out[:2] = [True, True]
    if any(laid_out) and not _is_justified(passage) and not _is_broken_by_accident(passage, laid_out):
        _spread(passage, laid_out)
    else:
        laid_out = _are_lines(passage)
    return [
        Part("layout" if is_layout else "prose", tuple(line for _, line in group))
        for is_layout, group in groupby(zip(laid_out, passage, strict=True), key=lambda pair: pair[0])
    ]


def _are_lines(passage: Sequence[str]) -> list[bool]:
    """Return for each line of a passage without columns whether it is a line of its own, and in no list."""
    in_list = [flag for run in list_runs(passage) for flag in [run.is_list and is_list([run.lines])] * len(run.lines)]
    if not any(in_list) and _is_broken_by_hand([line.strip() for line in passage]):
        return [True] * len(passage)
    marked = [not taken and _LINE_MARK.match(line) is not None for taken, line in zip(in_list, passage, strict=True)]
    found: list[bool] = []
    for is_marked, group in groupby(marked):
        lines = len(list(group))
        found += [is_marked and lines > 1] * lines
    return found


def _is_broken_by_hand(texts: Sequence[str]) -> bool:
    """Return whether short lines end where the next word had room, and few lines go on in small letters."""
    width = max(map(len, texts))
    if len(texts) < _BROKEN_LINES or width > _SHORT_LINE:
        return False
    pairs = list(pairwise(texts))
    had_room = sum(len(line) + 1 + len(following.split(None, 1)[0]) <= width for line, following in pairs)
    goes_on = sum(following[0].islower() for _, following in pairs)
    # Prose is not set in columns narrower than this, but for scripts without blanks.
    is_narrow = width <= _NARROW and any(map(str.islower, "".join(texts)))
    return (is_narrow or had_room * 2 >= len(pairs)) and goes_on * 3 <= len(pairs)


def _is_laid_out_throughout(passage: Sequence[str]) -> bool:
    """Return whether a passage is a drawing, a record of events, or source code."""
    texts = [line.strip()[:_SEEN_CHARACTERS] for line in passage]
    half = max(2, (len(texts) + 1) // 2)
    if sum(_STAMP.match(text) is not None for text in texts) >= half:
        return True
    if sum(_is_drawing(text) for text in texts) >= half:
        return True
    if any(map(_CUE.fullmatch, texts)):
        return True
    separators = {text.count(";") for text in texts}
    if len(texts) >= _BROKEN_LINES and len(separators) == 1 and separators.pop() > 1:
        return True
    if sum(_CODE.fullmatch(text) is not None for text in texts) >= half:
        return True
    if len(set(map(indentation, passage))) < _CODE_LEVELS:
        return False
    runs = list(list_runs(passage))
    return not (len(runs) == 1 and is_list([runs[0].lines]))


def _is_drawing(text: str) -> bool:
    if _WORDS.search(text) or len(set(text)) < 2:  # the latter is a ruler
        return False
    letters = sum(map(str.isalnum, text))
    blanks = sum(map(str.isspace, text))
    return letters * 2 < len(text) - blanks


def _has_columns(text: str) -> bool:
    """Return whether one line is set in columns, or belongs to a drawn table or tree."""
    if _MAY_HAVE_COLUMNS.search(text) is None:
        return False
    if _DRAWN.search(text) or _GRID.fullmatch(text) or _CELL_END.search(text) or _TREE.fullmatch(text):
        return True
    if _LEADER.search(text):
        return True
    mark = _MARK.match(text)
    content = text[mark.end() :] if mark else text
    gaps = [gap for gap in _GAP.finditer(content) if not _is_typing(content, gap)]
    if not gaps:
        return False
    slips = all(len(gap[0]) == 2 and "\t" not in gap[0] and _is_between_words(content, gap) for gap in gaps)
    return not (slips and len(gaps) < 3 and len(content.split()) >= _SLIP_WORDS)


def _is_typing(text: str, gap: re.Match[str]) -> bool:
    return len(gap[0]) == 2 and "\t" not in gap[0] and _SENTENCE_END.search(text, 0, gap.start()) is not None


def _is_between_words(text: str, gap: re.Match[str]) -> bool:
    return text[gap.end()].isalpha() and _LETTER_BEFORE.search(text, 0, gap.start()) is not None


def _is_justified(passage: Sequence[str]) -> bool:
    """Return whether blanks fill the lines of a paragraph up to one length."""
    full = passage[:-1] if len(passage) > 2 else passage
    if len(full) < 2 or len({len(line.rstrip()) for line in full}) > 1:
        return False
    for line in passage:
        text = line.strip()
        gaps = [len(gap[0]) for gap in _GAP.finditer(text)]
        if "\t" in text or max(gaps, default=0) > _MAX_JUSTIFIED_GAP or _DRAWN.search(text):
            return False
    words = [word for line in full for word in line.split()]
    return len(words) >= _SLIP_WORDS * len(full) * 2 // 3 and sum(word.islower() for word in words) * 2 > len(words)


def _is_broken_by_accident(passage: Sequence[str], laid_out: Sequence[bool]) -> bool:
    """Return whether a rare wide gap is inside a long paragraph, whose sentence goes on over it."""
    if sum(laid_out) * 4 > len(passage):
        return False
    at = laid_out.index(True)
    line, before = passage[at].strip(), passage[at - 1].strip() if at else ""
    typical = sorted(len(other.strip()) for other in passage)[len(passage) // 2]
    flows = bool(before) and before[-1] not in ".:!?" and line[0].islower()
    return flows and len(line) * 5 > typical * 3 and sum(laid_out) == 1 and not _LEADER.search(line)


def _spread(passage: Sequence[str], laid_out: list[bool]) -> None:
    """Count lines to the layout that are between its lines, continue one of its cells, or are no prose next to it."""
    found = [index for index, is_layout in enumerate(laid_out) if is_layout]
    for before, after in pairwise(found):
        if after - before <= _MAX_BETWEEN:
            laid_out[before:after] = [True] * (after - before)
    margin = min(indentation(passage[index]) for index in found)
    for index, line in enumerate(passage):
        if index and laid_out[index - 1] and indentation(line) > margin + 2:
            laid_out[index] = True
    for indexes in (range(1, len(passage)), range(len(passage) - 2, -1, -1)):
        for index in indexes:
            neighbour = index - 1 if indexes.step > 0 else index + 1
            if laid_out[neighbour] and not _is_sentence(passage[index].strip()):
                laid_out[index] = True


def _is_sentence(text: str) -> bool:
    """Return whether a line is, or goes on with, a sentence: by its end, or by its many words."""
    words = len(_WORDS.findall(text))
    return words >= _SENTENCE_WORDS or (words > 1 and text[-1] in ".!?:,;…")
