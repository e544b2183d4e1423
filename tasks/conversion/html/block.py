"""A block of Markdown on its way into a document; pure."""

from __future__ import annotations

from typing import NamedTuple


class Block(NamedTuple):
    """Markdown without empty lines around it.

    `kind` is the sign of a list (``-``, ``*``, ``.``, ``)``), "word" for a list's item that stands alone, "term" or
    "definition"; empty for others.
    """

    text: str
    kind: str = ""


def joined(blocks: list[Block]) -> str:
    """Return blocks with an empty line between them; items of lists follow each other at once."""
    parts: list[str] = []
    for before, block in zip(("", *(block.kind for block in blocks)), blocks, strict=False):
        parts += ("\n" if before == block.kind == "word" else "\n\n", block.text)
    return "".join(parts[1:])
