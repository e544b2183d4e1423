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
    for number, line in enumerate(_lines(pieces, shown), 1):
        text = line.decode("utf-8-sig" if number == 1 else "utf-8", "surrogateescape").strip()
        if text.startswith("{"):
            yield _of_object(text, f"line {number} of {shown}")
        elif text and not text.startswith("#"):
            yield text


def write_list(sources: Iterable[str]) -> Iterator[bytes]:
    """Yield the lines of a list of *sources*, whatever they contain."""
    for source in sources:
        yield json.dumps({"source": source}).encode() + b"\n"


def _lines(pieces: Iterable[bytes], shown: str) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
        if len(rest) > MAX_LINE_BYTES:
            raise InvalidOptions(f"{shown} is no list of sources: it has a line of more than {MAX_LINE_BYTES:,} bytes")
    yield rest


def _of_object(text: str, where: str) -> str:
    try:
        given: Any = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise InvalidOptions(f"{where} begins as JSON and is none: {exc}") from exc
    source = cast("dict[str, Any]", given).get("source")
    if not isinstance(source, str) or not source:
        raise InvalidOptions(f'{where} names no source; write {{"source": "/data/report.pdf"}}')
    return source
