"""Lists of sources: text files with one source on each line; pure.

A line is a source as a person would give it, or a JSON object with it as ``source``, whose other entries are passed
over. Blank lines, and lines that begin with ``#``, are left out. A name with a blank at its end, or one that begins
with ``#`` or ``{``, is written as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

from blocks.errors import InvalidOptions

# Of a list in custody that a command or the gateway has made.
MEDIA_TYPE = "text/vnd.waybill.sources"
# Some times the longest path or URL that any system takes.
MAX_LINE_BYTES = 64 * 1024
# Sources that a run's parameters hold without a list: far below what Prefect takes, also where they are long.
MOST_SOURCES, MOST_SOURCE_CHARS = 1000, 100_000


def needs_list(sources: Sequence[str]) -> bool:
    """Return whether *sources* are too many for the parameters of a run."""
    return len(sources) > MOST_SOURCES or sum(map(len, sources)) > MOST_SOURCE_CHARS


def read_list(pieces: Iterable[bytes], shown: str) -> Iterator[str]:
    """Yield the sources of the list *shown*, whose content comes in *pieces*. Only one line of it is in memory.

    Names that are not valid UTF-8 are those of the operating system. Raises `InvalidOptions`, which names the line.
    """
    lines = SourceLines(shown)
    for piece in pieces:
        yield from lines.feed(piece)
    yield from lines.end()


class SourceLines:
    """The same for content that its sender hands over piece by piece; *line* is the number of the last whole line."""

    def __init__(self, shown: str) -> None:
        self._shown = shown
        self._rest = b""
        self.line = 0

    @property
    def where(self) -> str:
        """The last line, for a message."""
        return f"line {self.line:,} of {self._shown}"

    def feed(self, piece: bytes) -> Iterator[str]:
        """Yield the sources of the lines that *piece* completes. Raises like `read_list`."""
        *whole, self._rest = (self._rest + piece).split(b"\n")
        for line in whole:
            self._check_length(line)
            yield from self._sources(line)
        self._check_length(self._rest)

    def end(self) -> Iterator[str]:
        """Yield the source of the last line, which need not end with a line feed. Raises like `read_list`."""
        yield from self._sources(self._rest)

    def _check_length(self, line: bytes) -> None:
        if len(line) > MAX_LINE_BYTES:
            raise InvalidOptions(
                f"{self._shown} is no list of sources: it has a line of more than {MAX_LINE_BYTES:,} bytes"
            )

    def _sources(self, line: bytes) -> Iterator[str]:
        self.line += 1
        text = line.decode("utf-8-sig" if self.line == 1 else "utf-8", "surrogateescape").strip()
        if text.startswith("{"):
            yield _of_object(text, self.where)
        elif text and not text.startswith("#"):
            yield text


def write_list(sources: Iterable[str]) -> Iterator[bytes]:
    """Yield the lines of a list of *sources*, whatever they contain."""
    for source in sources:
        yield json.dumps({"source": source}).encode() + b"\n"


def _of_object(text: str, where: str) -> str:
    try:
        given: Any = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise InvalidOptions(f"{where} begins as JSON and is none: {exc}") from exc
    source = cast("dict[str, Any]", given).get("source")
    if not isinstance(source, str) or not source:
        raise InvalidOptions(f'{where} names no source; write {{"source": "/data/report.pdf"}}')
    return source
