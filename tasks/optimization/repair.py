"""Repairs of characters and lines: wrong decodings, invisible characters, runs of empty lines; pure.

Safe in any text of any size, and idempotent. Code blocks are kept apart: white space is significant in them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# Soft hyphens, zero-width spaces, word joiners and stray byte order marks: invisible, and they split words for a
# search. Zero-width (non-)joiners stay: Persian, Indic scripts and emoji are spelled with them.
_INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff]")
# A repaired sequence can turn out to be an invisible character, and its neighbours can then be repaired in turn.
_MAX_ROUNDS = 3
# Characters that some tools take for line ends and Markdown does not; stage 1 leaves none, other input may.
_LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\u2028\u2029]")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_EMPTY_LINES = re.compile(r"\n(?:[ \t]*\n){2,}")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})([^\n]*)")


@dataclass(frozen=True)
class Part:
    """A run of lines, either inside a fenced code block (with its fences) or outside of any."""

    text: str
    is_code: bool


def repair_characters(text: str) -> str:
    """Return *text* with mojibake, ligatures, control characters and decomposed letters repaired (ftfy), in NFC."""
    import ftfy  # takes 50 ms, which reading the stage's options does not need

    # Quotes, entities and full-width letters are the author's choice; only accidental changes are repaired.
    config = ftfy.TextFixerConfig(uncurl_quotes=False, unescape_html=False, fix_character_width=False)
    for _ in range(_MAX_ROUNDS):
        text = ftfy.fix_text(_INVISIBLE.sub("", text), config=config)
        if _INVISIBLE.search(text) is None:
            break
    return text


def normalise_line_ends(text: str) -> str:
    """Return *text* with line feeds only."""
    return _LINE_ENDS.sub("\n", text) if _LINE_ENDS.search(text) else text


def collapse_empty_lines(text: str) -> str:
    """Return *text* with at most one empty line in a row outside code blocks, and none at the start or the end."""
    collapsed = "".join(part.text if part.is_code else _EMPTY_LINES.sub("\n\n", part.text) for part in parts(text))
    return f"{collapsed.strip(chr(10))}\n" if collapsed.strip() else ""


def parts(text: str) -> Iterator[Part]:
    """Yield the runs of *text* in order; joined they are *text* (CommonMark 4.5 fences at the outer level)."""
    lines: list[str] = []
    fence: str | None = None
    for line in _LINE.findall(text):
        mark = _FENCE.match(line)
        if fence is None and mark is not None and not (mark[1][0] == "`" and "`" in mark[2]):
            if lines:
                yield Part("".join(lines), is_code=False)
            lines, fence = [line], mark[1]
            continue
        lines.append(line)
        if fence is not None and mark is not None and mark[1].startswith(fence) and not mark[2].strip():
            yield Part("".join(lines), is_code=True)
            lines, fence = [], None
    if lines:
        yield Part("".join(lines), is_code=fence is not None)
