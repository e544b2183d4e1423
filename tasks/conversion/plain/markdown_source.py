"""Markdown documents: the text unchanged, the author's own YAML header parsed.

Owns reading a foreign front matter safely: bounded, without aliases (they can expand a few hundred bytes to gigabytes)
and without objects. A header that is not YAML stays in the text as a code block, so that no word of it is lost.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any, cast

import yaml

from tasks.conversion.plain.reader import CONVERTER, as_code_block, load_text
from tasks.conversion.reading import Reading, single_line

# Real headers have up to a few kB; a longer one is text between two rules.
_MAX_HEADER_CHARACTERS = 32_768
_HEADER = re.compile(r"---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_LANGUAGE = re.compile(r"([a-z]{2})(?:[-_].*)?", re.DOTALL)


class _PlainLoader(yaml.SafeLoader):
    """SafeLoader that refuses aliases."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):  # pyright: ignore[reportUnknownMemberType]
            raise yaml.YAMLError("aliases are not taken from documents")
        return super().compose_node(parent, index)


def read_markdown(path: Path, encoding: str | None) -> Reading:
    """Return the text without its header; title, date, language and the other fields come from the header."""
    text, warnings = load_text(path, encoding)
    text = text.lstrip("\n")
    header = _HEADER.match(text, 0, _MAX_HEADER_CHARACTERS)
    if header is None:
        return Reading(body=text, converter=CONVERTER, warnings=warnings)
    body = text[header.end() :]
    fields = _parse(header[1])
    if fields is None:
        kept = f"{as_code_block(header[1], 'yaml')}\n{body}"
        warning = "the document's own header is not plain YAML and was kept as a code block"
        return Reading(body=kept, converter=CONVERTER, warnings=(*warnings, warning))
    return Reading(
        body=body,
        converter=CONVERTER,
        title=_text(fields.get("title")),
        created=_moment(fields.get("created", fields.get("date"))),
        language=_language(fields.get("language", fields.get("lang"))),
        fields=fields,
        warnings=warnings,
    )


def _parse(source: str) -> dict[str, Any] | None:
    """Return the header's fields; None when it is not a mapping that can be written again as YAML."""
    try:
        loaded: object = yaml.load(source, Loader=_PlainLoader)  # noqa: S506 - derives from SafeLoader
        if loaded is None:
            return {}
        if not isinstance(loaded, dict):
            return None
        fields = {str(name): value for name, value in cast(Mapping[Any, Any], loaded).items()}
        yaml.safe_dump(fields, allow_unicode=True)
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError):
        return None
    return fields


def _text(value: object) -> str | None:
    return single_line(value) or None if isinstance(value, str) else None


def _moment(value: object) -> str | None:
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    return _text(value)


def _language(value: object) -> str | None:
    found = _LANGUAGE.fullmatch(value.lower()) if isinstance(value, str) else None
    return found[1] if found else None
