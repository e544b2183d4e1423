"""What a run has found out about a document, in a few figures for people; pure.

Read from the metadata of the outputs, so that it is there for reused outputs too. A figure that no output has is None.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blocks.catalog import Artifact

_TEXTS = ("title", "media_type", "type", "language")
_NUMBERS = ("pages", "chunks", "facts", "entities")
# Looked for in each output several times; most have one or two.
_FIGURES = frozenset({*_TEXTS, *_NUMBERS})


@dataclass(frozen=True, kw_only=True)
class Outline:
    """Title, type and language of a document, and how many pages, chunks and facts it has."""

    title: str | None = None
    media_type: str | None = None
    language: str | None = None
    pages: int | None = None
    chunks: int | None = None
    facts: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the figures as ``process --json`` shows them."""
        return asdict(self)


def outline(artifacts: Iterable[Artifact]) -> Outline:
    """Return the outline of the document whose files are *artifacts*: its upload and its outputs, in stage order."""
    found: dict[str, Any] = {}
    for artifact in artifacts:
        if artifact.kind == "stage_output":
            found |= known_figures(artifact.metadata)
    return Outline(**{one.name: found.get(one.name) for one in fields(Outline)})


def whole(value: object) -> int | None:
    """Return *value* if it is a number of things: a remote worker may have sent anything."""
    return value if type(value) is int and 0 <= value < 2**63 else None


def known_figures(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures that *metadata* of an output has, of the type that they should have: it may hold anything."""
    found: dict[str, Any] = {}
    for name in _FIGURES & metadata.keys():
        value = metadata[name]
        if (isinstance(value, str) and value) if name in _TEXTS else whole(value) is not None:
            found[name] = value
    return found
