"""PDF documents: the converter's text, and what to tell when the file is not whole.

Owns one observation: a PDF ends with its end-of-file marker (ISO 32000-1 section 7.5.5). The library repairs a file
that was cut off and returns what is there, which without a word would pass for the whole document.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from blocks.filetype import FileType
from tasks.conversion.reading import Reading
from tasks.conversion.xberg_reader import extract

# Readers look for the marker in the last 1,024 bytes (implementation note 18); some producers append padding.
_END_WINDOW_BYTES = 2048


def read_pdf(path: Path, file_type: FileType, shown: str) -> Reading:
    """The document's text. Raises what `extract` raises."""
    reading = extract(path, file_type, shown).reading
    if _ends_properly(path):
        return reading
    return replace(reading, warnings=("the file ends early; pages or parts of them may be missing", *reading.warnings))


def _ends_properly(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _END_WINDOW_BYTES))
        return b"%%EOF" in file.read()
