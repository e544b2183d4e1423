"""The names of a document, where they occur, and texts without them; pure.

A name that no other document has is looked for everywhere. One that another document has too, and what may be an
everyday word, an id or a number, such as a title, are looked for only in what is about the document. A longer name of
another document, such as ``annual report.md`` where ``report.md`` is forgotten, is left whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self, cast
from unicodedata import normalize
from urllib.parse import quote

from blocks.naming import MARKDOWN_SIGNS

# A shorter name, such as "a.md", may be a part of anything: it is looked for only in what is about the document.
_MIN_CHARS_EVERYWHERE = 6
_MIN_CHARS = 3
# A word, an id, a hash or a number: looked for only in what is about the document, and never among the keys of JSON.
_WORD = re.compile(r"[\w-]+|[\W\d_]+")
# What Waybill and Prefect write themselves, as a state, a kind or a tag: it says nothing of a document.
_OWN_WORDS = frozenset({
    "available", "cancelled", "cancelling", "claimed", "completed", "crashed", "dead", "deleted", "deleting",
    "delivered", "deployment", "done", "expired", "failed", "flow", "flow-run", "late", "latest", "link",
    "markdown", "paused", "pending", "process", "progress", "retrying", "running", "scheduled", "stage_output",
    "submitting", "suspended", "table", "tag", "task-run", "upload", "waiting", "waybill", "work-pool",
    "work-queue",
})  # fmt: skip


# What `placeholder` returns, as Postgres matches it.
PLACEHOLDER_PATTERN = r"^forgotten document \([0-9a-f]{8}\)$"


def placeholder(sha256: str) -> str:
    """Return what stands in the place of the document's names: ``forgotten document (1a2b3c4d)``."""
    return f"forgotten document ({sha256[:8]})"


@dataclass(frozen=True, kw_only=True)
class Names:
    """The names of one document: those that are its *alone*, those that are *shared*, and what takes their place.

    *others* are longer names of other documents, with one of these in them.
    """

    alone: frozenset[str] = field(repr=False)
    shared: frozenset[str] = field(repr=False)
    instead: str
    others: frozenset[str] = field(default=frozenset(), repr=False)

    @classmethod
    def of(cls, alone: Iterable[str], shared: Iterable[str], *, instead: str, others: Iterable[str] = ()) -> Self:
        """Return the names that can be looked for. A name in both is shared."""
        also = {name for name in shared if _says_something(name)}
        own = {name for name in alone if _says_something(name)} - also
        vague = {name for name in own if len(name) < _MIN_CHARS_EVERYWHERE or _WORD.fullmatch(name)}
        return cls(
            alone=frozenset(own - vague),
            shared=frozenset(also | vague),
            instead=instead,
            others=frozenset(others) - own - also,
        )

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return what `as_json` has written."""
        names = {one: frozenset(value.get(one, ())) for one in ("alone", "shared", "others")}
        return cls(**names, instead=value["instead"])

    def as_json(self) -> dict[str, Any]:
        return {
            "alone": sorted(self.alone),
            "shared": sorted(self.shared),
            "others": sorted(self.others),
            "instead": self.instead,
        }

    def patterns(self, *, about: bool) -> list[str]:
        """Return patterns for ``ilike any``: of all names in what is *about* the document, else of its own alone."""
        spellings = _spellings(self.alone | self.shared if about else self.alone)
        return [f"%{_escaped(one)}%" for one in spellings]

    @cached_property
    def longest(self) -> int:
        """How many bytes the longest spelling has, of the names and of others with one in them."""
        spelled = (one.encode("utf-8", "surrogatepass") for one in [*self._alone, *_spellings(self.others)])
        return max(map(len, spelled), default=0)

    def places(self, text: str, *, about: bool) -> Iterator[tuple[int, int]]:
        """Yield where the names begin and end in *text*."""
        return (one.span() for one in self._form(about).finditer(text) if one["others"] is None)

    def occur_in(self, text: str, *, about: bool) -> bool:
        """Return whether one of the names is in *text*."""
        return any(True for _ in self.places(text, about=about))

    def redacted(self, text: str, *, about: bool) -> str:
        """Return *text* without the names."""
        return self._form(about).sub(self._instead, text)

    def redacted_value(self, value: Any, *, about: bool) -> Any:
        """Return a JSON value without the names in its strings, also in its keys."""
        return _mapped(
            value, lambda text: self.redacted(text, about=about), lambda key: self._keys_form.sub(self._instead, key)
        )

    def _instead(self, found: re.Match[str]) -> str:
        return self.instead if found["others"] is None else found[0]

    def _form(self, about: bool) -> re.Pattern[str]:
        return self._about_form if about else self._alone_form

    @cached_property
    def _alone(self) -> list[str]:
        return _spellings(self.alone)

    @cached_property
    def _about_form(self) -> re.Pattern[str]:
        return _any_of(_spellings(self.alone | self.shared), _spellings(self.others))

    @cached_property
    def _alone_form(self) -> re.Pattern[str]:
        return _any_of(self._alone, _spellings(self.others))

    @cached_property
    def _keys_form(self) -> re.Pattern[str]:
        """Keys are words of the format, whatever the document is called."""
        names = (name for name in self.alone | self.shared if not _WORD.fullmatch(name))
        return _any_of(_spellings(names), _spellings(self.others))


def _says_something(name: str) -> bool:
    return len(name) >= _MIN_CHARS and name.casefold() not in _OWN_WORDS


def _spellings(names: Iterable[str]) -> list[str]:
    """Return the ways in which names are written: plain, in URLs, in JSON, in Markdown. The longest first."""
    found: set[str] = set()
    for name in names:
        for form in {name, normalize("NFC", name), normalize("NFD", name)}:
            plain = form.encode("utf-8", "surrogatepass")
            found |= {form, quote(plain), quote(plain, safe=""), json.dumps(form)[1:-1], form.translate(MARKDOWN_SIGNS)}
            found.add(json.dumps(form, ensure_ascii=False)[1:-1])
    return sorted(found, key=lambda one: (-len(one), one))


def _any_of(names: list[str], others: list[str]) -> re.Pattern[str]:
    """Return a pattern that matches a whole name: not ``a.pdf`` in ``data.pdf``. The group has a name of *others*."""
    whole, no_name = r"(?<!\w)(?:{})(?!\w)", "(?!)"
    own, longer = ("|".join(map(re.escape, one)) or no_name for one in (names, others))
    return re.compile(f"(?P<others>{whole.format(longer)})|{whole.format(own)}", re.IGNORECASE)


def _escaped(text: str) -> str:
    return re.sub(r"([\\%_])", r"\\\1", text)


def _mapped(value: Any, change: Callable[[str], str], change_key: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_mapped(item, change, change_key) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        given = cast("dict[Any, Any]", value)
        return {change_key(str(key)): _mapped(item, change, change_key) for key, item in given.items()}
    return value
