"""The names of a document, where they occur, and texts without them; pure.

A name that no other document has is looked for everywhere. One that another document has too, and a title, which may be
an everyday word, are looked for only in what is about the document.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self, cast
from unicodedata import normalize
from urllib.parse import quote

from blocks.naming import MARKDOWN_SIGNS

# A shorter name, such as "a.md", may be a part of anything: it is looked for only in what is about the document.
_MIN_CHARS_EVERYWHERE = 6
_MIN_CHARS = 3


def placeholder(sha256: str) -> str:
    """Return what stands in the place of the document's names: ``forgotten document (1a2b3c4d)``."""
    return f"forgotten document ({sha256[:8]})"


@dataclass(frozen=True, kw_only=True)
class Names:
    """The names of one document: those that are its *alone*, those that are *shared*, and what takes their place."""

    alone: frozenset[str] = field(repr=False)
    shared: frozenset[str] = field(repr=False)
    instead: str

    @classmethod
    def of(cls, alone: Iterable[str], shared: Iterable[str], *, instead: str) -> Self:
        """Return the names that are long enough to be looked for. A name in both is shared."""
        also = {name for name in shared if len(name) >= _MIN_CHARS}
        own = {name for name in alone if len(name) >= _MIN_CHARS} - also
        short = {name for name in own if len(name) < _MIN_CHARS_EVERYWHERE}
        return cls(alone=frozenset(own - short), shared=frozenset(also | short), instead=instead)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return what `as_json` has written."""
        return cls(alone=frozenset(value["alone"]), shared=frozenset(value["shared"]), instead=value["instead"])

    def as_json(self) -> dict[str, Any]:
        return {"alone": sorted(self.alone), "shared": sorted(self.shared), "instead": self.instead}

    def patterns(self, *, about: bool) -> list[str]:
        """Return patterns for ``ilike any``: of all names in what is *about* the document, else of its own alone."""
        spellings = _spellings(self.alone | self.shared if about else self.alone)
        return [f"%{_escaped(one)}%" for one in spellings]

    def spelled(self, *, about: bool) -> list[bytes]:
        """Return the names as bytes, in all spellings, the longest first."""
        return [one.encode("utf-8", "surrogatepass") for one in (self._all if about else self._alone)]

    def occur_in(self, text: str, *, about: bool) -> bool:
        """Return whether one of the names is in *text*."""
        return self._form(about).search(text) is not None

    def redacted(self, text: str, *, about: bool) -> str:
        """Return *text* without the names."""
        return self._form(about).sub(lambda _: self.instead, text)

    def redacted_value(self, value: Any, *, about: bool) -> Any:
        """Return a JSON value without the names in its strings, also in its keys."""
        return _mapped(value, lambda text: self.redacted(text, about=about))

    def _form(self, about: bool) -> re.Pattern[str]:
        return self._about_form if about else self._alone_form

    @cached_property
    def _all(self) -> list[str]:
        return _spellings(self.alone | self.shared)

    @cached_property
    def _alone(self) -> list[str]:
        return _spellings(self.alone)

    @cached_property
    def _about_form(self) -> re.Pattern[str]:
        return _any_of(self._all)

    @cached_property
    def _alone_form(self) -> re.Pattern[str]:
        return _any_of(self._alone)


def _spellings(names: Iterable[str]) -> list[str]:
    """Return the ways in which names are written: plain, in URLs, in JSON, in Markdown. The longest first."""
    found: set[str] = set()
    for name in names:
        for form in {name, normalize("NFC", name), normalize("NFD", name)}:
            plain = form.encode("utf-8", "surrogatepass")
            found |= {form, quote(plain), quote(plain, safe=""), json.dumps(form)[1:-1], form.translate(MARKDOWN_SIGNS)}
            found.add(json.dumps(form, ensure_ascii=False)[1:-1])
    return sorted(found, key=lambda one: (-len(one), one))


def _any_of(names: list[str]) -> re.Pattern[str]:
    """Return a pattern that matches a whole name: not ``a.pdf`` in ``data.pdf``."""
    if not names:
        return re.compile(r"(?!)")
    return re.compile("|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in names), re.IGNORECASE)


def _escaped(text: str) -> str:
    return re.sub(r"([\\%_])", r"\\\1", text)


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_mapped(item, change) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {change(str(key)): _mapped(item, change) for key, item in cast("dict[Any, Any]", value).items()}
    return value
