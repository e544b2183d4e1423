"""The chunker's output as the fact generator reads it.

Owns the check of that file's form. Fields that are not named here are skipped without being built, the vectors above
all: as Python objects they would take 12 kB a passage.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from blocks.errors import UnreadableDocument


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """One chunk. `start` is the place of its text in the document; places in `text` count from 0.

    `context` is what stands above the text: headings, and the header row of a table that the text continues.
    `inside` is the opening line of the code block that the text begins inside.
    """

    id: str
    ordinal: int
    start: int
    text: str
    tokens: int
    heading_path: tuple[str, ...] = ()
    context: str = ""
    inside: str = ""

    @property
    def table_header(self) -> str:
        """The header row of the table that the text begins in the middle of; empty if there is none."""
        last = self.context.rpartition("\n")[2]
        return last if "|" in last else ""


class Passages(msgspec.Struct, frozen=True, kw_only=True):
    """A document's passages in order, and what is known of the document."""

    document: dict[str, Any]
    chunks: tuple[Passage, ...]

    @property
    def language(self) -> str:
        """The document's language tag in lower case; ``en`` where it is not known."""
        found = self.document.get("language")
        return found.lower() if isinstance(found, str) and found else "en"


def read_passages(path: Path, name: str) -> Passages:
    """Return the passages in *path*. Raises `UnreadableDocument`, naming the document *name* and quoting no content."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Passages)
    except (ValueError, RecursionError) as exc:
        reason = "it is nested too deeply" if isinstance(exc, RecursionError) else str(exc)[:200]
        raise UnreadableDocument(f"the chunks of {name} are not valid: {reason}; run the chunker again") from None
