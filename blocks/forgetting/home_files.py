"""What a home keeps of a document outside of database and storage: lines of logs, and copies that dead runs have left.

A log is written to while names are taken out of it: so they are overwritten where they are, with as many bytes.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from blocks.forgetting.names import Names
from blocks.runs.run_lock import run_locks

_READ_BYTES = 4 * 1024 * 1024


def overwrite_names(home: Path, names: Names) -> int:
    """Overwrite the names that are the document's alone in the logs of *home*; return how many there were. Blocks."""
    spelled = names.spelled(about=False)
    found = 0
    for path in sorted((home / "logs").glob("*")):
        # Emptied by another process at the same time, or not a file.
        with suppress(OSError), path.open("r+b") as log:
            fcntl.flock(log, fcntl.LOCK_EX)
            found += _overwrite(log.fileno(), spelled)
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


def _overwrite(descriptor: int, spelled: Sequence[bytes]) -> int:
    """Overwrite each occurrence in place; what is appended meanwhile is looked at too."""
    overlap = max((len(one) for one in spelled), default=0)
    start = found = 0
    while part := os.pread(descriptor, _READ_BYTES, start):
        lowered = part.lower()
        for one in spelled:
            at = lowered.find(one.lower())
            while at >= 0:
                os.pwrite(descriptor, b"*" * len(one), start + at)
                lowered = lowered[:at] + b"*" * len(one) + lowered[at + len(one) :]
                found += 1
                at = lowered.find(one.lower(), at + len(one))
        if len(part) < _READ_BYTES:
            return found
        start += len(part) - overlap
    return found
