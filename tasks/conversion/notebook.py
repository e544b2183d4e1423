"""Jupyter notebooks: text, code and text output in order.

Owns the terminal colours in tracebacks and logs. The converter drops the escape character and leaves the rest of the
sequence as text, so the sequences are taken out of the JSON before it sees them.
"""

from __future__ import annotations

import re
from pathlib import Path

from blocks.filetype import FileType
from tasks.conversion.reading import Reading
from tasks.conversion.xberg_reader import extract

# ECMA-48 sequences as JSON writes them. A doubled backslash is source code about escapes and stays.
_ESCAPED_SEQUENCE = re.compile(rb"(?<!\\)\\u001[bB]\[[0-?]*[ -/]*[@-~]")


def read_notebook(path: Path, file_type: FileType, shown: str) -> Reading:
    """The notebook's cells. Raises what `extract` raises."""
    data = path.read_bytes()
    if _ESCAPED_SEQUENCE.search(data) is None:
        return extract(path, file_type, shown).reading
    return extract(path, file_type, shown, data=_ESCAPED_SEQUENCE.sub(b"", data)).reading
