"""Plain text, source code and structured data: kept line by line.

Owns the decision that these are not rewritten: text goes into Markdown that reads like it, code and data go into a code
block, where their signs have no meaning. Does not convert XML or JSON into headings, because that could not be undone.
"""

from __future__ import annotations

import re
from pathlib import Path

from blocks.filetype import FileType
from blocks.filetype.types import SOURCE_CODE
from tasks.conversion.plain.encodings import find_encoding
from tasks.conversion.plain.markdown import plain_to_markdown
from tasks.conversion.reading import Reading, clean_text

CONVERTER = "waybill-text 1"

_WORD = re.compile(r"[^\W_]")
_BACKTICKS = re.compile(r"^ {0,3}(`{3,})", re.MULTILINE)


def read_plain_text(path: Path, encoding: str | None) -> Reading:
    """Return the text as Markdown that reads like it, in UTF-8 with plain line feeds."""
    text, warnings = load_text(path, encoding)
    body = plain_to_markdown(text) if _WORD.search(text) else ""  # the info string is not text
    return Reading(body=body, converter=CONVERTER, warnings=warnings)


def read_code(path: Path, file_type: FileType, encoding: str | None) -> Reading:
    """Return the text in one fenced code block whose info string names the language."""
    text, warnings = load_text(path, encoding)
    language = SOURCE_CODE.get(file_type.extension, file_type.extension)
    body = as_code_block(text, language) if _WORD.search(text) else ""  # the info string is not text
    return Reading(body=body, converter=CONVERTER, warnings=warnings)


def load_text(path: Path, encoding: str | None = None) -> tuple[str, tuple[str, ...]]:
    """Return the file's text, decoded and cleaned, and the warnings about its decoding."""
    found = find_encoding(path, encoding)
    return clean_text(path.read_bytes().decode(found.codec, "replace")), found.warnings


def as_code_block(text: str, language: str) -> str:
    """Return *text* in a fence longer than any fence inside it (CommonMark 4.5)."""
    longest = max((len(run) for run in _BACKTICKS.findall(text)), default=2)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.strip(chr(10))}\n{fence}\n"
