"""The texts of the samples as blocks: a small, strict subset of Markdown with a header of `key: value` lines.

Owns the reading of `tools/sample_texts/*.md`. It knows headings, paragraphs, flat lists, tables, page breaks (`***`)
and notes (`[^1]`). Anything else becomes a paragraph, marks and all, where an editor's eye will find it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_BULLET = re.compile(r"- (.*)")
_NUMBER = re.compile(r"\d+\. (.*)")
_NOTE = re.compile(r"\[\^(\d+)\]: (.*)")
_HEADING = re.compile(r"(#{1,3}) (.*)")


@dataclass(frozen=True)
class Heading:
    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    text: str


@dataclass(frozen=True)
class Items:
    """A flat list, bulleted or numbered."""

    texts: tuple[str, ...]
    numbered: bool


@dataclass(frozen=True)
class Table:
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class PageBreak:
    """A line of three asterisks."""


@dataclass(frozen=True)
class Note:
    number: int
    text: str


Block = Heading | Paragraph | Items | Table | Note | PageBreak


@dataclass(frozen=True)
class Text:
    """One source text: its header and its blocks."""

    header: dict[str, str]
    blocks: tuple[Block, ...]


def read_text(path: Path) -> Text:
    """Read the source text at *path*; a file without a header gives an empty one."""
    header, body = split_header(path.read_text(encoding="utf-8"))
    return Text(header, blocks_of(body))


def split_header(source: str) -> tuple[dict[str, str], str]:
    """The `key: value` lines between two `---` at the beginning, and what follows them."""
    if not source.startswith("---\n"):
        return {}, source
    head, body = source[4:].split("\n---\n", 1)
    return dict(line.split(": ", 1) for line in head.splitlines()), body


def blocks_of(body: str) -> tuple[Block, ...]:
    """The blocks of *body*, which are separated by blank lines."""
    return tuple(_block(part.splitlines()) for part in re.split(r"\n\s*\n", body.strip()))


def _block(lines: list[str]) -> Block:
    if lines == ["***"]:
        return PageBreak()
    if match := _HEADING.fullmatch(lines[0]):
        return Heading(len(match[1]), match[2])
    if match := _NOTE.fullmatch(lines[0]):
        return Note(int(match[1]), match[2])
    if lines[0].startswith("| "):
        rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]
        return Table(rows[0], tuple(rows[2:]))
    for pattern, numbered in ((_BULLET, False), (_NUMBER, True)):
        items = [match[1] for line in lines if (match := pattern.fullmatch(line))]
        if len(items) == len(lines):
            return Items(tuple(items), numbered)
    return Paragraph(" ".join(lines))
