"""The chunker's output as the fact generator reads it.

Owns the check of that file's form. Vectors are left out before it is parsed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from blocks.errors import UnreadableDocument

# 384 numbers a passage are of no use here, and as Python objects they would take 12 kB each. Inside a JSON string the
# quotation marks would be escaped, so this cannot match in a text.
_EMBEDDING = re.compile(rb',"embedding":\[[^\]]*\]')


class Passage(BaseModel):
    """One chunk. `start` is the place of its text in the document; places in `text` count from 0.

    `context` is what stands above the text: headings, and the header row of a table that goes on.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    ordinal: int
    start: int
    text: str
    tokens: int
    heading_path: tuple[str, ...] = ()
    context: str = ""

    @property
    def table_header(self) -> str:
        """The header row of the table that the text begins in the middle of, if it does."""
        last = self.context.rpartition("\n")[2]
        return last if "|" in last else ""


class Passages(BaseModel):
    """A document's passages in order, and what is known of the document."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    document: dict[str, Any]
    chunks: tuple[Passage, ...]

    @property
    def language(self) -> str:
        """The document's language tag in lower case; ``en`` where it is not known."""
        found = self.document.get("language")
        return found.lower() if isinstance(found, str) and found else "en"


def read_passages(path: Path, name: str) -> Passages:
    """The passages in *path*. Raises `UnreadableDocument` naming the document *name*."""
    try:
        return Passages.model_validate_json(_EMBEDDING.sub(b"", path.read_bytes()))
    except ValidationError as exc:
        first = exc.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UnreadableDocument(
            f"the chunks of {name} are not in the chunker's form: {where}: {first['type']}; run the chunker again"
        ) from None
