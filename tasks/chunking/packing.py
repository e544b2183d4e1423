"""Blocks into chunks: which blocks belong together, within a number of tokens.

A chunk begins at a heading wherever there is one, holds whole blocks while they fit, and does not continue into a
section of the same or a higher level (unless small sections are to be merged). The rest of a section after full chunks
is balanced with the chunk before it, so that slivers are rare. A chunk does not end with a heading if it can be helped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

from tasks.chunking.pieces import Cutter, Piece
from tasks.text.scanner import LINE_END, Block, Kind, scan_blocks

# The title and the headings above a chunk are embedded with it and so take tokens from its text: at most one part in
# this many. The same holds for the header row of a table; a larger one is left out.
CONTEXT_SHARE = 5
# Between two headings is a separator, and a line end between the last heading and the text: about one token each.
SEPARATOR_TOKENS = 1
# The tokenizer counts a batch several times faster than one text after another.
BATCH_BLOCKS = 256


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in tokens. `most` is the limit of a chunk's text and context together; a chunk below `least` is a sliver.

    `title` is the size of the document's title, which is part of every chunk's context.
    """

    most: int
    least: int
    overlap: int = 0
    title: int = 0
    merge_small_sections: bool = False


@dataclass(frozen=True, slots=True)
class Heading:
    level: int
    title: str
    tokens: int


Path = tuple[Heading, ...]


@dataclass(frozen=True, slots=True)
class Draft:
    """A chunk's place ``[start, end)``. `headings` are in force at its first text; of these `above` are not in it.

    `table_header` is the header row of the table that it begins inside. `continues` says whether it continues the
    section in which the chunk before it ends.
    """

    start: int
    end: int
    headings: tuple[str, ...]
    above: tuple[str, ...]
    table_header: str
    continues: bool


@dataclass(frozen=True, slots=True)
class _Entry:
    """A piece in a chunk, with the headings in force there, a heading itself included.

    `header` is the header row of the table that the piece is a later part of.
    """

    piece: Piece
    kind: Kind
    path: Path
    header: Piece | None = None

    @property
    def above(self) -> Path:
        return self.path[:-1] if self.kind == "heading" else self.path


@dataclass(slots=True)
class _Chunk:
    entries: list[_Entry] = field(default_factory=list[_Entry])
    continues: bool = False
    weight: int = 0

    def append(self, entry: _Entry) -> None:
        self.entries.append(entry)
        self.weight += entry.piece.weight

    def take_last(self) -> _Entry:
        entry = self.entries.pop()
        self.weight -= entry.piece.weight
        return entry

    def put_first(self, entry: _Entry) -> None:
        self.entries.insert(0, entry)
        self.weight += entry.piece.weight

    @property
    def level(self) -> int:
        """The level of the section in which the chunk begins; 0 before the first heading."""
        path = self.entries[0].path if self.entries else ()
        return path[-1].level if path else 0

    def take_dangling_headings(self) -> list[_Entry]:
        """Remove and return the headings at the end that have no text below them yet."""
        dangling: list[_Entry] = []
        while self.entries and self.entries[-1].kind == "heading":
            dangling.insert(0, self.take_last())
        return dangling


def pack(text: str, body_start: int, limits: Limits, cutter: Cutter) -> Iterator[Draft]:
    """Yield the chunks of *text* from *body_start* on, in order, without overlap; no non-blank text is left out."""
    packer = _Packer(text, limits, cutter)
    blocks = scan_blocks(text, body_start)
    while batch := list(islice(blocks, BATCH_BLOCKS)):
        pieces = cutter.weigh_all(((block.start, block.end) for block in batch), limits.most)
        for block, piece in zip(batch, pieces, strict=True):
            yield from packer.add(block, piece)
    yield from packer.end_section()


