"""What a home keeps of a document outside of database and storage: lines of logs, and copies that dead runs have left.

A log is written to while names are taken out of it: so they are overwritten where they are, with as many bytes.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from blocks.forgetting.names import Names
from blocks.runs.run_lock import run_locks

_READ_BYTES = 4 * 1024 * 1024


def overwrite_names(home: Path, names: Names) -> int:
    """Overwrite the names that are the document's alone in the logs of *home*; return how many there were. Blocks."""
    found = 0
    for path in sorted((home / "logs").glob("*")):
        # Emptied by another process at the same time, or not a file.
        with suppress(OSError), path.open("r+b") as log:
            fcntl.flock(log, fcntl.LOCK_EX)
            found += _overwrite(log.fileno(), names)
    return found


def remove_scratch(scratch: Path, home: Path, run_ids: Sequence[UUID]) -> int:
    """Remove the scratch folders of those of the runs that no process works on; return how many. Blocks."""
    locks = run_locks(home)
    removed = 0
    for run_id in run_ids:
        folder = scratch / str(run_id)
        if folder.is_dir() and not locks.get(run_id, False):
            shutil.rmtree(folder, ignore_errors=True)
            removed += not folder.exists()
    return removed


def _overwrite(descriptor: int, names: Names) -> int:
    """Overwrite each occurrence in place; what is appended meanwhile is looked at too.

    A part begins before the end of the former one: a name is judged where all that may belong to it has been read.
    """
    edge = names.longest + 4
    start = found = 0
    while part := os.pread(descriptor, _READ_BYTES, start):
        is_last = len(part) < _READ_BYTES
        first, end = edge if start else 0, len(part) if is_last else len(part) - edge
        for at, size in _places(part, names):
            if at >= first and at + size <= end:
                os.pwrite(descriptor, b"*" * size, start + at)
                found += 1
        if is_last:
            return found
        start += len(part) - 3 * edge
    return found


def _places(part: bytes, names: Names) -> Iterator[tuple[int, int]]:
    """Yield where the names begin in *part*, and their sizes, in bytes."""
    text = part.decode("utf-8", "surrogateescape")
    at = last = 0
    for begin, end in names.places(text, about=False):
        at += len(text[last:begin].encode("utf-8", "surrogateescape"))
        size = len(text[begin:end].encode("utf-8", "surrogateescape"))
        yield at, size
        at, last = at + size, end
