"""What a converter gives back, and the cleaning that every text passes; pure.

Owns the form between the converters and the YAML header. Text in it holds no control characters, no terminal escapes
and no lone surrogates: nothing that YAML, JSON or Postgres would refuse later.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_LINE_ENDS = re.compile(r"\r\n?|\x85|\u2028|\x0b")
_PAGE_BREAK = re.compile(r"\x0c")
# ECMA-48 control sequences: colours in logs and notebook tracebacks.
_TERMINAL_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]{0,512}(?:\x07|\x1b\\))")
# C1 controls stay: they are what Windows-1252 quotes look like after a wrong decoding, and stage 2 repairs those.
_FORBIDDEN = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
# A mark inside of a text is a leftover of joined files; it is invisible and breaks words.
_BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One document as Markdown, with what it says about itself.

    `pages` counts pages, slides or sheets and is None where there is no such thing. `created` is ISO 8601. `fields`
    are further header fields that the document's author wrote.
    """

    body: str
    converter: str
    title: str | None = None
    created: str | None = None
    language: str | None = None
    pages: int | None = None
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    warnings: tuple[str, ...] = ()


def clean_text(text: str) -> str:
    """*text* with plain line feeds and without characters that no text holds. Makes no copy where nothing changes."""
    for pattern, replacement in (
        (_TERMINAL_ESCAPE, ""),
        (_LINE_ENDS, "\n"),
        (_PAGE_BREAK, "\n\n"),
        (_FORBIDDEN, ""),
    ):
        if pattern.search(text):
            text = pattern.sub(replacement, text)
    return text.replace(_BYTE_ORDER_MARK, "") if _BYTE_ORDER_MARK in text else text


def single_line(text: str) -> str:
    """*text* on one line, white space runs as single spaces."""
    return " ".join(clean_text(text).split())