class _Packer:
    """Holds the chunk being filled and, while that continues the same section, the chunk before it."""

    def __init__(self, text: str, limits: Limits, cutter: Cutter) -> None:
        self._text = text
        self._limits = limits
        self._cutter = cutter
        self._path: Path = ()
        self._open = _Chunk()
        self._before: _Chunk | None = None

    def add(self, block: Block, piece: Piece) -> Iterator[Draft]:
        if block.kind == "heading":
            if not self._may_run_on(block, piece):
                yield from self.end_section()
            parents = tuple(heading for heading in self._path if heading.level < block.level)
            self._path = (*parents, Heading(block.level, block.title, piece.weight))
        sliver = bool(self._open.entries) and self._open.weight < self._limits.least
        if self._fits(piece) or (not sliver and piece.weight <= self._room_when_fresh()):
            yield from self._append(_Entry(piece, block.kind, self._path))
        else:
            yield from self._add_parts(block)

    def _add_parts(self, block: Block) -> Iterator[Draft]:
        """Add a block in parts: it is too large for a chunk, or the text before it is too small for one."""
        room = self._room_when_fresh()
        header = self._table_header(block, room)
        if header:
            room -= header.weight
        kind: Kind = "paragraph" if block.kind == "heading" else block.kind
        for part in self._cutter.cut((block.start, block.end), block.kind, room):
            begins = part.start == block.start
            yield from self._append(_Entry(part, kind, self._path, None if begins else header))

    def _table_header(self, block: Block, room: int) -> Piece | None:
        """Return the header row of a table, if it leaves most of the room to the rows."""
        if block.kind != "table":
            return None
        line = LINE_END.search(self._text, block.start, block.end)
        span = (block.start, line.start() if line else block.end)
        (header,) = self._cutter.weigh_all([span], self._limits.most)
        return header if header.weight <= min(self._limits.most // CONTEXT_SHARE, room // 2) else None

    def end_section(self) -> Iterator[Draft]:
        """Close the open chunk; the next block begins another."""
        if self._before is not None:
            if self._open.weight < self._limits.least:
                self._even_out(self._before, self._open)
            yield from self._draft(self._before)
        yield from self._draft(self._open)
        self._before, self._open = None, _Chunk()

    def _may_run_on(self, block: Block, piece: Piece) -> bool:
        """Return whether the open chunk continues across this heading: only as a sliver, and only to a lower level."""
        chunk = self._open
        if not chunk.entries or chunk.continues or chunk.weight >= self._limits.least:
            return False
        return (block.level > chunk.level or self._limits.merge_small_sections) and self._fits(piece)

    def _append(self, entry: _Entry) -> Iterator[Draft]:
        if self._open.entries and not self._fits(entry.piece):
            yield from self._roll_over(entry)
        self._open.append(entry)

    def _roll_over(self, new: _Entry) -> Iterator[Draft]:
        """Continue the section in a new chunk, which takes the dangling headings if they fit together with *new*."""
        dangling = self._open.take_dangling_headings()
        if sum(entry.piece.weight for entry in dangling) + new.piece.weight > self._room(new, continues=True):
            for entry in dangling:
                self._open.append(entry)
            dangling = []
        if self._open.entries:
            if self._before is not None:
                yield from self._draft(self._before)
            self._before, self._open = self._open, _Chunk(continues=True)
        for entry in dangling:
            self._open.append(entry)

    def _fits(self, piece: Piece) -> bool:
        chunk = self._open
        first = chunk.entries[0] if chunk.entries else _Entry(piece, "paragraph", self._path)
        return chunk.weight + piece.weight <= self._room(first, continues=chunk.continues)

    def _room(self, first: _Entry, *, continues: bool) -> int:
        """Return the tokens for the text of a chunk that begins with *first*, less title, headings and table header."""
        headings = self._limits.title + sum(heading.tokens + SEPARATOR_TOKENS for heading in first.above)
        room = self._limits.most - min(headings, self._limits.most // CONTEXT_SHARE)
        if first.header:
            room -= first.header.weight
        return room - self._limits.overlap if continues else room

    def _room_when_fresh(self) -> int:
        """Return the tokens of a piece that fits a new chunk, if possible together with dangling headings."""
        room = self._room(_Entry(Piece(0, 0, 0), "paragraph", self._path), continues=True)
        dangling = 0
        for entry in reversed(self._open.entries):
            if entry.kind != "heading":
                break
            dangling += entry.piece.weight
        return room - dangling if dangling < room // 2 else room

    def _even_out(self, full: _Chunk, sliver: _Chunk) -> None:
        """Move text from the end of *full* to the front of *sliver*, until *sliver* is none, or *full* would be one."""
        least = self._limits.least
        last = full.entries[-1]
        if last.piece.weight > least:  # too much to move whole
            full.take_last()
            span = (last.piece.start, last.piece.end)
            for part in self._cutter.cut(span, last.kind, self._limits.most):
                full.append(replace(last, piece=part))
        while len(full.entries) > 1 and sliver.weight < least:
            entry = full.entries[-1]
            room = self._room(entry, continues=True)
            if full.weight - entry.piece.weight < least or sliver.weight + entry.piece.weight > room:
                break
            sliver.put_first(full.take_last())
        for heading in reversed(full.take_dangling_headings()):
            sliver.put_first(heading)

    def _draft(self, chunk: _Chunk) -> Iterator[Draft]:
        if not chunk.entries:
            return
        first = chunk.entries[0]
        start, end = trimmed(self._text, first.piece.start, chunk.entries[-1].piece.end)
        if start == end:
            return
        first_text = next((entry for entry in chunk.entries if entry.kind != "heading"), chunk.entries[-1])
        yield Draft(
            start=start,
            end=end,
            headings=_titles(first_text.path),
            above=_titles(first.above),
            table_header=self._text[first.header.start : first.header.end].strip() if first.header else "",
            continues=chunk.continues,
        )


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the span without white space at its end and blank lines at its beginning; indentation stays."""
    content = text[start:end]
    end = start + len(content.rstrip())
    blank = len(content) - len(content.lstrip())
    return min(start + max(content.rfind("\n", 0, blank), content.rfind("\r", 0, blank)) + 1, end), end


def _titles(path: Iterable[Heading]) -> tuple[str, ...]:
    return tuple(heading.title for heading in path if heading.title)
