"""The YAML header in front of a Markdown text.

Owns where the header ends and which of its fields are used. A header is untrusted: it is read with YAML's base loader
(no types, no objects, no dates), only plain values of known names are taken, and what is too large, too deep or not a
mapping is text, not a header. The format is the one that static site generators share: ``---`` alone on
the first line, ``---`` or ``...`` alone on the closing one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, cast

import yaml

# The conversion stage writes under 1 kB; a pure-Python YAML parser needs 0.1 s for this much.
MAX_HEADER_CHARACTERS = 16 * 1024
# Longer values are not a title, a name or a date.
MAX_VALUE_CHARACTERS = 1000

FIELDS = ("title", "source", "sha256", "type", "pages", "language", "created")

BYTE_ORDER_MARK = "\ufeff"

_OPENING = re.compile(BYTE_ORDER_MARK + r"?---[ \t]*(?:\r\n|\r|\n)")
_CLOSING = re.compile(r"(?<=[\r\n])(?:---|\.\.\.)[ \t]*(?:\r\n|\r|\n|\Z)")
_NULLS = ("", "~", "null", "Null", "NULL")  # YAML 1.2, 10.2.1.1


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """Known fields as text, and the character of the text at which its body begins."""

    body_start: int = 0
    fields: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def pages(self) -> int | None:
        value = self.fields.get("pages", "")
        return int(value) if re.fullmatch(r"[0-9]{1,7}", value) else None


def read_front_matter(text: str) -> FrontMatter:
    """Return the header of *text*; without a usable one the body begins at 0. Never raises."""
    body = FrontMatter(body_start=1 if text.startswith(BYTE_ORDER_MARK) else 0)
    opening = _OPENING.match(text)
    closing = opening and _CLOSING.search(text, opening.end(), opening.end() + MAX_HEADER_CHARACTERS)
    if opening is None or closing is None:
        return body
    try:
        loaded: Any = yaml.load(text[opening.end() : closing.start()], Loader=yaml.BaseLoader)  # noqa: S506 (text only)
    except (yaml.YAMLError, RecursionError, ValueError):
        return body
    if loaded is None or isinstance(loaded, dict):
        return FrontMatter(body_start=closing.end(), fields=_known(cast("dict[Any, Any]", loaded or {})))
    return body


def _known(values: dict[Any, Any]) -> dict[str, str]:
    known: dict[str, str] = {}
    for name in FIELDS:
        value = values.get(name)
        if isinstance(value, str) and value.strip() not in _NULLS:
            # YAML escapes can spell lone surrogates, which JSON writers refuse, and NUL, which Postgres refuses.
            clean = "".join(char if char.isprintable() else " " for char in value[:MAX_VALUE_CHARACTERS])
            known[name] = " ".join(clean.split())
    return known
