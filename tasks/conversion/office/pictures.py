"""What can be said of a picture in words; pure.

Owns which descriptions say something. Programs fill in the name of the file or "Picture 3", and a note that a machine
wrote the description; neither describes the picture.
"""

from __future__ import annotations

import re

_GENERIC = re.compile(
    r"(?:picture|image|graphic|grafik|bild|object|chart|diagramm?|logo|notebook cell \d+ output)?[ _-]*\d*"
    r"|\S+\.(?:png|jpe?g|gif|emf|wmf|svg|bmp|tiff?|webp)",
    re.IGNORECASE,
)
_MACHINE_NOTE = re.compile(
    r"\s*(?:description automatically generated(?: with \w+ confidence)?|automatisch generierte beschreibung"
    r"|description générée automatiquement|descripción generada automáticamente"
    r"|ai-generated content may be incorrect\.?)"
    r"\s*",
    re.IGNORECASE,
)


def description(text: str | None) -> str:
    """Return what the alternative *text* of a picture says, on one line; empty if it says nothing."""
    cleaned = " ".join(_MACHINE_NOTE.sub(" ", text or "").split())
    return "" if _GENERIC.fullmatch(cleaned) else cleaned
