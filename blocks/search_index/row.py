"""What holds for every row of the index; pure."""

from __future__ import annotations

from dataclasses import dataclass

from blocks.json_cleaning import storable_text


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What became of the rows of one table."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0


def storable(text: str) -> str:
    """Return *text* as Postgres stores it, with its length unchanged, so that offsets stay valid."""
    return storable_text(text, nul="\ufffd")
