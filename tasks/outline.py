"""What a run has found out about a document, in a few figures for people; pure.

Read from the metadata of the outputs, so that it is there for reused outputs too. A figure that no output has is None.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blocks.catalog import Artifact


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
            found |= _known(artifact.metadata)
    return Outline(**found)


def whole(value: object) -> int | None:
    """Return *value* if it is a number of things: a remote worker may have sent anything."""
    return value if type(value) is int and 0 <= value < 2**63 else None


def _known(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures that *metadata* has, of the type that they should have: SQL may have written anything."""
    texts = {name: metadata.get(name) for name in ("title", "media_type", "language")}
    numbers = {name: metadata.get(name) for name in ("pages", "chunks", "facts")}
    return {name: value for name, value in texts.items() if isinstance(value, str) and value} | {
        name: number for name, value in numbers.items() if (number := whole(value)) is not None
    }
