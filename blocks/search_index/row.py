"""What holds for every row of the index; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Postgres stores neither NUL nor half of a surrogate pair. One character stands for one, so offsets stay true.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What became of the rows of one table."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0


def storable(text: str) -> str:
    """*text* with U+FFFD for each character that Postgres cannot hold."""
    return _UNSTORABLE.sub("\ufffd", text)
