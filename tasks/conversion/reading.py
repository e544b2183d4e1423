"""The result of a converter, and the cleaning that every text passes; pure.

Owns the form between the converters and the YAML header. Its text has no control characters, no terminal escapes and no
lone surrogates, which YAML, JSON or Postgres would refuse later.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_LINE_ENDS = re.compile(r"\r\n?|\u2028|\x0b")
# A line end of mainframes; in text with other line ends it is the ellipsis of Windows-1252, which stage 2 repairs.
_NEXT_LINE = "\x85"
_PAGE_BREAK = re.compile(r"\x0c")
# ECMA-48 control sequences: colours in logs and notebook tracebacks.
_TERMINAL_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]{0,512}(?:\x07|\x1b\\))")
# C1 controls stay: a wrong decoding turns Windows-1252 quotes into them, and stage 2 repairs those.
_FORBIDDEN = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
# A mark inside a text is left from joined files; it is invisible and breaks words.
_BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One document as Markdown, with its own metadata.

    `pages` counts pages, slides or sheets and is None where there are none. `created` is a date as the document writes
    it. `fields` are further header fields of the document's author, `metadata` further entries of the output's metadata
    (small JSON). `page_texts` are the pages one by one, where they were requested.
    """

    body: str
    converter: str
    title: str | None = None
    created: str | None = None
    language: str | None = None
    pages: int | None = None
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    warnings: tuple[str, ...] = ()
    page_texts: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])


def clean_text(text: str) -> str:
    """Return *text* with plain line feeds and without control characters. Makes no copy where nothing changes."""
    for pattern, replacement in (
        (_TERMINAL_ESCAPE, ""),
        (_LINE_ENDS, "\n"),
        (_PAGE_BREAK, "\n\n"),
        (_FORBIDDEN, ""),
    ):
        if pattern.search(text):
            text = pattern.sub(replacement, text)
    if _NEXT_LINE in text and "\n" not in text:
        text = text.replace(_NEXT_LINE, "\n")
    return text.replace(_BYTE_ORDER_MARK, "") if _BYTE_ORDER_MARK in text else text


def single_line(text: str) -> str:
    """Return *text* on one line, with runs of white space as single spaces."""
    return " ".join(clean_text(text).split())
